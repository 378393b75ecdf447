//! What is left to do about stored pairs that are lost: finding them in a store that nobody uses, and what is taken for
//! one that a person gives up.
//!
//! A given-up record counts as a pair with an empty value wherever apply needs it, which is to let the log be applied
//! to its end; readers are not given it. What becomes of the key then is a command like others (`node::start`).

use crate::fault::{Fault, Result};
use crate::state::{State, split_meta};
use crate::txn::any_put;
use bytes::Bytes;
use model::{Command, KeyValue, Put, PutValue};
use mvcc::{Change, Lost};
use std::sync::Arc;
use store::{GivenUp, Image, Substitute};

/// Every pair of the newest checkpoint that cannot be read. Fails if the checkpoint itself cannot be.
pub fn lost_pairs(image: &Image) -> Result<Vec<Lost>> {
    let Some(checkpoint) = image.checkpoint().map_err(mvcc::Fault::from)? else { return Ok(Vec::new()) };
    let (_, keys) = split_meta(checkpoint.meta)?;
    Ok(mvcc::verify(image, &keys, checkpoint.runs)?.lost)
}

/// What is taken for it once it is given up.
pub fn substitute(lost: &Lost) -> Substitute {
    let pair = KeyValue {
        key: lost.key.clone(),
        create_revision: lost.meta.create_revision,
        mod_revision: lost.meta.mod_revision(),
        version: lost.meta.version,
        value: Bytes::new(),
        lease: lost.meta.lease,
    };
    let mut payload = Vec::new();
    pair.encode(&mut payload);
    Substitute { key: lost.key.clone(), payload: payload.into() }
}

impl State {
    /// From now on apply takes the substitutes. Returns those of pairs that are still there.
    pub fn give_up(&mut self, given_up: GivenUp) -> Result<GivenUp> {
        let view = self.mvcc.view();
        let mut held = GivenUp::new();
        for (location, substitute) in given_up {
            let pair = KeyValue::decode(&substitute.payload).map_err(Fault::Record)?;
            if view.holds(&pair.key, pair.mod_revision, location) {
                held.insert(location, substitute);
            }
        }
        self.given_up = Arc::new(held.clone());
        Ok(held)
    }

    /// A put that keeps a given-up value makes another one.
    pub(crate) fn follow_given_up(&mut self, command: &Command, change: &Change) {
        for event in &change.events {
            let (Some(kept), Some(before)) = (event.kv, event.prev) else { continue };
            if let Some(substitute) = self.given_up.get(&before).cloned()
                && keeps(command, &event.key)
            {
                Arc::make_mut(&mut self.given_up).insert(kept, substitute);
            }
        }
    }
}

fn keeps(command: &Command, key: &[u8]) -> bool {
    let keeps = |put: &Put| put.value == PutValue::Keep && put.key == key;
    match command {
        Command::Put(put) => keeps(put),
        Command::Txn(txn) => any_put(txn, &mut { keeps }),
        _ => false,
    }
}
