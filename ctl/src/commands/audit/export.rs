//! `trictl audit export`: the audit and what was signed of it, for a place elsewhere.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use trireme_proto::audit::class;
use trireme_proto::view::AuditEntry;
use trireme_proto::wire::CheckpointsRequest;

use super::Narrow;
use crate::App;
use crate::error::{Failure, Outcome, failed};

/// Write the audit log to a file, and what controllers have signed of it to another
///
/// Lines of JSON can be verified later without any controller: `trictl audit verify --file`. Keep
/// both files where whoever runs the fleet cannot change them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    narrow: Narrow,

    /// Where it goes; an existing file is not overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Form of the file
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// Where the checkpoints of the answering controller go
    #[arg(long, value_name = "FILE")]
    checkpoints: Option<PathBuf>,
}

/// Form of an exported audit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One JSON object a line, as the chain is computed over
    #[default]
    Ndjson,
    /// For spreadsheets; cannot be verified
    Csv,
}

/// Exports entries.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let newest = client.search(Narrow::newest()).await?.value.items.last().map_or(0, |e| e.seq);
    let to = if args.narrow.to == 0 { newest } else { args.narrow.to.min(newest) };
    let entries = args.narrow.all(&client, to).await?;
    let text: String = match args.format {
        Format::Ndjson => entries.iter().map(line).collect(),
        Format::Csv => std::iter::once(HEADER.to_owned()).chain(entries.iter().map(row)).collect(),
    };
    write(&args.out, &text)?;
    let mut signed = 0;
    if let Some(path) = &args.checkpoints {
        let found = client.checkpoints(CheckpointsRequest::default()).await?.value.items;
        signed = found.len();
        write(path, &found.iter().map(line).collect::<String>())?;
    }
    let value = json!({
        "entries": entries.len(),
        "file": args.out.display().to_string(),
        "checkpoints": signed,
    });
    app.out.value(&value, |_| {
        format!("{} entries in {}, {signed} checkpoints", entries.len(), args.out.display())
    })?;
    Ok(Outcome::Done)
}

impl Narrow {
    /// Returns the request for the newest entry.
    pub(super) fn newest() -> trireme_proto::wire::SearchAuditRequest {
        trireme_proto::wire::SearchAuditRequest { limit: 1, ..Default::default() }
    }
}

fn line<T: serde::Serialize>(value: &T) -> String {
    let json = serde_json::to_string(value).expect("plain strings and numbers");
    format!("{json}\n")
}

const HEADER: &str =
    "seq,time,actor,role,class,action,target,result,reason,source,request_id,previous,hash\r\n";

/// Returns an entry as a row in which no cell is a formula.
fn row(entry: &AuditEntry) -> String {
    let (seq, time) = (entry.seq.to_string(), entry.time.to_string());
    let cells = [
        &seq,
        &time,
        &entry.actor,
        &entry.role,
        class(&entry.action),
        &entry.action,
        &entry.target,
        &entry.result,
        &entry.reason,
        &entry.source,
        &entry.request_id,
        &entry.previous,
        &entry.hash,
    ];
    let cells = cells.map(|cell| {
        let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let mark = if formula { "'" } else { "" };
        format!("\"{mark}{}\"", cell.replace('"', "\"\""))
    });
    format!("{}\r\n", cells.join(","))
}

/// Writes a new file for its owner alone.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    new.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|error| failed(format!("cannot write {}", path.display()), &error).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_of_a_table_is_a_formula_or_ends_early() {
        let entry: AuditEntry = serde_json::from_value(json!({
            "seq": 1, "index": 1, "time": 0, "actor": "=cmd()", "role": "admin",
            "action": "note.set", "target": "a\"b,c", "result": "done", "source": "s",
            "request_id": "", "previous": "0", "hash": "1",
        }))
        .unwrap();
        let row = row(&entry);
        assert!(row.contains("\"'=cmd()\""), "{row}");
        assert!(row.contains("\"a\"\"b,c\""), "{row}");
        assert_eq!(HEADER.matches(',').count(), 12);
    }
}
