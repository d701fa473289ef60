//! `lazyblob serve [DIR]`, `lazyblob serve --store`

use std::sync::Arc;
use std::time::Duration;

use lazyblob::remote::server::{
    Anonymous, Backend, Certificates, Front, Htpasswd, LayoutBackend, Memory, Registry, Service, Settings,
};

use super::serve_stored::Stored;
use crate::cli::args::ServeArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::interrupt::Signals;
use crate::cli::output;

/// Requests under way get this long to end when the server is told to.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until it is told to end.
pub(super) async fn run(args: ServeArgs, context: &Context) -> Result<(), Failure> {
    let guarded = args.htpasswd.is_some() || args.anonymous;
    if !args.addr.ip().is_loopback() && !guarded {
        let usage = format!(
            "{} can be reached from other machines: say who may with --htpasswd FILE, or --anonymous for everybody",
            args.addr
        );
        return Err(Failure::Usage(usage));
    }
    let users = args.htpasswd.as_ref().map(|file| Htpasswd::read(file, Anonymous::Nothing)).transpose()?;
    let users = users.map(Arc::new);
    if args.store {
        let stored = Arc::new(Stored::open(context, users, args.lazy_upstream).await?);
        return listen(&args, stored, "the cache", context).await;
    }
    let (backend, place): (Arc<dyn Backend>, _) = match &args.dir {
        Some(dir) => (Arc::new(LayoutBackend::open(dir).await?), dir.display().to_string()),
        None => (Arc::new(Memory::new()), "memory".to_owned()),
    };
    let mut registry = Registry::open(backend, Settings::default()).await?;
    if let Some(users) = users {
        registry = registry.guarded_by(users);
    }
    let registry = Arc::new(registry);
    let ended = listen(&args, Arc::clone(&registry) as _, &place, context).await;
    registry.close().await;
    ended
}

/// Answers requests at the address until a signal comes.
async fn listen(
    args: &ServeArgs,
    service: Arc<dyn Service>,
    place: &str,
    context: &Context,
) -> Result<(), Failure> {
    let certificates = args.tls_cert.clone().zip(args.tls_key.clone()).map(|(chain, key)| Certificates {
        chain,
        key,
        client_ca: None,
    });
    let front = Front::listen(args.addr, certificates.as_ref(), service).await?;
    let scheme = if certificates.is_some() { "https" } else { "http" };
    // Before anybody knows that it runs, and may end it.
    let signals = Signals::listen()?;
    // The address is what a script waits for; port 0 is any free one.
    output::lines(&format!("{scheme}://{}", front.address()))?;
    context.watch().tell(&format!("serving {place}; Ctrl-C ends it"));
    let signal = signals.first().await;
    front.close(GRACE).await;
    Err(Failure::Interrupted(signal))
}
