//! One change to one key of a running server: shown first, then done in one guarded transaction that keeps the bytes
//! from before, and undone from them.
//!
//! The order: the record goes into a file and is synced; then one transaction, if the key is still where it was seen,
//! changes it and puts the same record under a key of ours. So whoever finds either can go back. `/bowline.io/` lies
//! outside every prefix that kube-apiserver lists.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use client::{Change, Client, Guarded, LeaseOfPut, To};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Records of changes lie here, by their ids.
pub(crate) const UNDO_PREFIX: &str = "/bowline.io/doctor/undo/";
/// Of the record's form.
const VERSION: u32 = 1;

/// What is to be done to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// For people: `disable kyverno/validate.kyverno.svc-fail`.
    pub what: String,
    pub key: Bytes,
    /// Where the key was seen; 0: it was not there.
    pub mod_revision: i64,
    pub lease: i64,
    /// None: not there.
    pub before: Option<Bytes>,
    pub after: Option<Bytes>,
}

/// What undoes a change: the bytes before and after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    pub version: u32,
    pub id: String,
    /// RFC 3339.
    pub time: String,
    pub what: String,
    pub endpoint: String,
    /// All bytes in base64, since keys and values are any.
    key: String,
    /// The key, if it is text; for people only.
    pub key_text: String,
    pub mod_revision: i64,
    pub lease: i64,
    before: Option<String>,
    after: Option<String>,
}

/// Why nothing was changed, in a sentence; or what was, if that is known.
pub type Result<T> = std::result::Result<T, String>;

impl Record {
    pub(crate) fn new(plan: &Plan, endpoint: &str, now: jiff::Timestamp) -> Record {
        let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        Record {
            version: VERSION,
            id: format!("{}-{}", now.strftime("%Y%m%dT%H%M%S%3fZ"), plan.mod_revision),
            time,
            what: plan.what.clone(),
            endpoint: endpoint.to_owned(),
            key: BASE64.encode(&plan.key),
            key_text: String::from_utf8_lossy(&plan.key).into_owned(),
            mod_revision: plan.mod_revision,
            lease: plan.lease,
            before: plan.before.as_ref().map(|bytes| BASE64.encode(bytes)),
            after: plan.after.as_ref().map(|bytes| BASE64.encode(bytes)),
        }
    }

    pub(crate) fn from_json(text: &[u8], place: &str) -> Result<Record> {
        let record: Record =
            serde_json::from_slice(text).map_err(|error| format!("read undo record {place}: {error}"))?;
        if record.version != VERSION {
            return Err(format!("read undo record {place}: version {}, this release reads {VERSION}", record.version));
        }
        Ok(record)
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| format!("write undo record: {error}"))
    }

    /// The way back.
    pub(crate) fn reverse(&self, mod_revision: i64) -> Result<Plan> {
        Ok(Plan {
            what: format!("undo {} ({})", self.id, self.what),
            key: bytes_of(&self.key)?,
            mod_revision,
            lease: self.lease,
            before: self.after.as_deref().map(bytes_of).transpose()?,
            after: self.before.as_deref().map(bytes_of).transpose()?,
        })
    }
}

fn bytes_of(text: &str) -> Result<Bytes> {
    BASE64.decode(text).map(Bytes::from).map_err(|error| format!("undo record: {error}"))
}

/// What was done, and where the way back is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub id: String,
    pub file: PathBuf,
    pub revision: i64,
    /// Why the change has no line in the audit log, if so.
    pub unwritten: Option<String>,
}

/// Carries the plan out. Nothing is changed unless the record is on disk.
pub async fn carry_out(client: &Client, plan: &Plan, directory: &Path) -> Result<Done> {
    let record = Record::new(plan, client.endpoint(), jiff::Timestamp::now());
    let json = record.to_json()?;
    let file = directory.join(format!("bowline-undo-{}.json", record.id));
    write_synced(&file, &json)
        .map_err(|error| format!("write undo file {}: {error}; nothing was changed", file.display()))?;
    let key_of_record = Bytes::from(format!("{UNDO_PREFIX}{}", record.id));
    let to = match &plan.after {
        Some(value) => To::Put { value: value.clone(), lease: LeaseOfPut::Attach(plan.lease) },
        None => To::Delete,
    };
    let change = Change { key: plan.key.clone(), mod_revision: plan.mod_revision, to };
    let keep = Change {
        key: key_of_record,
        mod_revision: 0,
        to: To::Put { value: json.into(), lease: LeaseOfPut::Attach(0) },
    };
    match client.change(vec![change, keep]).await {
        Ok(Guarded::Done(revision)) => {
            let unwritten = audit(directory, &record, revision).err();
            Ok(Done { id: record.id, file, revision, unwritten })
        }
        Ok(Guarded::Conflict(found)) => {
            // The file would undo what was never done.
            let _ = std::fs::remove_file(&file);
            let now = found.first().copied().unwrap_or_default();
            Err(format!(
                "{} was changed by somebody else meanwhile (revision {} when it was read, {now} now); nothing was changed: look again",
                record.key_text, plan.mod_revision
            ))
        }
        Err(error) => Err(format!(
            "{error}; whether it was changed is not known: look again. The bytes from before are in {}",
            file.display()
        )),
    }
}

/// One line for each change, beside the undo files.
fn audit(directory: &Path, record: &Record, revision: i64) -> Result<()> {
    let line = serde_json::json!({
        "time": record.time, "id": record.id, "what": record.what, "key": record.key_text,
        "endpoint": record.endpoint, "revision": revision, "was": record.mod_revision,
    });
    let path = directory.join("bowline-doctor-audit.jsonl");
    let written = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).and_then(|mut file| {
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        format!("the change was made, but its line could not be written to {}: {error}", path.display())
    })
}

/// It holds what the store holds, so nobody else may read it.
fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// The record of a change: from a file, or by its id from the server.
pub async fn record(client: &Client, file_or_id: &str) -> Result<Record> {
    if Path::new(file_or_id).exists() {
        let text = std::fs::read(file_or_id).map_err(|error| format!("read undo file {file_or_id}: {error}"))?;
        return Record::from_json(&text, file_or_id);
    }
    let key = format!("{UNDO_PREFIX}{file_or_id}");
    let found = client.get(key.as_bytes()).await.map_err(|error| error.to_string())?;
    let found =
        found.ok_or_else(|| format!("no undo file {file_or_id:?}, and no key {key} on {}", client.endpoint()))?;
    Record::from_json(&found.value, &key)
}

/// The plan that brings back what was before. Refused if somebody changed the key since, unless `force`.
pub async fn undo(client: &Client, record: &Record, force: bool) -> Result<Plan> {
    let now = client.get(&bytes_of(&record.key)?).await.map_err(|error| error.to_string())?;
    let mut plan = record.reverse(now.as_ref().map_or(0, |entry| entry.mod_revision))?;
    let value = now.map(|entry| entry.value);
    if value == plan.after {
        return Err(format!("{} is already as it was before {}; nothing was changed", record.key_text, record.id));
    }
    if value != plan.before && !force {
        return Err(format!(
            "{} was changed again after {}; nothing was changed. --force brings the old value back all the same",
            record.key_text, record.id
        ));
    }
    plan.before = value;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            what: "disable a/b".to_owned(),
            key: Bytes::from_static(b"/registry/\xff"),
            mod_revision: 7,
            lease: 0,
            before: Some(Bytes::from_static(&[0, 1, 255])),
            after: None,
        }
    }

    #[test]
    fn a_record_leads_back_to_the_same_bytes() {
        let now: jiff::Timestamp = "2026-03-01T03:00:00.123Z".parse().expect("a time");
        let record = Record::new(&plan(), "127.0.0.1:2379", now);
        assert_eq!(record.id, "20260301T030000123Z-7");
        let read = Record::from_json(&record.to_json().expect("JSON"), "here").expect("its own");
        assert_eq!(read, record);
        let back = read.reverse(9).expect("bytes");
        assert_eq!((back.before, back.after), (plan().after, plan().before));
        assert_eq!((back.key, back.mod_revision), (plan().key, 9));
    }

    #[test]
    fn foreign_records_are_refused() {
        for text in [&b""[..], b"{}", b"[]", br#"{"version":2}"#] {
            assert!(Record::from_json(text, "here").is_err());
        }
    }

    #[test]
    fn a_file_is_never_written_over() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("undo.json");
        write_synced(&path, b"one").expect("it is new");
        assert!(write_synced(&path, b"two").is_err());
        assert_eq!(std::fs::read(&path).expect("it is there"), b"one");
    }
}
