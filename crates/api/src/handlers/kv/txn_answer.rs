//! Answers to txns: the outcome of each operation, nested as the request was.

use crate::call::{Stored, check_length, put_inner};
use crate::status::Status;
use crate::wire::{self, Identity, Stamp};
use bytes::Bytes;
use model::Revision;
use state::{OperationOutcome, TxnOutcome};

const RESPONSE_RANGE: u32 = 1;
const RESPONSE_PUT: u32 = 2;
const RESPONSE_DELETE_RANGE: u32 = 3;
const RESPONSE_TXN: u32 = 4;

/// The TxnResponse with its prefix.
pub(crate) fn txn_response(
    identity: &Identity,
    stamp: Stamp,
    stored: &Stored,
    outcome: &TxnOutcome,
) -> Result<Bytes, Status> {
    let mut body = Vec::new();
    put_outcome(&mut body, stored, outcome)?;
    let length = identity.header_len(stamp) + body.len();
    check_length(length)?;
    let mut out = wire::message_buffer(length);
    identity.put_header(&mut out, stamp);
    out.extend_from_slice(&body);
    Ok(out.into())
}

/// Appends the fields behind the header.
fn put_outcome(out: &mut Vec<u8>, stored: &Stored, outcome: &TxnOutcome) -> Result<(), Status> {
    wire::put_number(out, 2, outcome.succeeded.into());
    for response in &outcome.responses {
        let mut inner = Vec::new();
        let field = put_response(&mut inner, stored, response)?;
        check_length(out.len() + inner.len())?;
        wire::put_frame(out, 3, wire::framed_len(field, inner.len()));
        wire::put_framed(out, field, &inner);
    }
    Ok(())
}

/// Appends one operation's answer; the field of its kind.
fn put_response(out: &mut Vec<u8>, stored: &Stored, response: &OperationOutcome) -> Result<u32, Status> {
    match response {
        OperationOutcome::Range(result) => {
            put_inner(out, &stored.view, result)?;
            Ok(RESPONSE_RANGE)
        }
        OperationOutcome::Put { prev, revision } => {
            wire::put_inner_header(out, *revision);
            for record in stored.load(prev.as_slice())? {
                wire::put_framed(out, 2, &record);
            }
            Ok(RESPONSE_PUT)
        }
        OperationOutcome::DeleteRange { deleted, prev, revision } => {
            wire::put_inner_header(out, *revision);
            wire::put_delete_range_body(out, *deleted, &stored.load(prev)?);
            Ok(RESPONSE_DELETE_RANGE)
        }
        OperationOutcome::Txn(outcome) => {
            wire::put_inner_header(out, Revision(0));
            put_outcome(out, stored, outcome)?;
            Ok(RESPONSE_TXN)
        }
    }
}

/// True if one of the operations changed keys.
pub(crate) fn wrote(outcome: &TxnOutcome) -> bool {
    outcome.responses.iter().any(|response| match response {
        OperationOutcome::Range(_) => false,
        OperationOutcome::Put { .. } => true,
        OperationOutcome::DeleteRange { deleted, .. } => *deleted > 0,
        OperationOutcome::Txn(inner) => wrote(inner),
    })
}
