//! Watches the frames that an HTTP/2 client sends, for the pings that its HTTP/2 library answers by itself and tells
//! nobody about: a client that pings more often than allowed is told `too_many_pings` and cut off, as grpc-go does it.
//!
//! It also ends a turn of the connection when many frames of data have been read, so that whom they are for can take
//! them before more are read.
//!
//! Only the nine bytes in front of each frame are looked at. The rules for pings: two early pings are forgiven; while
//! no call is open, pings are early if they come within two hours; the count starts over whenever an answer was sent.

use super::coalesce::Coalesce;
use super::header_filter::{HeaderFilter, PREFACE};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const FRAME_HEAD_BYTES: usize = 9;
const FRAME_DATA: u8 = 0;
const FRAME_PING: u8 = 6;
const FRAME_HEADERS: u8 = 1;
const FLAG_ACK: u8 = 1;
/// More than a ping's answer, a window update and an acknowledged setting in one write.
const CONTROL_BYTES_MAX: usize = 9 + 8 + 9 + 4 + 9;
/// Frames of data after which a turn reads no more.
const FRAMES_A_TURN: u32 = 512;
const STRIKES_MAX: u32 = 2;
const IDLE_PING_MIN_TIME: Duration = Duration::from_secs(2 * 3600);

/// What the connection's task tells the guard, and learns from it.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// An answer was sent since the last ping.
    pub(crate) answered: Cell<bool>,
    pub(crate) has_calls: Cell<bool>,
    /// Something was received since this was last cleared.
    pub(crate) received: Cell<bool>,
    /// Frames of data read in this turn of the connection.
    frames: Cell<u32>,
    /// The turn ended with more to read.
    has_more: Cell<bool>,
}

impl Traffic {
    pub(crate) fn begin_turn(&self) {
        self.frames.set(0);
        self.has_more.set(false);
    }

    /// True if another turn is due at once.
    pub(crate) fn has_more(&self) -> bool {
        self.has_more.get()
    }
}

/// Follows frames through a byte stream.
#[derive(Debug)]
struct Frames {
    head: [u8; FRAME_HEAD_BYTES],
    have: usize,
    /// Bytes that belong to no frame's head: payload, or the preface.
    skip: usize,
    last_stream: u32,
    /// Frames of data that began.
    data: u32,
}

impl Frames {
    fn new() -> Frames {
        Frames { head: [0; FRAME_HEAD_BYTES], have: 0, skip: PREFACE.len(), last_stream: 0, data: 0 }
    }

    /// Number of pings that begin in `bytes`, answers to ours not counted.
    fn pings(&mut self, mut bytes: &[u8]) -> u32 {
        let mut pings = 0;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let taken = (FRAME_HEAD_BYTES - self.have).min(bytes.len());
            let (head, rest) = bytes.split_at(taken);
            self.head[self.have..self.have + taken].copy_from_slice(head);
            self.have += taken;
            bytes = rest;
            if self.have == FRAME_HEAD_BYTES {
                self.have = 0;
                pings += u32::from(self.begin_frame());
            }
        }
        pings
    }

    /// Takes in a complete head; true if it is a ping's.
    fn begin_frame(&mut self) -> bool {
        let [a, b, c, kind, flags, d, e, f, g] = self.head;
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        if kind == FRAME_HEADERS {
            self.last_stream = u32::from_be_bytes([d & 0x7f, e, f, g]);
        }
        self.data += u32::from(kind == FRAME_DATA);
        kind == FRAME_PING && flags & FLAG_ACK == 0
    }
}

/// Counts early pings.
#[derive(Debug)]
struct Strikes {
    min_time: Duration,
    last: Option<Instant>,
    count: u32,
}

impl Strikes {
    /// True if this ping is one too many.
    fn ping(&mut self, now: Instant, traffic: &Traffic) -> bool {
        let last = self.last.replace(now);
        if traffic.answered.take() {
            self.count = 0;
            return false;
        }
        let min_time = if traffic.has_calls.get() { self.min_time } else { IDLE_PING_MIN_TIME };
        if last.is_some_and(|last| last + min_time > now) {
            self.count += 1;
        }
        self.count > STRIKES_MAX
    }
}

/// A stream whose frames are watched. After too many pings it reads as ended, and says why when it is shut down.
pub(crate) struct PingGuard {
    stream: Coalesce,
    header_filter: HeaderFilter,
    frames: Frames,
    strikes: Strikes,
    traffic: Rc<Traffic>,
    goodbye: Option<Goodbye>,
}

struct Goodbye {
    frame: [u8; 31],
    written: usize,
}

impl PingGuard {
    pub(crate) fn new(stream: Coalesce, min_time: Duration, traffic: Rc<Traffic>) -> PingGuard {
        let strikes = Strikes { min_time, last: None, count: 0 };
        let (header_filter, frames) = (HeaderFilter::new(), Frames::new());
        PingGuard { stream, header_filter, frames, strikes, traffic, goodbye: None }
    }

    /// Answers are told from the little frames that HTTP/2 sends by itself by their size.
    fn look_at_written(&self, bytes: usize) {
        if bytes > CONTROL_BYTES_MAX {
            self.traffic.answered.set(true);
        }
    }

    fn look_at(&mut self, received: &[u8]) {
        self.traffic.received.set(true);
        let pings = self.frames.pings(received);
        self.traffic.frames.set(self.traffic.frames.get() + std::mem::take(&mut self.frames.data));
        for _ in 0..pings {
            if self.strikes.ping(Instant::now(), &self.traffic) {
                self.goodbye = Some(Goodbye { frame: too_many_pings(self.frames.last_stream), written: 0 });
                return;
            }
        }
    }
}

/// GOAWAY with ENHANCE_YOUR_CALM and the words that gRPC clients look for.
fn too_many_pings(last_stream: u32) -> [u8; 31] {
    let mut frame = [0; 31];
    frame[..9].copy_from_slice(&[0, 0, 22, 7, 0, 0, 0, 0, 0]);
    frame[9..13].copy_from_slice(&last_stream.to_be_bytes());
    frame[13..17].copy_from_slice(&0xbu32.to_be_bytes());
    frame[17..].copy_from_slice(b"too_many_pings");
    frame
}

impl AsyncRead for PingGuard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.goodbye.is_some() {
            return Poll::Ready(Ok(()));
        }
        if self.traffic.frames.get() >= FRAMES_A_TURN {
            self.traffic.has_more.set(true);
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let this = self.get_mut();
        let read = this.header_filter.poll_read(&mut this.stream, cx, buf);
        if let Poll::Ready(Ok(())) = read {
            this.look_at(buf.filled().get(before..).unwrap_or_default());
        }
        read
    }
}

impl AsyncWrite for PingGuard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.look_at_written(buf.len());
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.look_at_written(bufs.iter().map(|buf| buf.len()).sum());
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(goodbye) = &mut this.goodbye {
            while let Some(rest) = goodbye.frame.get(goodbye.written..).filter(|rest| !rest.is_empty()) {
                match Pin::new(&mut this.stream).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => break,
                    Poll::Ready(Ok(written)) => goodbye.written += written,
                    Poll::Pending => return Poll::Pending,
                }
            }
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
        let length = (payload as u32).to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags];
        [&head[..], &stream.to_be_bytes(), &vec![0; payload]].concat()
    }

    #[test]
    fn pings_are_counted_however_the_bytes_are_cut() {
        let bytes = [
            PREFACE.to_vec(),
            frame(4, 0, 0, 18),
            frame(FRAME_HEADERS, 4, 7, 100),
            frame(FRAME_PING, 0, 0, 8),
            frame(FRAME_PING, FLAG_ACK, 0, 8),
            frame(0, 1, 7, 20_000),
            frame(FRAME_PING, 0, 0, 8),
        ]
        .concat();
        for cut in [1, 2, 8, 9, 10, 17, 1000, bytes.len()] {
            let mut frames = Frames::new();
            let pings: u32 = bytes.chunks(cut).map(|chunk| frames.pings(chunk)).sum();
            assert_eq!((pings, frames.last_stream, frames.data), (2, 7, 1), "cut into {cut}");
        }
    }

    #[test]
    fn the_third_early_ping_is_too_many() {
        let traffic = Traffic::default();
        traffic.has_calls.set(true);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut strikes = Strikes { min_time: Duration::from_secs(5), last: None, count: 0 };
        assert!(!strikes.ping(at(0), &traffic));
        assert!(!strikes.ping(at(1), &traffic));
        assert!(!strikes.ping(at(2), &traffic));
        assert!(strikes.ping(at(3), &traffic));
    }

    #[test]
    fn pings_in_time_or_after_answers_are_welcome() {
        let traffic = Traffic::default();
        traffic.has_calls.set(true);
        let start = Instant::now();
        let mut strikes = Strikes { min_time: Duration::from_secs(5), last: None, count: 0 };
        for ping in 0..20 {
            assert!(!strikes.ping(start + Duration::from_secs(5 * ping), &traffic));
        }
        for ping in 0..20 {
            traffic.answered.set(true);
            assert!(!strikes.ping(start + Duration::from_secs(100 + ping), &traffic));
        }
    }

    #[test]
    fn without_a_call_pings_are_early_within_two_hours() {
        let traffic = Traffic::default();
        let start = Instant::now();
        let mut strikes = Strikes { min_time: Duration::from_secs(5), last: None, count: 0 };
        let refused: Vec<bool> =
            (0..4).map(|ping| strikes.ping(start + Duration::from_secs(600 * ping), &traffic)).collect();
        assert_eq!(refused, [false, false, false, true]);
    }
}
