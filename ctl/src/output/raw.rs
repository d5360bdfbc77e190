//! What a program wrote somewhere else: to a file or pipe byte by byte, to a terminal as text that
//! can do nothing but be read.

use serde_json::json;

use super::Out;
use super::lines::visible;
use crate::error::Failure;

/// Prints output as it comes.
#[derive(Debug, Default)]
pub struct Raw {
    /// Of each stream the beginning of a character whose end has not come yet.
    rest: [Vec<u8>; 2],
}

impl Raw {
    /// Prints a piece: 1 is stdout, all else stderr.
    pub fn print(&mut self, out: &Out, stream: u32, data: &[u8]) -> Result<(), Failure> {
        let is_error = stream != 1;
        if !out.is_json() && !out.style().live {
            return out.bytes(is_error, data);
        }
        let rest = &mut self.rest[usize::from(is_error)];
        rest.extend_from_slice(data);
        let whole = whole(rest);
        let text: Vec<u8> = rest.drain(..whole).collect();
        show(out, is_error, &text)
    }

    /// Prints what was held back.
    pub fn finish(&mut self, out: &Out) -> Result<(), Failure> {
        for is_error in [false, true] {
            let text = std::mem::take(&mut self.rest[usize::from(is_error)]);
            show(out, is_error, &text)?;
        }
        Ok(())
    }
}

fn show(out: &Out, is_error: bool, text: &[u8]) -> Result<(), Failure> {
    if text.is_empty() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(text);
    if out.is_json() {
        let stream = if is_error { "stderr" } else { "stdout" };
        return out.text(&json!({ "is": "output", "stream": stream, "text": text }).to_string());
    }
    let lines: Vec<_> = text.split('\n').map(|line| visible(line.trim_end_matches('\r'))).collect();
    out.bytes(is_error, lines.join("\n").as_bytes())
}

/// Returns the bytes up to a character whose end may still come.
fn whole(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Ok(_) | Err(_) => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::output::form::Form;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(data)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn printed(json: bool, pieces: &[(u32, &[u8])]) -> [Vec<u8>; 2] {
        let (stdout, stderr) = (Sink::default(), Sink::default());
        let form = if json { Form::Json } else { Form::Table };
        let out = Out::plain(form, stdout.clone(), stderr.clone());
        let mut raw = Raw::default();
        for (stream, data) in pieces {
            raw.print(&out, *stream, data).unwrap();
        }
        raw.finish(&out).unwrap();
        [stdout, stderr].map(|sink| sink.0.lock().unwrap().clone())
    }

    #[test]
    fn bytes_go_through_as_they_are_and_each_to_its_stream() {
        let pieces: [(u32, &[u8]); 3] = [(1, b"\xff\x1b[2J"), (2, b"oh\n"), (1, b"x")];
        assert_eq!(printed(false, &pieces), [b"\xff\x1b[2Jx".to_vec(), b"oh\n".to_vec()]);
    }

    #[test]
    fn a_character_in_two_pieces_is_one() {
        let (first, rest) = "中".as_bytes().split_at(2);
        let [lines, _] = printed(true, &[(1, b"a"), (1, first), (1, rest), (2, b"b\xe4")]);
        let lines = String::from_utf8(lines).unwrap();
        let texts: Vec<_> = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| format!("{} {}", line["stream"].as_str().unwrap(), line["text"]))
            .collect();
        assert_eq!(texts, ["stdout \"a\"", "stdout \"中\"", "stderr \"b\"", "stderr \"\u{fffd}\""]);
    }
}
