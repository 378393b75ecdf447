//! The text of `/metrics`: made on a thread of its own, since reading about the process takes the file system; one at a
//! time for the whole process, and shared by all who asked before it was begun.
//!
//! Those that are to be compressed are another one of these.
//!
//! Invariants: one thread at most; the texts that clients do not read take no more than `UNREAD_BYTES_MAX` and one
//! text, after which the newest of them is what everybody gets.

use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::oneshot;

/// Texts that somebody still has.
const UNREAD_BYTES_MAX: usize = 8 << 20;

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Scrapes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_running: bool,
    waiting: Vec<oneshot::Sender<Bytes>>,
    /// Oldest first.
    texts: Vec<Weak<Vec<u8>>>,
}

/// A text as the bytes of an answer.
struct Text(Arc<Vec<u8>>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl State {
    /// The newest text, if those that are still there take too much.
    fn newest_if_too_many(&mut self) -> Option<Arc<Vec<u8>>> {
        self.texts.retain(|text| text.strong_count() > 0);
        let texts: Vec<Arc<Vec<u8>>> = self.texts.iter().filter_map(Weak::upgrade).collect();
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        texts.into_iter().next_back().filter(|_| bytes > UNREAD_BYTES_MAX)
    }
}

impl Scrapes {
    /// Asks for a text as of now, which `export` makes. The answer fails only if it cannot be made.
    pub(crate) fn ask(self: &Arc<Scrapes>, export: impl Fn() -> Vec<u8> + Send + 'static) -> oneshot::Receiver<Bytes> {
        let (sender, answer) = oneshot::channel();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push(sender);
        if !std::mem::replace(&mut state.is_running, true) {
            let scrapes = self.clone();
            tokio::task::spawn_blocking(move || run(&scrapes, export));
        }
        answer
    }
}

/// Makes texts for as long as somebody waits.
fn run(scrapes: &Scrapes, export: impl Fn() -> Vec<u8>) {
    loop {
        let (waiting, kept) = {
            let mut state = scrapes.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() {
                state.is_running = false;
                return;
            }
            (std::mem::take(&mut state.waiting), state.newest_if_too_many())
        };
        let text = kept.unwrap_or_else(|| {
            let text = Arc::new(export());
            let mut state = scrapes.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.texts.push(Arc::downgrade(&text));
            text
        });
        let bytes = Bytes::from_owner(Text(text));
        for waiting in waiting {
            // Who went away does not matter.
            let _ = waiting.send(bytes.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn wait(scrapes: &Scrapes) -> oneshot::Receiver<Bytes> {
        let (sender, answer) = oneshot::channel();
        scrapes.state.lock().expect("not poisoned").waiting.push(sender);
        answer
    }

    #[test]
    fn all_who_wait_share_one_text_and_who_comes_later_gets_a_newer_one() {
        let (scrapes, made) = (Scrapes::default(), Cell::new(0));
        let export = || {
            made.set(made.get() + 1);
            format!("text {}", made.get()).into_bytes()
        };
        let mut first = [wait(&scrapes), wait(&scrapes)];
        run(&scrapes, export);
        let texts = first.each_mut().map(|answer| answer.try_recv().expect("answered"));
        assert_eq!(texts, ["text 1", "text 1"]);
        let mut later = wait(&scrapes);
        run(&scrapes, export);
        assert_eq!(later.try_recv().expect("answered"), "text 2");
        assert!(!scrapes.state.lock().expect("not poisoned").is_running);
    }

    #[test]
    fn texts_that_nobody_reads_are_bounded_and_the_newest_is_shared_meanwhile() {
        let (scrapes, made) = (Scrapes::default(), Cell::new(0));
        let export = || {
            made.set(made.get() + 1);
            vec![b'x'; UNREAD_BYTES_MAX / 4]
        };
        let mut unread = Vec::new();
        for _ in 0..20 {
            let mut answer = wait(&scrapes);
            run(&scrapes, export);
            unread.push(answer.try_recv().expect("answered"));
        }
        assert_eq!(made.get(), 5, "four fill the limit, and one goes beyond it");
        drop(unread);
        let mut answer = wait(&scrapes);
        run(&scrapes, export);
        assert!(answer.try_recv().is_ok());
        assert_eq!(made.get(), 6);
    }
}
