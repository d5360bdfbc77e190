//! What goes out, byte for byte, and what is refused before anything does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use insta::assert_snapshot;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use trireme_proto::id::IncidentId;
use trireme_proto::model::{Dingtalk, Feishu, Language, Severity, Telegram, Webhook, Wecom};
use trireme_proto::time::{FleetTime, Span, WallTime};

use super::chat::{self, Verdict, verdict};
use super::http::{Answer, Client, Post, PostError};
use super::payload::Alert;
use super::secret::Secret;
use super::wording::{Message, text};
use crate::state::alert::{Incident, Resolved, Subject};

const NOW: WallTime = WallTime(1_800_000_090_000);

fn incident(node: Option<&str>, what: &str, over: bool) -> Incident {
    Incident {
        rule: what.parse().unwrap(),
        what: what.to_owned(),
        severity: Severity::P1,
        subject: Subject {
            region: Some("aws".parse().unwrap()),
            node: node.map(|node| node.parse().unwrap()),
            ..Subject::default()
        },
        labels: BTreeMap::from([("team".to_owned(), "web".to_owned())]),
        summary: None,
        runbook: Some("https://wiki.example.com/x".to_owned()),
        channels: BTreeSet::new(),
        evidence: "none of its 2 services is served there".to_owned(),
        opened_wall: WallTime(1_800_000_000_000),
        opened: FleetTime(0),
        resolved: over.then(|| Resolved {
            at: FleetTime(60_000),
            wall: WallTime(1_800_000_060_000),
            why: "it holds no more".to_owned(),
        }),
        acknowledged: None,
        advice: None,
        told: BTreeMap::new(),
    }
}

fn message(firing: Vec<Incident>, over: Vec<Incident>) -> Message {
    let number =
        |list: Vec<Incident>, from: u64| (from..).map(IncidentId).zip(list).collect::<Vec<_>>();
    Message {
        fleet: "prod".to_owned(),
        channel: "ops".to_owned(),
        rule: Some("region-not-serving".to_owned()),
        by: "controller/c1".to_owned(),
        firing: number(firing, 7),
        over: number(over, 9),
    }
}

fn region_down() -> Message {
    message(vec![incident(None, "region-not-serving", false)], vec![])
}

/// Writes a request as it goes out.
fn shown(asked: &chat::Asked) -> String {
    let headers: Vec<String> =
        asked.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    format!(
        "POST {}\n{}\n{}",
        asked.url,
        headers.join("\n"),
        serde_json::to_string_pretty(&body).unwrap()
    )
}

/// DLM-31: level, time, scope, symptom, status and when it may end, in both languages.
#[test]
fn dlm_31_a_notice_of_a_fault_says_all_that_people_ask() {
    assert_snapshot!(text(Language::En, &region_down(), 4000), @r"
    [Fault] P1 region-not-serving · fleet prod
    Level: P1
    Time: 2027-01-15T08:00:00.000Z
    Scope: region=aws
    Symptom: region aws serves nothing: none of its 2 services is served there
    Status: goes on
    ETA: not known yet
    Runbook: https://wiki.example.com/x
    Follow-up: trictl why incident-7
    ");
    assert_snapshot!(text(Language::Zh, &region_down(), 4000), @r"
    [故障] P1 region-not-serving · 集群 prod
    级别: P1
    时间: 2027-01-15T08:00:00.000Z
    范围: region=aws
    现象: 区域 aws 全部服务不可用：none of its 2 services is served there
    状态: 处理中
    预计恢复: 未知
    手册: https://wiki.example.com/x
    后续: trictl why incident-7
    ");
}

/// DLM-32: from when to when, cause, solution, and where to read on.
#[test]
fn dlm_32_a_notice_of_recovery_says_how_it_ended() {
    let over = message(vec![], vec![incident(None, "region-not-serving", true)]);
    assert_snapshot!(text(Language::En, &over, 4000), @r"
    [Recovered] P1 region-not-serving · fleet prod
    Level: P1
    Time: 2027-01-15T08:00:00.000Z – 2027-01-15T08:01:00.000Z
    Scope: region=aws
    Cause: region aws serves nothing: none of its 2 services is served there
    Solution: it holds no more
    Follow-up: trictl why incident-9
    ");
    assert_snapshot!(text(Language::Zh, &over, 4000), @r"
    [恢复] P1 region-not-serving · 集群 prod
    级别: P1
    时间: 2027-01-15T08:00:00.000Z – 2027-01-15T08:01:00.000Z
    范围: region=aws
    原因: 区域 aws 全部服务不可用：none of its 2 services is served there
    解决: 条件已不再成立
    后续: trictl why incident-9
    ");
}

/// TSP-45: a storm is a message that a telephone shows.
#[test]
fn tsp_45_a_storm_is_told_in_a_few_lines() {
    let many = |n: usize| incident(Some(&format!("aws-{n}")), "node-silent", false);
    let storm = message((0..500).map(many).collect(), vec![]);
    assert_snapshot!(text(Language::En, &storm, 4000), @r"
    [Fault ×500] P1 region-not-serving · fleet prod
    Level: P1
    Time: 2027-01-15T08:00:00.000Z
    Scope: region=aws,node=aws-0; region=aws,node=aws-1; region=aws,node=aws-2; region=aws,node=aws-3; region=aws,node=aws-4; region=aws,node=aws-5; region=aws,node=aws-6; region=aws,node=aws-7; region=aws,node=aws-8; region=aws,node=aws-9; +490 more
    Symptom: node aws-0 is silent: none of its 2 services is served there
      node aws-1 is silent: none of its 2 services is served there
      node aws-2 is silent: none of its 2 services is served there
      node aws-3 is silent: none of its 2 services is served there
      node aws-4 is silent: none of its 2 services is served there
      node aws-5 is silent: none of its 2 services is served there
      node aws-6 is silent: none of its 2 services is served there
      node aws-7 is silent: none of its 2 services is served there
      node aws-8 is silent: none of its 2 services is served there
      node aws-9 is silent: none of its 2 services is served there
      +490 more
    Status: goes on
    ETA: not known yet
    Runbook: https://wiki.example.com/x
    Follow-up: trictl why incident-7
    ");
    assert!(text(Language::Zh, &storm, 500).len() <= 500);
}

#[test]
fn webhooks_get_what_alertmanager_sends_signed() {
    let both = message(
        vec![incident(None, "region-not-serving", false)],
        vec![incident(Some("aws-1"), "region-not-serving", true)],
    );
    let to = Webhook { url: "https://a.example/hook".to_owned(), secret_file: None };
    let asked = chat::webhook(&to, Some(&Secret::of("canary")), &both, NOW);
    assert_snapshot!("webhook", shown(&asked));
}

#[test]
fn a_receiver_can_tell_who_sent_a_message() {
    let to = Webhook { url: "https://a.example/hook".to_owned(), secret_file: None };
    let asked = chat::webhook(&to, Some(&Secret::of("canary")), &region_down(), NOW);
    // Any receiver can compute the same from what it got.
    let signed = asked.headers.iter().find(|(name, _)| *name == "X-Trireme-Signature").unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"canary");
    let text = [b"1800000090.", &asked.body[..]].concat();
    let digits = signed.1.strip_prefix("sha256=").unwrap();
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect();
    ring::hmac::verify(&key, &text, &bytes).unwrap();
    assert!(!shown(&asked).contains("canary"));
}

#[test]
fn chats_get_what_their_robots_take() {
    let api = || "https://chat.example/".to_owned();
    let token = Secret::of("to+ken");
    let secret = Secret::of("sec");
    let telegram = Telegram { chat: "-100".to_owned(), token_file: String::new(), api: api() };
    assert_snapshot!(shown(&chat::telegram(&telegram, &Secret::of("1:a"), "text")), @r#"
    POST https://chat.example/bot1:a/sendMessage

    {
      "chat_id": "-100",
      "disable_web_page_preview": true,
      "text": "text"
    }
    "#);
    let wecom = Wecom { key_file: String::new(), api: api() };
    assert_snapshot!(shown(&chat::wecom(&wecom, &token, "text")), @r#"
    POST https://chat.example/cgi-bin/webhook/send?key=to%2Bken

    {
      "msgtype": "text",
      "text": {
        "content": "text"
      }
    }
    "#);
    let dingtalk = Dingtalk { token_file: String::new(), secret_file: None, api: api() };
    assert_snapshot!(shown(&chat::dingtalk(&dingtalk, &token, Some(&secret), "text", NOW)), @r#"
    POST https://chat.example/robot/send?access_token=to%2Bken&timestamp=1800000090000&sign=K13dfQeqixp0LWKo1vtnZ3p7BU8taeg5X%2BRieZe1toU%3D

    {
      "msgtype": "text",
      "text": {
        "content": "text"
      }
    }
    "#);
    let feishu = Feishu { token_file: String::new(), secret_file: None, api: api() };
    assert_snapshot!(shown(&chat::feishu(&feishu, &token, Some(&secret), "text", NOW)), @r#"
    POST https://chat.example/open-apis/bot/v2/hook/to%2Bken

    {
      "content": {
        "text": "text"
      },
      "msg_type": "text",
      "sign": "nOLR5WIabY0hY910FHMInXbc/JcICKRYdXuSo7kJZp8=",
      "timestamp": "1800000090"
    }
    "#);
    assert!(!shown(&chat::feishu(&feishu, &token, None, "text", NOW)).contains("sign"));
}

#[test]
fn alertmanager_gets_labels_without_values_and_an_end_that_it_is_told_anew() {
    let open = Alert::of("prod", IncidentId(7), &incident(Some("aws-1"), "node-silent", false));
    let told = open.told(NOW, Span::secs(300));
    assert_snapshot!(serde_json::to_string_pretty(&told).unwrap(), @r#"
    {
      "labels": {
        "alertname": "node-silent",
        "fleet": "prod",
        "node": "aws-1",
        "region": "aws",
        "severity": "P1",
        "team": "web"
      },
      "annotations": {
        "description": "none of its 2 services is served there",
        "incident_id": "incident-7",
        "runbook_url": "https://wiki.example.com/x",
        "summary": "node aws-1 is silent"
      },
      "startsAt": "2027-01-15T08:00:00.000Z",
      "endsAt": "2027-01-15T08:06:30.000Z"
    }
    "#);
    let over = Alert::of("prod", IncidentId(7), &incident(Some("aws-1"), "node-silent", true));
    let told = serde_json::to_value(over.told(NOW, Span::secs(300))).unwrap();
    assert_eq!(told["endsAt"], "2027-01-15T08:01:00.000Z");
}

#[test]
fn answers_are_taken_as_they_are_meant() {
    let answer = |status, body: &str| Answer { status, body: body.as_bytes().to_vec() };
    let refused = |why: &str, again| Verdict::Refused(why.to_owned(), again);
    for (given, chat, expected) in [
        (answer(200, r#"{"ok":true}"#), true, Verdict::Taken),
        (answer(200, r#"{"errcode":0,"errmsg":"ok"}"#), true, Verdict::Taken),
        (answer(200, ""), true, Verdict::Taken),
        (
            answer(200, r#"{"errcode":93000,"errmsg":"invalid key"}"#),
            true,
            refused("it refuses 93000: invalid key", false),
        ),
        (answer(200, r#"{"errcode":45009}"#), true, refused("it refuses 45009", true)),
        (
            answer(200, r#"{"code":19021,"msg":"sign"}"#),
            true,
            refused("it refuses 19021: sign", false),
        ),
        (
            answer(429, r#"{"ok":false,"description":"Too Many Requests"}"#),
            true,
            refused("it answers 429: Too Many Requests", true),
        ),
        (answer(400, "no"), false, refused("it answers 400", false)),
        (answer(302, ""), false, refused("it answers 302", false)),
        (answer(503, ""), false, refused("it answers 503", true)),
        (answer(204, ""), false, Verdict::Taken),
    ] {
        assert_eq!(verdict(&given, chat), expected);
    }
}

fn post(url: String, private: bool) -> Post {
    Post { url, headers: Vec::new(), body: "{}".into(), private }
}

/// Answers one request with `answer` after reading its head.
async fn serve(answer: &'static str) -> (String, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "awaited by the test")]
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 4096];
        let read = stream.read(&mut seen).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        read
    });
    (format!("http://localhost:{}/hook", address.port()), served)
}

/// B14: a redirect to a metadata service is an answer like any other; nobody follows it.
#[tokio::test]
async fn b14_redirects_are_not_followed() {
    let redirect = "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\n\
                    Content-Length: 0\r\n\r\n";
    let (url, served) = serve(redirect).await;
    let answer = Client::default().post(&post(url, true)).await.unwrap();
    assert_eq!(answer, Answer { status: 302, body: Vec::new() });
    assert!(served.await.unwrap() > 0);
}

/// B14: where a name leads is judged when it is used, and the judged address is connected to.
#[tokio::test]
async fn b14_names_that_lead_inside_are_refused_unless_that_is_meant() {
    let client = Client::default();
    let (url, _served) = serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let refused = client.post(&post(url.clone(), false)).await.unwrap_err();
    assert!(
        matches!(&refused, PostError::Never(why) if why.contains("private: true")),
        "{refused}"
    );
    assert_eq!(client.post(&post(url, true)).await.unwrap().status, 200);
    for url in ["http://169.254.169.254/latest", "http://[fe80::1]/", "http://0.0.0.0:9/"] {
        let refused = client.post(&post(url.to_owned(), true)).await.unwrap_err();
        let never = matches!(&refused, PostError::Never(why) if why.contains("never sent"));
        assert!(never, "{url}: {refused}");
    }
    let refused = client.post(&post("file:///etc/passwd".to_owned(), true)).await.unwrap_err();
    assert!(matches!(refused, PostError::Never(_)));
}

/// B14: nobody has to read what a receiver has to say at length.
#[tokio::test]
async fn b14_answers_are_read_up_to_a_limit() {
    let long: &'static str = Box::leak(
        format!("HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n{}", "x".repeat(900_000))
            .into_boxed_str(),
    );
    let (url, served) = serve(long).await;
    let answer = Client::default().post(&post(url, true)).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    served.abort();
}

/// What certainly did not arrive may be sent again; what may have arrived may not.
#[tokio::test]
async fn a_request_that_left_is_told_apart_from_one_that_did_not() {
    let client = Arc::new(Client::default());
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let url = format!("http://127.0.0.1:{port}/bot-canary/send?key=canary");
    let error = client.post(&post(url, true)).await.unwrap_err();
    assert!(matches!(error, PostError::NotSent(_)), "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
    let (url, served) = serve("").await;
    let error = client.post(&post(url, true)).await.unwrap_err();
    assert!(matches!(error, PostError::Unknown(_)), "{error}");
    assert!(served.await.unwrap() > 0);
}
