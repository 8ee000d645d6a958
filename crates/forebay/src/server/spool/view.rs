//! The figures of the spool in the form that people and tools get.

use std::path::Path;
use std::time::Duration;

use forebay_admin::{
    BacklogStatus, CheckProgress, CheckStatus, DamageStatus, EndedCheck, FlushStatus,
    RecoveryStatus, SegmentStatus, SpoolStatus, SpoolTotals, VerifyReport, WriterStatus,
};
use forebay_core::{Fs, Time};
use forebay_pipeline::{LogCheckProgress, LogCheckReport, LogCheckStatus, LogStatus};
use forebay_spool::{Backlog, Damage, DiskFs, Inspected, Stat, Totals, Verified};

use super::Opened;

/// Damaged places that are listed one by one.
const DAMAGE_LISTED: usize = 100;

/// Age of something that came in at `received_ms`.
fn age(received_ms: i64, wall_ms: i64) -> f64 {
    // A clock that was set back makes nothing younger than now.
    wall_ms.saturating_sub(received_ms).max(0) as f64 / 1000.0
}

/// What is kept, by stream.
fn streams_of(backlog: &[Backlog], wall_ms: i64) -> Vec<BacklogStatus> {
    let owed = backlog.iter().filter(|stream| stream.records > 0);
    let mut streams: Vec<BacklogStatus> = owed
        .map(|stream| BacklogStatus {
            stream: stream
                .stream
                .as_ref()
                .map_or_else(|| OTHER.to_owned(), |key| key.name.to_string()),
            records: stream.records,
            bytes: stream.bytes,
            oldest_age_seconds: Some(age(stream.oldest_ms, wall_ms)),
        })
        .collect();
    streams.sort_by(|a, b| a.stream.cmp(&b.stream));
    streams
}

/// The age of the oldest record of all.
fn oldest(streams: &[BacklogStatus]) -> Option<f64> {
    let ages = streams
        .iter()
        .filter_map(|stream| stream.oldest_age_seconds);
    ages.reduce(f64::max)
}

fn totals_of(totals: &Totals) -> SpoolTotals {
    SpoolTotals {
        appended: totals.appended,
        settled: totals.settled,
        lost: totals.lost,
    }
}

/// A spool that this process has open.
pub(in crate::server) fn status_of(stat: &Stat, backlog: &[Backlog], wall_ms: i64) -> SpoolStatus {
    let streams = streams_of(backlog, wall_ms);
    SpoolStatus {
        dir: stat.dir.display().to_string(),
        limit_bytes: stat.limit_bytes,
        used_bytes: stat.used_bytes,
        disk_free_bytes: DiskFs.free_bytes(&stat.dir).ok(),
        segments: SegmentStatus {
            live: stat.live_segments as u64,
            ready: stat.ready_segments as u64,
            unallocated: stat.unallocated_segments as u64,
            bad: stat.bad_segments as u64,
        },
        backlog_records: stat.unsettled_records,
        backlog_bytes: Some(streams.iter().map(|stream| stream.bytes).sum()),
        oldest_age_seconds: oldest(&streams),
        watermark: stat.watermark,
        next_seq: stat.next_seq,
        open_ids: stat.open_ids as u64,
        totals: totals_of(&stat.totals),
        streams,
        writer: None,
    }
}

/// A spool that nobody has open.
pub(crate) fn status_of_directory(seen: &Inspected, dir: &Path, wall_ms: i64) -> SpoolStatus {
    let streams = streams_of(&seen.backlog, wall_ms);
    SpoolStatus {
        dir: dir.display().to_string(),
        limit_bytes: seen.limit_bytes,
        used_bytes: seen.used_bytes,
        disk_free_bytes: DiskFs.free_bytes(dir).ok(),
        segments: SegmentStatus {
            live: seen.live_segments as u64,
            ready: seen.spare_segments as u64,
            ..SegmentStatus::default()
        },
        backlog_records: seen.unsettled_records,
        backlog_bytes: Some(streams.iter().map(|stream| stream.bytes).sum()),
        oldest_age_seconds: oldest(&streams),
        watermark: seen.watermark,
        next_seq: seen.next_seq,
        open_ids: seen.open_ids as u64,
        totals: totals_of(&seen.totals),
        streams,
        writer: None,
    }
}

/// What the running process adds.
pub(in crate::server) fn writer_of(
    log: &LogStatus,
    recovery: RecoveryStatus,
    now: Time,
) -> WriterStatus {
    let counters = &log.stat.counters;
    WriterStatus {
        condition: log.condition.as_str().to_owned(),
        overload_stage: log.stage.level(),
        last_error: log.error.clone(),
        last_read_error: log.read_error.clone(),
        lagging_lanes: log.lagging_lanes as u64,
        in_memory_records: log.in_memory,
        waiting_records: log.waiting_records as u64,
        fallback_records: log.fallback_records,
        flush_errors: counters.flush_errors,
        frames_damaged: counters.frames_damaged,
        flush: FlushStatus {
            last_seconds: (!log.last_flush.is_zero()).then_some(log.last_flush.as_secs_f64()),
            p50_seconds: log.stat.flush_median.map(|median| median.as_secs_f64()),
        },
        check: check_of(&log.check, now),
        recovery,
    }
}

/// The readings that look for damage.
fn check_of(check: &LogCheckStatus, now: Time) -> CheckStatus {
    let under_way = check.under_way.as_ref();
    CheckStatus {
        under_way: under_way.map(|progress| progress_of(progress, now)),
        last: check.last.as_ref().map(|report| EndedCheck {
            asked: report.asked,
            ended_seconds_ago: now.since(report.ended).as_secs_f64(),
            seconds: report.ended.since(report.began).as_secs_f64(),
            segments: report.segments,
            bytes: report.bytes,
            damaged: report.damaged,
            unreadable: report.unreadable,
        }),
    }
}

/// How far such a reading is.
pub(super) fn progress_of(progress: &LogCheckProgress, now: Time) -> CheckProgress {
    CheckProgress {
        asked: progress.asked,
        seconds: now.since(progress.began).as_secs_f64(),
        segments_read: progress.segments_read,
        segments: progress.segments,
        bytes: progress.bytes,
        damaged: progress.damaged,
    }
}

/// What opening found.
pub(in crate::server) fn recovery_of<F: Fs>(opened: &Opened<F>) -> RecoveryStatus {
    let recovered = &opened.recovered;
    RecoveryStatus {
        segments: recovered.segments as u64,
        scanned: recovered.scanned as u64,
        records: recovered.records,
        torn: recovered.torn,
        damaged: recovered.damaged.len() as u64,
        lost: recovered.lost,
        seconds: opened.took.as_secs_f64(),
    }
}

/// Stands for streams that are too many to be told apart.
pub(super) const OTHER: &str = "other";

fn damage_of(damage: &Damage) -> DamageStatus {
    DamageStatus {
        segment: damage.slot,
        offset: damage.offset,
        length: damage.len,
        first_seq: damage.first_seq,
        end_seq: damage.end_seq,
    }
}

/// Headers and footers stand at the beginning and the end of their files; of these the place says nothing more.
fn page_of(segment: u32) -> DamageStatus {
    DamageStatus {
        segment,
        ..DamageStatus::default()
    }
}

/// What reading a directory found that nobody has open.
pub(crate) fn report_of(found: &Verified, dir: &Path, took: Duration) -> VerifyReport {
    let pages = found.headers_damaged.iter().chain(&found.footers_damaged);
    let count = found.damaged.len() + pages.clone().count();
    let listed = found.damaged.iter().take(DAMAGE_LISTED).map(damage_of);
    let pages = pages.take(DAMAGE_LISTED).map(|segment| page_of(*segment));
    VerifyReport {
        dir: dir.display().to_string(),
        segments: found.segments as u64,
        frames: found.frames,
        records: found.records,
        bytes: found.bytes,
        seconds: took.as_secs_f64(),
        damage: listed.chain(pages).collect(),
        damaged: count as u64,
        lost_records: found.lost_records,
        ..VerifyReport::default()
    }
}

/// What reading everything found in the process that has the spool open.
pub(super) fn report_of_check(report: &LogCheckReport, dir: &Path) -> VerifyReport {
    let pages = report.pages.iter().map(|(segment, _)| page_of(*segment));
    VerifyReport {
        dir: dir.display().to_string(),
        segments: report.segments,
        frames: report.frames,
        records: report.records,
        bytes: report.bytes,
        seconds: report.ended.since(report.began).as_secs_f64(),
        damage: report.damage.iter().map(damage_of).chain(pages).collect(),
        damaged: report.damaged,
        lost_records: report.lost,
        undecided_records: report.undecided,
        unreadable: report.unreadable,
        error: report.error.clone(),
    }
}
