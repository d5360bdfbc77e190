//! Who alerts are sent to: a receiver that takes down what it gets, and real Alertmanagers.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// A request that was received.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    /// Path and query.
    pub(crate) path: String,
    /// Lines of the head, in lower case up to the colon.
    pub(crate) head: Vec<String>,
    /// Body.
    pub(crate) body: Vec<u8>,
}

impl Got {
    /// Returns the body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Returns a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Takes everything down, and says yes as all chats do; or nothing at all while it hangs.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    got: Arc<Mutex<Vec<Got>>>,
    hangs: Arc<AtomicBool>,
    _serving: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (got, hangs) = (Arc::<Mutex<Vec<Got>>>::default(), Arc::<AtomicBool>::default());
        let mut serving = JoinSet::new();
        let (into, hanging) = (Arc::clone(&got), Arc::clone(&hangs));
        serving.spawn(async move {
            let mut streams = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                streams.spawn(serve(stream, Arc::clone(&into), Arc::clone(&hanging)));
            }
        });
        Self { url, got, hangs, _serving: serving }
    }

    /// From now on it answers nothing, or answers again.
    pub(crate) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }

    /// Returns what came to this path and says `text`.
    pub(crate) fn got(&self, path: &str, text: &str) -> Vec<Got> {
        let got = self.got.lock().unwrap();
        let meant = |one: &&Got| {
            one.path.starts_with(path) && String::from_utf8_lossy(&one.body).contains(text)
        };
        got.iter().filter(meant).cloned().collect()
    }
}

async fn serve(stream: TcpStream, got: Arc<Mutex<Vec<Got>>>, hangs: Arc<AtomicBool>) {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(match line.split_once(':') {
                Some((name, value)) => format!("{}:{value}", name.to_lowercase()),
                None => line.to_owned(),
            }),
        }
    }
    let path = head[0].split(' ').nth(1).unwrap().to_owned();
    let mut one = Got { path, head, body: Vec::new() };
    let length = one.header("content-length").map_or(0, |length| length.parse().unwrap());
    one.body = vec![0; length];
    if stream.read_exact(&mut one.body).await.is_err() {
        return;
    }
    got.lock().unwrap().push(one);
    if hangs.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    let body = r#"{"ok":true,"errcode":0,"code":0}"#;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let _gone = stream.write_all(answer.as_bytes()).await;
}

/// A real Alertmanager of Debian's package.
#[derive(Debug)]
pub(crate) struct Alertmanager {
    pub(crate) url: String,
    web: u16,
    cluster: u16,
    peer: Option<u16>,
    dir: TempDir,
    process: Child,
}

impl Alertmanager {
    /// Starts one, which joins `peer`.
    pub(crate) async fn start(peer: Option<&Self>) -> Self {
        let (web, cluster) = (free().await, free().await);
        let peer = peer.map(|peer| peer.cluster);
        let dir = tempfile::tempdir().unwrap();
        let process = run(dir.path(), web, cluster, peer);
        Self { url: format!("http://127.0.0.1:{web}"), web, cluster, peer, dir, process }
    }

    /// Kills it and starts it anew, knowing nothing.
    pub(crate) async fn forget(&mut self) {
        self.process.kill().await.unwrap();
        self.dir = tempfile::tempdir().unwrap();
        self.process = run(self.dir.path(), self.web, self.cluster, self.peer);
    }

    /// Returns the labels, annotations and end of the alerts named so that it takes for open.
    pub(crate) async fn alerts(&self, name: &str) -> Option<Vec<Value>> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let url = format!("{}/api/v2/alerts", self.url).parse().unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(5), client.get(url)).await;
        let body = answer.ok()?.ok()?.into_body().collect().await.ok()?.to_bytes();
        let alerts: Vec<Value> = serde_json::from_slice(&body).ok()?;
        Some(alerts.into_iter().filter(|one| one["labels"]["alertname"] == name).collect())
    }
}

fn run(dir: &Path, web: u16, cluster: u16, peer: Option<u16>) -> Child {
    let config = dir.join("alertmanager.yml");
    std::fs::write(&config, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n").unwrap();
    let mut command = Command::new(program());
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{web}"))
        .arg(format!("--cluster.listen-address=127.0.0.1:{cluster}"))
        .args(peer.map(|peer| format!("--cluster.peer=127.0.0.1:{peer}")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().unwrap()
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("prometheus-alertmanager"));
    found
        .into_iter()
        .find(|file| file.is_file())
        .expect("Alertmanager is there: .ci/tools installs it")
}

/// Returns a port that nobody listens on.
async fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}
