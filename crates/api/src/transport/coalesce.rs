//! Gathers what one turn of a connection writes, so that it leaves with one system call.
//!
//! h2 writes each larger frame by itself and flushes behind it; an event for a hundred watches of a connection would be
//! a hundred system calls, which is most of what it costs. So small writes are copied here, flushes are taken note of,
//! and the connection's task flushes at the end of its turn. Writes that are large by themselves pass through.
//!
//! Invariants: bytes leave in order; nothing waits here beyond the turn that wrote it, unless the socket takes no more.

use super::socket::Stream;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes gathered before they are written without waiting for the end of the turn.
const GATHERED_BYTES_MAX: usize = 64 << 10;
/// A buffer that grew beyond this is given back once it is empty.
const KEPT_BYTES_MAX: usize = 16 << 10;

/// The stream as h2 sees it.
pub(crate) struct Coalesce {
    shared: Rc<RefCell<Shared>>,
}

/// The same stream as the connection's task sees it.
pub(crate) struct Flusher {
    shared: Rc<RefCell<Shared>>,
}

struct Shared {
    stream: Stream,
    gathered: Vec<u8>,
    /// How much of `gathered` is written.
    written: usize,
    /// The task flushes; before it exists, flushes are carried out as they come.
    is_deferred: bool,
}

impl Coalesce {
    pub(crate) fn new(stream: Stream) -> (Coalesce, Flusher) {
        let shared = Shared { stream, gathered: Vec::new(), written: 0, is_deferred: false };
        let shared = Rc::new(RefCell::new(shared));
        (Coalesce { shared: shared.clone() }, Flusher { shared })
    }
}

impl Flusher {
    /// From now on only `poll_flush` flushes.
    pub(crate) fn defer(&self) {
        self.shared.borrow_mut().is_deferred = true;
    }

    pub(crate) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.borrow_mut().poll_flush(context)
    }
}

impl Shared {
    fn poll_write_gathered(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.gathered.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.written = 0;
        self.gathered.clear();
        if self.gathered.capacity() > KEPT_BYTES_MAX {
            self.gathered = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_gathered(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if self.gathered.len() + bytes > GATHERED_BYTES_MAX {
            ready!(self.poll_write_gathered(context))?;
        }
        if bytes > GATHERED_BYTES_MAX {
            return Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        }
        parts.iter().for_each(|part| self.gathered.extend_from_slice(part));
        Poll::Ready(Ok(bytes))
    }
}

impl AsyncRead for Coalesce {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.shared.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Coalesce {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.shared.borrow_mut().poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.shared.borrow_mut().poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.shared.borrow_mut();
        if shared.is_deferred { Poll::Ready(Ok(())) } else { shared.poll_flush(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.shared.borrow_mut();
        ready!(shared.poll_write_gathered(cx))?;
        Pin::new(&mut shared.stream).poll_shutdown(cx)
    }
}
