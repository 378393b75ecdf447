//! Takes fields that h2 refuses, and etcd does not, out of what an HTTP/2 client sends, before h2 sees it.
//!
//! An `:authority` that is none by the book comes from clients that name their target in it (`#initially=[…]`, paths of
//! unix sockets, nothing at all), `te` and the fields of HTTP/1's connections from proxies. Nobody here reads them. h2
//! would reset the stream with PROTOCOL_ERROR.
//!
//! Only blocks of headers are looked into; they are handed on when they are whole. All other bytes pass as they come.
//!
//! Invariants: what is handed on is never longer than what came; at most `BLOCK_BYTES_MAX` and one read wait here. A
//! block that is too long or malformed passes untouched, as does everything behind it: h2 refuses it, with words of
//! its own. If the block could mean something else to h2 than to the client, the connection ends instead.
//!
//! Not here: what fields are (`fields`).

mod fields;
mod huffman;

use fields::Fields;
use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// What an HTTP/2 client sends before its first frame.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;
const FRAME_HEADERS: u8 = 1;
const FRAME_CONTINUATION: u8 = 9;
const FLAG_END_HEADERS: u8 = 4;
const FLAG_PADDED: u8 = 8;
const FLAG_PRIORITY: u8 = 32;
const PRIORITY_BYTES: usize = 5;
/// What h2 takes in one frame unless it says otherwise, which it does not.
const FRAME_BYTES_MAX: usize = 16 << 10;
/// Longest block that is looked into, with all its frames: twice the list of headers that is taken in.
const BLOCK_BYTES_MAX: usize = 32 << 10;
/// Frames of one block; h2 takes fewer.
const BLOCK_FRAMES_MAX: usize = 16;

pub(super) struct HeaderFilter {
    fields: Fields,
    /// Bytes to come that begin no frame.
    skip: usize,
    /// A block was not understood: everything passes.
    is_lost: bool,
    /// The beginning of a frame's head or of a block.
    held: Vec<u8>,
    /// What is to be handed on, and how much of it was.
    ready: Vec<u8>,
    handed_on: usize,
}

/// What a stream of bytes begins with.
enum Front<'a> {
    Block(Block<'a>),
    /// More bytes are needed to tell.
    Incomplete,
    /// Frames that h2 refuses, or a block that is too long.
    Refused,
}

struct Block<'a> {
    flags: u8,
    stream: [u8; 4],
    priority: &'a [u8],
    fields: Cow<'a, [u8]>,
    /// Of all its frames.
    bytes: usize,
}

impl HeaderFilter {
    pub(super) fn new() -> HeaderFilter {
        HeaderFilter {
            fields: Fields::new(),
            skip: PREFACE.len(),
            is_lost: false,
            held: Vec::new(),
            ready: Vec::new(),
            handed_on: 0,
        }
    }

    /// Reads from `stream` what h2 is to get.
    pub(super) fn poll_read(
        &mut self,
        mut stream: impl AsyncRead + Unpin,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.hand_on(buf) {
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut stream).poll_read(cx, buf))?;
            let Some(received @ [_, ..]) = buf.filled_mut().get_mut(before..) else { return Poll::Ready(Ok(())) };
            if self.held.is_empty() {
                let (passed, held_from) = self.filter(received)?;
                self.held.extend_from_slice(received.get(held_from..).unwrap_or_default());
                buf.set_filled(before + passed);
                if passed > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let mut bytes = std::mem::take(&mut self.held);
                bytes.extend_from_slice(received);
                buf.set_filled(before);
                let (passed, held_from) = self.filter(&mut bytes)?;
                self.held = bytes.split_off(held_from);
                bytes.truncate(passed);
                (self.ready, self.handed_on) = (bytes, 0);
            }
        }
    }

    /// Hands on what is ready; true if that was something.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = self.ready.get(self.handed_on..).unwrap_or_default();
        let bytes = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..bytes).unwrap_or_default());
        self.handed_on += bytes;
        if self.handed_on == self.ready.len() {
            (self.ready, self.handed_on) = (Vec::new(), 0);
        }
        bytes > 0
    }

    /// Filters in place. How many bytes at the front are to be handed on, and where those begin that are to be held.
    fn filter(&mut self, bytes: &mut [u8]) -> io::Result<(usize, usize)> {
        let (mut read, mut written) = (0, 0);
        while read < bytes.len() {
            if self.is_lost {
                self.skip = usize::MAX;
            }
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len() - read);
                if read != written {
                    bytes.copy_within(read..read + passed, written);
                }
                (self.skip, read, written) = (self.skip - passed, read + passed, written + passed);
                continue;
            }
            let rest = bytes.get(read..).unwrap_or_default();
            let Some(head) = Head::of(rest) else { break };
            if head.kind != FRAME_HEADERS {
                self.skip = FRAME_HEAD_BYTES + head.payload_bytes;
                continue;
            }
            let (came, changed) = match Front::of(rest, head) {
                Front::Incomplete => break,
                Front::Refused => {
                    self.lose()?;
                    continue;
                }
                Front::Block(block) => match self.fields.filter(&block.fields) {
                    Ok(None) => (block.bytes, None),
                    Ok(Some(fields)) => (block.bytes, Some(block.with(&fields))),
                    Err(fields::Malformed) => {
                        self.lose()?;
                        continue;
                    }
                },
            };
            match changed {
                None => self.skip = came,
                Some(frames) => {
                    let Some(space) = bytes.get_mut(written..written + frames.len()) else {
                        return Err(io::ErrorKind::InvalidData.into());
                    };
                    space.copy_from_slice(&frames);
                    (read, written) = (read + came, written + frames.len());
                }
            }
        }
        Ok((written, read))
    }

    /// From now on everything passes, unless that could be misunderstood.
    fn lose(&mut self) -> io::Result<()> {
        self.is_lost = true;
        if self.fields.has_left_out() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block of headers is too long or malformed"));
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Head {
    payload_bytes: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl Head {
    fn of(bytes: &[u8]) -> Option<Head> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.first_chunk::<FRAME_HEAD_BYTES>()?;
        Some(Head { payload_bytes: u32::from_be_bytes([0, a, b, c]) as usize, kind, flags, stream })
    }

    fn put(self, out: &mut Vec<u8>) {
        let [_, a, b, c] = (self.payload_bytes as u32).to_be_bytes();
        out.extend_from_slice(&[a, b, c, self.kind, self.flags]);
        out.extend_from_slice(&self.stream);
    }
}

impl<'a> Front<'a> {
    /// What begins at `bytes`, which is a frame of headers with this head.
    fn of(bytes: &'a [u8], head: Head) -> Front<'a> {
        let mut end = FRAME_HEAD_BYTES + head.payload_bytes;
        if head.payload_bytes > FRAME_BYTES_MAX {
            return Front::Refused;
        }
        let Some(payload) = bytes.get(FRAME_HEAD_BYTES..end) else { return Front::Incomplete };
        let Some((priority, fields)) = unpack(payload, head.flags) else { return Front::Refused };
        let mut fields = Cow::Borrowed(fields);
        let mut flags = head.flags;
        for _ in 0..BLOCK_FRAMES_MAX {
            if flags & FLAG_END_HEADERS != 0 {
                return Front::Block(Block { flags: head.flags, stream: head.stream, priority, fields, bytes: end });
            }
            let Some(next) = bytes.get(end..).and_then(Head::of) else { return Front::Incomplete };
            let begin = end + FRAME_HEAD_BYTES;
            end = begin + next.payload_bytes;
            if next.kind != FRAME_CONTINUATION || next.stream != head.stream || end > BLOCK_BYTES_MAX {
                return Front::Refused;
            }
            let Some(payload) = bytes.get(begin..end) else { return Front::Incomplete };
            fields.to_mut().extend_from_slice(payload);
            flags = next.flags;
        }
        Front::Refused
    }
}

/// The priority and the fields in a frame of headers.
fn unpack(payload: &[u8], flags: u8) -> Option<(&[u8], &[u8])> {
    let (padding, payload) = match flags & FLAG_PADDED {
        0 => (0, payload),
        _ => payload.split_first().map(|(padding, rest)| (usize::from(*padding), rest))?,
    };
    let priority_bytes = if flags & FLAG_PRIORITY == 0 { 0 } else { PRIORITY_BYTES };
    let (priority, fields) = payload.split_at_checked(priority_bytes)?;
    Some((priority, fields.get(..fields.len().checked_sub(padding)?)?))
}

impl Block<'_> {
    /// The same block with other fields, in as few frames as hold them, without padding.
    fn with(&self, fields: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes);
        let mut flags = self.flags & !(FLAG_PADDED | FLAG_END_HEADERS);
        let (mut kind, mut front, mut rest) = (FRAME_HEADERS, self.priority, fields);
        loop {
            let (now, later) = rest.split_at(rest.len().min(FRAME_BYTES_MAX - front.len()));
            flags |= if later.is_empty() { FLAG_END_HEADERS } else { 0 };
            Head { payload_bytes: front.len() + now.len(), kind, flags, stream: self.stream }.put(&mut out);
            out.extend_from_slice(front);
            out.extend_from_slice(now);
            if later.is_empty() {
                return out;
            }
            (kind, flags, front, rest) = (FRAME_CONTINUATION, 0, &[], later);
        }
    }
}

#[cfg(test)]
mod tests;
