//! What the key index knows about a place in a segment that cannot be read.

use crate::entry::Entry;
use crate::index::Index;
use crate::view::View;
use bytes::Bytes;
use model::Revision;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Around {
    /// Whose record begins there; nobody's is garbage.
    pub owner: Option<Owner>,
    /// Where another record certainly begins: where this one ends if it is somebody's, or else the next that is.
    pub next: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub key: Bytes,
    pub revision: Revision,
    /// The key has no newer version.
    pub is_current: bool,
}

impl Index {
    /// Goes over all versions: for damage only.
    pub(crate) fn around(&self, segment: u32, offset: u32) -> Around {
        let mut around = Around::default();
        let mut entries = self.keys.iter();
        while let Some((key, packed)) = entries.next_wanted(|_| true) {
            for (age, version) in self.versions(key, Entry(packed)).enumerate() {
                let Some(location) = version.location().filter(|location| location.segment == segment) else {
                    continue;
                };
                if location.offset == offset {
                    let end = u64::from(offset) + location.record_bytes();
                    let key = key.to_vec().into();
                    around.owner = Some(Owner { key, revision: version.at.main, is_current: age == 0 });
                    around.next = u32::try_from(end).ok();
                    return around;
                } else if location.offset > offset {
                    around.next = Some(around.next.map_or(location.offset, |next| next.min(location.offset)));
                }
            }
        }
        around
    }
}

impl View {
    /// Goes over the whole key index: for damage only.
    pub fn around(&self, segment: u32, offset: u32) -> Around {
        self.index.around(segment, offset)
    }
}
