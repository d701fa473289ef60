//! The socket in front of a service: HTTP/1.1, and HTTP/2 by ALPN or prior knowledge.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::service::Service;
use super::tls::Certificates;
use crate::body::BoxError;
use crate::error::{Error, Result};

/// How long a client may take for the TLS handshake, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait when the system has no descriptor left for a connection.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// Bytes in flight of one HTTP/2 stream; the default of 64 KiB makes every blob wait for the client's answers.
const WINDOW: u32 = 1024 * 1024;

/// A listening socket and its connections.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    tasks: TaskTracker,
    /// No new connection, no new request.
    closing: CancellationToken,
    /// Connections end now.
    closed: CancellationToken,
}

/// Everything a connection needs.
#[derive(Clone)]
struct Shared {
    service: Arc<dyn Service>,
    tls: Option<TlsAcceptor>,
    tasks: TaskTracker,
    closing: CancellationToken,
    closed: CancellationToken,
}

impl Front {
    /// Listens on `address` (port 0 is any free one) and answers by `service`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the address cannot be had, [`Error::Invalid`] for unusable certificates.
    pub async fn listen(
        address: SocketAddr,
        tls: Option<&Certificates>,
        service: Arc<dyn Service>,
    ) -> Result<Self> {
        let tls = tls.map(Certificates::acceptor).transpose()?;
        let cannot = |cause: std::io::Error| Error::Unavailable {
            what: crate::error::What::new("listen on", address),
            reason: cause.to_string(),
            retry_after: None,
            transient: false,
        };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let (tasks, closing, closed) =
            (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let shared =
            Shared { service, tls, tasks: tasks.clone(), closing: closing.clone(), closed: closed.clone() };
        tasks.spawn(accept(listener, shared));
        Ok(Self { address, tasks, closing, closed })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends gracefully: no new requests, those under way get `grace` to end, and then the connections are cut. Returns
    /// when every task has.
    pub async fn close(&self, grace: Duration) {
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.closed.cancel();
            self.tasks.wait().await;
        }
    }
}

impl Drop for Front {
    /// Signals all tasks to end; only [`Front::close`] waits for them.
    fn drop(&mut self) {
        self.closing.cancel();
        self.closed.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Shared) {
    loop {
        let accepted = tokio::select! {
            () = shared.closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let connection = connect(stream, shared.clone());
                shared.tasks.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%peer, %error, "connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

async fn connect(stream: TcpStream, shared: Shared) -> Result<(), BoxError> {
    let Some(tls) = shared.tls.clone() else { return serve(stream, shared).await };
    let handshake = tokio::time::timeout(PATIENCE, tls.accept(stream));
    let stream = tokio::select! {
        () = shared.closing.cancelled() => return Ok(()),
        stream = handshake => stream??,
    };
    serve(stream, shared).await
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    shared: Shared,
) -> Result<(), BoxError> {
    let service = Arc::clone(&shared.service);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let service = Arc::clone(&service);
        async move { service.call(request.map(|body| body.map_err(Into::into).boxed())).await }
    });
    let mut builder = auto::Builder::new(Tracked(shared.tasks.clone()));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        () = shared.closing.cancelled() => connection.as_mut().graceful_shutdown(),
        ended = connection.as_mut() => return ended,
    }
    tokio::select! {
        () = shared.closed.cancelled() => Ok(()),
        ended = connection.as_mut() => ended,
    }
}

/// Spawns HTTP/2 streams where [`Front::close`] waits for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
