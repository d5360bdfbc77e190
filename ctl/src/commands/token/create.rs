//! `trictl token create`: lets one node in, once.

use std::collections::{BTreeMap, HashMap};

use trireme_proto::id::{NodeId, RegionId};
use trireme_proto::time::Span;
use trireme_proto::view::TokenView;
use trireme_proto::wire::CreateTokenRequest;

use super::super::usage;
use crate::App;
use crate::error::{Failure, Outcome};

/// Make a one-time token for one new node
///
/// The token is shown once and works once, for this node in this region. It also tells the agent
/// which fleet to trust.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the node
    #[arg(long)]
    node: NodeId,

    /// Region it is in
    #[arg(long)]
    region: RegionId,

    /// Address at which clients and other nodes find it
    #[arg(long)]
    address: String,

    /// Label for placement; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,

    /// How long the token may wait to be used
    #[arg(long, value_name = "SPAN", default_value = "1h")]
    ttl: Span,

    /// Have it judged by the controllers, and make no token
    #[arg(long)]
    dry_run: bool,
}

/// Creates a token.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let labels = distinct(args.labels)?;
    let client = app.client()?;
    let reply = client
        .create_token(CreateTokenRequest {
            origin: Some(client.origin()),
            node: args.node.to_string(),
            region: args.region.to_string(),
            address: args.address,
            labels,
            ttl_ms: args.ttl.0,
            dry_run: args.dry_run,
        })
        .await?;
    app.out.reply(&reply, render)?;
    Ok(Outcome::Done)
}

fn render(token: &TokenView) -> String {
    format!(
        "token {} lets node {} of region {} in, once, until {}\n\n{}\n\non the node run:\n  {}",
        token.id, token.node, token.region, token.expires_at, token.token, token.join
    )
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE, such as role=web".to_owned()),
    }
}

fn distinct(labels: Vec<(String, String)>) -> Result<HashMap<String, String>, Failure> {
    let mut seen = BTreeMap::new();
    for (key, value) in labels {
        if let Some(other) = seen.insert(key.clone(), value.clone()) {
            let message = format!("label `{key}` is given twice, as `{other}` and `{value}`");
            return Err(usage(message).into());
        }
    }
    Ok(seen.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_label_given_twice() {
        let twice = ["role=web", "role=db"].map(|text| label(text).unwrap());
        let error = distinct(twice.to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "label `role` is given twice, as `web` and `db`");
        assert!(label("web").is_err() && label("=web").is_err());
    }
}
