//! What can be seen of the log from outside: its figures, its condition, and how full it is.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::Time;
use forebay_spool::{Backlog, Damage, Pages, Stat};

/// Whether the log takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LogCondition {
    /// It does.
    #[default]
    Writing,
    /// It is full: publishes wait until something was settled.
    Full,
    /// It cannot be written. Publishes are acknowledged when they are stored, or wait, as `spool.on_failure` says.
    Failed,
}

impl LogCondition {
    /// The name in messages and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Writing => "writing",
            Self::Full => "full",
            Self::Failed => "failed",
        }
    }
}

/// What is done about a log that fills up. Each stage includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum OverloadStage {
    /// Nothing.
    #[default]
    None,
    /// At 80 %: it is logged.
    Warned,
    /// At 90 %: QoS 0 is dropped and new connections are refused.
    Refusing,
    /// At 95 %: publishes wait.
    Stalled,
}

impl OverloadStage {
    /// Parts of the limit, in percent, at which each stage is entered.
    const ENTERED_AT: [u64; 4] = [0, 80, 90, 95];
    /// A stage is left when so many percent less are in use.
    const HYSTERESIS: u64 = 5;

    /// The number of the stage, 0 to 3.
    pub fn level(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_level(level: u8) -> Self {
        match level {
            0 => Self::None,
            1 => Self::Warned,
            2 => Self::Refusing,
            _ => Self::Stalled,
        }
    }

    /// The stage after this one when `used` of `limit` bytes are in use.
    pub(crate) fn next(self, used: u64, limit: u64) -> Self {
        let percent = used.saturating_mul(100) / limit.max(1);
        let reached = |margin: u64| {
            let level = (1..=3)
                .rev()
                .find(|level| percent + margin >= Self::ENTERED_AT[*level])
                .unwrap_or(0);
            Self::from_level(level as u8)
        };
        // Rising at once, falling only as far as the lower thresholds allow.
        reached(0).max(self.min(reached(Self::HYSTERESIS)))
    }
}

/// The log at one moment.
#[derive(Debug, Clone)]
pub struct LogStatus {
    /// Figures of the log itself.
    pub stat: Stat,
    /// What is owed per stream, at most two seconds old.
    pub backlog: Vec<Backlog>,
    /// Whether it takes records.
    pub condition: LogCondition,
    /// How full it is.
    pub stage: OverloadStage,
    /// Why it could not be written the last time that it could not.
    pub error: Option<String>,
    /// Why it could not be read the last time that it could not.
    pub read_error: Option<String>,
    /// Lanes that are behind the log and are refilled from it.
    pub lagging_lanes: usize,
    /// Records of the log that are in lanes or at the sender.
    pub in_memory: u64,
    /// Bytes of these records, and how many they may be.
    pub lane_bytes: (u64, u64),
    /// How long the last write with its flush took.
    pub last_flush: Duration,
    /// Publishes that wait because the log takes none.
    pub waiting_records: usize,
    /// Publishes that were taken in mode `stored` because the log could not be written.
    pub fallback_records: u64,
    /// Readings of the whole log.
    pub check: LogCheckStatus,
}

/// Readings of the whole log that look for damage.
#[derive(Debug, Clone, Default)]
pub struct LogCheckStatus {
    /// The one that is under way.
    pub under_way: Option<LogCheckProgress>,
    /// What the last one found.
    pub last: Option<Arc<LogCheckReport>>,
    /// The number of the last request that was answered, 0 before the first:
    /// see [`PipelineControl::check_log`](crate::PipelineControl::check_log).
    pub answered: u64,
    /// The answer.
    pub answer: Option<Arc<LogCheckReport>>,
    /// Readings that came to their end.
    pub ended: u64,
    /// Bytes that were read, over all of them.
    pub bytes: u64,
}

/// How far a reading of the whole log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCheckProgress {
    /// True when somebody asked for it.
    pub asked: bool,
    /// When it began.
    pub began: Time,
    /// Segments that were read.
    pub segments_read: u64,
    /// Segments that there were when it began.
    pub segments: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Damaged places so far.
    pub damaged: u64,
}

/// What a reading of the whole log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogCheckReport {
    /// True when somebody asked for it.
    pub asked: bool,
    /// When it began.
    pub began: Time,
    /// When it ended.
    pub ended: Time,
    /// Segments that were read to their end.
    pub segments: u64,
    /// Frames that are right.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of the frames that were read.
    pub bytes: u64,
    /// Damaged places, those of `pages` included.
    pub damaged: u64,
    /// The first ones of them.
    pub damage: Vec<Damage>,
    /// Segments, by number, with damaged pages that hold no records; the first ones.
    pub pages: Vec<(u32, Pages)>,
    /// Records that damage took since the process began, until the end of this reading.
    pub lost: u64,
    /// Records that are owed, cannot be read, and may be in memory, from where they are still delivered.
    pub undecided: u64,
    /// Segments that could not be read to their end. That is not damage.
    pub unreadable: u64,
    /// Why not, for the last of them.
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_rise_at_once_and_fall_late() {
        let at = |stage: OverloadStage, percent| stage.next(percent, 100);
        let mut stage = OverloadStage::None;
        let course = [
            (79, 0),
            (80, 1),
            (76, 1),
            (74, 0),
            (96, 3),
            (91, 3),
            (89, 2),
            (86, 2),
            (84, 1),
            (100, 3),
            (0, 0),
        ];
        for (percent, expected) in course {
            stage = at(stage, percent);
            assert_eq!(stage.level(), expected, "at {percent} %");
        }
    }
}
