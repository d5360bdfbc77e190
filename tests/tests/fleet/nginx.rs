//! A server that nobody here wrote: nginx under the process driver, between two configurations.
//!
//! The artifact is its configuration. Where each node listens differs from node to node and is no
//! part of a release; it stands in a file of the node's own, which the configuration includes by
//! the way of the working directory.

use std::fmt::Write as _;
use std::path::Path;

use trireme_proto::digest::Digest;

use super::rig::{Rig, bounded};
use super::traffic::Traffic;
use super::web::{PORT, working_dir};

const NGINX: &str = "/usr/sbin/nginx";
const SERVICE: &str = "edge";

/// Returns a configuration that answers with its version.
fn configuration(version: &str) -> String {
    format!(
        "\
worker_processes 1;
error_log stderr;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  default_type text/plain;
  server {{
    include /proc/self/cwd/listen.conf;
    location / {{ return 200 \"{version}\\n\"; }}
  }}
}}
"
    )
}

fn manifest(rig: &Rig, versions: &[&str]) -> String {
    let mut text = format!(
        "\
kind: Service
name: {SERVICE}
nodes: {{labels: {{role: web}}}}
driver:
  process: {{stop_signal: QUIT, stop_timeout: 5s, restart: always}}
serving: {{at_least: 2, nodes: 1}}
checks:
  - name: answers
    http: {{url: \"http://{{address}}:{PORT}/\"}}
    every: 150ms
    timeout: 150ms
    rise: 2
    fall: 5
traffic:
  dns: {{port: {PORT}, ttl: 1s}}
  drain: 500ms
upgrade:
  order: [aws, aliyun, gcp]
  bake: {{region: 300ms}}
  deadline: {{step: 10s, fleet: 5m}}
"
    );
    for version in versions {
        let content = configuration(version);
        let artifact = rig.file(&format!("nginx-{version}.conf"), &content);
        let (artifact, digest) = (artifact.display(), Digest::of(content.as_bytes()));
        let _ = write!(
            text,
            "\
---
kind: Release
service: {SERVICE}
version: {version}
artifact: {{url: \"file://{artifact}\", sha256: \"{digest}\"}}
argv: [{NGINX}, -p, \"{{data}}/\", -c, \"{{artifact}}\", -g, \"daemon off; pid {{data}}/nginx.pid;\"]
"
        );
    }
    text
}

/// Returns what a node answers.
async fn answer(rig: &Rig, node: usize) -> String {
    let address = (rig.fleet.agents()[node].address, PORT).into();
    let answer = trireme_ctl::load::get(address, "/").await.unwrap();
    String::from_utf8(answer.body.to_vec()).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_goes_from_one_configuration_to_another_under_load_without_a_failed_request() {
    assert!(Path::new(NGINX).is_file(), "{NGINX} is missing: apt-get install nginx-light");
    bounded(async {
        let rig = Rig::start(2).await;
        for agent in rig.fleet.agents() {
            let dir = working_dir(&rig, agent.node.as_str(), SERVICE);
            std::fs::create_dir_all(&dir).unwrap();
            let listen = format!("listen {}:{PORT};\n", agent.address);
            std::fs::write(dir.join("listen.conf"), listen).unwrap();
        }
        let file = rig.file("edge.yaml", manifest(&rig, &["1.0.0", "1.1.0"]));
        rig.apply(&file).await.exits(0);
        rig.upgrade_to(SERVICE, "1.0.0").await;
        assert_eq!(answer(&rig, 0).await, "1.0.0");
        let traffic = Traffic::start(&rig, SERVICE, "/").await;
        rig.upgrade_to(SERVICE, "1.1.0").await;
        traffic.end().await.assert_unharmed();
        for node in 0..rig.fleet.agents().len() {
            assert_eq!(answer(&rig, node).await, "1.1.0");
        }
    })
    .await;
}
