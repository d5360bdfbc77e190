//! The drop-in: what a release lays over the operator's unit file, which is never written.
//!
//! ```text
//! /etc/systemd/system/web.service.d/
//!   50-trireme.conf            program, environment and time to stop of the release that is
//!                              pointed at; and that the unit stays down while the fleet says so
//!   50-trireme.conf.previous   what stood there before; systemd does not read it
//! ```

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::record::Target;
use crate::host::{HostError, durable};

/// Where systemd looks for what administrators say of units, before all else that lasts.
pub(super) const UNITS: &str = "/etc/systemd/system";
const NAME: &str = "50-trireme.conf";
const PREVIOUS: &str = "50-trireme.conf.previous";
/// Readable by all, as systemd's own files are: `systemctl cat` shows it to everybody.
const MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

/// Returns where a unit's drop-in lies.
pub(super) fn path(units: &Path, unit: &str) -> PathBuf {
    dir(units, unit).join(NAME)
}

fn dir(units: &Path, unit: &str) -> PathBuf {
    units.join(format!("{unit}.d"))
}

/// Returns the drop-in as systemd reads it; the unit does not start while `held` is there.
pub(super) fn render(release: &str, target: &Target, held: &Path) -> String {
    let mut text = format!(
        "# Release {release}, pinned by the Trireme agent. Upgrades replace this file.\n\
         [Unit]\n\
         ConditionPathExists=!{}\n\
         [Service]\n\
         ExecStart=\n\
         ExecStart=",
        held.to_string_lossy().replace('%', "%%")
    );
    let words = exec(&target.argv);
    let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    let _ = writeln!(text, "{}", words.join(" "));
    for (name, value) in &target.env {
        let _ = writeln!(text, "Environment={}", quoted(&format!("{name}={value}")));
    }
    let _ = writeln!(text, "TimeoutStopSec={}ms", target.stop_timeout.0);
    text
}

/// Returns program and arguments as systemd keeps them: a `$` in an argument is doubled, for it
/// would otherwise stand for something of the environment.
pub(super) fn exec(argv: &[String]) -> Vec<String> {
    let word = |(index, word): (usize, &String)| match index {
        0 => word.clone(),
        _ => word.replace('$', "$$"),
    };
    argv.iter().enumerate().map(word).collect()
}

/// Quotes a word, so that systemd reads it as it is.
fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            '%' => text.push_str("%%"),
            letter if letter.is_ascii_control() => {
                let _ = write!(text, "\\x{:02x}", u32::from(letter));
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
    text
}

/// Makes `wanted` the unit's drop-in, or leaves it without one; keeps what stood there beside it.
///
/// Each file is replaced whole, the kept one first: whenever this is cut off, what is pinned is
/// the old release or the new one, and pointing again goes on from there.
pub(super) fn point(units: &Path, unit: &str, wanted: Option<&str>) -> Result<(), HostError> {
    let dir = dir(units, unit);
    let (path, previous) = (dir.join(NAME), dir.join(PREVIOUS));
    let held = read(&path)?;
    if held.as_deref() == wanted {
        return Ok(());
    }
    if wanted.is_some() && !dir.is_dir() {
        make_dir(&dir).map_err(HostError::io("make", &dir))?;
        durable::sync_dir(units).map_err(HostError::io("flush", units))?;
    }
    durable::sweep(&dir).map_err(HostError::io("sweep", &dir))?;
    if let Some(held) = &held {
        write(&previous, held).map_err(HostError::io("write", previous))?;
    }
    match wanted {
        Some(wanted) => write(&path, wanted).map_err(HostError::io("write", path)),
        None => durable::remove(&path).map_err(HostError::io("remove", path)),
    }
}

/// Returns the text of a unit's drop-in, if it has one.
pub(super) fn read(path: &Path) -> Result<Option<String>, HostError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostError::io("read", path)(error)),
    }
}

/// Makes a directory that everybody may look into, whatever mask the agent runs with.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(DIR_MODE))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = durable::unfinished(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(MODE))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    durable::sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use trireme_proto::time::Span;

    use super::*;

    fn target(argv: &[&str]) -> Target {
        Target {
            unit: "web.service".to_owned(),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            env: [("A".to_owned(), "b \"c\" 100% $D".to_owned())].into(),
            stop_timeout: Span(1500),
        }
    }

    #[test]
    fn words_reach_the_program_as_they_are() {
        let target = target(&["/opt/a b/web", "--at", "50%", "$HOME\\", "a\n\"b\"", ";", ""]);
        assert_eq!(
            render("web@1.0.0", &target, Path::new("/var/lib/100%/held")),
            "# Release web@1.0.0, pinned by the Trireme agent. Upgrades replace this file.\n\
             [Unit]\n\
             ConditionPathExists=!/var/lib/100%%/held\n\
             [Service]\n\
             ExecStart=\n\
             ExecStart=\"/opt/a b/web\" \"--at\" \"50%%\" \"$$HOME\\\\\" \"a\\x0a\\\"b\\\"\" \";\" \
             \"\"\n\
             Environment=\"A=b \\\"c\\\" 100%% $D\"\n\
             TimeoutStopSec=1500ms\n"
        );
    }

    /// DVN-41: replaced whole, with what was there before beside it.
    #[test]
    fn dvn_41_what_is_pinned_is_replaced_whole_and_the_previous_kept() {
        let units = tempfile::tempdir().unwrap();
        let point = |wanted| point(units.path(), "web.service", wanted).unwrap();
        let path = path(units.path(), "web.service");
        let there = |path: &Path| fs::read_to_string(path).ok();
        let previous = path.with_file_name(PREVIOUS);
        point(None);
        assert_eq!(there(&path), None);
        point(Some("old"));
        assert_eq!((there(&path).as_deref(), there(&previous)), (Some("old"), None));
        fs::write(path.with_file_name(".unfinished-x"), "half").unwrap();
        for _ in 0..2 {
            point(Some("new"));
            assert_eq!(there(&path).as_deref(), Some("new"));
            assert_eq!(there(&previous).as_deref(), Some("old"));
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (MODE, DIR_MODE));
        point(None);
        assert_eq!((there(&path), there(&previous).as_deref()), (None, Some("new")));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
