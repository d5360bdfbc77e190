//! Channels that nothing could be sent through, or that would give a secret away.

use std::net::IpAddr;

use super::{Faults, http_url};
use crate::destination::{Destination, destination};
use crate::model::{Channel, Target};
use crate::time::Span;

/// Peers of one Alertmanager.
const PEERS_MAX: usize = 8;
/// Longest URL; secrets do not belong into it.
const URL_LEN_MAX: usize = 2000;
/// Longest name of a file with a secret.
const FILE_LEN_MAX: usize = 64;
/// Longest wait for more of the same: longer, and nobody hears of what is new.
const WAIT_MAX: Span = Span::secs(600);
/// Shortest time between two messages that say the same.
const REPEAT_MIN: Span = Span::secs(60);

pub(super) fn validate(channel: &Channel, faults: &mut Faults) {
    for (path, url) in channel.to.urls() {
        validate_url(channel, &path, url, faults);
    }
    for (path, file) in channel.to.secret_files() {
        let letters = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let named = !file.is_empty()
            && file.len() <= FILE_LEN_MAX
            && !file.starts_with('.')
            && file.bytes().all(letters);
        if !named {
            let message = format!("`{file}` is not the name of a file among the secrets");
            let help = "write a name without a path, of letters, digits, - _ and .: the file lies \
                        in the directory `secrets` of every controller";
            faults.add(path, message, help);
        }
    }
    match &channel.to {
        Target::Alertmanager(to) => {
            if to.urls.is_empty() || to.urls.len() > PEERS_MAX {
                let message = format!("{} peers of an Alertmanager", to.urls.len());
                faults.add(
                    "to.alertmanager.urls",
                    message,
                    format!("write from 1 to {PEERS_MAX}: each peer's own address"),
                );
            }
        }
        Target::Telegram(to) => {
            let named = to.chat.strip_prefix('@').is_some_and(|name| !name.is_empty());
            if to.chat.parse::<i64>().is_err() && !named {
                let message = format!("`{}` is not a chat", to.chat);
                faults.add("to.telegram.chat", message, "write its number, or @name of a channel");
            }
        }
        Target::Webhook(_) | Target::Wecom(_) | Target::Dingtalk(_) | Target::Feishu(_) => {}
    }
    let group = &channel.group;
    if group.wait > WAIT_MAX {
        let message = format!("the first message would wait {}", group.wait);
        faults.add("group.wait", message, format!("write at most {WAIT_MAX}"));
    }
    if group.repeat < REPEAT_MIN || group.repeat < group.interval {
        let message = format!("what still holds would be said again every {}", group.repeat);
        let help = format!("write at least {REPEAT_MIN}, and no less than group.interval");
        faults.add("group.repeat", message, help);
    }
}

fn validate_url(channel: &Channel, path: &str, url: &str, faults: &mut Faults) {
    let long = (url.len() > URL_LEN_MAX).then_some("is too long");
    let odd = url.contains(['{', '}', '#']).then_some("holds a placeholder or a fragment");
    if let Some(why) = http_url(url).err().or(long).or(odd) {
        let help = "write it like https://alerts.example.com/hook";
        faults.add(path, format!("`{url}` {why}"), help);
        return;
    }
    if !matches!(channel.to, Target::Webhook(_)) && url.contains('?') {
        faults.add(path, format!("`{url}` holds a query"), "leave out what follows the ?");
    }
    // A name may lead anywhere; that is looked at before each message.
    let Some(address) = literal(url) else { return };
    match destination(address) {
        Destination::Forbidden => faults.add(
            path,
            format!("{address} is link-local or no host's: alerts are never sent there"),
            "name a host",
        ),
        Destination::Private if !channel.private => faults.add(
            path,
            format!("{address} is on a private network or this host"),
            "if it is meant to be, write `private: true`",
        ),
        Destination::Private | Destination::Public => {}
    }
}

/// Returns the address in a URL that names one.
fn literal(url: &str) -> Option<IpAddr> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?.parse().ok(),
        None => authority.split(':').next()?.parse().ok(),
    }
}
