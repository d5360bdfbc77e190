//! How nodes come and go: tokens that work once, in time, in their fleet; removal for ever.

use std::path::PathBuf;

use tokio::process::Command;
use trireme_proto::digest::Digest;
use trireme_proto::keyfile::write_private;
use trireme_proto::token::Token;

use super::rig::{Rig, Run, bounded, program, run, until};
use super::web::{self, Spec, WEB};

/// Files of an agent that is no part of the fleet yet.
struct Newcomer {
    config: PathBuf,
    token: PathBuf,
}

impl Newcomer {
    fn new(rig: &Rig, name: &str) -> Self {
        let dir = rig.files().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let api = rig.fleet.controllers()[0].api;
        let config = format!(
            "data: {}\ncontrollers: [\"{api}\"]\njoin: {{address: \"{}:{}\"}}\n",
            dir.join("data").display(),
            api.ip(),
            // A controller's listener for those who join is one port above the other.
            api.port() + 1,
        );
        std::fs::write(dir.join("agent.yaml"), config).unwrap();
        Self { config: dir.join("agent.yaml"), token: dir.join("token") }
    }

    async fn join(&self, token: &str) -> Run {
        write_private(&self.token, token.as_bytes()).unwrap();
        let mut command = Command::new(program("trireme-agent"));
        command.env_clear().arg("join").arg("--config").arg(&self.config);
        command.arg("--token-file").arg(&self.token);
        run(command).await
    }
}

async fn token(rig: &Rig, node: &str, ttl: &str) -> String {
    let args =
        ["token", "create", "--node", node, "--region", "aws", "--address", "127.9.9.9", "--ttl"];
    let run = rig.trictl(&[&args[..], &[ttl]].concat()).await.exits(0);
    run.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_once_in_time_and_in_its_fleet() {
    bounded(async {
        let rig = Rig::start(1).await;
        let good = token(&rig, "aws-8", "10m").await;
        Newcomer::new(&rig, "first").join(&good).await.exits(0);
        assert_eq!(rig.node("aws-8").await.unwrap().connected_to, None);
        let used = Newcomer::new(&rig, "second").join(&good).await.exits(4);
        used.says("refused: ").says("for node aws-8 was used already");

        let late = token(&rig, "aws-9", "1s").await;
        let newcomer = Newcomer::new(&rig, "late");
        let expired = until("the end of the token", async || {
            // Only tried once it is over, for it would work before.
            let tokens: Vec<serde_json::Value> = rig.look("token").await?;
            let end = tokens.iter().find(|token| token["node"] == "aws-9")?["expires_at"].as_u64();
            (super::people::now().0 > end.unwrap() + 200).then_some(())
        });
        expired.await;
        newcomer.join(&late).await.exits(4).says("for node aws-9 expired at");

        // As another fleet's controllers made it: neither side can take it for its own.
        let pin = Digest::of(b"another fleet's root");
        let foreign = Token::generate([7; 8], [7; 16], pin).expose().to_string();
        let newcomer = Newcomer::new(&rig, "foreign");
        let run = newcomer.join(&foreign).await;
        assert!(matches!(run.code, Some(4 | 6)), "{run:?}");
        // And with our pin, but never made here.
        let pin = super::people::root(&rig).pin();
        let invented = Token::generate([7; 8], [7; 16], pin).expose().to_string();
        newcomer.join(&invented).await.exits(4).says("is not of this fleet");
        newcomer.join("not-a-token").await.exits(2);
        let nodes = rig.look::<serde_json::Value>("node").await.unwrap();
        assert_eq!(nodes.len(), 4, "{nodes:#?}");
        let taken = ["token", "create", "--node", "aws-1", "--region", "aws"];
        let run = rig.trictl(&[&taken[..], &["--address", "127.9.9.9"]].concat()).await.exits(5);
        assert_eq!(run.problem()["message"], "node aws-1 has joined already");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_cut_off_for_ever_and_its_service_runs_on() {
    bounded(async {
        let mut rig = Rig::start(2).await;
        web::run(&rig, &Spec::default(), &["1.0.0"]).await;
        let service = web::starts(&rig, "aws-2").pop().unwrap().pid;
        let args = ["node", "remove", "aws-2", "--reason", "stolen", "--confirm", "aws-2"];
        rig.trictl(&args).await.exits(0);
        // Its open stream is cut: its agent hears of it without asking.
        let agent = "aws-2".parse().unwrap();
        until("the agent's word of its removal", async || {
            let log = rig.fleet.agent_mut(&agent).unwrap().process.log().to_owned();
            let log = std::fs::read_to_string(log).unwrap();
            log.contains("denied").then_some(())
        })
        .await;
        let agents = until("an agent less", async || {
            let view = rig.controllers().await?;
            let agents: u32 = view.items.iter().filter_map(|one| one.agents).sum();
            (agents == 5).then_some(agents)
        })
        .await;
        assert_eq!(agents, 5);
        // A restart brings it no further, and neither does a token for its name.
        rig.fleet.agent_mut(&agent).unwrap().process.restart().await.unwrap();
        until("the refusal of the restarted agent", async || {
            let log = rig.fleet.agent_mut(&agent).unwrap().process.log().to_owned();
            let log = std::fs::read_to_string(log).unwrap();
            (log.matches("denied").count() >= 2).then_some(())
        })
        .await;
        until("a node that is removed and connected nowhere", async || {
            let node = rig.node("aws-2").await?;
            (node.state == "removed" && node.connected_to.is_none()).then_some(())
        })
        .await;
        let args =
            ["token", "create", "--node", "aws-2", "--region", "aws", "--address", "127.9.9.9"];
        let run = rig.trictl(&args).await.exits(5);
        let message = "node aws-2 was removed, and its name is denied for ever";
        assert_eq!(run.problem()["message"], message);
        // It no longer counts, and nothing was proven by that: its service was not stopped.
        assert!(web::is_running(service));
        let view = rig.service(WEB).await.unwrap();
        let aws = &view.regions[&"aws".parse().unwrap()];
        assert!(aws.serving && !aws.nodes.contains_key(&agent), "{aws:?}");
    })
    .await;
}
