//! Who may do what, as people ask for it: one RPC for each verb of `trictl user`.

use std::collections::BTreeSet;

use tonic::{Request, Response, Status};
use trireme_proto::access::{Grant, Grants, Reach, Verb};
use trireme_proto::identity::UserName;
use trireme_proto::source::Network;
use trireme_proto::time::WallTime;
use trireme_proto::token::Token;
use trireme_proto::view::people::UserTokenView;
use trireme_proto::wire::people_server::People;
use trireme_proto::wire::{ListUsersRequest, UserRequest};

use super::authorize::operator;
use super::operator::{Answer, OperatorApi, TOKEN_TTL, parse, random_token, reason};
use super::status::{status, usage};
use crate::state::Body;
use crate::state::people::Change;
use crate::view;

/// Roles and networks of one request: a person reads them.
const ITEMS_MAX: usize = 200;

impl OperatorApi {
    /// Authorises a change of people, has it committed and answers with who it is about.
    async fn people(
        &self,
        request: Request<UserRequest>,
        verb: Verb,
        change: impl FnOnce(&UserRequest) -> Result<Change, Status>,
    ) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let target = match asked.name.as_str() {
            "" => "fleet".to_owned(),
            name => format!("user/{name}"),
        };
        let allowed = operator(&self.brain, &extensions, verb, &target, |_| Reach::Fleet).await?;
        let change = change(&asked)?;
        let body = Body::People { change };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        if asked.dry_run {
            return self.user("");
        }
        self.caught_up(reply.index).await;
        self.user(&asked.name)
    }

    /// Answers with everybody, or with one.
    fn user(&self, name: &str) -> Answer {
        let name = match name {
            "" => None,
            name => Some(parse::<UserName>("user", name)?),
        };
        let users = self.brain.read(|fleet| view::users(fleet, name.as_ref()));
        let users = users.map_err(|problem| status(&problem))?;
        Ok(Response::new(self.documents.document(&users)))
    }
}

fn name(asked: &UserRequest) -> Result<UserName, Status> {
    parse("user", &asked.name)
}

fn grants(asked: &UserRequest) -> Result<Grants, Status> {
    if asked.grants.is_empty() || asked.grants.len() > ITEMS_MAX {
        return Err(usage("roles", &format!("name 1 to {ITEMS_MAX} as ROLE or ROLE@REGION")));
    }
    let mut grants = Grants::default();
    for text in &asked.grants {
        let Grant { role, regions } = parse("role", text)?;
        grants.add(role, &regions);
    }
    Ok(grants)
}

fn needed_reason(asked: &UserRequest) -> Result<String, Status> {
    let reason = reason(&asked.reason);
    if reason.trim().is_empty() {
        return Err(usage("user", &"this needs a reason: --reason WHY"));
    }
    Ok(reason)
}

#[tonic::async_trait]
impl People for OperatorApi {
    async fn list_users(&self, request: Request<ListUsersRequest>) -> Answer {
        let asked = request.get_ref();
        let target = if asked.name.is_empty() { "users" } else { &asked.name };
        let consistency = asked.consistency();
        self.look(request.extensions(), Verb::UserList, target, consistency).await?;
        self.user(&request.get_ref().name)
    }

    async fn add_user(&self, request: Request<UserRequest>) -> Answer {
        self.people(request, Verb::UserAdd, |asked| {
            Ok(Change::Add { name: name(asked)?, grants: grants(asked)? })
        })
        .await
    }

    async fn grant_user(&self, request: Request<UserRequest>) -> Answer {
        self.people(request, Verb::UserGrant, |asked| {
            Ok(Change::Grant { name: name(asked)?, grants: grants(asked)? })
        })
        .await
    }

    async fn revoke_user(&self, request: Request<UserRequest>) -> Answer {
        self.people(request, Verb::UserRevoke, |asked| {
            Ok(Change::Revoke { name: name(asked)?, grants: grants(asked)? })
        })
        .await
    }

    async fn disable_user(&self, request: Request<UserRequest>) -> Answer {
        self.people(request, Verb::UserDisable, |asked| {
            Ok(Change::Disable { name: name(asked)?, reason: needed_reason(asked)? })
        })
        .await
    }

    async fn enable_user(&self, request: Request<UserRequest>) -> Answer {
        self.people(request, Verb::UserEnable, |asked| Ok(Change::Enable { name: name(asked)? }))
            .await
    }

    async fn remove_user(&self, request: Request<UserRequest>) -> Answer {
        self.people(request, Verb::UserRemove, |asked| {
            Ok(Change::Remove { name: name(asked)?, reason: needed_reason(asked)? })
        })
        .await
    }

    async fn limit_user(&self, request: Request<UserRequest>) -> Answer {
        self.people(request, Verb::UserLimit, |asked| {
            if asked.sources.len() > ITEMS_MAX {
                return Err(usage("networks", &format!("name at most {ITEMS_MAX}")));
            }
            let sources = asked.sources.iter().map(|text| parse("network", text));
            let sources = sources.collect::<Result<BTreeSet<Network>, _>>()?;
            let whom = if asked.name.is_empty() { None } else { Some(name(asked)?) };
            Ok(Change::Limit { name: whom, sources })
        })
        .await
    }

    async fn create_user_token(&self, request: Request<UserRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let target = format!("user/{}", asked.name);
        let verb = Verb::UserToken;
        let allowed = operator(&self.brain, &extensions, verb, &target, |_| Reach::Fleet).await?;
        let user = name(&asked)?;
        if !TOKEN_TTL.contains(&asked.ttl_ms) {
            return Err(usage("ttl", &"a token lives from 1s to 24h"));
        }
        let (id, secret) = random_token()?;
        let token = Token::generate(id, secret, self.authority.pin());
        let expires_at = WallTime(crate::clock::wall().0.saturating_add(asked.ttl_ms));
        let change = Change::Token {
            name: user.clone(),
            id: token.id.to_string(),
            secret_hash: token.secret_hash(),
            expires_at,
        };
        self.change(&allowed, asked.origin, asked.dry_run, Body::People { change }).await?;
        let enrol = |fleet: &crate::state::Fleet| {
            fleet.controllers.values().map(|controller| controller.enrol.clone()).collect()
        };
        let view = UserTokenView {
            id: token.id.to_string(),
            token: token.expose().to_string(),
            user,
            expires_at,
            enrol: self.brain.read(enrol),
        };
        Ok(Response::new(self.documents.document(&view)))
    }
}
