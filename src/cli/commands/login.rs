//! `lazyblob login HOST`, `lazyblob logout HOST`

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;

use lazyblob::remote::keychain::{Fixed, Login};
use lazyblob::remote::{Access, Credential};
use serde_json::json;

use crate::cli::args::{LoginArgs, LogoutArgs};
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::{credentials, output};

/// Checks the credentials with the registry and keeps them unless it refuses them.
pub(super) async fn login(args: LoginArgs, context: &Context) -> Result<(), Failure> {
    let username = match args.username {
        Some(username) => username,
        None => ask_username()?,
    };
    let password = tokio::task::spawn_blocking(credentials::stdin_password)
        .await
        .map_err(|error| Failure::Local(format!("read the password: {error}")))??;
    let credential = Credential::basic(&username, password);
    let keychain = Fixed::default().with(&args.host, credential.clone());
    let access = Access::new(Arc::new(keychain)).watched_by(Arc::clone(&context.access().progress));
    let check = || context.registry().check_login(&args.host, &access);
    let asked = context.retry().run(&access, check).await?;
    let (environment, helpers) = credentials::environment();
    Login::of(&environment, helpers)?.store(&args.host, &credential).await?;
    if context.json() {
        return output::json(&json!({"host": args.host, "username": username, "checked": asked}));
    }
    if !asked {
        context.watch().say(&format!("{} asks for no credentials; they are kept unchecked", args.host));
    }
    context.watch().tell(&format!("logged in to {} as {username}", args.host));
    Ok(())
}

/// Forgets the credentials of a host; that there were none is worth a word and no error.
pub(super) async fn logout(args: LogoutArgs, context: &Context) -> Result<(), Failure> {
    let (environment, helpers) = credentials::environment();
    let known = Login::of(&environment, helpers)?.erase(&args.host).await?;
    if context.json() {
        return output::json(&json!({"host": args.host, "removed": known}));
    }
    let said = if known { "logged out of" } else { "no credentials were kept for" };
    context.watch().tell(&format!("{said} {}", args.host));
    Ok(())
}

fn ask_username() -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage("no terminal to ask for the user name on: --username NAME".to_owned()));
    }
    let failed = |error: std::io::Error| Failure::Local(format!("read the user name: {error}"));
    let mut err = std::io::stderr().lock();
    write!(err, "Username: ").and_then(|()| err.flush()).map_err(failed)?;
    let mut name = String::new();
    std::io::stdin().lock().read_line(&mut name).map_err(failed)?;
    let name = name.trim();
    if name.is_empty() {
        return Err(Failure::Usage("the user name is empty".to_owned()));
    }
    Ok(name.to_owned())
}
