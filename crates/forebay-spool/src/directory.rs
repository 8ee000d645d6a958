//! A spool directory as files: its description, its checkpoints, and what each segment file is.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use forebay_core::{Entropy as _, Fs, FsFile as _, OpenMode, SeededEntropy};

use crate::checkpoint::{self, Checkpoint};
use crate::config::Config;
use crate::error::OpenError;
use crate::job::path_of;
use crate::meta::{self, Meta};
use crate::segment::{Kind, PAGE, SegmentHeader};
use crate::spool::Spare;
use crate::wire::{narrow, read_full};

/// Greatest size that a directory gets by itself.
const MAX_BYTES_DEFAULT: u64 = 16 << 30;

pub(crate) type Found<T> = (SegmentHeader, Arc<T>);

/// The segments of a directory, by what they are.
#[derive(Debug)]
pub(crate) struct Files<T> {
    pub(crate) live: BTreeMap<u64, Found<T>>,
    pub(crate) spare: Vec<Spare<T>>,
    pub(crate) unready: VecDeque<(u32, u64)>,
    pub(crate) max_epoch: u64,
}

pub(crate) fn describe<F: Fs>(
    fs: &F,
    config: &Config,
    entropy: &mut SeededEntropy,
    wall_ms: i64,
) -> Result<(Meta, bool), OpenError> {
    if let Some(meta) = Meta::read(fs, &config.dir)? {
        return Ok((meta, false));
    }
    let names = fs.list(&config.dir)?;
    if names
        .iter()
        .any(|name| name == meta::NAME || name.ends_with(".seg"))
    {
        return Err(OpenError::NoMeta(config.dir.clone()));
    }
    let half = fs.free_bytes(&config.dir)? / 2;
    let meta = Meta {
        origin: entropy.uuid_bits(),
        created_ms: wall_ms,
        max_bytes: config.max_bytes.unwrap_or(half.min(MAX_BYTES_DEFAULT)),
    };
    meta.create(fs, &config.dir)?;
    Ok((meta, true))
}

pub(crate) type Loaded = [Option<(Checkpoint, Vec<u8>)>; 2];

/// The newer of the two checkpoints.
pub(crate) fn newest_of(loaded: &Loaded) -> Option<&Checkpoint> {
    let checkpoints = loaded.iter().flatten().map(|(checkpoint, _)| checkpoint);
    checkpoints.max_by_key(|checkpoint| checkpoint.generation)
}

pub(crate) fn load_checkpoints<F: Fs>(fs: &F, dir: &Path) -> Result<Loaded, OpenError> {
    let [a, b] = checkpoint::NAMES.map(|name| checkpoint::read(fs, &dir.join(name)));
    Ok([a?, b?])
}

pub(crate) fn classify<F: Fs>(
    fs: &F,
    dir: &Path,
    segment_bytes: u64,
    newest: Option<&Checkpoint>,
) -> Result<Files<F::File>, OpenError> {
    let mut files = Files {
        live: BTreeMap::new(),
        spare: Vec::new(),
        unready: VecDeque::new(),
        max_epoch: 0,
    };
    for name in fs.list(dir)? {
        let Some(slot) = slot_of(&name) else {
            continue;
        };
        let file = Arc::new(fs.open(&path_of(dir, slot), OpenMode::Existing)?);
        let mut page = vec![0; narrow(PAGE)];
        let read = read_full(&*file, &mut page, 0)?;
        page.truncate(read);
        let listed = newest.and_then(|newest| {
            let mut segments = newest.segments.iter();
            segments.find(|listed| listed.header.slot == slot)
        });
        // A page that was meant for another file, or was copied from it, says nothing about this one.
        let header = SegmentHeader::decode(&page).filter(|header| header.slot == slot);
        // A header that cannot be read is taken from the checkpoint, which has a copy.
        let Some(header) = header.or_else(|| listed.map(|listed| listed.header.clone())) else {
            files.unready.push_back((slot, 0));
            continue;
        };
        if header.kind == Kind::Compact {
            return Err(OpenError::Compacted {
                dir: dir.to_owned(),
                slot,
            });
        }
        files.max_epoch = files.max_epoch.max(header.epoch);
        let newer = newest.is_none_or(|newest| header.epoch >= newest.next_epoch);
        let listed = listed.is_some_and(|listed| listed.header.epoch == header.epoch);
        if header.epoch > 0 && (newer || listed) {
            files.live.insert(header.epoch, (header, file));
        } else if header.size < segment_bytes || file.len()? < header.size {
            files
                .unready
                .push_back((slot, header.size.min(file.len()?)));
        } else {
            files.spare.push(Spare {
                slot,
                file,
                size: header.size,
            });
        }
    }
    Ok(files)
}

/// The number in the name of a segment file; `None` for other files.
pub(crate) fn slot_of(name: &str) -> Option<u32> {
    let slot = name.strip_suffix(".seg")?.parse().ok()?;
    (path_of(Path::new(""), slot) == Path::new(name)).then_some(slot)
}
