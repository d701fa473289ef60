//! The transport over real sockets: where it fails is said rightly, and what it sends is what was asked.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use lazyblob_remote::body::{self, Body};
use lazyblob_remote::transport::{
    HttpTransport, Phase, Reach, Route, Settings, Tls, Transport, TransportError,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

fn transport() -> HttpTransport {
    HttpTransport::new(Settings { environment_proxies: false, ..Settings::default() })
}

fn get(uri: impl Into<String>) -> Request<Body> {
    Request::get(uri.into()).body(body::empty()).unwrap()
}

async fn sent(route: &Route, uri: impl Into<String>) -> Result<Response<Body>, TransportError> {
    transport().send(get(uri), route).await
}

async fn failed(route: &Route, uri: impl Into<String>) -> TransportError {
    sent(route, uri).await.unwrap_err()
}

fn trusting(tls: Tls) -> Route {
    Route { tls: Arc::new(tls), reach: Reach::Any }
}

/// A server that handles every connection with `handle` until the returned set is dropped.
async fn served<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, JoinSet<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(handle(stream));
        }
    });
    (address, server)
}

/// Reads the head of a request and gives it, in lower case, with whatever came after it.
async fn head(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return (String::from_utf8(bytes).unwrap().to_ascii_lowercase(), rest);
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the request ended early");
    }
}

/// A server that answers every request with `answer` and closes.
async fn answering(answer: &'static str) -> (SocketAddr, JoinSet<()>) {
    served(move |mut stream| async move {
        head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await
}

/// Row 27b: a refused connection may be another time's.
#[tokio::test]
async fn a_closed_port_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = failed(&Route::default(), format!("http://u:secret@{address}/v2/?sig=secret")).await;
    assert_eq!(error.phase, Phase::Connect);
    assert!(error.is_transient());
    assert!(
        error.to_string().starts_with("cannot connect: tcp connect error: Connection refused"),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn an_unknown_name_does_not_resolve() {
    for reach in [Reach::Any, Reach::Public] {
        let route = Route { reach, ..Route::default() };
        let error = failed(&route, "http://no-such-host.invalid/v2/").await;
        assert_eq!(error.phase, Phase::Resolve, "{error}");
    }
    // Nothing says that it is private, so it may not lead into a private network.
    assert!(transport().is_public("no-such-host.invalid").await);
}

/// Rows 46, 54b: a body that ends early is an error that does not show the address.
#[tokio::test]
async fn a_body_that_is_cut_ends_with_an_error() {
    let (address, _server) = answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    let answer = sent(&Route::default(), format!("http://{address}/?sig=secret")).await.unwrap();
    let error = body::collect(answer.into_body(), 100).await.unwrap_err();
    let text = lazyblob_remote::error::chain(error.as_ref());
    assert!(!text.contains("secret") && text.contains("end of file"), "{text}");
}

/// Row 57a: a server that says nothing has its time and no more.
#[tokio::test]
async fn a_server_that_does_not_answer_breaks_the_exchange() {
    let (address, _server) = served(|mut stream| async move {
        head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let impatient = HttpTransport::new(Settings {
        connect_timeout: Duration::from_millis(20),
        response_timeout: Duration::from_millis(20),
        environment_proxies: false,
        ..Settings::default()
    });
    let error = impatient.send(get(format!("http://{address}/")), &Route::default()).await.unwrap_err();
    assert_eq!(error.phase, Phase::Exchange);
    assert!(error.to_string().contains("no answer within 20ms"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let (address, _server) =
        answering("HTTP/1.1 302 Found\r\nlocation: http://h.invalid/\r\ncontent-length: 0\r\n\r\n").await;
    let answer = sent(&Route::default(), format!("http://{address}/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()["location"], "http://h.invalid/");
}

#[tokio::test]
async fn a_body_of_known_length_says_so() {
    let (address, _server) = served(|mut stream| async move {
        let (head, mut body) = head(&mut stream).await;
        assert!(head.contains("\r\ncontent-length: 8\r\n") && !head.contains("transfer-encoding"), "{head}");
        assert!(head.contains("\r\nuser-agent: lazyblob/") && !head.contains("referer"), "{head}");
        assert!(!head.contains("accept-encoding"), "{head}");
        while body.len() < 8 {
            stream.read_buf(&mut body).await.unwrap();
        }
        assert_eq!(body, b"12345678");
        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    let chunks = ["1234", "5678"].map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
    let upload = body::streaming(futures::stream::iter(chunks), Some(8));
    let request = Request::put(format!("http://{address}/")).body(upload).unwrap();
    let answer = transport().send(request, &Route::default()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_post_without_a_body_has_length_zero() {
    let (address, _server) = served(|mut stream| async move {
        let (head, _) = head(&mut stream).await;
        assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
        stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    let request = Request::post(format!("http://{address}/")).body(body::empty()).unwrap();
    assert!(transport().send(request, &Route::default()).await.is_ok());
}

/// Row 92a: at the dial, in every notation; no connection is opened.
#[tokio::test]
async fn a_public_route_reaches_no_private_address() {
    let (address, _server) = served(|_stream| async { panic!("a connection came") }).await;
    let public = Route { reach: Reach::Public, ..Route::default() };
    let port = address.port();
    for host in ["127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "169.254.169.254", "x.localhost"] {
        let error = failed(&public, format!("http://{host}:{port}/?sig=secret")).await;
        assert_eq!(error.phase, Phase::Forbidden, "{host}: {error}");
        assert!(!error.is_transient());
        assert!(error.to_string().contains("is not a public address"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(!transport().is_public(host).await, "{host}");
    }
    assert!(transport().is_public("8.8.8.8").await);
}

/// A transport that takes `dual.test` for a host with an address of either family.
fn dual() -> HttpTransport {
    let addresses = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
    HttpTransport::new(Settings {
        connect_timeout: Duration::from_secs(60),
        environment_proxies: false,
        addresses: BTreeMap::from([("dual.test".to_owned(), addresses.to_vec())]),
        ..Settings::default()
    })
}

/// Row 60: where the IPv6 address swallows everything, the IPv4 one answers soon, and not after a time-out.
#[tokio::test]
async fn a_black_hole_of_one_family_does_not_hold_up_the_other() {
    let (good, _server) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let hole = SocketAddr::from((Ipv6Addr::LOCALHOST, good.port()));
    let socket = TcpSocket::new_v6().unwrap();
    if let Err(error) = socket.bind(hole) {
        eprintln!("not run, there is no IPv6: {error}");
        return;
    }
    // Two connections that nobody accepts, and the queue is full: further ones get no answer of any kind.
    let _hole = socket.listen(1).unwrap();
    let _full = [TcpStream::connect(hole).await.unwrap(), TcpStream::connect(hole).await.unwrap()];

    let began = Instant::now();
    let url = format!("http://dual.test:{}/", good.port());
    let answer = dual().send(get(url), &Route::default()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    // It takes a third of a second; a machine that is busy may take longer, and a time-out would be a minute.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// Row 60: where no address answers, all are named.
#[tokio::test]
async fn all_addresses_that_do_not_answer_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("http://dual.test:{port}/?sig=secret");
    let error = dual().send(get(url), &Route::default()).await.unwrap_err();
    assert_eq!(error.phase, Phase::Connect);
    let said = error.to_string();
    assert!(said.contains("tcp connect error") && said.ends_with("none of ::1, 127.0.0.1 answers"), "{said}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    // As a host that a public one names, it is refused as ever.
    let public = Route { reach: Reach::Public, ..Route::default() };
    let error = dual().send(get(format!("http://dual.test:{port}/")), &public).await.unwrap_err();
    assert_eq!(error.phase, Phase::Forbidden, "{error}");
    assert!(!dual().is_public("dual.test").await);
}

/// A certification authority, and files of what it signed.
struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Signs a certificate for `name` and writes it and its key.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    /// A TLS server for `localhost`, which asks for a certificate of ours if `mutual`.
    async fn serve(&self, mutual: bool) -> (String, JoinSet<()>) {
        let (chain, key) = self.sign("localhost");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(self.file("ca.pem")).unwrap()).unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap(),
            )
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder
            .with_single_cert(
                vec![CertificateDer::from_pem_file(chain).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (address, server) = served(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper::service::service_fn(|_request| async {
                    Ok::<_, std::convert::Infallible>(Response::new(body::full("hello")))
                });
                let connection =
                    hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                let _ended = connection.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
            }
        })
        .await;
        (format!("https://localhost:{}/", address.port()), server)
    }
}

#[tokio::test]
async fn an_unknown_authority_is_refused_unless_named_or_waived() {
    let authority = Authority::new();
    let (uri, _server) = authority.serve(false).await;
    let error = failed(&Route::default(), &uri).await;
    assert_eq!(error.phase, Phase::Tls, "{error}");
    assert!(!error.is_transient());

    let named = trusting(Tls { ca: vec![authority.file("ca.pem")], ..Tls::default() });
    let answer = sent(&named, &uri).await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    assert_eq!(body::collect(answer.into_body(), 100).await.unwrap(), "hello");
    // The authority vouches for `localhost` and for no other name.
    let other_name = uri.replace("localhost", "127.0.0.1");
    assert_eq!(failed(&named, &other_name).await.phase, Phase::Tls);

    let waived = trusting(Tls { insecure: true, ..Tls::default() });
    assert_eq!(sent(&waived, &other_name).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_there_is_one() {
    let authority = Authority::new();
    let (uri, _server) = authority.serve(true).await;
    let nameless = Tls { ca: vec![authority.file("ca.pem")], ..Tls::default() };
    let error = failed(&trusting(nameless.clone()), &uri).await;
    assert!(matches!(error.phase, Phase::Tls | Phase::Exchange), "{error}");
    let named = Tls { client: Some(authority.sign("client")), ..nameless };
    assert_eq!(sent(&trusting(named), &uri).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_plain_server_is_told_from_a_tls_server() {
    let (address, _server) = served(|mut stream| async move {
        let mut hello = [0; 16];
        let _read = stream.read(&mut hello).await;
        let _written = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let error = failed(&Route::default(), format!("https://{address}/")).await;
    assert_eq!(error.phase, Phase::Tls);
    assert!(error.to_string().contains("plain HTTP"), "{error}");
}

#[tokio::test]
async fn a_pem_file_that_cannot_be_used_is_named() {
    let authority = Authority::new();
    let (chain, key) = authority.sign("client");
    let (_, other_key) = authority.sign("other");
    let garbage = authority.file("garbage.pem");
    std::fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let empty = authority.file("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = authority.file("missing.pem");
    let ca = |file: &Path| Tls { ca: vec![file.to_owned()], ..Tls::default() };
    let client =
        |chain: &Path, key: &Path| Tls { client: Some((chain.into(), key.into())), ..Tls::default() };
    for (tls, named) in [
        (ca(&missing), &missing),
        (ca(&empty), &empty),
        (ca(&garbage), &garbage),
        (ca(&key), &key),
        (client(&missing, &key), &missing),
        (client(&chain, &empty), &empty),
        (client(&chain, &other_key), &other_key),
    ] {
        // Plain HTTP on a closed port: the files are looked at before anything is sent.
        let error = failed(&trusting(tls), "http://127.0.0.1:1/").await;
        assert_eq!(error.phase, Phase::Setup, "{error}");
        assert!(error.to_string().contains(&named.display().to_string()), "{error}");
    }
}
