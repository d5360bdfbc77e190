//! Channels: where alerts go. Secrets are files on the controllers, named here and never written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alert::Severity;
use crate::id::ChannelId;
use crate::time::Span;

/// A way by which people or programs are told of alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Name of the channel.
    pub name: ChannelId,
    /// What is sent to, and how.
    pub to: Target,
    /// The least severe alerts that go there.
    #[serde(default)]
    pub severity: Severity,
    /// Language of what people read.
    #[serde(default)]
    pub language: Language,
    /// Whether it may lead to a private network or to the controller's own host. Link-local
    /// addresses, where metadata services answer, are never sent to.
    #[serde(default)]
    pub private: bool,
    /// How alerts of one rule become one message; Alertmanager does so by itself.
    #[serde(default)]
    pub group: Grouping,
}

/// What is sent to; exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Alertmanager's API version 2.
    Alertmanager(Alertmanager),
    /// Any program that takes what Alertmanager sends to webhooks (its version 4).
    Webhook(Webhook),
    /// A chat of Telegram.
    Telegram(Telegram),
    /// A group robot of WeCom.
    Wecom(Wecom),
    /// A group robot of DingTalk.
    Dingtalk(Dingtalk),
    /// A group robot of Feishu.
    Feishu(Feishu),
}

impl Target {
    /// Returns the kind as it is written.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Alertmanager(_) => "alertmanager",
            Self::Webhook(_) => "webhook",
            Self::Telegram(_) => "telegram",
            Self::Wecom(_) => "wecom",
            Self::Dingtalk(_) => "dingtalk",
            Self::Feishu(_) => "feishu",
        }
    }

    /// Returns every URL that is sent to or begins what is sent to, with its field.
    pub fn urls(&self) -> Vec<(String, &str)> {
        match self {
            Self::Alertmanager(to) => {
                let at = |index| format!("to.alertmanager.urls[{index}]");
                to.urls.iter().enumerate().map(|(i, url)| (at(i), url.as_str())).collect()
            }
            Self::Webhook(to) => vec![("to.webhook.url".to_owned(), &to.url)],
            Self::Telegram(to) => vec![("to.telegram.api".to_owned(), &to.api)],
            Self::Wecom(to) => vec![("to.wecom.api".to_owned(), &to.api)],
            Self::Dingtalk(to) => vec![("to.dingtalk.api".to_owned(), &to.api)],
            Self::Feishu(to) => vec![("to.feishu.api".to_owned(), &to.api)],
        }
    }

    /// Returns the files on the controllers that it names, each with its field.
    pub fn secret_files(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Alertmanager(_) => Vec::new(),
            Self::Webhook(to) => to
                .secret_file
                .iter()
                .map(|file| ("to.webhook.secret_file", file.as_str()))
                .collect(),
            Self::Telegram(to) => vec![("to.telegram.token_file", &to.token_file)],
            Self::Wecom(to) => vec![("to.wecom.key_file", &to.key_file)],
            Self::Dingtalk(to) => std::iter::once(("to.dingtalk.token_file", &*to.token_file))
                .chain(to.secret_file.iter().map(|file| ("to.dingtalk.secret_file", &**file)))
                .collect(),
            Self::Feishu(to) => std::iter::once(("to.feishu.token_file", &*to.token_file))
                .chain(to.secret_file.iter().map(|file| ("to.feishu.secret_file", &**file)))
                .collect(),
        }
    }
}

/// Alertmanager's API version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alertmanager {
    /// Every peer of it: each is told by itself, so that none has to be up for the others.
    pub urls: Vec<String>,
}

/// Any program that takes what Alertmanager sends to webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to POST.
    pub url: String,
    /// File on the controllers with the key that signs what is sent; unsigned if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<String>,
}

/// A chat of Telegram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Telegram {
    /// Number of the chat, or the @name of a channel.
    pub chat: String,
    /// File on the controllers with the bot's token.
    pub token_file: String,
    /// Server of the bot API.
    #[serde(default = "telegram_api")]
    pub api: String,
}

/// A group robot of WeCom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wecom {
    /// File on the controllers with the robot's key.
    pub key_file: String,
    /// Server of the robots.
    #[serde(default = "wecom_api")]
    pub api: String,
}

/// A group robot of DingTalk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dingtalk {
    /// File on the controllers with the robot's access token.
    pub token_file: String,
    /// File on the controllers with the secret that signs requests, where the robot asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<String>,
    /// Server of the robots.
    #[serde(default = "dingtalk_api")]
    pub api: String,
}

/// A group robot of Feishu.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Feishu {
    /// File on the controllers with the robot's token, the end of its URL.
    pub token_file: String,
    /// File on the controllers with the secret that signs requests, where the robot asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<String>,
    /// Server of the robots.
    #[serde(default = "feishu_api")]
    pub api: String,
}

/// Language of what people read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

/// How alerts of one rule become one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grouping {
    /// Wait for more of the same before the first message.
    pub wait: Span,
    /// Shortest time between two messages of a rule where something is new.
    pub interval: Span,
    /// Time after which what still holds and nobody acknowledged is said again.
    pub repeat: Span,
}

impl Default for Grouping {
    fn default() -> Self {
        Self { wait: Span::secs(30), interval: Span::secs(5 * 60), repeat: Span::secs(4 * 3600) }
    }
}

fn telegram_api() -> String {
    "https://api.telegram.org".to_owned()
}

fn wecom_api() -> String {
    "https://qyapi.weixin.qq.com".to_owned()
}

fn dingtalk_api() -> String {
    "https://oapi.dingtalk.com".to_owned()
}

fn feishu_api() -> String {
    "https://open.feishu.cn".to_owned()
}
