//! The record as a file: the last failures, and the frames that are not decoded any more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use forebay_spool::FramePlace;
use serde::{Deserialize, Serialize};

/// Its name in the data directory.
pub(super) const NAME: &str = "failed-starts.json";
/// So many failures alike make a crash loop, and no more are kept.
pub(super) const FAILURES: usize = 3;
/// Within so long.
pub(super) const WITHIN: Duration = Duration::from_secs(60);
/// The phase in which a frame can be contained.
pub(super) const DECODE: &str = "decode";
/// Frames that are kept from being decoded; of more, the oldest are tried again.
const CONTAINED_MAX: usize = 256;
/// Of an error so much is kept.
const ERROR_CHARACTERS: usize = 300;
/// A file that is longer was not written by this code.
const FILE_BYTES_MAX: u64 = 128 * 1024;

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    segment: u32,
    epoch: u64,
    offset: u64,
}

/// One start that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FailedStart {
    /// What it was at.
    phase: String,
    /// The build that failed: another may do better.
    version: String,
    /// When, in milliseconds since the epoch.
    wall_ms: i64,
    /// How long after its begin, by a clock that nobody sets.
    after_ms: u64,
    error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame: Option<Place>,
    /// A thread failed that reads the log back, which a start that serves does not disprove.
    #[serde(default)]
    in_thread: bool,
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(default)]
    failures: Vec<FailedStart>,
    #[serde(default)]
    contained: Vec<Place>,
}

impl From<FramePlace> for Place {
    fn from(place: FramePlace) -> Self {
        Self {
            segment: place.slot,
            epoch: place.epoch,
            offset: place.offset,
        }
    }
}

impl From<Place> for FramePlace {
    fn from(place: Place) -> Self {
        Self {
            slot: place.segment,
            epoch: place.epoch,
            offset: place.offset,
        }
    }
}

impl FailedStart {
    pub(super) fn new(
        phase: &str,
        wall_ms: i64,
        after: Duration,
        error: &str,
        frame: Option<FramePlace>,
        in_thread: bool,
    ) -> Self {
        Self {
            phase: phase.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wall_ms,
            after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            error: error.chars().take(ERROR_CHARACTERS).collect(),
            frame: frame.map(Place::from),
            in_thread,
        }
    }
}

impl Record {
    /// What is in the directory. A record that is missing or cannot be read is an empty one: nothing may fail because of
    /// it.
    pub(super) fn read(dir: &Path) -> Self {
        let mut text = String::new();
        let read = File::open(dir.join(NAME))
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
        let mut record: Self = match read {
            Ok(_) => serde_json::from_str(&text).unwrap_or_default(),
            Err(_) => Self::default(),
        };
        record.trim();
        record
    }

    /// Puts it into the directory, or takes it away when there is nothing to remember.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let path = dir.join(NAME);
        if *self == Self::default() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let fresh = dir.join(format!("{NAME}.new"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)
    }

    /// Adds a failure; of more than count, the oldest is forgotten.
    pub(super) fn push(&mut self, failure: FailedStart) {
        self.failures.push(failure);
        self.trim();
    }

    fn trim(&mut self) {
        let surplus = self.failures.len().saturating_sub(FAILURES);
        self.failures.drain(..surplus);
        let surplus = self.contained.len().saturating_sub(CONTAINED_MAX);
        self.contained.drain(..surplus);
    }

    /// True when one more failure in this phase ends the loop, because the next start would do nothing else.
    pub(super) fn is_hopeless(&self, phase: &str) -> bool {
        let room = phase == DECODE && self.contained.len() < CONTAINED_MAX;
        self.repeats(phase) && !room
    }

    /// True when the last starts all failed in this phase, one soon after the other.
    fn repeats(&self, phase: &str) -> bool {
        let (Some(first), Some(last)) = (self.failures.first(), self.failures.last()) else {
            return false;
        };
        let within = i64::try_from(WITHIN.as_millis()).unwrap_or(i64::MAX);
        // A clock that was set meanwhile makes them no loop: it shows itself after three more.
        let soon = (0..=within).contains(&last.wall_ms.saturating_sub(first.wall_ms));
        let alike = |failure: &FailedStart| {
            failure.phase == phase && failure.version == env!("CARGO_PKG_VERSION")
        };
        self.failures.len() == FAILURES && soon && self.failures.iter().all(alike)
    }

    /// The frame at which the last starts failed, when it is time to leave it out.
    pub(super) fn fatal_frame(&self) -> Option<FramePlace> {
        let place = self.failures.last()?.frame?;
        self.repeats(DECODE).then(|| place.into())
    }

    /// This frame is not decoded any more.
    pub(super) fn contain(&mut self, place: FramePlace) {
        if !self.contained.contains(&place.into()) {
            self.contained.push(place.into());
        }
        self.trim();
    }

    /// The frames that are not decoded.
    pub(super) fn contained(&self) -> impl Iterator<Item = FramePlace> + '_ {
        self.contained.iter().map(|place| (*place).into())
    }

    /// A start serves, and of the frames that are not decoded these are still there.
    pub(super) fn served(&mut self, in_use: &[FramePlace]) {
        let contained = self.contained.clone();
        self.failures.retain(|failure| {
            failure.in_thread
                && failure
                    .frame
                    .is_some_and(|frame| !contained.contains(&frame))
        });
        self.contained
            .retain(|place| in_use.contains(&(*place).into()));
    }
}
