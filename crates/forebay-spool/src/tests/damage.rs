//! Bytes that changed or are gone.

use std::collections::BTreeMap;

use forebay_core::{Fs as _, FsFile as _, OpenMode};

use super::{image, open_image};
use crate::testing::SimDisk;
use crate::{Read, Record};

/// Reads what it can and checks that nothing is made up.
fn check_damaged(disk: &SimDisk, records: &BTreeMap<u64, Record>, what: &str) -> usize {
    let spool = open_image(disk).unwrap_or_else(|| panic!("{what}: cannot be opened"));
    let mut plan = spool.plan_read(0, 100, Vec::new());
    let mut found = 0;
    while let Some(read) = plan.read().unwrap() {
        if let Read::Records(read) = read {
            for (seq, record) in read {
                assert_eq!(records.get(&seq), Some(&record), "{what}");
                found += 1;
            }
        }
    }
    found
}

#[test]
fn a_flipped_byte_costs_one_frame_at_most_and_never_yields_a_wrong_record() {
    let (disk, records) = image();
    let path = crate::job::path_of(std::path::Path::new("/spool"), 1);
    for offset in 0..4096 + 12 * 1024 {
        let copy = disk.fork(offset as u64);
        assert!(copy.flip(&path, offset, 1 << (offset % 8)));
        let found = check_damaged(&copy, &records, &format!("byte {offset}"));
        assert!(found + 3 >= records.len(), "byte {offset}: {found} left");
    }
}

#[test]
fn a_segment_that_is_cut_off_anywhere_yields_the_frames_before() {
    let (disk, records) = image();
    let path = crate::job::path_of(std::path::Path::new("/spool"), 1);
    let mut before = 0;
    for len in 4096..=4096 + 12 * 1024 {
        let copy = disk.fork(len as u64);
        copy.truncate(&path, len);
        let found = check_damaged(&copy, &records, &format!("{len} bytes"));
        assert!(found >= before, "{len} bytes: {found} left");
        before = found;
    }
    assert_eq!(before, records.len());
}

#[test]
fn every_changed_byte_of_a_header_a_footer_or_a_checkpoint_is_noticed() {
    let (disk, records) = image();
    let mut now = forebay_core::Time::ZERO;
    let mut spool = open_image(&disk).expect("opens");
    super::work(&mut spool, &disk, &mut now);
    let header = spool
        .live
        .values()
        .next()
        .expect("a segment")
        .header
        .clone();
    let checkpoint = spool.snapshot();
    drop(spool);
    let footer = crate::segment::Footer {
        epoch: header.epoch,
        salt: header.salt,
        end: 8192,
        end_frame: header.base_frame + 3,
        end_seq: header.base_seq + records.len() as u64,
        headers_crc: 77,
        summary: std::sync::Arc::default(),
    };
    // The header alone, without its second copy.
    every_change(&header.encode_copy(), &header, |bytes| {
        crate::segment::SegmentHeader::decode(bytes)
    });
    every_change(&footer.encode(), &footer, |bytes| {
        crate::segment::Footer::decode(bytes, &header)
    });
    every_change(&checkpoint.encode(), &checkpoint, |bytes| {
        // Limits are those of a directory and not part of the file.
        let mut decoded = crate::checkpoint::Checkpoint::decode(bytes)?;
        decoded.book = decoded.book.with_limits(32 << 10);
        Some(decoded)
    });
}

/// Flips a bit of each byte and cuts off before each byte: what is decoded is the same thing or nothing.
fn every_change<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    right: &T,
    decode: impl Fn(&[u8]) -> Option<T>,
) {
    assert_eq!(decode(bytes).as_ref(), Some(right));
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1 << (at % 8);
        for bytes in [&changed, &bytes[..at]] {
            if let Some(decoded) = decode(bytes) {
                assert_eq!(decoded, *right, "byte {at}");
            }
        }
    }
}

#[test]
fn a_file_that_has_become_a_copy_of_a_segment_takes_nothing_from_it() {
    let (disk, records) = image();
    let mut now = forebay_core::Time::ZERO;
    let mut spool = open_image(&disk).expect("opens");
    super::work(&mut spool, &disk, &mut now);
    let active = spool.active.and_then(|epoch| spool.live.get(&epoch));
    let source = active.expect("frames were written again").header.slot;
    let target = spool.ready.last().expect("segments were made ready").slot;
    drop(spool);

    let dir = std::path::Path::new("/spool");
    let bytes = disk.files()[&crate::job::path_of(dir, source)].clone();
    let copy = disk.open(&crate::job::path_of(dir, target), OpenMode::Existing);
    let copy = copy.unwrap();
    assert_eq!(copy.write_at(&bytes, 0).unwrap(), bytes.len());
    copy.sync_data().unwrap();

    // Each file is one segment or none, and none is lost sight of.
    let files = crate::directory::classify(&disk, dir, 32 << 10, None).unwrap();
    let live = files.live.values().map(|(header, _)| header.slot);
    let spare = files.spare.iter().map(|spare| spare.slot);
    let unready = files.unready.iter().map(|(slot, _)| *slot);
    let mut slots: Vec<u32> = live.chain(spare).chain(unready).collect();
    slots.sort_unstable();
    let names = disk.list(dir).unwrap();
    let own = names
        .iter()
        .filter_map(|name| crate::directory::slot_of(name));
    assert_eq!(slots, own.collect::<Vec<u32>>());
    assert_eq!(check_damaged(&disk, &records, "a copy"), records.len());
}
