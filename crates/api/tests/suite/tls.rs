//! TLS on real sockets: one port for both, client certificates, and certificates replaced under way.

use crate::http;
use crate::server::{Server, Setup, plain, put};
use api::{Listen, Serves, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};
use std::time::Duration;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

struct Pair {
    cert: String,
    key: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let pem = params.self_signed(&key).expect("self-signed").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self) -> Pair {
        self.issue_with(|_| {})
    }

    fn issue_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_string()]).expect("valid names");
        change(&mut params);
        let key = KeyPair::generate().expect("key");
        Pair { cert: params.signed_by(&key, &self.issuer).expect("signed").pem(), key: key.serialize_pem() }
    }
}

fn write(dir: &Path, name: &str, content: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).expect("written");
    path
}

fn files(dir: &Path, pair: &Pair, ca: Option<&str>) -> TlsFiles {
    TlsFiles {
        cert: write(dir, "server.crt", &pair.cert),
        key: write(dir, "server.key", &pair.key),
        trusted_ca: ca.map(|ca| write(dir, "ca.crt", ca)),
        client_cert_auth: ca.is_some(),
        ..TlsFiles::default()
    }
}

fn client_config(authority: &Authority, pair: Option<&Pair>, alpn: &[&[u8]]) -> std::sync::Arc<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls::pki_types::CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("pem");
    roots.add(ca).expect("authority");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![rustls::pki_types::CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("pem")];
            let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("pem");
            builder.with_client_auth_cert(chain, key).expect("pair")
        }
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    std::sync::Arc::new(config)
}

type Stream = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

async fn connect(server: &Server, config: std::sync::Arc<rustls::ClientConfig>) -> std::io::Result<Stream> {
    let socket = tokio::net::TcpStream::connect(server.address()).await?;
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    tokio_rustls::TlsConnector::from(config).connect(name, socket).await
}

/// One put over HTTP/2 on a TLS connection; the gRPC status.
async fn put_over(stream: Stream) -> Result<String, h2::Error> {
    let (mut client, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    let request = ::http::Request::builder()
        .method("POST")
        .uri("https://localhost/etcdserverpb.KV/Put")
        .header("content-type", "application/grpc")
        .body(())
        .expect("valid request");
    let (response, mut body) = client.send_request(request, false)?;
    let message = prost::Message::encode_to_vec(&put("k", "v"));
    let framed = [&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat();
    body.send_data(framed.into(), true)?;
    let mut body = response.await?.into_body();
    while let Some(chunk) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk?.len());
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let status = trailers.get("grpc-status").map(|status| String::from_utf8_lossy(status.as_bytes()).into_owned());
    Ok(status.unwrap_or_default())
}

fn both(serves: Serves) -> Listen {
    Listen { tls: true, ..plain(serves) }
}

#[tokio::test]
async fn one_port_speaks_tls_and_plain_and_both_protocols() {
    let (authority, dir) = (Authority::new(), tempfile::tempdir().expect("temporary directory"));
    let mut setup = Setup::default();
    setup.api.listen = vec![both(Serves::Everything)];
    setup.api.tls = Some(files(dir.path(), &authority.issue(), None));
    let server = Server::start_with(setup);
    assert!(server.kv().await.put(put("k", "v")).await.is_ok(), "plain gRPC");
    let head = "GET /version HTTP/1.1\r\nHost: localhost";
    assert_eq!(http::request(server.address(), head).await.status, 200, "plain HTTP");
    for alpn in [vec![b"h2".as_slice()], vec![]] {
        let stream = connect(&server, client_config(&authority, None, &alpn)).await.expect("handshake");
        assert_eq!(put_over(stream).await.expect("answered"), "0", "gRPC over TLS, {alpn:?}");
    }
    for alpn in [vec![b"http/1.1".as_slice()], vec![]] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = connect(&server, client_config(&authority, None, &alpn)).await.expect("handshake");
        let request = format!("{head}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        // The end of the connection may come without TLS' own goodbye.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "HTTP over TLS, {alpn:?}");
    }
}

#[tokio::test]
async fn client_certificates_are_required_and_everything_is_reloaded() {
    let (authority, next) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut setup = Setup::default();
    setup.api.listen = vec![Listen { plain: false, ..both(Serves::Everything) }];
    setup.api.tls = Some(files(dir.path(), &authority.issue(), Some(&authority.pem)));
    let server = Server::start_with(setup);
    let works = async |authority: &Authority, pair: Option<&Pair>| {
        let Ok(stream) = connect(&server, client_config(authority, pair, &[b"h2"])).await else { return false };
        // With TLS 1.3 the refusal of a client's certificate comes after its handshake.
        put_over(stream).await.is_ok_and(|status| status == "0")
    };
    assert!(!works(&authority, None).await);
    assert!(works(&authority, Some(&authority.issue())).await);
    files(dir.path(), &next.issue(), Some(&next.pem));
    let client = next.issue();
    let reloaded = async { while !works(&next, Some(&client)).await {} };
    tokio::time::timeout(Duration::from_secs(20), reloaded).await.expect("the new files are used");
    assert!(!works(&next, Some(&authority.issue())).await, "the old authority is not trusted any more");
}

/// A client of its own making, of another authority, expired, not valid yet: each is refused, and the next good one is
/// served.
#[tokio::test]
async fn wrong_client_certificates_get_nowhere() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut setup = Setup::default();
    setup.api.listen = vec![Listen { plain: false, ..both(Serves::Everything) }];
    setup.api.tls = Some(files(dir.path(), &authority.issue(), Some(&authority.pem)));
    let server = Server::start_with(setup);
    let served = async |pair: Option<&Pair>| {
        let Ok(stream) = connect(&server, client_config(&authority, pair, &[b"h2"])).await else { return false };
        put_over(stream).await.is_ok_and(|status| status == "0")
    };
    let self_signed = {
        let key = KeyPair::generate().expect("key");
        let params = CertificateParams::new(vec!["localhost".to_string()]).expect("valid names");
        Pair { cert: params.self_signed(&key).expect("self-signed").pem(), key: key.serialize_pem() }
    };
    let expired = authority.issue_with(|params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let too_early = authority.issue_with(|params| params.not_before = rcgen::date_time_ymd(4000, 1, 1));
    let wrong = [None, Some(&self_signed), Some(&expired), Some(&too_early), Some(&foreign.issue())];
    for (at, pair) in wrong.into_iter().enumerate() {
        assert!(!served(pair).await, "wrong client {at}");
        assert!(served(Some(&authority.issue())).await, "after wrong client {at}");
    }
}

/// Plain bytes to a port of TLS alone, TLS to a plain one, and protocols that nobody speaks: the connection ends,
/// others go on.
#[tokio::test]
async fn r81_the_wrong_protocol_for_a_port_ends_its_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (authority, dir) = (Authority::new(), tempfile::tempdir().expect("temporary directory"));
    let mut setup = Setup::default();
    setup.api.listen = vec![Listen { plain: false, ..both(Serves::Everything) }, plain(Serves::Everything)];
    setup.api.tls = Some(files(dir.path(), &authority.issue(), None));
    let server = Server::start_with(setup);
    let [tls, plain] = server.addresses.as_slice() else { panic!("two listeners") };
    let hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00";
    let get = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for (address, bytes) in
        [(tls, &get[..]), (tls, http2), (tls, b"\x16\x02\0\0\xff\xff"), (plain, hello), (plain, b"\r\n\r\n\0")]
    {
        let mut socket = tokio::net::TcpStream::connect(address).await.expect("connected");
        socket.write_all(bytes).await.expect("written");
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{bytes:?}");
        assert!(!answer.windows(8).any(|window| window == b" 200 OK\r"), "{bytes:?}");
        let stream = connect(&server, client_config(&authority, None, &[b"h2"])).await.expect("handshake");
        assert_eq!(put_over(stream).await.expect("answered"), "0", "after {bytes:?}");
    }
    let unknown = connect(&server, client_config(&authority, None, &[b"spdy/3"])).await;
    assert!(unknown.is_err(), "no protocol in common");
}

#[tokio::test]
async fn unix_sockets_serve_like_ports() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let url = format!("unix://{}", dir.path().join("socket").display());
    let mut setup = Setup::default();
    setup.api.listen = Listen::from_urls(&[url], Serves::Everything).expect("valid");
    let server = Server::start_with(setup);
    let path = dir.path().join("socket");
    let mut socket = tokio::net::UnixStream::connect(&path).await.expect("connected");
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    socket.write_all(b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("read");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    drop(server);
    assert!(!path.exists(), "the socket goes with the server");
}
