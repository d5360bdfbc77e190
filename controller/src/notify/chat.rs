//! How each receiver is asked, and how it says no. Pure: secrets, texts and the time come in.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::hmac;
use serde_json::{Value, json};
use trireme_proto::model::{Dingtalk, Feishu, Telegram, Webhook, Wecom};
use trireme_proto::time::WallTime;

use super::http::{Answer, Post};
use super::payload::Hook;
use super::secret::Secret;
use super::wording::Message;

/// Longest text that Telegram takes is 4096 characters; so many bytes never hold more.
pub(crate) const TELEGRAM_MAX: usize = 4000;
/// Longest text that WeCom takes, in bytes.
pub(crate) const WECOM_MAX: usize = 2048;
/// Longest text of the others: they take 20,000 bytes with all that is around it.
pub(crate) const TEXT_MAX: usize = 16_000;

/// A request, before it is known whether it may go to a private network.
pub(crate) struct Asked {
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

impl Asked {
    fn json(url: String, body: &Value) -> Self {
        Self { url, headers: Vec::new(), body: body.to_string().into() }
    }

    pub(crate) fn post(self, private: bool) -> Post {
        Post { url: self.url, headers: self.headers, body: self.body, private }
    }
}

/// Signs the time and the body, so that a receiver can tell who sent it, and that it is not old:
/// `X-Trireme-Signature: sha256=` HMAC-SHA256 of `TIMESTAMP.BODY` in hexadecimal digits.
pub(crate) fn webhook(
    to: &Webhook,
    secret: Option<&Secret>,
    message: &Message,
    now: WallTime,
) -> Asked {
    let body = serde_json::to_vec(&Hook::of(message, now)).expect("a message has string keys");
    let timestamp = (now.0 / 1000).to_string();
    let mut headers = vec![("X-Trireme-Timestamp", timestamp.clone())];
    if let Some(secret) = secret {
        let signed = sign(secret.expose(), &[timestamp.as_bytes(), b".", &body].concat());
        let mut value = "sha256=".to_owned();
        // Writing to a string cannot fail, here and below.
        for byte in signed {
            let _ = write!(value, "{byte:02x}");
        }
        headers.push(("X-Trireme-Signature", value));
    }
    Asked { url: to.url.clone(), headers, body: body.into() }
}

pub(crate) fn telegram(to: &Telegram, token: &Secret, text: &str) -> Asked {
    let body = json!({ "chat_id": to.chat, "text": text, "disable_web_page_preview": true });
    let api = to.api.trim_end_matches('/');
    Asked::json(format!("{api}/bot{}/sendMessage", token.expose()), &body)
}

pub(crate) fn wecom(to: &Wecom, key: &Secret, text: &str) -> Asked {
    let body = json!({ "msgtype": "text", "text": { "content": text } });
    let api = to.api.trim_end_matches('/');
    Asked::json(format!("{api}/cgi-bin/webhook/send?key={}", escaped(key.expose())), &body)
}

/// The signature is over the time and the secret, under the secret, in the URL.
pub(crate) fn dingtalk(
    to: &Dingtalk,
    token: &Secret,
    secret: Option<&Secret>,
    text: &str,
    now: WallTime,
) -> Asked {
    let body = json!({ "msgtype": "text", "text": { "content": text } });
    let api = to.api.trim_end_matches('/');
    let mut url = format!("{api}/robot/send?access_token={}", escaped(token.expose()));
    if let Some(secret) = secret.map(Secret::expose) {
        let sign = STANDARD.encode(sign(secret, format!("{}\n{secret}", now.0).as_bytes()));
        let _ = write!(url, "&timestamp={}&sign={}", now.0, escaped(&sign));
    }
    Asked::json(url, &body)
}

/// The signature is of nothing, under the time and the secret, in the body.
pub(crate) fn feishu(
    to: &Feishu,
    token: &Secret,
    secret: Option<&Secret>,
    text: &str,
    now: WallTime,
) -> Asked {
    let mut body = json!({ "msg_type": "text", "content": { "text": text } });
    if let Some(secret) = secret.map(Secret::expose) {
        let timestamp = (now.0 / 1000).to_string();
        let sign = STANDARD.encode(sign(&format!("{timestamp}\n{secret}"), b""));
        body["timestamp"] = timestamp.into();
        body["sign"] = sign.into();
    }
    let api = to.api.trim_end_matches('/');
    Asked::json(format!("{api}/open-apis/bot/v2/hook/{}", escaped(token.expose())), &body)
}

fn sign(key: &str, text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text).as_ref().to_vec()
}

/// Returns a text as part of a URL.
fn escaped(text: &str) -> String {
    let mut url = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

/// How an answer is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The receiver has it.
    Taken,
    /// It has not, and says why; whether asking again may help.
    Refused(String, bool),
}

/// Numbers with which chats say yes: Telegram `ok`, WeCom and DingTalk `errcode`, Feishu `code`.
pub(crate) fn verdict(answer: &Answer, chat: bool) -> Verdict {
    let status = answer.status;
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let why = ["description", "errmsg", "msg"].iter().find_map(|field| said[*field].as_str());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    if !(200..300).contains(&status) {
        let again = status == 429 || status >= 500;
        return Verdict::Refused(format!("it answers {status}{why}"), again);
    }
    if !chat {
        return Verdict::Taken;
    }
    // They answer 200 to everything; one that says nothing we know has taken it.
    let no = said["ok"] == Value::Bool(false)
        || ["errcode", "code", "StatusCode"]
            .iter()
            .any(|field| said[*field].as_i64().is_some_and(|code| code != 0));
    if no {
        let code = ["errcode", "code", "error_code"].iter().find_map(|f| said[*f].as_i64());
        let code = code.map_or_else(String::new, |code| format!(" {code}"));
        // Too often, in the words of WeCom, DingTalk and Feishu.
        let again = [" 45009", " 130101", " 9499", " 11232"].contains(&code.as_str());
        return Verdict::Refused(format!("it refuses{code}{why}"), again);
    }
    Verdict::Taken
}
