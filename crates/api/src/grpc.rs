//! gRPC over HTTP/2: request headers, message framing, trailers. Texts and corner cases are grpc-go's, since its
//! clients and its users' scripts know them.
//!
//! A message is a flag byte, a big-endian length and the protobuf bytes. Most arrive whole in one DATA frame and are
//! then handed out as a slice of it. Lengths are checked before anything is allocated by them.
//! Not here: unpacking messages that a client compressed (`gzip`), and bodies (`body`).

use crate::body::{Body, Collector};
use crate::gzip;
use crate::in_flight::{Account, Charge, Piece};
use crate::status::{self, Code, Status};
use bytes::{Buf, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::Sleep;

/// What the headers of a call say, beside its path.
#[derive(Debug, Default)]
pub(crate) struct CallHead {
    pub(crate) timeout: Option<Duration>,
    /// Asks to be refused, or cut off later, while this member knows no leader.
    pub(crate) require_leader: bool,
    /// `client-api-version`, unless there is none.
    pub(crate) client_api_version: Option<HeaderValue>,
    /// A compressor that messages may be compressed with.
    encoding: Option<HeaderValue>,
}

/// A call that is refused before it has a method: an HTTP status other than 200 goes with it.
#[derive(Debug)]
pub(crate) struct EarlyAbort {
    pub(crate) http: StatusCode,
    pub(crate) status: Status,
}

impl CallHead {
    /// Reads the headers in one pass.
    pub(crate) fn parse(headers: &HeaderMap) -> Result<CallHead, EarlyAbort> {
        let mut head = CallHead::default();
        let mut leader_seen = false;
        for (name, value) in headers {
            match name.as_str() {
                "grpc-timeout" => head.timeout = Some(parse_timeout(value.as_bytes()).map_err(bad_timeout)?),
                "grpc-encoding" if !matches!(value.as_bytes(), b"" | b"identity") => {
                    head.encoding = Some(value.clone())
                }
                // Only the first value counts of a header given more than once.
                "hasleader" if !leader_seen => {
                    leader_seen = true;
                    head.require_leader = value == "true";
                }
                "client-api-version" if head.client_api_version.is_none() => {
                    head.client_api_version = Some(value.clone());
                }
                _ => {}
            }
        }
        Ok(head)
    }

    /// Whether messages may be compressed, which only gzip is known for.
    pub(crate) fn is_gzip(&self) -> Result<bool, Status> {
        self.encoding.as_ref().map_or(Ok(false), |encoding| {
            if encoding == "gzip" {
                return Ok(true);
            }
            let name = String::from_utf8_lossy(encoding.as_bytes());
            let text = format!("grpc: Decompressor is not installed for grpc-encoding {name:?}");
            Err(Status::new(Code::Unimplemented, text))
        })
    }
}

fn bad_timeout(reason: String) -> EarlyAbort {
    let status = Status::new(Code::Internal, format!("malformed grpc-timeout: {reason}"));
    EarlyAbort { http: StatusCode::BAD_REQUEST, status }
}

/// Up to eight digits and a unit.
fn parse_timeout(text: &[u8]) -> Result<Duration, String> {
    let quoted = || format!("{:?}", String::from_utf8_lossy(text));
    let (&unit, digits) = match text {
        [] | [_] => return Err(format!("transport: timeout string is too short: {}", quoted())),
        _ if text.len() > 9 => return Err(format!("transport: timeout string is too long: {}", quoted())),
        [digits @ .., unit] => (unit, digits),
    };
    let unit: fn(u64) -> Duration = match unit {
        b'H' => |n| Duration::from_secs(n * 3600),
        b'M' => |n| Duration::from_secs(n * 60),
        b'S' => Duration::from_secs,
        b'm' => Duration::from_millis,
        b'u' => Duration::from_micros,
        b'n' => Duration::from_nanos,
        _ => return Err(format!("transport: timeout unit is not recognized: {}", quoted())),
    };
    let number = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|digits| digits.parse().ok());
    number
        .map(unit)
        .ok_or_else(|| format!("strconv.ParseUint: parsing {:?}: invalid syntax", String::from_utf8_lossy(digits)))
}

/// True if the content type says gRPC: the name alone or with a subtype or parameters behind it.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return false };
    value
        .as_bytes()
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The parts of the path `/package.Service/Method`, or the status for one that is not of this form.
pub(crate) fn split_path(path: &str) -> Result<(&str, &str), Status> {
    let malformed = || Status::new(Code::Unimplemented, format!("malformed method name: {path:?}"));
    path.strip_prefix('/').and_then(|path| path.rsplit_once('/')).ok_or_else(malformed)
}

pub(crate) fn unknown_service(service: &str) -> Status {
    Status::new(Code::Unimplemented, format!("unknown service {service}"))
}

pub(crate) fn unknown_method(service: &str, method: &str) -> Status {
    Status::new(Code::Unimplemented, format!("unknown method {method} for service {service}"))
}

/// Why no message came.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The message or its frame is refused; the call ends with this status.
    Refused(Status),
    /// The client is gone or gave up the call: nobody waits for an answer.
    Gone,
}

/// What request bodies may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) message_bytes_max: usize,
    /// Time for a message that has begun to be there, and for the one of a call that has one.
    pub(crate) timeout: Duration,
}

/// Cuts the messages out of a request body.
pub(crate) struct Messages {
    body: Body,
    limits: BodyLimits,
    /// Messages may be compressed.
    is_gzip: bool,
    account: Rc<Account>,
    /// Received and not handed out.
    chunk: Bytes,
    /// The start of a message that came in pieces.
    partial: BytesMut,
    /// Of the whole message in `partial`; nothing of it is taken in before.
    charge: Option<Charge>,
    charging: Option<Charging>,
    /// Of the message handed out last.
    handed_out: Option<Charge>,
    /// Runs while a message is waited for that has to come.
    overdue: Option<Pin<Box<Sleep>>>,
    /// The message of a call that has one, while its end is waited for.
    only: Option<Bytes>,
}

type Charging = Pin<Box<dyn Future<Output = Result<Charge, Status>>>>;

/// How long the end of a stream is waited for behind the message of a call that has one.
const END_TIMEOUT: Duration = Duration::from_millis(50);
/// How long the rest of a refused call is read, so that its client sees the refusal and not a broken stream.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

impl Messages {
    pub(crate) fn new(body: RecvStream, limits: BodyLimits, account: Rc<Account>) -> Messages {
        Messages {
            body: Body::Direct(body),
            limits,
            is_gzip: false,
            account,
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            charge: None,
            charging: None,
            handed_out: None,
            overdue: None,
            only: None,
        }
    }

    /// Whether messages may be compressed.
    pub(crate) fn set_gzip(&mut self, is_gzip: bool) {
        self.is_gzip = is_gzip;
    }

    /// For a call whose handler may be busy while more comes; the collector has to run with it.
    pub(crate) fn collected(self) -> (Messages, Collector) {
        let (body, collector) = self.body.collected();
        (Messages { body, ..self }, collector)
    }

    /// What the connection has in flight.
    pub(crate) fn account(&self) -> &Rc<Account> {
        &self.account
    }

    /// The charge of the message handed out last, if it came in pieces. It is given back with the next message unless
    /// it is taken.
    pub(crate) fn take_charge(&mut self) -> Option<Charge> {
        self.handed_out.take()
    }

    /// The next message; `None` at the end of the stream.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        self.handed_out = None;
        loop {
            if let Some(charging) = &mut self.charging {
                match charging.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(charge) => {
                        self.charging = None;
                        self.charge = Some(charge.map_err(ReadError::Refused)?);
                    }
                }
            }
            if let Some(message) = self.take().map_err(ReadError::Refused)? {
                self.overdue = None;
                return Poll::Ready(Ok(Some(message)));
            }
            if self.charging.is_some() {
                continue;
            }
            match self.body.poll_data(context) {
                Poll::Pending if self.partial.is_empty() => return Poll::Pending,
                Poll::Pending => return self.poll_overdue(context),
                Poll::Ready(Some(Ok(chunk))) => {
                    // What is buffered is charged, so the window is opened again at once.
                    self.body.release(chunk.len());
                    self.chunk = chunk;
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(ReadError::Gone)),
                // As with grpc-go, a prefix that is cut short is no message.
                Poll::Ready(None) if self.partial.len() < crate::wire::PREFIX_BYTES => return Poll::Ready(Ok(None)),
                Poll::Ready(None) => return Poll::Ready(Err(ReadError::Refused(status::TRUNCATED_MESSAGE))),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The message of a call that has one, once the client has ended the stream; more messages are not looked at.
    /// `None` if there was none.
    ///
    /// Waiting for the end costs nothing, since it comes with the message or right behind it, and a call answered
    /// before it would be closed with a reset that counts against the client.
    pub(crate) fn poll_only(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        if self.only.is_none() {
            match self.poll_next(context) {
                Poll::Ready(Ok(Some(message))) => self.only = Some(message),
                Poll::Ready(Err(ReadError::Refused(status))) if status == status::TRUNCATED_MESSAGE => {
                    return Poll::Ready(Err(ReadError::Refused(status::TRUNCATED_REQUEST)));
                }
                other => return other,
            }
        }
        self.poll_end(context).map_ok(|()| self.only.take())
    }

    /// The same within the time that a body may take. A client that does not end its stream is answered all the same,
    /// as with etcd.
    pub(crate) async fn only(&mut self) -> Result<Option<Bytes>, ReadError> {
        let timeout = self.limits.timeout;
        let whole = poll_fn(|context| match self.poll_only(context) {
            Poll::Pending if self.only.is_some() => Poll::Ready(None),
            only => only.map(Some),
        });
        match tokio::time::timeout(timeout, whole).await {
            Ok(Some(only)) => return only,
            Ok(None) => {}
            Err(_) => return Err(ReadError::Refused(self.too_slow())),
        }
        let ended = tokio::time::timeout(END_TIMEOUT, poll_fn(|context| self.poll_end(context))).await;
        ended.unwrap_or(Ok(()))?;
        Ok(self.only.take())
    }

    /// Not before the time that a message may take.
    fn poll_overdue<T>(&mut self, context: &mut Context<'_>) -> Poll<Result<T, ReadError>> {
        let timeout = self.limits.timeout;
        let overdue = self.overdue.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        match overdue.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(ReadError::Refused(self.too_slow()))),
        }
    }

    fn too_slow(&self) -> Status {
        let seconds = self.limits.timeout.as_secs_f64();
        let text = match self.length(&self.partial) {
            Ok(Some(length)) => {
                let here = self.partial.len().saturating_sub(crate::wire::PREFIX_BYTES);
                format!("bowline: {here} of the request's {length} bytes came within {seconds}s")
            }
            _ => format!("bowline: the request did not come within {seconds}s, or its end did not"),
        };
        Status::new(Code::DeadlineExceeded, text)
    }

    /// Passes over whatever the client still sends.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        while !self.body.is_end_stream() {
            match self.body.poll_data(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(chunk))) => self.body.release(chunk.len()),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(ReadError::Gone)),
                Poll::Ready(None) => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The length of the message for which the call was refused, if it is too large.
    pub(crate) fn too_large(&self) -> Option<usize> {
        let begun: &[u8] = if self.partial.is_empty() { &self.chunk } else { &self.partial };
        let (&[_, a, b, c, d], _) = begun.split_first_chunk::<5>()?;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        (length > self.limits.message_bytes_max).then_some(length)
    }

    /// Passes over the rest of a call that was answered early, for a while.
    pub(crate) fn drain(mut self) {
        if self.body.is_end_stream() {
            return;
        }
        self.let_go();
        spawn_local(async move {
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, poll_fn(|context| self.poll_end(context))).await;
        });
    }

    /// Nobody wants what came so far.
    fn let_go(&mut self) {
        (self.chunk, self.partial, self.only) = (Bytes::new(), BytesMut::new(), None);
        (self.charge, self.charging, self.handed_out) = (None, None, None);
    }

    /// A message out of what has been received, if that holds one.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        if self.partial.is_empty()
            && let Some(length) = self.length(&self.chunk)?
        {
            let end = crate::wire::PREFIX_BYTES + length;
            if self.chunk.len() >= end {
                let message = self.chunk.split_to(end);
                return self.unpack(message).map(Some);
            }
        }
        self.take_from_pieces()
    }

    fn take_from_pieces(&mut self) -> Result<Option<Bytes>, Status> {
        self.fill_partial(crate::wire::PREFIX_BYTES);
        let Some(length) = self.length(&self.partial)? else { return Ok(None) };
        if self.charge.is_none() {
            // The whole of it at once: two halves that wait for each other's place would wait for good.
            self.charge = self.account.charge_now(length);
        }
        if self.charge.is_none() {
            let account = self.account.clone();
            self.charging = Some(Box::pin(async move { account.charge(length).await }));
            return Ok(None);
        }
        let end = crate::wire::PREFIX_BYTES + length;
        self.fill_partial(end);
        if self.partial.len() < end {
            return Ok(None);
        }
        let message = std::mem::take(&mut self.partial);
        self.handed_out = self.charge.take();
        self.unpack(message.freeze()).map(Some)
    }

    /// The message behind its prefix, as it was before it was compressed.
    fn unpack(&mut self, mut message: Bytes) -> Result<Bytes, Status> {
        let is_packed = message.first() == Some(&1);
        message.advance(crate::wire::PREFIX_BYTES);
        if is_packed {
            message = gzip::unpack(&message, self.limits.message_bytes_max)?;
            self.handed_out = Some(self.account.charge_anyway(message.len()));
        }
        Ok(message)
    }

    /// Moves bytes from the chunk until the partial message has `length` of them.
    fn fill_partial(&mut self, length: usize) {
        let missing = length.saturating_sub(self.partial.len()).min(self.chunk.len());
        if missing > 0 {
            self.partial.reserve(length - self.partial.len());
        }
        self.partial.extend_from_slice(&self.chunk.split_to(missing));
    }

    /// The length in the prefix of `bytes`, if that is there; checked.
    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, Status> {
        let Some((&[flag, a, b, c, d], _)) = bytes.split_first_chunk::<5>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let message_bytes_max = self.limits.message_bytes_max;
        if length > message_bytes_max {
            let text = format!("grpc: received message larger than max ({length} vs. {message_bytes_max})");
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        match flag {
            0 => Ok(Some(length)),
            1 if self.is_gzip => Ok(Some(length)),
            1 => Err(status::COMPRESSED_WITHOUT_ENCODING),
            _ => Err(Status::new(Code::Internal, format!("grpc: received unexpected payload format {flag}"))),
        }
    }
}

/// Where a call is answered.
pub(crate) type Respond = SendResponse<Piece>;

/// Headers that are the same in every response, made once per thread.
pub(crate) struct ResponseHeads {
    head: HeaderMap,
    ok_trailers: HeaderMap,
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";

impl ResponseHeads {
    pub(crate) fn new() -> ResponseHeads {
        let mut head = HeaderMap::with_capacity(1);
        head.insert(header::CONTENT_TYPE, GRPC);
        let mut ok_trailers = HeaderMap::with_capacity(1);
        ok_trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
        ResponseHeads { head, ok_trailers }
    }

    fn response(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.headers_mut() = self.head.clone();
        response
    }

    /// Answers a unary call with a message that fits the send buffer. A client that is gone does not matter.
    pub(crate) fn send_message(&self, mut respond: Respond, message: Piece) {
        let Ok(mut stream) = respond.send_response(self.response(), false) else { return };
        if stream.send_data(message, false).is_ok() {
            let _ = stream.send_trailers(self.ok_trailers.clone());
        }
    }

    /// Refuses a call that has sent nothing yet.
    pub(crate) fn send_status(&self, respond: Respond, status: &Status) {
        self.send_early(respond, StatusCode::OK, status);
    }

    pub(crate) fn send_early(&self, mut respond: Respond, http: StatusCode, status: &Status) {
        let mut response = self.response();
        *response.status_mut() = http;
        put_status(response.headers_mut(), status);
        let _ = respond.send_response(response, true);
    }

    /// Opens the answer of a streaming call.
    pub(crate) fn open(&self, respond: &mut Respond, account: &Rc<Account>) -> Result<Answers, Gone> {
        let stream = respond.send_response(self.response(), false).map_err(|_| Gone)?;
        Ok(Answers::over(stream, account.clone()))
    }

    /// Ends a streaming call.
    pub(crate) fn close(&self, mut answers: Answers, status: Option<&Status>) {
        let trailers = match status {
            None => self.ok_trailers.clone(),
            Some(status) => {
                let mut trailers = HeaderMap::with_capacity(2);
                put_status(&mut trailers, status);
                trailers
            }
        };
        let _ = answers.stream.send_trailers(trailers);
    }
}

fn put_status(headers: &mut HeaderMap, status: &Status) {
    headers.insert(GRPC_STATUS, HeaderValue::from_static(status.code.digits()));
    let message = percent_encode(&status.message);
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert(GRPC_MESSAGE, message);
    }
}

/// Everything but printable ASCII, and the percent sign itself, as `%XX`.
fn percent_encode(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'%';
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if plain(byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(out)
}

/// What a frame takes in memory beside its bytes.
const FRAME_BYTES: usize = 128;

/// The client is gone, or has cancelled the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// The sending half of a streaming call. A message is handed to HTTP/2 only as the client's window takes it, so that a
/// slow reader holds back its own stream and no memory.
pub(crate) struct Answers {
    stream: SendStream<Piece>,
    account: Rc<Account>,
}

impl Answers {
    pub(crate) fn over(stream: SendStream<Piece>, account: Rc<Account>) -> Answers {
        Answers { stream, account }
    }

    /// What the connection has in flight.
    pub(crate) fn account(&self) -> &Rc<Account> {
        &self.account
    }

    /// Bytes that are small, or in memory anyway, as a piece to send.
    pub(crate) fn piece(&self, bytes: Bytes) -> Piece {
        let charge = self.account.charge_anyway(bytes.len() + FRAME_BYTES);
        Piece::new(bytes, charge)
    }

    /// Ends a body that has no trailers.
    pub(crate) fn end(mut self) {
        let nothing = self.piece(Bytes::new());
        let _ = self.stream.send_data(nothing, true);
    }

    /// Waits until the client's window takes something, and returns how much of `wanted` that is.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Gone>> {
        self.stream.reserve_capacity(wanted);
        loop {
            let capacity = self.stream.capacity();
            if capacity > 0 {
                return Poll::Ready(Ok(capacity.min(wanted)));
            }
            match self.stream.poll_capacity(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Gone)),
            }
        }
    }

    /// Sends bytes that may be any part of the message stream.
    pub(crate) async fn send(&mut self, mut piece: Piece) -> Result<(), Gone> {
        poll_fn(|context| self.poll_send(context, &mut piece)).await
    }

    /// Sends what the client's window takes; ready when all of the piece is on its way.
    pub(crate) fn poll_send(&mut self, context: &mut Context<'_>, piece: &mut Piece) -> Poll<Result<(), Gone>> {
        while !piece.is_empty() {
            self.stream.reserve_capacity(piece.len());
            // What is there already is not announced again.
            let mut capacity = self.stream.capacity();
            if capacity == 0 {
                capacity = match self.stream.poll_capacity(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(capacity))) => capacity,
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Gone)),
                };
            }
            let part = piece.split_to(capacity.min(piece.len()));
            if !part.is_empty() && self.stream.send_data(part, false).is_err() {
                return Poll::Ready(Err(Gone));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// True if the window takes this many bytes now.
    pub(crate) fn takes(&mut self, bytes: usize) -> bool {
        self.stream.reserve_capacity(bytes);
        self.stream.capacity() >= bytes
    }

    /// Sends bytes that the window takes.
    pub(crate) fn send_now(&mut self, piece: Piece) -> Result<(), Gone> {
        self.stream.send_data(piece, false).map_err(|_| Gone)
    }

    /// Resolves when the client gives up the call.
    pub(crate) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<Gone> {
        self.stream.poll_reset(context).map(|_| Gone)
    }

    /// Ends the call without a status, as when its deadline has passed.
    pub(crate) fn reset(mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}

#[cfg(test)]
#[path = "grpc_tests.rs"]
mod tests;
