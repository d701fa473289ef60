//! `lazyblob serve [DIR]`

use std::sync::Arc;
use std::time::Duration;

use lazyblob::remote::server::{
    Anonymous, Backend, Certificates, Front, Htpasswd, LayoutBackend, Memory, Registry, Settings,
};

use crate::cli::args::ServeArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::{interrupt, output};

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
    let backend: Arc<dyn Backend> = match &args.dir {
        Some(dir) => Arc::new(LayoutBackend::open(dir).await?),
        None => Arc::new(Memory::new()),
    };
    let mut registry = Registry::open(backend, Settings::default()).await?;
    if let Some(file) = &args.htpasswd {
        registry = registry.guarded_by(Arc::new(Htpasswd::read(file, Anonymous::Nothing)?));
    }
    let registry = Arc::new(registry);
    let certificates = args.tls_cert.clone().zip(args.tls_key.clone()).map(|(chain, key)| Certificates {
        chain,
        key,
        client_ca: None,
    });
    let front = Front::listen(args.addr, certificates.as_ref(), Arc::clone(&registry) as _).await?;
    let scheme = if certificates.is_some() { "https" } else { "http" };
    // The address is what a script waits for; port 0 is any free one.
    output::lines(&format!("{scheme}://{}", front.address()))?;
    let place = args.dir.as_ref().map_or_else(|| "memory".to_owned(), |dir| dir.display().to_string());
    context.watch().say(&format!("serving {place}; Ctrl-C ends it"));
    let signal = interrupt::signal().await;
    front.close(GRACE).await;
    registry.close().await;
    Err(Failure::Interrupted(signal?))
}
