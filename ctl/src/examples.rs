//! An example below the help of every command: lines that can be copied, for a fleet that runs
//! `web` in the regions aws, aliyun and gcp.
//!
//! Tests parse each line with the very tree that it is shown by, and run it. A new command takes a
//! line here.

use clap::Command;

/// Examples by the words of their command.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("apply", &["trictl apply -f web.yaml --dry-run", "trictl apply -f web.yaml"]),
    ("diff", &["trictl diff -f web.yaml"]),
    ("delete", &["trictl delete alertrule hashrate-low"]),
    ("get", &["trictl get node", "trictl get node -o wide", "trictl get upgrade --json"]),
    ("describe", &["trictl describe service web"]),
    ("explain", &["trictl explain service.upgrade.bake"]),
    ("upgrade plan", &["trictl upgrade plan web --to 1.4.2"]),
    ("upgrade start", &["trictl upgrade start web@1.4.2:0123456789ab --watch"]),
    ("upgrade status", &["trictl upgrade status web"]),
    ("upgrade watch", &["trictl upgrade watch upgrade-7"]),
    ("upgrade pause", &["trictl upgrade pause upgrade-7 --reason 'errors in aws'"]),
    ("upgrade resume", &["trictl upgrade resume upgrade-7"]),
    ("upgrade abort", &["trictl upgrade abort upgrade-7 --reason 'wrong version'"]),
    ("upgrade rollback", &["trictl upgrade rollback web --reason 'slow queries'"]),
    ("approve", &["trictl approve web@1.4.2:0123456789ab"]),
    ("review list", &["trictl review list"]),
    ("review break", &["trictl review break break-7 --note 'it had to be'"]),
    ("review audit", &["trictl review audit --since 2026-11-01T00:00:00Z --note 'nothing odd'"]),
    ("review users", &["trictl review users --note 'everybody is still with us'"]),
    ("service status", &["trictl service status web"]),
    ("service top", &["trictl service top web --watch"]),
    ("service exec", &["trictl service exec web --node aws-1 --reason 'open sockets' -- ss -tn"]),
    ("service debug", &["trictl service debug web --node aws-1 --reason 'it does not come up'"]),
    ("service logs", &["trictl service logs web --follow --grep 'status=5..'"]),
    ("service start", &["trictl service start web"]),
    ("service stop", &["trictl service stop web --region aws --reason maintenance --watch"]),
    ("service restart", &["trictl service restart web --reason 'memory leak' --watch"]),
    ("service recreate", &["trictl service recreate web --node aws-1 --dry-run"]),
    ("status", &["trictl status"]),
    ("region list", &["trictl region list"]),
    ("region drain", &["trictl region drain aws --reason maintenance --wait"]),
    ("region return", &["trictl region return aws"]),
    ("freeze on", &["trictl freeze on --reason 'incident 7'"]),
    ("freeze off", &["trictl freeze off --reason 'incident 7 is over'"]),
    ("freeze status", &["trictl freeze status"]),
    (
        "override add",
        &["trictl override add --rule fleet.freeze --service web --for 1h --reason 'the fix'"],
    ),
    ("override list", &["trictl override list"]),
    ("override end", &["trictl override end override-3"]),
    ("why", &["trictl why upgrade-7", "trictl why node/aws-1"]),
    ("note", &["trictl note node/aws-1 'disk is replaced on Monday'"]),
    ("checklist list", &["trictl checklist list"]),
    ("checklist show", &["trictl checklist show daily"]),
    ("checklist run", &["trictl checklist run daily"]),
    ("checklist answer", &["trictl checklist answer daily dashboard --note 'all is green'"]),
    ("checklist review", &["trictl checklist review monthly access --note 'nobody left'"]),
    ("checklist close", &["trictl checklist close daily --note 'the disk was replaced'"]),
    ("alert list", &["trictl alert list"]),
    ("alert ack", &["trictl alert ack incident-7 --note 'on it'"]),
    (
        "alert silence",
        &["trictl alert silence --label region=aws --for 2h --reason 'maintenance of the cloud'"],
    ),
    ("alert unsilence", &["trictl alert unsilence silence-3"]),
    ("alert silences", &["trictl alert silences"]),
    ("alert notices", &["trictl alert notices"]),
    ("alert test", &["trictl alert test ops-chat"]),
    ("alert review", &["trictl alert review"]),
    ("grants list", &["trictl grants list"]),
    ("grants release", &["trictl grants release grant-3 --reason 'the node is gone'"]),
    ("node list", &["trictl node list"]),
    ("node drain", &["trictl node drain aws-1 --reason 'new disk' --wait"]),
    ("node cordon", &["trictl node cordon aws-1 --reason 'memory errors'"]),
    ("node return", &["trictl node return aws-1"]),
    ("node remove", &["trictl node remove aws-1 --reason 'returned to AWS' --confirm aws-1"]),
    (
        "token create",
        &["trictl token create --node aws-3 --region aws --address 10.1.0.3 --label role=web"],
    ),
    ("user list", &["trictl user list"]),
    ("user add", &["trictl user add jane.doe operator@aws,aliyun"]),
    ("user token", &["trictl user token jane.doe"]),
    ("user grant", &["trictl user grant jane.doe auditor"]),
    ("user revoke", &["trictl user revoke jane.doe operator"]),
    ("user limit", &["trictl user limit jane.doe --from 10.0.0.0/8"]),
    ("user disable", &["trictl user disable jane.doe --reason 'lost laptop'"]),
    ("user enable", &["trictl user enable jane.doe"]),
    ("user remove", &["trictl user remove jane.doe --reason left --confirm jane.doe"]),
    ("login", &["trictl login --enrol c1.example:7444 --token-file token"]),
    ("context list", &["trictl context list"]),
    ("context show", &["trictl context show"]),
    ("context use", &["trictl context use prod"]),
    (
        "context add",
        &["trictl context add prod --controller c1.example:7443 --ca root.pem --cert me.pem \
           --key me.key"],
    ),
    ("context protect", &["trictl context protect prod"]),
    ("context remove", &["trictl context remove prod"]),
    ("controller status", &["trictl controller status"]),
    ("controller transfer", &["trictl controller transfer --to c2"]),
    (
        "controller add",
        &["trictl controller add c4 --peer 10.1.0.4:7401 --reason 'the old host goes'"],
    ),
    (
        "controller remove",
        &["trictl controller remove c4 --confirm c4 --reason 'three are enough'"],
    ),
    (
        "controller replace",
        &["trictl controller replace c1 c4 --peer 10.1.0.4:7401 --reason 'the old host goes'"],
    ),
    ("controller repair", &["trictl controller repair c1 --reason 'a new disk'"]),
    ("audit list", &["trictl audit list --actor user/jane.doe --action upgrade"]),
    ("audit verify", &["trictl audit verify"]),
    ("audit export", &["trictl audit export --out audit.ndjson --checkpoints signed.ndjson"]),
    ("ca init", &["trictl ca init --fleet prod --dir trireme-ca"]),
    (
        "ca sign-controller",
        &["trictl ca sign-controller --name c1 --request issuing.csr --dir trireme-ca"],
    ),
    (
        "ca issue-user",
        &["trictl ca issue-user --name jane.doe --role admin --controller c1.example:7443"],
    ),
    ("dev up", &["trictl dev up"]),
    ("dev status", &["trictl dev status"]),
    ("dev down", &["trictl dev down"]),
    ("demo", &["trictl demo"]),
    ("completion", &["trictl completion bash"]),
    ("man", &["trictl man share/man/man1"]),
    ("version", &["trictl version"]),
];

/// Returns the examples of a command.
pub fn of(words: &str) -> &'static [&'static str] {
    EXAMPLES.iter().find(|(known, _)| *known == words).map_or(&[], |(_, examples)| examples)
}

/// Returns the tree with the examples below the help of its commands.
pub(crate) fn added(tree: Command) -> Command {
    within(tree, "")
}

fn within(command: Command, words: &str) -> Command {
    let examples = of(words);
    let command = if examples.is_empty() {
        command
    } else {
        command.after_help(format!("Examples:\n  {}", examples.join("\n  ")))
    };
    command.mut_subcommands(|inner| {
        let words = format!("{words} {}", inner.get_name());
        within(inner, words.trim_start())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_of_a_command_that_there_is() {
        for (words, examples) in EXAMPLES {
            let mut tree = &crate::cli::tree(crate::lang::Lang::En);
            for word in words.split(' ') {
                let found = tree.find_subcommand(word);
                tree = found.unwrap_or_else(|| panic!("there is no trictl {words}"));
            }
            let begins = |line: &&&str| line.starts_with(&format!("trictl {words}"));
            assert!(examples.iter().all(|line| begins(&line)), "{words}");
        }
    }
}
