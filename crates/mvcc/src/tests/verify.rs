//! The offline check of the key index: silent on what is sound, and telling the key of every record that is not.

use super::*;
use crate::{Verified, verify};
use store::Image;

/// What the check says of the newest checkpoint.
pub(crate) fn verified(disk: &SimDisk) -> Verified {
    let image = Image::open(Arc::new(disk.after_kill()), Path::new(DIRECTORY)).expect("open image");
    let checkpoint = image.checkpoint().expect("open checkpoint").expect("there is one");
    verify(&image, &checkpoint.meta, checkpoint.runs).expect("load index")
}

#[test]
fn every_damaged_record_is_told_with_its_key() {
    let disk = SimDisk::new();
    let mut mvcc = open(&disk);
    for key in ["a", "b", "c", "a"] {
        put(&mut mvcc, key, "value");
    }
    delete(&mut mvcc, &KeyRange::single("b"));
    checkpoint(&mut mvcc);
    let sound = verified(&disk);
    assert_eq!((sound.keys, sound.versions, sound.lost.len()), (3, 5, 0));
    let view = flushed_view(&mut mvcc);
    let (_, meta) = view.live(&KeyRange::single("c")).next().expect("it was put");
    disk.damage(&Path::new(DIRECTORY).join("segment-00000001"), |content| {
        content[meta.location.offset as usize + 12] ^= 1;
    });
    let damaged = verified(&disk);
    let lost: Vec<(&[u8], Location, bool)> =
        damaged.lost.iter().map(|lost| (lost.key.as_ref(), lost.meta.location, lost.is_current)).collect();
    assert_eq!((damaged.versions, lost), (5, vec![(b"c".as_slice(), meta.location, true)]));
    assert!(damaged.lost[0].fault.to_string().contains("record fails its checksum"));
}
