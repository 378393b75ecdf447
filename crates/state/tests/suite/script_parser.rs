//! Reads the commands of scripts. The words are in `scripts.rs`.

use bytes::Bytes;
use model::{
    Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, LeaseId, Operation, Put, PutLease, PutValue, Range,
    Revision, Txn,
};
use std::collections::VecDeque;

/// The words of a line; brackets and semicolons are words of their own.
pub struct Words(VecDeque<String>);

impl Words {
    pub fn new(line: &str) -> Words {
        let spaced = line.replace(';', " ; ").replace("( ", " ( ").replace(" )", " ) ");
        Words(spaced.split_whitespace().map(str::to_string).collect())
    }

    pub fn next(&mut self) -> String {
        self.0.pop_front().expect("another word")
    }

    pub fn number<T: std::str::FromStr>(&mut self) -> T {
        number(&self.next())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn peek(&self) -> &str {
        self.0.front().map_or("", String::as_str)
    }

    fn take_if(&mut self, word: &str) -> bool {
        let is_next = self.peek() == word;
        if is_next {
            self.0.pop_front();
        }
        is_next
    }

    /// Words up to the end of an operation.
    fn options(&mut self) -> Vec<String> {
        let mut options = Vec::new();
        while !matches!(self.peek(), "" | ";" | ")" | "else") {
            options.push(self.next());
        }
        options
    }

    /// `put KEY VALUE [lease=N] [prev]`; `keep-value` instead of the value, `keep-lease`.
    pub fn put(&mut self) -> Put {
        let key = Bytes::from(self.next());
        let value = match self.next().as_str() {
            "keep-value" => PutValue::Keep,
            value => PutValue::Set(Bytes::from(value.to_string())),
        };
        let mut put = Put { key, value, lease: PutLease::Set(LeaseId::NONE), prev_kv: false };
        for option in self.options() {
            match option.split_once('=').unwrap_or((&option, "")) {
                ("lease", id) => put.lease = PutLease::Set(LeaseId(number(id))),
                ("keep-lease", _) => put.lease = PutLease::Keep,
                ("prev", _) => put.prev_kv = true,
                other => panic!("unknown option {other:?}"),
            }
        }
        put
    }

    /// `del KEYS [prev]`
    pub fn delete(&mut self) -> DeleteRange {
        DeleteRange { range: keys(&self.next()), prev_kv: self.options().contains(&"prev".to_string()) }
    }

    /// `get KEYS [rev=N] [limit=N] [count] [keys]`
    pub fn range(&mut self) -> Range {
        let mut range = Range::new(keys(&self.next()));
        for option in self.options() {
            match option.split_once('=').unwrap_or((&option, "")) {
                ("rev", at) => range.revision = Revision(number(at)),
                ("limit", limit) => range.limit = number(limit),
                ("count", _) => range.count_only = true,
                ("keys", _) => range.keys_only = true,
                other => panic!("unknown option {other:?}"),
            }
        }
        range
    }

    /// `[if COMPARE …] then OPERATION; … [else OPERATION; …]`
    pub fn txn(&mut self) -> Txn {
        let mut txn = Txn::default();
        if self.take_if("if") {
            while !self.take_if("then") {
                txn.compares.push(compare(&self.next()));
            }
        } else {
            assert!(self.take_if("then"), "a txn goes on with if or then");
        }
        txn.success = self.operations();
        if self.take_if("else") {
            txn.failure = self.operations();
        }
        txn
    }

    fn operations(&mut self) -> Vec<Operation> {
        let mut operations = Vec::new();
        while !matches!(self.peek(), "" | ")" | "else") {
            operations.push(match self.next().as_str() {
                "get" => Operation::Range(self.range()),
                "put" => Operation::Put(self.put()),
                "del" => Operation::DeleteRange(self.delete()),
                "(" => {
                    let inner = self.txn();
                    assert!(self.take_if(")"), "a nested txn is closed");
                    Operation::Txn(inner)
                }
                other => panic!("unknown operation {other:?}"),
            });
            self.take_if(";");
        }
        operations
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().unwrap_or_else(|| panic!("{text:?} is not a number"))
}

/// `a`, `a*` for a prefix, `a..b` for a range, `a..` from a on.
fn keys(text: &str) -> KeyRange {
    let bytes = |text: &str| Bytes::from(text.to_string());
    match (text.strip_suffix('*'), text.split_once("..")) {
        (Some(prefix), _) => KeyRange::prefix(bytes(prefix)),
        (_, Some((start, ""))) => KeyRange::from_wire(bytes(start), bytes("\0")),
        (_, Some((start, end))) => KeyRange::from_wire(bytes(start), bytes(end)),
        _ => KeyRange::single(bytes(text)),
    }
}

/// `target(KEYS)=N` with one of `=`, `!=`, `>`, `<`.
fn compare(text: &str) -> Compare {
    let (target, rest) = text.split_once('(').expect("a compare names keys");
    let (range, rest) = rest.split_once(')').expect("a compare names keys");
    let (result, value) = [
        ("!=", CompareResult::NotEqual),
        ("=", CompareResult::Equal),
        (">", CompareResult::Greater),
        ("<", CompareResult::Less),
    ]
    .into_iter()
    .find_map(|(sign, result)| rest.strip_prefix(sign).map(|value| (result, value)))
    .expect("a compare has a sign");
    let target = match target {
        "version" => CompareTarget::Version(number(value)),
        "create" => CompareTarget::Create(Revision(number(value))),
        "mod" => CompareTarget::Mod(Revision(number(value))),
        "lease" => CompareTarget::Lease(LeaseId(number(value))),
        "value" => CompareTarget::Value(Bytes::from(value.to_string())),
        other => panic!("unknown target {other:?}"),
    };
    Compare { range: keys(range), result, target }
}
