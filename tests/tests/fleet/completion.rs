//! A shell completes commands and the names that a fleet knows, and goes on without the fleet.

use std::path::Path;

use tokio::process::Command;

use super::rig::{Rig, Run, bounded, program, run};
use super::web::{self, Spec};

/// Types words into a shell that has read our script, and presses Tab behind the last.
async fn offered(context: &Path, words: &str) -> Vec<String> {
    let script = "source <(\"$1\" completion bash)\n\
                  COMP_WORDS=(trictl --config \"$2\" $3)\n\
                  [[ $3 == *' ' ]] && COMP_WORDS+=('')\n\
                  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n\
                  COMP_TYPE=9\n\
                  _clap_complete_trictl trictl \"${COMP_WORDS[COMP_CWORD]}\" ''\n\
                  printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut shell = Command::new("bash");
    shell.env_clear().env("PATH", "/usr/bin:/bin");
    shell.args(["-c", script, "bash"]).arg(program("trictl")).arg(context).arg(words);
    let Run { stdout, .. } = run(shell).await.exits(0);
    stdout.lines().map(|line| line.trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_completes_the_names_that_the_fleet_knows() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0"]).await;
        let context = rig.fleet.context_file();
        assert_eq!(offered(&context, "get node a").await, ["aliyun-1", "aws-1"]);
        assert_eq!(offered(&context, "describe services w").await, ["web"]);
        assert_eq!(offered(&context, "upgrade plan web --to 1").await, ["1.0.0"]);
        assert_eq!(offered(&context, "why region").await, [""]);
        assert_eq!(offered(&context, "why node/g").await, ["node/gcp-1"]);
        assert_eq!(offered(&context, "controller transfer --to c-g").await, ["c-gcp"]);
        assert_eq!(offered(&context, "--context ").await, ["e2e"]);

        // With nobody to ask there are still the commands, and no error on the line.
        for controller in rig.fleet.controllers_mut() {
            controller.process.kill().await.unwrap();
        }
        assert_eq!(offered(&context, "get node a").await, [""]);
        assert_eq!(offered(&context, "upgrade rol").await, ["rollback"]);
        rig.come_up().await;
    })
    .await;
}
