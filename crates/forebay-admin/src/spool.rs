//! What is told about the spool, and what reading all of it found: plain values with stable JSON names.
//!
//! The same values describe a directory that nobody has open, so that a tool shows both in one form.

use serde::{Deserialize, Serialize};

/// A spool at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// The directory.
    pub dir: String,
    /// Greatest size of all segments.
    pub limit_bytes: u64,
    /// Size of the segments that hold records.
    pub used_bytes: u64,
    /// Free space of the disk; absent when the system does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// The segments by what they are.
    pub segments: SegmentStatus,
    /// Records that are kept because Kinesis does not have them yet.
    pub backlog_records: u64,
    /// Bytes of these; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_bytes: Option<u64>,
    /// Age of the oldest of these; absent when there is none, or it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_age_seconds: Option<f64>,
    /// The lowest sequence number that is owed, or the next one.
    pub watermark: u64,
    /// The sequence number of the next record.
    pub next_seq: u64,
    /// QoS 2 packet ids that wait for their PUBREL.
    pub open_ids: u64,
    /// Records since the directory was created.
    pub totals: SpoolTotals,
    /// What is kept, by stream, in the order of the names.
    pub streams: Vec<BacklogStatus>,
    /// The process that writes it; absent when nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<WriterStatus>,
}

/// Segments by what they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentStatus {
    /// They hold records.
    pub live: u64,
    /// Zeroed and ready for use.
    pub ready: u64,
    /// Allowed by the limit, without a file.
    pub unallocated: u64,
    /// A write or flush on them failed; they are read only.
    pub bad: u64,
}

/// Records since the directory was created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolTotals {
    /// Made durable.
    pub appended: u64,
    /// No longer owed.
    pub settled: u64,
    /// Among these, lost to damage. Always 0 on a disk that keeps what it flushed.
    pub lost: u64,
}

/// What is kept for one stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BacklogStatus {
    /// Name of the stream.
    pub stream: String,
    /// Records that Kinesis does not have yet.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Age of the oldest; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_age_seconds: Option<f64>,
}

/// The spool as the running process has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WriterStatus {
    /// `writing`; `full` while no segment is free; `failed` while none can be written.
    pub condition: String,
    /// 0, or 1 to 3 as the measures against overload at 80, 90 and 95 % of the limit are in force.
    pub overload_stage: u8,
    /// The last write error of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The last read error of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_read_error: Option<String>,
    /// Lanes that are filled from disk, because they could not take what came.
    pub lagging_lanes: u64,
    /// Records of the backlog that are in lanes or requests.
    pub in_memory_records: u64,
    /// Records that wait because the log takes none; their publishes are not answered.
    pub waiting_records: u64,
    /// Records that were acknowledged as in mode `stored` since the start, because the log could not be written.
    pub fallback_records: u64,
    /// Writes and flushes that failed since the start.
    pub flush_errors: u64,
    /// Damaged places that were found since the start.
    pub frames_damaged: u64,
    /// How long flushes take.
    pub flush: FlushStatus,
    /// Readings of the whole spool that look for damage: by itself once in an hour, and on demand.
    #[serde(default)]
    pub check: CheckStatus,
    /// What the start found.
    pub recovery: RecoveryStatus,
}

/// How long the disk takes to make a group durable, in seconds; absent until known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct FlushStatus {
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seconds: Option<f64>,
    /// Median of a measurement at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_seconds: Option<f64>,
}

/// Readings of the whole spool that look for damage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// The one that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_way: Option<CheckProgress>,
    /// The last one that came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<EndedCheck>,
}

/// How far a reading of the whole spool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckProgress {
    /// True when somebody asked for it; then it does not rest.
    pub asked: bool,
    /// How long it has been under way.
    pub seconds: f64,
    /// Segments that were read.
    pub segments_read: u64,
    /// Segments to be read.
    pub segments: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Damaged places so far.
    pub damaged: u64,
}

/// A reading of the whole spool that came to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct EndedCheck {
    /// True when somebody asked for it.
    pub asked: bool,
    /// How long ago it ended.
    pub ended_seconds_ago: f64,
    /// How long it took.
    pub seconds: f64,
    /// Segments that were read.
    pub segments: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Damaged places.
    pub damaged: u64,
    /// Segments that could not be read to their end, which is not damage.
    pub unreadable: u64,
}

/// What opening the directory found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RecoveryStatus {
    /// Segments with records.
    pub segments: u64,
    /// Those that were read as a whole.
    pub scanned: u64,
    /// Records that were owed.
    pub records: u64,
    /// Places at which the log ended within a group that was never answered.
    pub torn: u64,
    /// Damaged places.
    pub damaged: u64,
    /// Records that were owed and are lost to damage.
    pub lost: u64,
    /// How long it took.
    pub seconds: f64,
}

/// How far the reading of a whole spool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyState {
    /// Nobody asked for one since the start.
    #[default]
    Idle,
    /// Under way.
    Running,
    /// At its end; there is a report.
    Done,
    /// Given up; there is an error.
    Failed,
}

/// A reading of the whole spool beside the running process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VerifyStatus {
    /// How far it is.
    pub state: VerifyState,
    /// How much of it is done, while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<CheckProgress>,
    /// What it found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<VerifyReport>,
    /// Why it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What reading all frames of a spool found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// The directory.
    pub dir: String,
    /// Segments that were read.
    pub segments: u64,
    /// Frames whose checksums are right.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Damaged places, the first ones of them.
    pub damage: Vec<DamageStatus>,
    /// All damaged places.
    pub damaged: u64,
    /// Records that were owed and are lost to damage: here, or since the process began that has the spool open.
    #[serde(default)]
    pub lost_records: u64,
    /// Records that are owed and lie in damage, and that the process may still have in memory, from where it delivers
    /// them.
    #[serde(default)]
    pub undecided_records: u64,
    /// Segments that could not be read to their end, which is not damage.
    #[serde(default)]
    pub unreadable: u64,
    /// Why not, for the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A place at which something lies that is no whole frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageStatus {
    /// Number of the segment, as in its file's name.
    pub segment: u32,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// First sequence number that it may hold.
    pub first_seq: u64,
    /// The one behind the last.
    pub end_seq: u64,
}
