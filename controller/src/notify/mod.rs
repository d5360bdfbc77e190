//! Sends what was decided: messages to people and webhooks, alerts to every peer of Alertmanager.
//!
//! Which messages there are, and that each is sent once, was committed before
//! (`crate::state::alert`). Here one is sent, again only where it certainly did not arrive, and what
//! became of it is told.

mod alertmanager;
mod chat;
mod http;
mod payload;
mod secret;
#[cfg(test)]
mod tests;
mod wording;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use trireme_proto::id::ChannelId;
use trireme_proto::model::{Channel, Target};

pub(crate) use alertmanager::{Peer, PeerReport};
pub(crate) use payload::Alert;
pub(crate) use wording::Message;

use crate::clock::wall;
use crate::state::alert::NoticeState;
use chat::{Verdict, verdict};
use http::{Answer, Client, PostError};
use secret::{Secret, SecretError};

/// Times that a message is tried, the first included.
const TRIES_MAX: u32 = 5;
/// Pause before the second try; doubled each time, so that the last is half a minute later.
const PAUSE_FIRST: Duration = Duration::from_secs(2);

/// How often messages went through each channel, and what became of them.
pub type Tally = BTreeMap<(ChannelId, &'static str), u64>;

/// Sends messages.
#[derive(Debug)]
pub struct Senders {
    secrets: PathBuf,
    client: Client,
    tally: Mutex<Tally>,
}

impl Senders {
    /// Makes senders whose secrets lie in the directory `secrets`.
    pub fn new(secrets: PathBuf) -> Self {
        Self { secrets, client: Client::default(), tally: Mutex::default() }
    }

    /// Returns what this controller has sent since it started, by channel and by `delivered`,
    /// `failed` or `unknown`; each try to tell a peer of Alertmanager counts.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, channel: &ChannelId, result: &'static str) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        *tally.entry((channel.clone(), result)).or_default() += 1;
    }

    /// Sends one message, trying again where it certainly did not arrive.
    pub(crate) async fn send(&self, channel: &Channel, message: &Message) -> NoticeState {
        let mut pause = PAUSE_FIRST;
        let mut tries = 1;
        let state = loop {
            let (state, again) = self.once(channel, message).await;
            if !again || tries == TRIES_MAX {
                break state;
            }
            sleep(pause).await;
            pause *= 2;
            tries += 1;
        };
        self.count(&channel.name, state.word());
        state
    }

    /// Tries once, with the secrets as they are now; tells also whether trying again may help.
    async fn once(&self, channel: &Channel, message: &Message) -> (NoticeState, bool) {
        let (language, now) = (channel.language, wall());
        let text = |limit| wording::text(language, message, limit);
        let asked = match &channel.to {
            Target::Alertmanager(to) => return self.test_peers(channel, &to.urls, message).await,
            Target::Webhook(to) => self
                .signing(to.secret_file.as_ref())
                .map(|secret| chat::webhook(to, secret.as_ref(), message, now)),
            Target::Telegram(to) => self
                .secret(&to.token_file)
                .map(|token| chat::telegram(to, &token, &text(chat::TELEGRAM_MAX))),
            Target::Wecom(to) => {
                self.secret(&to.key_file).map(|key| chat::wecom(to, &key, &text(chat::WECOM_MAX)))
            }
            Target::Dingtalk(to) => {
                self.both(&to.token_file, to.secret_file.as_ref()).map(|(token, secret)| {
                    chat::dingtalk(to, &token, secret.as_ref(), &text(chat::TEXT_MAX), now)
                })
            }
            Target::Feishu(to) => {
                self.both(&to.token_file, to.secret_file.as_ref()).map(|(token, secret)| {
                    chat::feishu(to, &token, secret.as_ref(), &text(chat::TEXT_MAX), now)
                })
            }
        };
        match asked {
            Ok(asked) => {
                let chat = !matches!(channel.to, Target::Webhook(_));
                judged(self.client.post(&asked.post(channel.private)).await, chat)
            }
            Err(error) => (NoticeState::Failed(error.to_string()), false),
        }
    }

    /// Sends a test to every peer of an Alertmanager; all else it is told over and over.
    async fn test_peers(
        &self,
        channel: &Channel,
        urls: &[String],
        message: &Message,
    ) -> (NoticeState, bool) {
        let alerts = [Alert::test(message, wall())];
        for url in urls {
            let (state, again) =
                judged(alertmanager::post(self, channel, url, &alerts).await, false);
            if state != NoticeState::Delivered {
                return (state, again);
            }
        }
        (NoticeState::Delivered, false)
    }

    fn both(
        &self,
        token: &str,
        secret: Option<&String>,
    ) -> Result<(Secret, Option<Secret>), SecretError> {
        Ok((self.secret(token)?, self.signing(secret)?))
    }

    /// Reads the secret that signs, where there is one.
    fn signing(&self, name: Option<&String>) -> Result<Option<Secret>, SecretError> {
        name.map(|name| self.secret(name)).transpose()
    }

    fn secret(&self, name: &str) -> Result<Secret, SecretError> {
        secret::read(&self.secrets, name)
    }
}

/// Returns what became of a message, and whether to try again.
fn judged(answered: Result<Answer, PostError>, chat: bool) -> (NoticeState, bool) {
    match answered {
        Ok(answer) => match verdict(&answer, chat) {
            Verdict::Taken => (NoticeState::Delivered, false),
            Verdict::Refused(why, again) => (NoticeState::Failed(why), again),
        },
        Err(PostError::Never(why)) => (NoticeState::Failed(why), false),
        Err(PostError::NotSent(why)) => (NoticeState::Failed(why), true),
        Err(PostError::Unknown(why)) => (NoticeState::Unknown(why), false),
    }
}
