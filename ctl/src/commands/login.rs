//! `trictl login`: a one-time token becomes a certificate, and a context that renews it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use trireme_proto::key::{SecretKey, certificates_to_pem};
use trireme_proto::keyfile::{create_private_dir, read_private, write_private, write_public};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::WallTime;
use trireme_proto::token::Token;
use zeroize::Zeroizing;

use super::usage;
use crate::App;
use crate::context::{Entry, File, Login};
use crate::error::{Failure, Outcome, failed};
use crate::login::{LoggedIn, login};
use crate::terminal;

/// Log in to a fleet with a one-time token
///
/// An admin makes the token: `trictl user token NAME`. It is read from the terminal, or with
/// --token-file, and never from the command line, where others could see it. The key is made here
/// and stays here. The certificate lasts 8 hours and is renewed by itself for 30 days; then it
/// takes a new token. A context of the fleet's name, or of --context, is added to the context file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where controllers let people in; repeat it or separate with commas
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    enrol: Vec<String>,

    /// File that holds the token, readable by you alone; - for standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Have the fleet's name typed for each change through this context
    #[arg(long)]
    protected: bool,
}

/// Logs in.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    if let Some(name) = &app.global.context {
        check_name(name)?;
    }
    let path = File::path(&app.global).map_err(Problem::from)?;
    let mut file = File::read_or_empty(&path).map_err(Problem::from)?;
    let token: Token = read_token(app, args.token_file.as_deref())
        .await?
        .trim()
        .parse()
        .map_err(|error| usage(format!("the token cannot be used: {error}")))?;
    let key = SecretKey::generate().map_err(|error| failed("cannot make a key", &error))?;
    let LoggedIn { credentials, reply } = login(&args.enrol, &token, &key).await?;
    let name = app.global.context.clone().unwrap_or_else(|| reply.fleet.clone());
    let dir = path.parent().unwrap_or(Path::new("")).join(&name);
    let kept = keep(&dir, &credentials, &key);
    kept.map_err(|error| failed("what the fleet gave cannot be kept", &error))?;
    let beside = Path::new(&name);
    let was = file.contexts.get(&name).is_some_and(|entry| entry.protected);
    let entry = Entry {
        controllers: reply.controllers.iter().map(|one| one.address.clone()).collect(),
        ca: beside.join("root.pem"),
        certificate: beside.join("user.pem"),
        key: beside.join("user.key"),
        protected: args.protected || was,
        login: Some(Login {
            user: reply.user.clone(),
            id: reply.login.clone(),
            enrol: reply.enrol.clone(),
        }),
    };
    file.contexts.insert(name.clone(), entry);
    let current = file.current.get_or_insert_with(|| name.clone()).clone();
    file.write(&path).map_err(Problem::from)?;
    let until = WallTime(reply.until_ms);
    let expires_at = credentials.verified().not_after;
    let value = json!({
        "fleet": reply.fleet,
        "user": reply.user,
        "context": name,
        "config": path.display().to_string(),
        "expires_at": expires_at,
        "until": until,
    });
    app.out.value(&value, |_| {
        let mut text = format!(
            "{} is logged in to fleet {} until {until}; context {name} in {}",
            reply.user,
            reply.fleet,
            path.display()
        );
        if current != name {
            let command = app.command(&["context", "use", &name]);
            let _ = write!(text, "\n\nto use it by default:\n  {command}");
        }
        text
    })?;
    Ok(Outcome::Done)
}

async fn read_token(app: &App, file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    match file {
        Some(path) if path != Path::new("-") => {
            let bytes = read_private(path)
                .map_err(|error| failed("the token's file cannot be used", &error))?;
            let text = std::str::from_utf8(&bytes)
                .map_err(|_| usage("the token's file is no text".to_owned()))?;
            Ok(Zeroizing::new(text.to_owned()))
        }
        from => {
            if from.is_none() && !terminal::can_ask() {
                let problem = usage("nobody can be asked for the token: this is no terminal");
                return Err(problem.hint("give it with --token-file FILE, or - to pipe it").into());
            }
            let question = if from.is_none() { "Token: " } else { "" };
            Ok(Zeroizing::new(terminal::line(&app.out, question).await?))
        }
    }
}

fn keep(
    dir: &Path,
    credentials: &trireme_proto::tls::Credentials,
    key: &SecretKey,
) -> Result<(), trireme_proto::keyfile::FileError> {
    create_private_dir(dir)?;
    write_public(&dir.join("root.pem"), certificates_to_pem(credentials.roots()).as_bytes())?;
    write_private(&dir.join("user.key"), key.to_pem().as_bytes())?;
    write_public(&dir.join("user.pem"), certificates_to_pem(&credentials.chain()).as_bytes())
}

/// Refuses a context name that would be more than one directory.
pub(super) fn check_name(name: &str) -> Result<(), Problem> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(Problem::new(
            Code::Usage,
            format!("`{name}` is no name for a context: use letters, digits, - _ and ."),
        ));
    }
    Ok(())
}
