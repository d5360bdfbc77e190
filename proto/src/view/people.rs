//! Documents about people: who they are to the fleet, and the tokens that let them in.

use serde::{Deserialize, Serialize};

use crate::identity::UserName;
use crate::source::Network;
use crate::time::WallTime;

/// One person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// Their name.
    pub name: UserName,
    /// Roles, each as ROLE or ROLE@REGION,REGION.
    pub roles: Vec<String>,
    /// active, disabled or removed.
    pub state: String,
    /// Why they are disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Networks they may ask from; anywhere if there are none.
    pub sources: Vec<Network>,
    /// When they were added.
    pub added: WallTime,
    /// When they last asked for anything; reads are noted once an hour.
    pub last_used: Option<WallTime>,
    /// Where they are logged in.
    pub logins: Vec<LoginView>,
    /// Until when a token waits for its use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_until: Option<WallTime>,
}

/// One login of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginView {
    /// Its name: the public part of the token that was used.
    pub id: String,
    /// When it was made.
    pub since: WallTime,
    /// Until when it is renewed without a new token.
    pub until: WallTime,
    /// Address it was made from.
    pub source: String,
}

/// Everybody, and from where they may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsersView {
    /// Networks that people may ask from; anywhere if there are none.
    pub sources: Vec<Network>,
    /// People by name.
    pub items: Vec<UserView>,
}

/// A one-time token of a person; the only time its text is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTokenView {
    /// Public part.
    pub id: String,
    /// Whole token.
    pub token: String,
    /// Whom it lets in.
    pub user: UserName,
    /// When it ends.
    pub expires_at: WallTime,
    /// Where to bring it, as host:port.
    pub enrol: Vec<String>,
}

impl std::fmt::Debug for UserTokenView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserTokenView").field("id", &self.id).finish_non_exhaustive()
    }
}
