//! Debian's docker-registry on a free port, with a directory and an access log of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lazyblob::remote::media;
use lazyblob::remote::server::{Action, Certificates, Front};
use lazyblob::remote::testing::{Signer, TokenServer};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

/// The user every registry with authentication knows.
pub(crate) const USER: &str = "mary";
/// Her password.
pub(crate) const PASSWORD: &str = "correct-horse";
/// bcrypt of [`PASSWORD`], of the least cost there is.
const HASH: &str = "$2b$04$hiNZcv5EMsvv978VFyPu9O4DP4/KFCfaWw6rscWQ24rAQt0zpmzLq";
/// Nothing a registry is asked for takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A line of an htpasswd file with [`USER`].
pub(crate) fn htpasswd() -> String {
    format!("{USER}:{HASH}\n")
}

/// How a registry finds out who is asking.
pub(crate) enum Guard {
    Open,
    /// Like an open one, with this certificate.
    Tls(Certificates),
    Htpasswd,
    Token,
}

/// A registry that ends with this value.
pub(crate) struct DockerRegistry {
    host: String,
    log: Mutex<UnboundedReceiver<String>>,
    marks: AtomicUsize,
    tokens: Option<(Arc<TokenServer>, Front)>,
    _child: Child,
    _readers: JoinSet<()>,
    _dir: TempDir,
}

/// One answered request of the access log.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: u16,
}

impl Answered {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split('"');
        let mut request = parts.nth(1)?.split(' ');
        let status = parts.next()?.split_whitespace().next()?.parse().ok()?;
        Some(Self { method: request.next()?.to_owned(), path: request.next()?.to_owned(), status })
    }

    /// The word of `--stats` for it, found without our own code's help.
    fn kind(&self) -> &'static str {
        let is = |part| self.path.contains(part);
        match self.method.as_str() {
            "GET" if is("/manifests/") => "manifest_get",
            "HEAD" if is("/manifests/") => "manifest_head",
            "PUT" if is("/manifests/") => "manifest_put",
            "POST" if is("mount=") => "mount",
            _ if is("/blobs/uploads/") => "upload",
            "GET" if is("/blobs/") => "blob_get",
            "HEAD" if is("/blobs/") => "blob_head",
            "GET" if is("/tags/") => "tags",
            _ => "other",
        }
    }
}

impl DockerRegistry {
    /// An open one.
    pub(crate) async fn open() -> Self {
        Self::start(Guard::Open).await
    }

    /// Starts one and waits until it listens.
    pub(crate) async fn start(guard: Guard) -> Self {
        let dir = TempDir::with_prefix("lazyblob-registry-").unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut config = format!(
            "version: 0.1\n\
             log: {{level: info}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}, \
             maintenance: {{uploadpurging: {{enabled: false}}}}}}\n\
             http: {{addr: \"127.0.0.1:0\", secret: fixed{}}}\n",
            at("root").display(),
            if let Guard::Tls(Certificates { chain, key, .. }) = &guard {
                format!(", tls: {{certificate: {}, key: {}}}", chain.display(), key.display())
            } else {
                String::new()
            }
        );
        let mut tokens = None;
        match guard {
            Guard::Open | Guard::Tls(_) => {}
            Guard::Htpasswd => {
                std::fs::write(at("htpasswd"), htpasswd()).unwrap();
                config +=
                    &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", at("htpasswd").display());
            }
            Guard::Token => {
                let signer = Signer::new("test-issuer");
                std::fs::write(at("tokens.pem"), signer.certificate()).unwrap();
                let server = TokenServer::new("test-registry")
                    .user(USER, PASSWORD)
                    .allow(USER, "*", &[Action::Pull, Action::Push])
                    .signing(signer);
                let server = Arc::new(server);
                let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let front = Front::listen(any_port, None, Arc::clone(&server) as _).await.unwrap();
                config += &format!(
                    "auth: {{token: {{realm: \"http://localhost:{}/token\", service: test-registry, \
                     issuer: test-issuer, rootcertbundle: {}}}}}\n",
                    front.address().port(),
                    at("tokens.pem").display()
                );
                tokens = Some((server, front));
            }
        }
        std::fs::write(at("config.yml"), config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(at("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let host = tokio::time::timeout(PATIENCE, listening(&mut errors)).await.expect("it listens soon");
        // Both pipes are read to their end, or the registry would wait for somebody to do so.
        let mut readers = JoinSet::new();
        readers.spawn(async move { while let Ok(Some(_)) = errors.next_line().await {} });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, log) = unbounded_channel();
        readers.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let _ = sender.send(line);
            }
        });
        let (log, marks) = (Mutex::new(log), AtomicUsize::new(0));
        Self { host, log, marks, tokens, _child: child, _readers: readers, _dir: dir }
    }

    /// `HOST:PORT`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Everything answered since this was asked last.
    pub(crate) async fn answered(&self) -> Vec<Answered> {
        // A request of our own, by which the end of the others is known in the log.
        let mark = format!("/mark-{}", self.marks.fetch_add(1, Ordering::Relaxed));
        get(&self.host, &mark).await;
        let mut log = self.log.lock().await;
        let mut answered = Vec::new();
        loop {
            let line = tokio::time::timeout(PATIENCE, log.recv()).await.expect("the mark is logged");
            let line = line.expect("the registry runs");
            match Answered::parse(&line) {
                Some(request) if request.path == mark => return answered,
                Some(request) => answered.push(request),
                None => panic!("what is this in an access log: {line}"),
            }
        }
    }

    /// Requests by kind since this was asked last.
    pub(crate) async fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for request in self.answered().await {
            *counts.entry(request.kind().to_owned()).or_default() += 1;
        }
        counts
    }

    /// The token server, if there is one.
    pub(crate) fn tokens(&self) -> &TokenServer {
        &self.tokens.as_ref().expect("it was started with tokens").0
    }
}

/// GETs a path without our own client and returns status line, headers and body.
pub(crate) async fn get(host: &str, path: &str) -> String {
    ask("GET", host, path).await
}

/// The same with another method.
pub(crate) async fn ask(method: &str, host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(host).await.unwrap();
    // Whoever accepts everything is told by Debian's registry that there is nothing.
    let accept =
        [media::OCI_MANIFEST, media::OCI_INDEX, media::DOCKER_MANIFEST, media::DOCKER_LIST].join(", ");
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n");
    let request = format!("{head}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn listening(errors: &mut Lines<BufReader<ChildStderr>>) -> String {
    let mut said = String::new();
    while let Some(line) = errors.next_line().await.unwrap() {
        if let Some((_, rest)) = line.split_once("listening on ") {
            let end = rest.find(['"', ' ', ',']).unwrap_or(rest.len());
            return rest[..end].to_owned();
        }
        said += &line;
    }
    panic!("docker-registry has ended: {said}");
}
