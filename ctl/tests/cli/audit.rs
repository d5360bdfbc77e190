//! `audit verify` over pages, as controllers hand them out.

use serde_json::{Value, json};
use trireme_proto::time::WallTime;
use trireme_proto::view::AuditEntry;

use crate::fleet::{Answer, Call, Fleet};

fn log(len: u64) -> Vec<AuditEntry> {
    let mut entries: Vec<AuditEntry> = Vec::new();
    for seq in 1..=len {
        let previous = entries.last().map_or_else(|| "0".repeat(64), |entry| entry.hash.clone());
        let mut entry = AuditEntry {
            seq,
            index: seq,
            time: WallTime(seq),
            actor: "user/ann".to_owned(),
            role: "admin".to_owned(),
            action: "upgrade.start".to_owned(),
            target: "service/web".to_owned(),
            result: "done".to_owned(),
            reason: String::new(),
            source: "127.0.0.1".to_owned(),
            request_id: format!("r-{seq}"),
            previous,
            hash: String::new(),
        };
        entry.hash = entry.computed_hash();
        entries.push(entry);
    }
    entries
}

/// Answers as a controller would that hands out at most 200 entries at once.
fn pages(entries: &[AuditEntry], call: &Call) -> Answer {
    let from = call.request.split("from: ").nth(1).and_then(|rest| rest.split(',').next());
    let from: u64 = from.unwrap().parse().unwrap();
    let newest: Vec<_> = entries.last().into_iter().cloned().collect();
    let page = entries.iter().skip_while(|entry| entry.seq < from).take(200).cloned();
    let items: Vec<_> = if from == 0 { newest } else { page.collect() };
    Answer::Doc(json!({ "items": items }))
}

async fn verify(entries: Vec<AuditEntry>, more: &[&str]) -> crate::fleet::Run {
    let fleet = Fleet::new().await;
    let controller = fleet.controller("c1", move |call, _| pages(&entries, call)).await;
    fleet.run(&[&controller.address], &[&["audit", "verify"], more].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_log_of_many_pages_passes_and_gives_an_anchor() {
    let entries = log(1001);
    let anchor = format!("1001:{}", entries[1000].hash);
    let run = verify(entries.clone(), &[]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.stdout, format!("1001 entries, chain whole\nanchor {anchor}\n"));
    let run = verify(entries.clone(), &["--anchor", &anchor, "--json"]).await;
    assert_eq!(run.json(), json!({"ok": true, "entries": 1001, "anchor": anchor}));
    let run = verify(entries[..900].to_vec(), &["--anchor", &anchor]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.starts_with("error: audit entry 1001 was cut off\n"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_the_first_entry_that_is_not_as_it_was() {
    let mut edited = log(450);
    edited[300].actor = "user/eve".to_owned();
    let mut deleted = log(450);
    deleted.remove(300);
    let mut swapped = log(450);
    swapped.swap(300, 301);
    for (entries, kind) in [(edited, "edited"), (deleted, "deleted"), (swapped, "reordered")] {
        let run = verify(entries, &[]).await;
        assert_eq!(run.code, Some(1), "{run:?}");
        let first = format!("error: audit entry 301 was {kind}");
        assert_eq!(run.stderr.lines().next(), Some(first.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_log_is_whole() {
    let run = verify(Vec::new(), &["--json"]).await;
    assert_eq!(run.json()["anchor"], Value::Null);
    assert_eq!(run.code, Some(0));
}
