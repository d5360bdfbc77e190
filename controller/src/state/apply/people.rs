//! Applies what concerns people: who is let in, with which roles, from where, until when.

use std::collections::BTreeSet;

use trireme_proto::access::{Grants, Regions};
use trireme_proto::identity::UserName;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::source::{Network, Source};
use trireme_proto::time::{Span, WallTime};
use trireme_proto::token::SecretHash;

use super::Context;
use crate::state::command::{Command, Outcome};
use crate::state::fleet::Fleet;
use crate::state::people::{Certificate, Change, Login, LoginToken, User};

/// People on record, removed ones included: far above any team, and all fit into a snapshot's row.
const USERS_MAX: usize = 2000;

/// Networks of one allow-list: more than that nobody reviews.
const SOURCES_MAX: usize = 100;

/// Places where one person is logged in; beyond it the oldest is forgotten.
const LOGINS_MAX: usize = 8;

/// Certificates of one login that have not ended; each lasts for hours, and the next is asked for
/// when two thirds of that have passed.
const CERTIFICATES_MAX: usize = 16;

/// How long certificates follow each other after a login.
const LOGIN_LIFE: Span = Span::secs(30 * 24 * 3600);

/// Applies one change.
pub(super) fn change(
    fleet: &mut Fleet,
    context: &Context<'_>,
    change: &Change,
) -> Result<Outcome, Problem> {
    match change {
        Change::Add { name, grants } => add(fleet, context, name, grants)?,
        Change::Grant { name, grants } => {
            check_regions(fleet, grants)?;
            let user = known(fleet, name)?;
            for (role, regions) in grants.iter() {
                user.grants.add(role, regions);
            }
        }
        Change::Revoke { name, grants } => revoke(fleet, context, name, grants)?,
        Change::Disable { name, reason } => {
            let user = known(fleet, name)?;
            user.disabled = Some(reason.clone());
            // Who is enabled again logs in again: what was open then stays closed.
            user.logins.clear();
            user.token = None;
            lose(fleet, context, name);
        }
        Change::Enable { name } => known(fleet, name)?.disabled = None,
        Change::Remove { name, .. } => {
            let user = known(fleet, name)?;
            let (added, used) = (user.added, user.used);
            *user = User { removed: true, added, used, ..User::default() };
            lose(fleet, context, name);
        }
        Change::Limit { name, sources } => limit(fleet, context, name.as_ref(), sources)?,
        Change::Token { name, id, secret_hash, expires_at } => {
            let user = known(fleet, name)?;
            if let Some(reason) = &user.disabled {
                let message = format!("user {name} is disabled: {reason}");
                return Err(Problem::new(Code::Conflict, message)
                    .hint(format!("first: trictl user enable {name}")));
            }
            user.token = Some(LoginToken {
                id: id.clone(),
                secret_hash: secret_hash.clone(),
                expires_at: *expires_at,
                used: None,
            });
        }
        Change::Login { token, secret_hash, certificate } => {
            return login(fleet, context, token, secret_hash, certificate);
        }
        Change::Renew { name, login, certificate } => {
            return renew(fleet, context, name, login, certificate);
        }
        // That somebody asks is noted for every command.
        Change::Use { .. } => {}
    }
    Ok(Outcome::Done)
}

/// Notes when a person last asked for anything.
pub(super) fn note_use(fleet: &mut Fleet, command: &Command) {
    if fleet.users.is_empty() {
        return;
    }
    let name = command.actor.subject.strip_prefix("user/");
    let Some(Ok(name)) = name.map(str::parse::<UserName>) else { return };
    if let Some(user) = fleet.users.get_mut(&name) {
        user.used = Some(command.wall);
    }
}

/// Returns somebody's record, unless there is none.
fn known<'f>(fleet: &'f mut Fleet, name: &UserName) -> Result<&'f mut User, Problem> {
    fleet.users.get_mut(name).filter(|user| !user.removed).ok_or_else(|| {
        Problem::new(Code::NotFound, format!("there is no user {name}"))
            .hint("list them: trictl user list")
    })
}

/// Marks that somebody lost something, so that what they have open is cut.
fn lose(fleet: &mut Fleet, context: &Context<'_>, name: &UserName) {
    fleet.users_lost = context.at.index;
    if let Some(user) = fleet.users.get_mut(name) {
        user.lost = context.at.index;
    }
}

fn add(
    fleet: &mut Fleet,
    context: &Context<'_>,
    name: &UserName,
    grants: &Grants,
) -> Result<(), Problem> {
    check_regions(fleet, grants)?;
    if fleet.users.get(name).is_some_and(|user| !user.removed) {
        return Err(Problem::new(Code::Conflict, format!("there is a user {name} already"))
            .hint(format!("give more roles: trictl user grant {name} ROLE")));
    }
    if fleet.users.len() >= USERS_MAX {
        return Err(Problem::new(Code::Conflict, format!("there are {USERS_MAX} users already")));
    }
    // Nothing of an earlier record of the name is taken over.
    let user = User { grants: grants.clone(), added: context.command.wall, ..User::default() };
    fleet.users.insert(name.clone(), user);
    // Whoever was admin by the root's word alone is what the record says from now on.
    lose(fleet, context, name);
    Ok(())
}

fn revoke(
    fleet: &mut Fleet,
    context: &Context<'_>,
    name: &UserName,
    grants: &Grants,
) -> Result<(), Problem> {
    let user = known(fleet, name)?;
    let mut left = user.grants.clone();
    for (role, regions) in grants.iter() {
        if !left.take(role, regions) {
            let message = format!("user {name} is not {role} of {regions}");
            return Err(Problem::new(Code::Conflict, message)
                .because(format!("user {name} is {}", user.grants))
                .hint(format!("take a role away whole: trictl user revoke {name} {role}")));
        }
    }
    user.grants = left;
    lose(fleet, context, name);
    Ok(())
}

/// Refuses roles in regions that do not exist: a typing error would look like a role.
fn check_regions(fleet: &Fleet, grants: &Grants) -> Result<(), Problem> {
    for (_, regions) in grants.iter() {
        let Regions::Only(named) = regions else { continue };
        if let Some(unknown) = named.iter().find(|region| !fleet.regions.contains_key(*region)) {
            return Err(Problem::new(Code::NotFound, format!("there is no region {unknown}"))
                .hint("list them: trictl get region"));
        }
    }
    Ok(())
}

fn limit(
    fleet: &mut Fleet,
    context: &Context<'_>,
    name: Option<&UserName>,
    sources: &BTreeSet<Network>,
) -> Result<(), Problem> {
    if sources.len() > SOURCES_MAX {
        let message = format!("{} networks are more than {SOURCES_MAX}", sources.len());
        return Err(Problem::new(Code::Usage, message));
    }
    let actor = &context.command.actor;
    let own = name.is_none_or(|name| actor.subject == format!("user/{name}"));
    let asks_from = Source::of_peer(&actor.source);
    if let Some(from) = asks_from.filter(|_| own && !sources.is_empty()) {
        // Whoever shuts himself out cannot undo it.
        if !sources.iter().any(|network| network.contains(from)) {
            return Err(Problem::refused(
                "people.sources",
                format!("you ask from {from}, which would be shut out"),
            )
            .hint("add a network that you ask from: --from NETWORK"));
        }
    }
    match name {
        Some(name) => known(fleet, name)?.sources.clone_from(sources),
        None => fleet.sources.clone_from(sources),
    }
    // Who asks from elsewhere now is cut off by the list itself.
    fleet.users_lost = context.at.index;
    Ok(())
}

fn login(
    fleet: &mut Fleet,
    context: &Context<'_>,
    id: &str,
    secret_hash: &SecretHash,
    certificate: &Certificate,
) -> Result<Outcome, Problem> {
    let now = context.command.wall;
    let refused = |message: String| {
        Problem::new(Code::Denied, message).hint("ask an admin for one: trictl user token NAME")
    };
    let found = fleet.users.iter_mut().find_map(|(name, user)| {
        let token = user.token.as_ref().filter(|token| token.id == id)?;
        // An unknown id and a wrong secret get one answer, so that ids cannot be tried out.
        (token.secret_hash == *secret_hash).then(|| (name.clone(), user))
    });
    let (name, user) = found.ok_or_else(|| refused(format!("token {id} is not of this fleet")))?;
    if let Some(reason) = &user.disabled {
        return Err(refused(format!("user {name} is disabled: {reason}")));
    }
    if user.grants.is_empty() {
        return Err(refused(format!("user {name} has no role")));
    }
    let token = user.token.as_mut().expect("it was found by its token");
    // The answer to the first use may have been lost: the same key may ask again.
    if token.used.is_some_and(|key| key != certificate.key) {
        return Err(refused(format!("token {id} of user {name} was used already")));
    }
    if token.expires_at <= now {
        let end = token.expires_at;
        return Err(refused(format!("token {id} of user {name} expired at {end}")));
    }
    token.used = Some(certificate.key);
    let login = user.logins.entry(id.to_owned()).or_insert_with(|| Login {
        key: certificate.key,
        since: now,
        until: WallTime(now.0.saturating_add(LOGIN_LIFE.0)),
        source: context.command.actor.source.clone(),
        certificates: std::collections::BTreeMap::new(),
    });
    let until = login.until;
    hand_out(login, certificate, now);
    user.used = Some(now);
    if user.logins.len() > LOGINS_MAX {
        let oldest = user.logins.iter().min_by_key(|(_, login)| login.since);
        if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
            user.logins.remove(&oldest);
            lose(fleet, context, &name);
        }
    }
    Ok(Outcome::LoggedIn { name, login: id.to_owned(), until })
}

fn renew(
    fleet: &mut Fleet,
    context: &Context<'_>,
    name: &UserName,
    id: &str,
    certificate: &Certificate,
) -> Result<Outcome, Problem> {
    let now = context.command.wall;
    let refused = |message: String| {
        Problem::new(Code::Denied, message)
            .hint("log in again with a token from an admin: trictl login --enrol HOST:PORT")
    };
    // An unknown name, an unknown login and another key get one answer.
    let unknown = || refused(format!("login {id} of user {name} is not of this fleet"));
    let user = fleet.users.get_mut(name).filter(|user| !user.removed).ok_or_else(unknown)?;
    if let Some(reason) = &user.disabled {
        return Err(refused(format!("user {name} is disabled: {reason}")));
    }
    if user.grants.is_empty() {
        return Err(refused(format!("user {name} has no role")));
    }
    let login = user.logins.get_mut(id).filter(|login| login.key == certificate.key);
    let login = login.ok_or_else(unknown)?;
    if login.until <= now {
        return Err(refused(format!("login {id} of user {name} ended at {}", login.until)));
    }
    hand_out(login, certificate, now);
    user.used = Some(now);
    Ok(Outcome::LoggedIn { name: name.clone(), login: id.to_owned(), until: login.until })
}

/// Puts a certificate on record and forgets those that have ended.
fn hand_out(login: &mut Login, certificate: &Certificate, now: WallTime) {
    login.certificates.retain(|_, expires| *expires > now);
    while login.certificates.len() >= CERTIFICATES_MAX {
        let first = login.certificates.iter().min_by_key(|(_, expires)| **expires);
        let Some(first) = first.map(|(serial, _)| serial.clone()) else { break };
        login.certificates.remove(&first);
    }
    login.certificates.insert(certificate.serial.clone(), certificate.expires);
}
