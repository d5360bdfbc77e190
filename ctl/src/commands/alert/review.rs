//! `trictl alert review`: which rules want a look, and which fire most.

use trireme_proto::view::List;
use trireme_proto::view::alert::RuleView;

use super::super::get::request;
use super::super::look::{Look, look};
use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome};
use crate::output::alert;

/// Show rules whose review is overdue, and how often each rule fired
///
/// The noisiest of the last thirty days come first. A rule that fires often and that nobody acts
/// upon wants another threshold, a longer `for`, or to be deleted.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    look: Look,
}

/// Reviews the rules.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request = request("alertrule", String::new(), args.look.consistency);
    let client = app.client()?;
    let print = async || {
        let reply: Reply<List<RuleView>> = client.get(request.clone()).await?;
        let mut items = reply.value.items;
        items.retain(|rule| rule.overdue || rule.fired > 0 || !rule.built_in);
        items.sort_by_key(|rule| (!rule.overdue, std::cmp::Reverse(rule.fired_lately)));
        app.out.value(&List { items }, |list| alert::review(&list.items))
    };
    look(app, args.look.again, print).await
}
