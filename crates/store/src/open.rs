//! What is done to the files of a directory before a store can use them: headers, the manifest, and what it does not
//! name.

use crate::checkpoint::{replace_manifest, write_manifest_temporary};
use crate::fault::{Fault, Result};
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::reader::OpenSegment;
use crc32c::crc32c;
use io::{Disk, File, Open};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

pub(crate) const SEGMENT_MAGIC: &[u8; 8] = b"BWLSEGM1";
pub(crate) const RUN_MAGIC: &[u8; 8] = b"BWLRUNF1";
pub(crate) const FILE_HEADER_BYTES: u64 = 16;

const _: () = assert!(SEGMENT_MAGIC.len() == RUN_MAGIC.len(), "all headers are equally long");
const _: () = assert!(
    FILE_HEADER_BYTES as usize == SEGMENT_MAGIC.len() + size_of::<u32>() + size_of::<u32>(),
    "magic, id, checksum"
);

/// Header of segments and runs.
pub(crate) fn put_header(out: &mut Vec<u8>, magic: &[u8; 8], id: u32) {
    let start = out.len();
    out.extend_from_slice(magic);
    out.extend_from_slice(&id.to_le_bytes());
    let crc = crc32c(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
    assert_eq!((out.len() - start) as u64, FILE_HEADER_BYTES, "a header has its length");
}

pub(crate) fn write_header(file: &dyn File, magic: &[u8; 8], id: u32) -> std::io::Result<()> {
    let mut header = Vec::with_capacity(FILE_HEADER_BYTES as usize);
    put_header(&mut header, magic, id);
    file.write_at(&header, 0)
}

pub(crate) fn check_header(file: &dyn File, path: &Path, magic: &[u8; 8], id: u32) -> Result<()> {
    let mut header = [0; FILE_HEADER_BYTES as usize];
    let read = file.read_at(&mut header, 0).map_err(Fault::io("read header of", path))?;
    let mut expected = Vec::with_capacity(FILE_HEADER_BYTES as usize);
    put_header(&mut expected, magic, id);
    if header.get(..read) == Some(&expected) {
        return Ok(());
    }
    Err(Fault::damaged(
        "open",
        path,
        0,
        "the header is not this file's, or of a format that this release does not know",
    ))
}

pub(crate) fn read_manifest(disk: &dyn Disk, directory: &Path) -> Result<Option<Manifest>> {
    let path = directory.join("manifest");
    if !disk.exists(&path).map_err(Fault::io("look for", &path))? {
        return Ok(None);
    }
    let file = disk.open(&path, Open::READ).map_err(Fault::io("open", &path))?;
    let length = file.len().map_err(Fault::io("open", &path))?;
    if length > MANIFEST_BYTES_MAX {
        return Err(Fault::damaged("read", &path, MANIFEST_BYTES_MAX, "manifest is longer than one can be"));
    }
    let mut content = vec![0; length as usize];
    file.read_exact_at(&mut content, 0).map_err(Fault::io("read", &path))?;
    Manifest::decode(&content.into()).map(Some).map_err(|what| Fault::damaged("read", &path, 0, what))
}

/// What a new store has: a manifest that names nothing. It comes before any other file, so that files without a
/// manifest are never taken for the leftovers of a start.
pub(crate) fn new_manifest(disk: &dyn Disk, directory: &Path) -> Result<Manifest> {
    let names = match disk.list(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(Fault::io("list", directory))?,
    };
    if names.iter().any(|name| is_segment_or_run(name)) {
        let path = directory.join("manifest");
        return Err(Fault::damaged("look for", &path, 0, "it is missing, but files that it named are there"));
    }
    Ok(Manifest { next_segment: 1, next_run: 1, ..Manifest::default() })
}

/// Makes a new store.
pub(crate) fn begin(disk: &dyn Disk, directory: &Path, manifest: &Manifest) -> Result<()> {
    disk.create_dir(directory).map_err(Fault::io("make directory", directory))?;
    if let Some(parent) = directory.parent() {
        disk.sync_dir(parent).map_err(Fault::io("sync directory", parent))?;
    }
    write_manifest_temporary(disk, directory, manifest)?;
    replace_manifest(disk, directory)
}

pub(crate) fn is_segment_or_run(name: &str) -> bool {
    let id = name.strip_prefix("segment-").or_else(|| name.strip_prefix("run-"));
    id.is_some_and(|id| id.len() == 8 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// Removes what no checkpoint names: files half written, or of a time after the checkpoint.
pub(crate) fn remove_unnamed(disk: &dyn Disk, directory: &Path, keep: &BTreeSet<String>) -> Result<()> {
    let names = disk.list(directory).map_err(Fault::io("list", directory))?;
    let goes = |name: &str| name.ends_with(".tmp") || (is_segment_or_run(name) && !keep.contains(name));
    for name in names.iter().filter(|name| goes(name)) {
        let path = directory.join(name);
        disk.remove(&path).map_err(Fault::io("remove", &path))?;
    }
    Ok(())
}

/// Opens a segment to write to; what lies behind the checkpoint is still there.
pub(crate) fn open_segment(disk: &dyn Disk, directory: &Path, id: u32, length: u64) -> Result<Arc<OpenSegment>> {
    open_checked(disk, directory, id, length, Open::READ_WRITE)
}

/// Cuts off what lies behind the checkpoint.
pub(crate) fn cut_segment(segment: &OpenSegment, length: u64) -> Result<()> {
    let found = segment.file.len().map_err(Fault::io("measure", &segment.path))?;
    if found > length { segment.file.set_len(length).map_err(Fault::io("cut", &segment.path)) } else { Ok(()) }
}

/// Opens a segment to read only.
pub(crate) fn look_at_segment(disk: &dyn Disk, directory: &Path, id: u32, length: u64) -> Result<Arc<OpenSegment>> {
    open_checked(disk, directory, id, length, Open::READ)
}

fn open_checked(disk: &dyn Disk, directory: &Path, id: u32, length: u64, how: Open) -> Result<Arc<OpenSegment>> {
    let path = directory.join(segment_name(id));
    let file = disk.open(&path, how).map_err(Fault::io("open", &path))?;
    assert!(length >= FILE_HEADER_BYTES, "a manifest that was decoded names no segment without a header");
    check_header(&*file, &path, SEGMENT_MAGIC, id)?;
    let found = file.len().map_err(Fault::io("open", &path))?;
    if found < length {
        return Err(Fault::damaged("open", &path, found, "the file is shorter than the checkpoint says"));
    }
    Ok(OpenSegment::new(id, path, file))
}

pub(crate) fn segment_name(id: u32) -> String {
    format!("segment-{id:08x}")
}

pub(crate) fn run_name(id: u32) -> String {
    format!("run-{id:08x}")
}
