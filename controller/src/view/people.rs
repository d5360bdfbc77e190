//! People as operators see them.

use trireme_proto::access::Grant;
use trireme_proto::identity::UserName;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::people::{LoginView, UserView, UsersView};

use crate::state::Fleet;
use crate::state::people::User;

/// Returns everybody, or one.
pub fn users(fleet: &Fleet, name: Option<&UserName>) -> Result<UsersView, Problem> {
    let wanted = |(other, _): &(&UserName, &User)| name.is_none_or(|name| name == *other);
    let items: Vec<_> =
        fleet.users.iter().filter(wanted).map(|(name, record)| user(fleet, name, record)).collect();
    match name {
        Some(name) if items.is_empty() => {
            Err(Problem::new(Code::NotFound, format!("there is no user {name}"))
                .hint("list them: trictl user list"))
        }
        _ => Ok(UsersView { sources: fleet.sources.iter().copied().collect(), items }),
    }
}

fn user(fleet: &Fleet, name: &UserName, user: &User) -> UserView {
    let state = match user {
        User { removed: true, .. } => "removed",
        User { disabled: Some(_), .. } => "disabled",
        User { .. } => "active",
    };
    let roles = user.grants.iter().map(|(role, regions)| Grant { role, regions: regions.clone() });
    let waiting = |token: &&crate::state::people::LoginToken| {
        token.used.is_none() && token.expires_at > fleet.wall
    };
    UserView {
        name: name.clone(),
        roles: roles.map(|grant| grant.to_string()).collect(),
        state: state.to_owned(),
        reason: user.disabled.clone(),
        sources: user.sources.iter().copied().collect(),
        added: user.added,
        last_used: user.used,
        logins: user
            .logins
            .iter()
            .filter(|(_, login)| login.until > fleet.wall)
            .map(|(id, login)| LoginView {
                id: id.clone(),
                since: login.since,
                until: login.until,
                source: login.source.clone(),
            })
            .collect(),
        token_until: user.token.as_ref().filter(waiting).map(|token| token.expires_at),
    }
}
