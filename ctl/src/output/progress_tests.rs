//! Progress where nothing can be drawn over.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use super::super::Form;
use super::super::fixture::{baking, first_wave, upgrade};
use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn shown(form: Form, views: &[UpgradeView]) -> (String, String) {
    let (out, err) = (Sink::default(), Sink::default());
    let printer = Out::plain(form, out.clone(), err.clone());
    let mut progress = Progress::new(&printer);
    for view in views {
        let reply = Reply {
            value: view.clone(),
            json: serde_json::to_value(view).unwrap(),
            index: 1,
            age: Span(0),
            controller: "c1".to_owned(),
            stale: false,
        };
        progress.view(&reply).unwrap();
        progress.tick();
    }
    progress.note("lost controller c1").unwrap();
    progress.finish();
    (out.text(), err.text())
}

#[test]
fn every_line_of_a_pipe_begins_with_its_time() {
    let (out, err) =
        shown(Form::Table, &[upgrade(), first_wave("staging", "staging", Some("fetch"))]);
    for line in out.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        assert!(rest.starts_with("upgrade-7 "), "{line}");
    }
    assert_eq!(out.lines().count(), 4);
    assert_eq!(err, "lost controller c1\n");
}

#[test]
fn a_view_without_news_prints_nothing() {
    let (out, _) = shown(Form::Table, &[baking(Span::secs(9))]);
    let (same, _) = shown(Form::Table, &[baking(Span::secs(9)), baking(Span::secs(8))]);
    assert_eq!(out.lines().count(), same.lines().count());
}

#[test]
fn json_is_one_view_a_line() {
    let (out, err) = shown(Form::Json, &[upgrade(), baking(Span::secs(9))]);
    let views: Vec<UpgradeView> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(views, [upgrade(), baking(Span::secs(9))]);
    assert_eq!(err, "{\"note\":\"lost controller c1\"}\n");
}
