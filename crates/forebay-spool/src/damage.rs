//! What happens to damage that is found: it is counted, copied once, and its records are settled as lost.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use forebay_core::{Fs, FsError, FsErrorKind, FsFile, OpenMode, Time};
use roaring::RoaringTreemap;

use crate::cursor::Damage;
use crate::spool::Spool;
use crate::wire::{narrow, read_full, wide, write_all};

/// Places of damage that are remembered. Those beyond are counted each time that they are met.
const KNOWN_MAX: usize = 1024;

/// Places of damage that wait to be copied. Those beyond are not copied.
const COPIES_MAX: usize = 16;

/// A damaged place that is to be copied. The segment is not used again before that is done or given up.
#[derive(Debug)]
pub(crate) struct Copying<T> {
    file: Arc<T>,
    dir: PathBuf,
    name: String,
    offset: u64,
    len: u64,
}

impl<T: FsFile> Copying<T> {
    /// Copies the place for people to look at, once. Returns how many bytes it wrote.
    pub(crate) fn run<F: Fs<File = T>>(&self, fs: &F) -> Result<u64, FsError> {
        let file = match fs.open(&self.dir.join(&self.name), OpenMode::CreateNew) {
            Ok(file) => file,
            Err(error) if error.kind == FsErrorKind::AlreadyExists => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; narrow(self.len)];
        let read = read_full(&*self.file, &mut bytes, self.offset)?;
        bytes.truncate(read);
        write_all(&file, &bytes, 0)?;
        file.sync_data()?;
        fs.sync_dir(&self.dir)?;
        Ok(wide(bytes.len()))
    }

    /// Bytes that the copy takes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

impl<F: Fs> Spool<F> {
    /// Takes note of damage that a [`ReadPlan`](crate::ReadPlan) or a [`CheckPlan`](crate::CheckPlan) met, and gives up
    /// what is still owed there. Returns how many records are lost by it.
    pub fn report_damage(&mut self, damage: &Damage, now: Time) -> u64 {
        self.note_damage(damage);
        self.lose(damage.first_seq..damage.end_seq, now)
    }

    /// Counts a damaged place and has it copied, once. False when it was known. What is owed there stays owed: somebody
    /// may have the records in memory.
    pub fn note_damage(&mut self, damage: &Damage) -> bool {
        let fresh = self.know(damage);
        if fresh {
            self.counters.frames_damaged += 1;
            let copying = self.copying(damage);
            if self.copies.len() < COPIES_MAX {
                self.copies.extend(copying);
            }
        }
        fresh
    }

    /// Gives up what is owed of these sequence numbers, because it lay in damage. Returns how many records that were.
    pub fn lose(&mut self, seqs: Range<u64>, now: Time) -> u64 {
        let mut owed = RoaringTreemap::new();
        owed.insert_range(seqs);
        owed &= &self.unsettled;
        let lost = self.settle(owed, now);
        self.counters.records_lost += lost;
        self.totals.lost += lost;
        lost
    }

    /// Remembers a place that is damaged, so that it is counted once. False when it was known.
    pub(crate) fn know(&mut self, damage: &Damage) -> bool {
        let live = &self.live;
        if self.known_damage.len() >= KNOWN_MAX {
            self.known_damage
                .retain(|(epoch, _)| live.contains_key(epoch));
        }
        let place = (damage.epoch, damage.offset);
        let room = self.known_damage.len() < KNOWN_MAX;
        if room {
            self.known_damage.insert(place)
        } else {
            !self.known_damage.contains(&place)
        }
    }

    /// Copies what lies there at once: before anything else is done with the directory.
    pub(crate) fn quarantine(&mut self, damage: &Damage) {
        // Failing to copy changes nothing else.
        if let Some(copying) = self.copying(damage)
            && let Ok(bytes) = copying.run(&*self.fs)
        {
            self.quarantined += bytes;
        }
    }

    /// The copy of a damaged place, as long as all copies together take less than one segment.
    fn copying(&self, damage: &Damage) -> Option<Copying<F::File>> {
        let waiting: u64 = self.copies.iter().map(Copying::len).sum();
        let room = self
            .config
            .segment_bytes
            .saturating_sub(self.quarantined + waiting);
        if damage.len == 0 || damage.len > room {
            return None;
        }
        let segment = self.live.get(&damage.epoch)?;
        Some(Copying {
            file: Arc::clone(&segment.file),
            dir: self.config.dir.clone(),
            name: format!(
                "quarantine-{:08}-{}-{}",
                damage.slot, damage.epoch, damage.offset
            ),
            offset: damage.offset,
            len: damage.len,
        })
    }
}
