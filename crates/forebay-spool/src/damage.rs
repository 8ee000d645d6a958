//! What happens to damage that is found: it is counted, copied once, and its records are settled as lost.

use forebay_core::{Fs, FsError, FsErrorKind, FsFile as _, OpenMode, Time};

use crate::cursor::Damage;
use crate::job::path_of;
use crate::spool::Spool;
use crate::wire::{narrow, read_full, wide, write_all};

/// Places of damage that are remembered. Those beyond are counted each time that they are met.
const KNOWN_MAX: usize = 1024;

impl<F: Fs> Spool<F> {
    /// Takes note of damage that a [`ReadPlan`](crate::ReadPlan) or a [`CheckPlan`](crate::CheckPlan) met. Returns how many records that were still owed
    /// are lost by it.
    pub fn report_damage(&mut self, damage: &Damage, now: Time) -> u64 {
        self.quarantine(damage);
        let fresh = self.know(damage);
        let lost = self.settle(damage.first_seq..damage.end_seq, now);
        self.counters.frames_damaged += u64::from(fresh || lost > 0);
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

    /// Copies what lies there for people to look at, as long as all copies together take less than one segment.
    /// Failing to do so changes nothing else.
    pub(crate) fn quarantine(&mut self, damage: &Damage) {
        let room = self.config.segment_bytes.saturating_sub(self.quarantined);
        if damage.len == 0 || damage.len > room {
            return;
        }
        if let Ok(bytes) = self.copy_damage(damage) {
            self.quarantined += bytes;
        }
    }

    fn copy_damage(&self, damage: &Damage) -> Result<u64, FsError> {
        let dir = &self.config.dir;
        let name = format!(
            "quarantine-{:08}-{}-{}",
            damage.slot, damage.epoch, damage.offset
        );
        let source = self
            .fs
            .open(&path_of(dir, damage.slot), OpenMode::Existing)?;
        let mut bytes = vec![0; narrow(damage.len)];
        let read = read_full(&source, &mut bytes, damage.offset)?;
        bytes.truncate(read);
        let file = match self.fs.open(&dir.join(name), OpenMode::CreateNew) {
            Ok(file) => file,
            Err(error) if error.kind == FsErrorKind::AlreadyExists => return Ok(0),
            Err(error) => return Err(error),
        };
        write_all(&file, &bytes, 0)?;
        file.sync_data()?;
        self.fs.sync_dir(dir)?;
        Ok(wide(bytes.len()))
    }
}
