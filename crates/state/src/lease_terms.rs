//! What each lease was granted and when it ends, by id: a copy-on-write tree, so that a checkpoint takes an image of a
//! million leases at once and encodes it on its own thread.
//!
//! An entry's value is what the checkpoint lists of the lease behind its id, see `docs/formats/state-tables.md`.

use crate::lease::{LEASE_TTL_S_MAX, ttl_ms};
use crate::tables::TablesError;
use model::LeaseId;
use mvcc::tree::{Key, Tree};
use std::convert::Infallible;
use std::fmt;
use std::ops::Bound;
use stdx::codec::{DecodeError, Reader, put_bool, put_varint};

/// The terms of one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// 1 to `LEASE_TTL_S_MAX`.
    pub(crate) ttl_s: i64,
    /// Leader time at which it ends, unless it was renewed since.
    pub(crate) ends_at_ms: u64,
    pub(crate) renewing: bool,
}

impl Terms {
    pub(crate) fn ttl_ms(&self) -> u64 {
        ttl_ms(self.ttl_s)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.ttl_s.unsigned_abs());
        put_varint(out, self.ends_at_ms);
        put_bool(out, self.renewing);
    }

    pub(crate) fn decode(reader: &mut Reader) -> Result<Terms, TablesError> {
        let granted = reader.varint()?;
        let ttl_s = i64::try_from(granted)
            .ok()
            .filter(|ttl_s| (1..=LEASE_TTL_S_MAX).contains(ttl_s))
            .ok_or(TablesError::OutOfBounds { what: "lease time to live", value: granted })?;
        Ok(Terms { ttl_s, ends_at_ms: reader.varint()?, renewing: reader.bool("lease renewing")? })
    }
}

/// The terms of all leases. A clone is an image, and costs nothing.
#[derive(Clone, Default)]
pub(crate) struct TermsTree {
    tree: Tree<()>,
}

/// The sign bit is turned, so that bytes order as numbers do.
fn key_of(id: LeaseId) -> [u8; 8] {
    (id.0 ^ i64::MIN).to_be_bytes()
}

/// `scratch` spares an allocation for each key of a walk.
fn id_of(key: Key<'_>, scratch: &mut Vec<u8>) -> LeaseId {
    scratch.clear();
    key.append_to(scratch);
    let bytes = scratch.as_slice().try_into().expect("keys of this tree have eight bytes");
    LeaseId(i64::from_be_bytes(bytes) ^ i64::MIN)
}

fn terms_of(value: &[u8]) -> Terms {
    read(value).expect("values of this tree are encoded terms")
}

/// `Terms::decode` without a buffer of its own.
fn read(value: &[u8]) -> Result<Terms, DecodeError> {
    let (ttl_s, read) = stdx::codec::read_varint(value)?;
    let rest = value.get(read..).unwrap_or_default();
    let (ends_at_ms, read) = stdx::codec::read_varint(rest)?;
    let renewing = rest.get(read).ok_or(DecodeError::Truncated)?;
    Ok(Terms { ttl_s: ttl_s as i64, ends_at_ms, renewing: *renewing == 1 })
}

impl TermsTree {
    pub(crate) fn len(&self) -> usize {
        self.tree.len()
    }

    pub(crate) fn contains(&self, id: LeaseId) -> bool {
        self.tree.get(&key_of(id)).is_some()
    }

    pub(crate) fn get(&self, id: LeaseId) -> Option<Terms> {
        self.tree.get(&key_of(id)).map(terms_of)
    }

    pub(crate) fn set(&mut self, id: LeaseId, terms: Terms) {
        let Ok(()) = self.tree.upsert(&key_of(id), &mut Vec::with_capacity(16), |_, out| {
            terms.encode(out);
            Ok::<(), Infallible>(())
        });
    }

    /// False if there is no such lease.
    pub(crate) fn remove(&mut self, id: LeaseId) -> bool {
        self.tree.remove(&key_of(id))
    }

    /// Leases with ids above `after` (all for `None`), ascending.
    pub(crate) fn iter_after(&self, after: Option<LeaseId>) -> impl Iterator<Item = (LeaseId, Terms)> {
        // No id follows the greatest one, which selects nothing.
        let start = match after {
            None => Some(Vec::new()),
            Some(after) => after.0.checked_add(1).map(|next| key_of(LeaseId(next)).to_vec()),
        };
        let entries = start.map(|start| self.tree.range(&start, Bound::Unbounded));
        let mut scratch = Vec::with_capacity(8);
        entries.into_iter().flatten().map(move |(key, value)| (id_of(key, &mut scratch), terms_of(value)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaseId, Terms)> {
        self.iter_after(None)
    }
}

impl fmt::Debug for TermsTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for TermsTree {
    fn eq(&self, other: &TermsTree) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for TermsTree {}
