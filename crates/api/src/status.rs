//! Every refusal that a client can see: gRPC code and text, in one place.
//!
//! The texts are the contract: client libraries recognise etcd's errors by text alone. Codes that look wrong here (too
//! many requests as Unknown) are etcd's own. Not here: HTTP statuses of the JSON endpoints.

use model::Rejection;
use mvcc::ReadError;
use node::{Ailment, DiskTrouble, Refused};
use std::borrow::Cow;

/// A gRPC status code; the number is the wire value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    Ok = 0,
    Canceled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    pub(crate) const COUNT: usize = 17;

    /// By number.
    pub(crate) const ALL: [Code; Code::COUNT] = [
        Code::Ok,
        Code::Canceled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];

    /// The names that metrics and error texts give them, by number.
    const NAMES: [&'static str; Code::COUNT] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];

    pub(crate) fn name(self) -> &'static str {
        Code::NAMES[self as usize]
    }

    /// The decimal number, as `grpc-status` carries it.
    pub(crate) fn digits(self) -> &'static str {
        const DIGITS: [&str; Code::COUNT] =
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
        DIGITS[self as usize]
    }
}

/// Why a call ended; never `Code::Ok`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub code: Code,
    pub message: Cow<'static, str>,
}

impl Status {
    pub(crate) const fn fixed(code: Code, message: &'static str) -> Status {
        Status { code, message: Cow::Borrowed(message) }
    }

    pub(crate) fn new(code: Code, message: String) -> Status {
        Status { code, message: Cow::Owned(message) }
    }
}

macro_rules! statuses {
    ($($name:ident = $code:ident $text:literal;)*) => {
        $(pub(crate) const $name: Status = Status::fixed(Code::$code, $text);)*
    };
}

statuses! {
    EMPTY_KEY = InvalidArgument "etcdserver: key is not provided";
    KEY_NOT_FOUND = InvalidArgument "etcdserver: key not found";
    VALUE_PROVIDED = InvalidArgument "etcdserver: value is provided";
    LEASE_PROVIDED = InvalidArgument "etcdserver: lease is provided";
    TOO_MANY_OPS = InvalidArgument "etcdserver: too many operations in txn request";
    DUPLICATE_KEY = InvalidArgument "etcdserver: duplicate key given in txn request";
    INVALID_CLIENT_API_VERSION = InvalidArgument "etcdserver: invalid client api version";
    INVALID_SORT_OPTION = InvalidArgument "etcdserver: invalid sort option";
    REQUEST_TOO_LARGE = InvalidArgument "etcdserver: request is too large";
    COMPACTED = OutOfRange "etcdserver: mvcc: required revision has been compacted";
    FUTURE_REVISION = OutOfRange "etcdserver: mvcc: required revision is a future revision";
    LEASE_TTL_TOO_LARGE = OutOfRange "etcdserver: too large lease TTL";
    NO_SPACE = ResourceExhausted "etcdserver: mvcc: database space exceeded";
    LEASE_NOT_FOUND = NotFound "etcdserver: requested lease not found";
    LEASE_EXISTS = FailedPrecondition "etcdserver: lease already exists";
    MEMBER_NOT_FOUND = NotFound "etcdserver: member not found";
    CORRUPT = DataLoss "etcdserver: corrupt cluster";
    AUTH_NOT_ENABLED = FailedPrecondition "etcdserver: authentication is not enabled";
    NOT_CAPABLE = FailedPrecondition "etcdserver: not capable";
    NO_LEADER = Unavailable "etcdserver: no leader";
    STOPPED = Unavailable "etcdserver: server stopped";
    HALTED = DataLoss "bowline: a record that must be read to go on is damaged, writes are refused; status and log name it";
    TIMED_OUT = Unavailable "etcdserver: request timed out";
    // Not ResourceExhausted: etcd maps this one to an error that is no gRPC status.
    TOO_MANY_REQUESTS = Unknown "etcdserver: too many requests";
    DEADLINE_EXCEEDED = DeadlineExceeded "context deadline exceeded";
    STREAM_SORT = Unimplemented "RangeStream does not support custom sort orders";
    STREAM_FILTER = Unimplemented "RangeStream does not support revision filters";
    UNKNOWN_HEALTH_SERVICE = NotFound "unknown service";
    // The gRPC layer's own texts, as grpc-go has them.
    UNMARSHAL = Internal "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data";
    NO_MESSAGE = Unknown "EOF";
    COMPRESSED_WITHOUT_ENCODING = Internal "grpc: compressed flag set with identity or empty encoding";
    NO_REQUEST_MESSAGE = Internal "cardinality violation: received no request message from non-client-streaming RPC";
    TRUNCATED_MESSAGE = Internal "unexpected EOF";
    // Of a call that has one message.
    TRUNCATED_REQUEST = Unknown "unexpected EOF";
    UNMARSHAL_STREAMED =
        Internal "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data";
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Status {
        match rejection {
            Rejection::Compacted => COMPACTED,
            Rejection::FutureRevision => FUTURE_REVISION,
            Rejection::LeaseNotFound => LEASE_NOT_FOUND,
            Rejection::LeaseExists => LEASE_EXISTS,
            Rejection::LeaseTtlTooLarge => LEASE_TTL_TOO_LARGE,
            Rejection::KeyNotFound => KEY_NOT_FOUND,
            Rejection::NoSpace => NO_SPACE,
            Rejection::Corrupt => CORRUPT,
            Rejection::MemberNotFound => MEMBER_NOT_FOUND,
            // Texts of our own: etcd has no budgets. The code says that writing less helps; the text must not be that
            // of a full store, which stops kube-apiserver's clients for good.
            Rejection::OverBudget(_) => ours(Code::ResourceExhausted, &rejection),
            Rejection::BudgetInvalid(_) => ours(Code::InvalidArgument, &rejection),
            Rejection::TooManyBudgets => ours(Code::FailedPrecondition, &rejection),
            Rejection::BudgetNotFound => ours(Code::NotFound, &rejection),
        }
    }
}

/// Refuses what the node cannot read: by a rule, or because the disk fails.
pub(crate) fn read_error(error: ReadError) -> Status {
    match error {
        ReadError::Rejected(rejection) => rejection.into(),
        ReadError::Fault(fault) => Status::new(Code::DataLoss, format!("read: {fault}")),
    }
}

fn ours(code: Code, rejection: &Rejection) -> Status {
    Status::new(code, format!("bowline: {rejection}"))
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        match refused {
            Refused::Stopped => STOPPED,
            Refused::TooManyRequests => TOO_MANY_REQUESTS,
            Refused::NoLeader => NO_LEADER,
            Refused::TimedOut => TIMED_OUT,
            Refused::TooLarge => REQUEST_TOO_LARGE,
            Refused::Disk(trouble) => disk(trouble),
            Refused::TimedOutByDisk(trouble) => Status::new(
                Code::Unavailable,
                format!("bowline: request timed out: {trouble}; it may still be carried out"),
            ),
            // Final, as a corrupt member of etcd's is: trying again does not help.
            Refused::Halted => HALTED,
        }
    }
}

/// etcd dies in these cases, so there is no text of its own to copy. A full disk has the code of a used-up quota, and
/// is as final: it must not be retried at once. The text is another, because the way out is.
fn disk(trouble: DiskTrouble) -> Status {
    let (code, until) = match trouble.ailment {
        Ailment::Full => (
            Code::ResourceExhausted,
            "what grows is refused until there is space; reads, deletions, compaction and rewrites are served",
        ),
        Ailment::ReadOnly | Ailment::Stuck | Ailment::Failing => {
            (Code::Unavailable, "writes are refused until it takes them again; reads are served")
        }
        Ailment::Failed => (Code::Unavailable, "writes are refused until a restart; reads are served"),
    };
    Status::new(code, format!("bowline: {trouble}: {until}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::DiskUse;

    #[test]
    fn codes_are_numbered_by_position() {
        for (position, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, position);
            assert_eq!(code.digits(), position.to_string());
            assert!(code == Code::Ok || code.name() == format!("{code:?}"));
        }
    }

    #[test]
    fn every_rejection_has_etcds_code_and_text() {
        let table = [
            (Rejection::Compacted, 11, "etcdserver: mvcc: required revision has been compacted"),
            (Rejection::FutureRevision, 11, "etcdserver: mvcc: required revision is a future revision"),
            (Rejection::LeaseNotFound, 5, "etcdserver: requested lease not found"),
            (Rejection::LeaseExists, 9, "etcdserver: lease already exists"),
            (Rejection::LeaseTtlTooLarge, 11, "etcdserver: too large lease TTL"),
            (Rejection::KeyNotFound, 3, "etcdserver: key not found"),
            (Rejection::NoSpace, 8, "etcdserver: mvcc: database space exceeded"),
            (Rejection::Corrupt, 15, "etcdserver: corrupt cluster"),
            (Rejection::MemberNotFound, 5, "etcdserver: member not found"),
        ];
        for (rejection, code, text) in table {
            let status = Status::from(rejection);
            assert_eq!((status.code as u8, status.message.as_ref()), (code, text));
        }
    }

    #[test]
    fn a_budgets_refusal_is_not_taken_for_a_full_store() {
        let over = model::OverBudget {
            prefix: "/registry/pods".into(),
            figure: model::BudgetFigure::Keys,
            used: 10,
            adds: 2,
            limit: 11,
        };
        let table = [
            (Rejection::OverBudget(Box::new(over)), 8, "bowline: budget of /registry/pods exceeded: 10 keys are there"),
            (Rejection::BudgetInvalid("flawed"), 3, "bowline: budget cannot be kept: flawed"),
            (Rejection::TooManyBudgets, 9, "bowline: too many budgets, 1000 are the most"),
            (Rejection::BudgetNotFound, 5, "bowline: budget not found"),
        ];
        for (rejection, code, text) in table {
            let status = Status::from(rejection);
            assert_eq!(status.code as u8, code);
            assert!(status.message.starts_with(text), "{}", status.message);
            assert_ne!(status.message, NO_SPACE.message);
        }
    }

    #[test]
    fn refusals_of_the_node_have_etcds_code_and_text() {
        let table = [
            (Refused::Stopped, 14, "etcdserver: server stopped"),
            (Refused::TooManyRequests, 2, "etcdserver: too many requests"),
            (Refused::NoLeader, 14, "etcdserver: no leader"),
            (Refused::TimedOut, 14, "etcdserver: request timed out"),
            (Refused::TooLarge, 3, "etcdserver: request is too large"),
            (
                Refused::Halted,
                15,
                "bowline: a record that must be read to go on is damaged, writes are refused; status and log name it",
            ),
            (
                Refused::Disk(DiskTrouble { disk: DiskUse::Store, ailment: Ailment::Full }),
                8,
                "bowline: the disk of the store is full: what grows is refused until there is space; reads, deletions, \
                 compaction and rewrites are served",
            ),
            (
                Refused::Disk(DiskTrouble { disk: DiskUse::Log, ailment: Ailment::Failing }),
                14,
                "bowline: the disk of the raft log fails: writes are refused until it takes them again; reads are served",
            ),
            (
                Refused::Disk(DiskTrouble { disk: DiskUse::Store, ailment: Ailment::Failed }),
                14,
                "bowline: the disk of the store failed: writes are refused until a restart; reads are served",
            ),
            (
                Refused::TimedOutByDisk(DiskTrouble { disk: DiskUse::Log, ailment: Ailment::Stuck }),
                14,
                "bowline: request timed out: the disk of the raft log does not return from a write; it may still be carried \
                 out",
            ),
        ];
        for (refused, code, text) in table {
            let status = Status::from(refused);
            assert_eq!((status.code as u8, status.message.as_ref()), (code, text));
        }
    }

    /// etcd #18424: clients ran a txn twice, because an error that left open whether it was applied looked safe to
    /// repeat. They repeat a write when the code is Unavailable and the text is one of these two, so no refusal may
    /// look like that.
    #[test]
    fn r33_no_refusal_makes_clients_repeat_a_write() {
        let safe_to_repeat = ["there is no address available", "there is no connection available"];
        use Refused::{Disk, Halted, NoLeader, Stopped, TimedOut, TimedOutByDisk, TooLarge, TooManyRequests};
        let troubles =
            DiskUse::ALL.into_iter().flat_map(|disk| Ailment::ALL.map(|ailment| DiskTrouble { disk, ailment }));
        let by_disk = troubles.flat_map(|trouble| [Disk(trouble), TimedOutByDisk(trouble)]);
        for refused in [Stopped, TooManyRequests, NoLeader, TimedOut, TooLarge, Halted].into_iter().chain(by_disk) {
            let may_be_applied = match refused {
                Stopped | TimedOut | TimedOutByDisk(_) | NoLeader => true,
                TooManyRequests | TooLarge | Disk(_) | Halted => false,
            };
            let status = Status::from(refused);
            assert!(!safe_to_repeat.contains(&status.message.as_ref()), "{refused:?}");
            assert!(!may_be_applied || status.code == Code::Unavailable, "{refused:?} looks final");
        }
    }
}
