//! Why a call got no answer, or not the one that was wanted.

use std::fmt;
use tonic::{Code, Status};

pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A file of certificates or the combination of options is wrong.
    Options,
    /// Nobody answers at the endpoint, or the connection broke.
    Unreachable,
    /// No answer within the deadline. A write may have happened.
    Deadline,
    /// The member has no leader, or lost it: nothing linearizable works, what it has itself can be read.
    NoLeader,
    /// Wrong name or password, no user where one is needed, or a token that is not valid any more.
    Unauthenticated,
    /// The user may not do this.
    Denied,
    /// History up to this revision is compacted.
    Compacted,
    /// The revision is still to come.
    FutureRevision,
    /// The alarm NOSPACE is up.
    NoSpace,
    /// The key's prefix would grow beyond its budget; other prefixes can be written.
    OverBudget,
    /// The request or the answer is larger than one of the two sides takes.
    TooLarge,
    /// The server asks to slow down.
    TooManyRequests,
    /// The key, lease, member is not there.
    NotFound,
    /// The server does not know this call.
    Unimplemented,
    Other,
}

/// Why a call got no answer, in a sentence that names the endpoint or the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    text: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, text: String) -> Error {
        Error { kind, text }
    }

    /// `doing` says what was asked of whom.
    pub(crate) fn of_status(doing: &str, status: &Status) -> Error {
        let mut text = format!("{doing}: {}", status.message());
        // A status that no server sent has what happened to the connection as its cause.
        let mut cause = std::error::Error::source(status);
        let broke = cause.is_some() && status.code() == Code::Unknown;
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        let kind = if broke { ErrorKind::Unreachable } else { kind(status.code(), status.message()) };
        Error { kind, text }
    }

    pub(crate) fn hinted(mut self, hint: &str) -> Error {
        self.text.push_str(hint);
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// A code of gRPC says little of why; etcd's texts are part of its contract, so they decide where one code has several.
fn kind(code: Code, text: &str) -> ErrorKind {
    match code {
        Code::Unimplemented => ErrorKind::Unimplemented,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::Denied,
        Code::NotFound => ErrorKind::NotFound,
        Code::DeadlineExceeded => ErrorKind::Deadline,
        // How the client's own timer ends a call.
        Code::Cancelled if text.contains("Timeout expired") => ErrorKind::Deadline,
        Code::OutOfRange if text.contains("compacted") => ErrorKind::Compacted,
        Code::OutOfRange if text.contains("future") => ErrorKind::FutureRevision,
        // Of a message: larger than the side that decodes it takes.
        Code::OutOfRange => ErrorKind::TooLarge,
        Code::ResourceExhausted if text.contains("database space exceeded") => ErrorKind::NoSpace,
        Code::ResourceExhausted if text.starts_with("bowline: budget of ") => ErrorKind::OverBudget,
        Code::ResourceExhausted if text.contains("too many requests") => ErrorKind::TooManyRequests,
        Code::ResourceExhausted if text.contains("larger than max") => ErrorKind::TooLarge,
        Code::InvalidArgument if text.contains("request is too large") => ErrorKind::TooLarge,
        Code::InvalidArgument if text.contains("authentication failed") => ErrorKind::Unauthenticated,
        Code::InvalidArgument if text.contains("user name is empty") => ErrorKind::Unauthenticated,
        Code::Unavailable if text.contains("no leader") || text.contains("leader changed") => ErrorKind::NoLeader,
        // Etcd waits for a leader as long as it waits for an answer.
        Code::Unavailable if text.contains("request timed out") => ErrorKind::NoLeader,
        Code::Unavailable => ErrorKind::Unreachable,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_texts_tell_what_its_codes_do_not() {
        let cases = [
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", ErrorKind::Compacted),
            (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision", ErrorKind::FutureRevision),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", ErrorKind::NoSpace),
            (
                Code::ResourceExhausted,
                "bowline: budget of /registry/pods exceeded: 2 keys are there",
                ErrorKind::OverBudget,
            ),
            (Code::ResourceExhausted, "etcdserver: too many requests", ErrorKind::TooManyRequests),
            (Code::ResourceExhausted, "grpc: received message larger than max (3 vs. 2)", ErrorKind::TooLarge),
            (Code::InvalidArgument, "etcdserver: request is too large", ErrorKind::TooLarge),
            (Code::InvalidArgument, "etcdserver: duplicate key given in txn request", ErrorKind::Other),
            (Code::Unavailable, "etcdserver: no leader", ErrorKind::NoLeader),
            (Code::Unavailable, "etcdserver: request timed out", ErrorKind::NoLeader),
            (Code::Unavailable, "tcp connect error", ErrorKind::Unreachable),
            (Code::Unauthenticated, "etcdserver: invalid auth token", ErrorKind::Unauthenticated),
        ];
        for (code, text, expected) in cases {
            assert_eq!(kind(code, text), expected, "{text}");
        }
    }
}
