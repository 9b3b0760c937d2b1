//! From an origin to a connected, encrypted byte stream: resolve, judge the addresses, connect to a judged one, TLS.
//!
//! The name is resolved once per connection and the connection is made to an address of that very answer, so that a
//! second, different answer of the name server changes nothing (DNS rebinding).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use gateway_core::egress::address;
use gateway_core::ports::HttpError;
use rustls::pki_types::{ServerName, TrustAnchor};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pool::Origin;

/// Turns a host name into addresses.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host`, best first.
    fn resolve(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// The operating system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Connects to `origin`; on an error nothing was sent.
pub(crate) async fn connect(
    resolver: &impl Resolve,
    tls: &Tls,
    origin: &Origin,
    timeout: Duration,
) -> Result<Connection, HttpError> {
    let connecting = async {
        let addresses = judged_addresses(resolver, origin).await?;
        let tcp = dial(&addresses, timeout).await?;
        if origin.https() { tls.encrypt(origin.host(), tcp).await } else { Ok(Connection::Plain(tcp)) }
    };
    tokio::time::timeout(timeout, connecting).await.unwrap_or(Err(HttpError::ConnectTimeout))
}

/// The addresses of `origin` that may be connected to.
async fn judged_addresses(resolver: &impl Resolve, origin: &Origin) -> Result<Vec<SocketAddr>, HttpError> {
    let mut addresses = match origin.host().parse::<IpAddr>() {
        Ok(literal) => vec![SocketAddr::new(literal, origin.port())],
        Err(_) => resolver.resolve(origin.host(), origin.port()).await.map_err(|_| HttpError::Connect)?,
    };
    if addresses.is_empty() {
        return Err(HttpError::Connect);
    }
    if !origin.private_allowed() {
        addresses.retain(|address| address::reachable(address.ip()));
    }
    if addresses.is_empty() { Err(HttpError::Forbidden) } else { Ok(addresses) }
}

/// Tries one address after the other; each but the last gets its share of the time only.
async fn dial(addresses: &[SocketAddr], timeout: Duration) -> Result<TcpStream, HttpError> {
    let share = timeout / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    for address in addresses {
        if let Ok(Ok(stream)) = tokio::time::timeout(share, TcpStream::connect(address)).await {
            // Without this the last segment of a request waits for the acknowledgement of the one before.
            let _ = stream.set_nodelay(true);
            return Ok(stream);
        }
    }
    Err(HttpError::Connect)
}

/// One TLS configuration for a client, made when first needed.
#[derive(Debug, Default)]
pub(crate) struct Tls(OnceLock<Option<Arc<ClientConfig>>>);

impl Tls {
    async fn encrypt(&self, host: &str, tcp: TcpStream) -> Result<Connection, HttpError> {
        let config = self.0.get_or_init(|| trusting(webpki_roots::TLS_SERVER_ROOTS.to_vec()));
        let config = config.clone().ok_or(HttpError::Connect)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| HttpError::Connect)?;
        let encrypted = TlsConnector::from(config).connect(name, tcp).await;
        encrypted.map(|stream| Connection::Tls(Box::new(stream))).map_err(|_| HttpError::Connect)
    }
}

/// Ring, these roots (Mozilla's but in tests), HTTP/1.1 only.
fn trusting(roots: Vec<TrustAnchor<'static>>) -> Option<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(RootCertStore { roots })
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(Arc::new(config))
}

/// A connected stream.
#[derive(Debug)]
pub(crate) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

    use super::*;

    /// Gives its answers one after the other.
    struct Script(Mutex<Vec<Vec<&'static str>>>);

    impl Script {
        fn new(answers: &[&[&'static str]]) -> Self {
            Self(Mutex::new(answers.iter().rev().map(|answer| answer.to_vec()).collect()))
        }

        fn left(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }

    impl Resolve for Script {
        async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            let answer = self.0.lock().unwrap().pop().ok_or(io::ErrorKind::NotFound)?;
            Ok(answer.into_iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect())
        }
    }

    fn origin(url: &str, private_allowed: bool) -> Origin {
        Origin::of(&url.parse().unwrap(), private_allowed).unwrap()
    }

    async fn judged(script: &Script, private_allowed: bool) -> Result<Vec<String>, HttpError> {
        let addresses = judged_addresses(script, &origin("https://provider.example", private_allowed)).await?;
        Ok(addresses.iter().map(|address| address.ip().to_string()).collect())
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_loopback_is_forbidden() {
        assert_eq!(judged(&Script::new(&[&["127.0.0.1"]]), false).await, Err(HttpError::Forbidden));
        assert_eq!(judged(&Script::new(&[&["::1", "::ffff:10.0.0.1"]]), false).await, Err(HttpError::Forbidden));
    }

    #[tokio::test]
    async fn of_a_mixed_answer_only_global_addresses_are_used() {
        let script = Script::new(&[&["169.254.169.254", "8.8.8.8", "fd00::1", "2606:4700::1111"]]);
        assert_eq!(judged(&script, false).await, Ok(vec!["8.8.8.8".into(), "2606:4700::1111".into()]));
    }

    #[tokio::test]
    async fn a_second_different_answer_is_judged_again() {
        let script = Script::new(&[&["8.8.8.8"], &["127.0.0.1"]]);
        assert_eq!(judged(&script, false).await, Ok(vec!["8.8.8.8".into()]));
        assert_eq!(judged(&script, false).await, Err(HttpError::Forbidden));
    }

    #[tokio::test]
    async fn the_name_is_resolved_once_and_the_judged_address_is_the_one_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // The second answer would be refused; it must never be asked for.
        let script = Script::new(&[&["127.0.0.1"], &["203.0.113.1"]]);
        let target = origin(&format!("http://rebinding.example:{port}"), true);
        let connected = connect(&script, &Tls::default(), &target, Duration::from_secs(5)).await.unwrap();
        let Connection::Plain(stream) = connected else { panic!("plain http") };
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(script.left(), 1);
    }

    #[tokio::test]
    async fn literals_are_judged_like_names() {
        let script = Script::new(&[]);
        for url in ["https://127.0.0.1", "https://[::1]", "https://10.0.0.1:8443", "https://[::ffff:127.0.0.1]"] {
            let outcome = judged_addresses(&script, &origin(url, false)).await;
            assert_eq!(outcome.err(), Some(HttpError::Forbidden), "{url}");
        }
        assert!(judged_addresses(&script, &origin("https://[2606:4700::1111]", false)).await.is_ok());
    }

    /// A TLS server for `provider.example` on loopback, and a client configuration that trusts it. Key and certificate
    /// (P-256, self-signed, no CA, valid from 2020 to 2120) were made for this test.
    async fn server() -> (u16, Tls) {
        let certificate = CertificateDer::from_slice(include_bytes!("../tests/fixtures/provider.example.crt"));
        let key = PrivatePkcs8KeyDer::from(include_bytes!("../tests/fixtures/provider.example.key").as_slice());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        (port, Tls(OnceLock::from(trusting(roots.roots))))
    }

    #[tokio::test]
    async fn certificates_are_checked_against_roots_and_name() {
        let (port, tls) = server().await;
        let untrusting = Tls::default();
        for (tls, name, trusted) in
            [(&tls, "provider.example", true), (&tls, "other.example", false), (&untrusting, "provider.example", false)]
        {
            let script = Script::new(&[&["127.0.0.1"]]);
            let target = origin(&format!("https://{name}:{port}"), true);
            let outcome = connect(&script, tls, &target, Duration::from_secs(5)).await;
            match outcome {
                Ok(Connection::Tls(_)) => assert!(trusted, "{name}"),
                Ok(Connection::Plain(_)) => panic!("{name} is not encrypted"),
                Err(error) => assert_eq!((trusted, error), (false, HttpError::Connect), "{name}"),
            }
        }
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_no_connection() {
        assert_eq!(judged(&Script::new(&[&[]]), false).await, Err(HttpError::Connect));
        assert_eq!(judged(&Script::new(&[]), false).await, Err(HttpError::Connect));
    }

    #[tokio::test]
    async fn a_dead_first_address_does_not_hide_a_live_second_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = {
            let closed = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
            closed.local_addr().unwrap()
        };
        let addresses = [dead, listener.local_addr().unwrap()];
        assert!(dial(&addresses, Duration::from_secs(2)).await.is_ok());
    }
}
