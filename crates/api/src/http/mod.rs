//! The HTTP endpoints, over HTTP/1 and HTTP/2: health, version, metrics, variables. Bodies, codes and headers are what
//! etcd's are, because probes and scripts read them.
//!
//! Not here: connections (`transport`), the JSON gateway.

mod encoding;
mod health;
mod metrics;
mod process;
mod vars;

use crate::call::{Peer, Rim};
use crate::grpc::{Answers, Respond};
use crate::in_flight::{Account, Piece};
use crate::listen::Serves;
use bytes::Bytes;
use h2::RecvStream;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use std::rc::Rc;
use std::time::Duration;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_SNIFF: (HeaderName, HeaderValue) = (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

/// The parts of a request that these endpoints look at.
pub(crate) struct Head {
    method: Method,
    path: String,
    query: String,
    host: String,
    origin: Option<HeaderValue>,
    accept_encoding: Option<HeaderValue>,
}

impl Head {
    pub(crate) fn of<B>(request: &Request<B>) -> Head {
        let uri = request.uri();
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        Head {
            method: request.method().clone(),
            path: uri.path().to_string(),
            query: uri.query().unwrap_or_default().to_string(),
            host: host.or(uri.authority().map(|authority| authority.as_str())).unwrap_or_default().to_string(),
            origin: request.headers().get(header::ORIGIN).cloned(),
            accept_encoding: request.headers().get(header::ACCEPT_ENCODING).cloned(),
        }
    }

    /// The decoded values of a query parameter, in order.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(move |(key, _)| decode(key) == name).map(|(_, value)| decode(value))
    }
}

/// Decodes a part of a query. What is not an encoding stands for itself.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'+', _) => (b' ', after),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', rest.get(1..).unwrap_or_default()),
            },
            _ => (first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// What a request is charged while it is answered: its stream and its task.
const REQUEST_BYTES: usize = 2 << 10;
/// A longer body is a text of `/metrics`, which is shared.
const OWN_BODY_BYTES_MAX: usize = 16 << 10;
/// Time for a client to read a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers an HTTP/2 request that is no gRPC call.
pub(crate) async fn answer_http2(
    rim: Rc<Rim>,
    peer: Peer,
    account: Rc<Account>,
    request: Request<RecvStream>,
    mut respond_to: Respond,
) {
    let head = Head::of(&request);
    drop(request);
    let (parts, body) = match account.charge(REQUEST_BYTES).await {
        Ok(_charge) => respond(&rim, peer, head).await,
        Err(status) => error(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", status.message)),
    }
    .into_parts();
    let Ok(stream) = respond_to.send_response(Response::from_parts(parts, ()), body.is_empty()) else { return };
    if !body.is_empty() {
        send_body(Answers::over(stream, account), body).await;
    }
}

async fn send_body(mut answers: Answers, body: Bytes) {
    let charge = answers.account().charge_anyway(REQUEST_BYTES + body.len().min(OWN_BODY_BYTES_MAX));
    match tokio::time::timeout(BODY_TIMEOUT, answers.send(Piece::new(body, charge))).await {
        Ok(Ok(())) => answers.end(),
        Ok(Err(_)) => {}
        Err(_) => answers.reset(h2::Reason::CANCEL),
    }
}

/// The access rules that browsers need, then the endpoint.
pub(crate) async fn respond(rim: &Rim, peer: Peer, head: Head) -> Response<Bytes> {
    if peer.serves == Serves::Metrics {
        return route(rim, peer.serves, &head).await;
    }
    if !peer.is_tls && !is_host_allowed(rim, &head.host) {
        tracing::warn!(host = head.host, "rejecting HTTP request to prevent DNS rebinding attacks");
        return misdirected(hostname(&head.host));
    }
    let mut response = match head.method {
        Method::OPTIONS => Response::new(Bytes::new()),
        _ => route(rim, peer.serves, &head).await,
    };
    if let Some(origin) = allowed_origin(rim, &head) {
        put_cors(response.headers_mut(), origin);
    }
    response
}

fn hostname(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_host_allowed(rim: &Rim, host: &str) -> bool {
    let allowed = &rim.config().host_whitelist;
    allowed.is_empty() || allowed.iter().any(|allowed| allowed == "*" || allowed == hostname(host))
}

fn misdirected(host: &str) -> Response<Bytes> {
    let body = format!(
        "\netcd received your request, but the Host header was unrecognized.\n\n\
         To fix this, choose one of the following options:\n\
         - Enable TLS, then any HTTPS request will be allowed.\n\
         - Add the hostname you want to use to the whitelist in settings.\n  \
         - e.g. etcd --host-whitelist {host:?}\n\n\
         This requirement has been added to help prevent \"DNS Rebinding\" attacks (CVE-2018-5702).\n\n"
    );
    error(StatusCode::MISDIRECTED_REQUEST, body)
}

fn allowed_origin(rim: &Rim, head: &Head) -> Option<HeaderValue> {
    let allowed = &rim.config().cors;
    if allowed.is_empty() || allowed.iter().any(|origin| origin == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    head.origin.clone().filter(|origin| allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()))
}

fn put_cors(headers: &mut HeaderMap, origin: HeaderValue) {
    let methods = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let names = HeaderValue::from_static("accept, content-type, authorization");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
}

async fn route(rim: &Rim, serves: Serves, head: &Head) -> Response<Bytes> {
    match head.path.as_str() {
        "/metrics" => serve_metrics(rim, head).await,
        "/health" => health::health(rim, head).await,
        "/version" if serves != Serves::Metrics => get(head, || version(rim)),
        "/debug/vars" if serves != Serves::Metrics => get(head, || vars::vars(rim)),
        path => match health::checks_of(path) {
            Some(checks) => health::run(rim, head, checks).await,
            None => error(StatusCode::NOT_FOUND, "404 page not found\n".to_string()),
        },
    }
}

/// A text with the given status, as Go's `http.Error` sends it.
fn error(status: StatusCode, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    let (name, value) = NO_SNIFF;
    response.headers_mut().insert(name, value);
    response
}

fn method_not_allowed() -> Response<Bytes> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".to_string());
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    response
}

fn get(head: &Head, answer: impl FnOnce() -> Response<Bytes>) -> Response<Bytes> {
    if head.method == Method::GET { answer() } else { method_not_allowed() }
}

fn version(rim: &Rim) -> Response<Bytes> {
    let view = rim.node.view();
    let cluster = view.membership().cluster_version().unwrap_or("not_decided");
    let server = model::ETCD_VERSION;
    let storage = model::ETCD_CLUSTER_VERSION;
    let body = format!(r#"{{"etcdserver":"{server}","etcdcluster":"{cluster}","storage":"{storage}"}}"#);
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

async fn serve_metrics(rim: &Rim, head: &Head) -> Response<Bytes> {
    rim.shared.http.scrapes_in_flight.add(1);
    let shared = rim.shared.clone();
    let wants_gzip = encoding::prefers_gzip(head.accept_encoding.as_ref());
    let text = if wants_gzip {
        rim.shared.compressed_scrapes.ask(move || encoding::gzip(metrics::export(&shared).as_bytes())).await
    } else {
        rim.shared.scrapes.ask(move || metrics::export(&shared).into_bytes()).await
    };
    rim.shared.http.scrapes_in_flight.add(-1);
    let Ok(text) = text else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be collected\n".to_string());
    };
    rim.shared.http.scrapes.increment();
    let mut response = Response::new(text);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    if wants_gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str) -> Head {
        Head::of(&Request::builder().uri(target).body(()).expect("valid request"))
    }

    #[test]
    fn query_parameters_are_decoded_and_repeat() {
        let head = head("http://h:1/readyz?exclude=a%2Fb&verbose&exclude=c+d&other=%zz");
        assert_eq!(head.values("exclude").collect::<Vec<_>>(), ["a/b", "c d"]);
        assert_eq!(head.values("verbose").collect::<Vec<_>>(), [""]);
        assert_eq!(head.values("other").collect::<Vec<_>>(), ["%zz"]);
        assert_eq!(head.values("missing").count(), 0);
        assert_eq!(head.host, "h:1");
    }

    #[test]
    fn a_host_is_known_without_its_port() {
        for (host, name) in [("a:1", "a"), ("a", "a"), ("[::1]:2379", "::1"), ("[::1]", "::1"), ("", "")] {
            assert_eq!(hostname(host), name);
        }
    }
}
