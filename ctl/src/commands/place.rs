//! What regions and nodes have in common: draining them, and giving them back.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use trireme_proto::id::Place;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::{DrainView, Judged, List};
use trireme_proto::wire::PlaceRequest;

use super::get::{Consistency, Kind, request};
use crate::App;
use crate::client::{Client, Reply};
use crate::error::{Failure, Outcome};
use crate::output::table::{self, Table};

/// Time between two looks at a drain: its waits are seconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Keeps clients away from a place; with `wait`, until nobody comes any more.
pub(super) async fn drain(
    app: &App,
    place: Place,
    reason: String,
    (wait, dry_run): (bool, bool),
) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let ask =
        PlaceRequest { origin: Some(client.origin()), place: place.to_string(), reason, dry_run };
    if dry_run {
        let reply: Reply<Judged> = client.drain(ask).await?;
        app.out.reply(&reply, table::judged)?;
        return Ok(Outcome::Done);
    }
    let mut reply: Reply<DrainView> = client.drain(ask).await?;
    if wait {
        reply = drained(&client, &place).await?;
    }
    app.out.reply(&reply, |drain| table::drains(std::slice::from_ref(drain)))?;
    Ok(Outcome::Done)
}

/// Waits until nobody comes to a drained place any more.
async fn drained(client: &Client, place: &Place) -> Result<Reply<DrainView>, Failure> {
    loop {
        let name = place.to_string();
        let ask = request(Kind::Drain.word(), name, Consistency::Lease);
        let reply: Reply<List<DrainView>> = client.get(ask).await?;
        let json = reply.json.pointer("/items/0").cloned().unwrap_or(Value::Null);
        let Some(drain) = reply.value.items.into_iter().next() else {
            let message = format!("{place} was returned while it was waited for");
            return Err(Problem::new(Code::Conflict, message).into());
        };
        if drain.state == "drained" {
            return Ok(Reply {
                value: drain,
                json,
                index: reply.index,
                age: reply.age,
                controller: reply.controller,
                stale: reply.stale,
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets clients and work come to a place again.
pub(super) async fn give_back<T: DeserializeOwned>(
    app: &App,
    place: &Place,
    (reason, dry_run): (String, bool),
    render: impl FnOnce(&[T]) -> Table,
) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let place = place.to_string();
    let request = PlaceRequest { origin: Some(client.origin()), place, reason, dry_run };
    let reply: Reply<T> = client.r#return(request).await?;
    app.out.reply(&reply, |place| render(std::slice::from_ref(place)))?;
    Ok(Outcome::Done)
}
