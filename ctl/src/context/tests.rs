//! What is said of contexts that cannot be used, and whose word wins.

use std::collections::BTreeMap;

use trireme_proto::keyfile::{write_private, write_public};

use super::*;

const TWO: &str = "contexts:
  a: {controllers: ['127.0.0.1:1'], ca: ca.crt, certificate: a.crt, key: a.key}
  b: {controllers: ['127.0.0.1:2'], ca: /x/ca.crt, certificate: b.crt, key: b.key}
";

fn file(text: &str) -> (tempfile::TempDir, Global) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    write_private(&path, text.as_bytes()).unwrap();
    (dir, Global { config: Some(path), ..Global::default() })
}

#[test]
fn flags_win_over_the_file_and_paths_are_relative_to_it() {
    let (dir, mut global) = file(TWO);
    global.context = Some("b".to_owned());
    global.key = Some("mine.key".into());
    let context = Context::resolve(&global).unwrap();
    assert_eq!(context.controllers, ["127.0.0.1:2"]);
    assert_eq!(context.ca, Path::new("/x/ca.crt"));
    assert_eq!(context.certificate, dir.path().join("b.crt"));
    assert_eq!(context.key, Path::new("mine.key"));
    global.controllers = vec!["127.0.0.1:9".to_owned()];
    assert_eq!(Context::resolve(&global).unwrap().controllers, ["127.0.0.1:9"]);
}

#[test]
fn the_file_is_not_needed_when_flags_say_everything() {
    let global = Global {
        config: Some("/nonexistent".into()),
        controllers: vec!["127.0.0.1:9".to_owned()],
        ca: Some("ca".into()),
        cert: Some("cert".into()),
        key: Some("key".into()),
        ..Global::default()
    };
    assert_eq!(Context::resolve(&global).unwrap().name, "flags");
}

fn problem(global: &Global) -> Problem {
    Context::resolve(global).unwrap_err().into()
}

#[test]
fn says_what_is_wrong_with_a_context_file() {
    let (_dir, mut global) = file(TWO);
    let chosen = problem(&global);
    assert!(chosen.message.starts_with("no context chosen in "), "{chosen}");
    assert!(chosen.message.ends_with("it has a, b"), "{chosen}");
    global.context = Some("c".to_owned());
    let unknown = problem(&global);
    assert!(unknown.message.starts_with("no context `c` in "), "{unknown}");
    assert_eq!(unknown.hint.unwrap(), "name one with --context, or set `current` in the file");

    let (_dir, global) = file("contexts:\n  a:\n    controllers: []\n    cert: x\n");
    let syntax = problem(&global);
    assert!(syntax.message.ends_with("is not valid"), "{syntax}");
    assert!(syntax.why[0].contains("unknown field `cert`"), "{:?}", syntax.why);
    assert!(syntax.why[0].contains('4'), "names the line: {:?}", syntax.why);

    let none = Global { config: Some("/nonexistent".into()), ..Global::default() };
    let none = problem(&none);
    assert_eq!(none.message, "no fleet to talk to: there is no context file /nonexistent");
    assert_eq!(none.code, Code::Usage);
    assert!(none.hint.is_some());
}

#[test]
fn refuses_a_context_file_that_others_can_read() {
    let (dir, global) = file(TWO);
    write_public(&dir.path().join("config.yaml"), TWO.as_bytes()).unwrap();
    let exposed = problem(&global);
    assert_eq!(exposed.message, "context file cannot be used");
    assert!(exposed.why[0].contains("chmod 600"), "{:?}", exposed.why);
}

#[test]
fn refuses_a_context_without_controllers() {
    let (_dir, global) = file("contexts: {a: {controllers: [], ca: ca, certificate: c, key: k}}");
    assert_eq!(
        problem(&global).message,
        "context `a` names 0 controllers: write 1 to 16 as HOST:PORT"
    );
}

#[test]
fn a_written_context_is_read_back() {
    let context = Context {
        name: "prod".to_owned(),
        controllers: vec!["127.0.0.1:1".to_owned(), "[::1]:2".to_owned()],
        ca: "ca.crt".into(),
        certificate: "it's.crt".into(),
        key: "k".into(),
        ..Context::default()
    };
    let (dir, global) = file(&context.to_yaml(&"prod".parse().unwrap()));
    let read = Context::resolve(&global).unwrap();
    assert_eq!((read.name.as_str(), &read.controllers), ("prod", &context.controllers));
    assert_eq!(read.certificate, dir.path().join("it's.crt"));
}

#[test]
fn where_the_controllers_are_is_kept_unless_somebody_has_a_way_of_his_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    let entry = |controllers: &[&str], enrol: &str| Entry {
        controllers: controllers.iter().map(|one| (*one).to_owned()).collect(),
        ca: "root.pem".into(),
        certificate: "user.pem".into(),
        key: "user.key".into(),
        protected: false,
        login: Some(Login {
            user: "ann".to_owned(),
            id: "x".to_owned(),
            enrol: vec![enrol.to_owned()],
        }),
    };
    let contexts = BTreeMap::from([
        ("prod".to_owned(), entry(&["c1:2", "c2:2"], "c1:3")),
        ("tunnel".to_owned(), entry(&["localhost:9"], "localhost:8")),
    ]);
    File { current: None, contexts }.write(&path).unwrap();
    let told = ["c2:2".to_owned(), "c4:2".to_owned()];
    let enrol = ["c1:3".to_owned(), "c4:3".to_owned()];
    for name in ["prod", "tunnel"] {
        let global =
            Global { config: Some(path.clone()), context: Some(name.into()), ..Global::default() };
        Context::resolve(&global).unwrap().moved(&told, &enrol).unwrap();
        // Addresses on the command line are kept nowhere.
        let given = Global { controllers: vec!["c2:2".to_owned()], ..global };
        Context::resolve(&given).unwrap().moved(&["c9:2".to_owned()], &[]).unwrap();
    }
    let kept = File::read(&path).unwrap().contexts;
    assert_eq!(kept["prod"].controllers, told);
    assert_eq!(kept["prod"].login.as_ref().unwrap().enrol, enrol);
    assert_eq!(kept["tunnel"], entry(&["localhost:9"], "localhost:8"));
}
