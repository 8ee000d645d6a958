//! Bytes that changed or are gone.

use std::collections::BTreeMap;

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
    for offset in (0..4096 + 12 * 1024).step_by(3) {
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
    for len in (4096..4096 + 12 * 1024).step_by(7) {
        let copy = disk.fork(len as u64);
        copy.truncate(&path, len);
        let found = check_damaged(&copy, &records, &format!("{len} bytes"));
        assert!(found >= before, "{len} bytes: {found} left");
        before = found;
    }
    assert_eq!(before, records.len());
}
