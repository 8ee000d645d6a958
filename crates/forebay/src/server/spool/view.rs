//! The figures of the spool in the form that people and tools get.

use forebay_admin::{
    BacklogStatus, FlushStatus, RecoveryStatus, SegmentStatus, SpoolStatus, SpoolTotals,
    WriterStatus,
};
use forebay_core::Fs;
use forebay_pipeline::LogStatus;
use forebay_spool::{Backlog, DiskFs, Stat};

use super::Opened;

/// Age of something that came in at `received_ms`.
fn age(received_ms: i64, wall_ms: i64) -> f64 {
    // A clock that was set back makes nothing younger than now.
    wall_ms.saturating_sub(received_ms).max(0) as f64 / 1000.0
}

/// A spool, whether it is open or not.
pub(crate) fn status_of(stat: &Stat, backlog: &[Backlog], wall_ms: i64) -> SpoolStatus {
    let mut streams: Vec<BacklogStatus> = backlog
        .iter()
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
    let ages = streams
        .iter()
        .filter_map(|stream| stream.oldest_age_seconds);
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
        oldest_age_seconds: ages.reduce(f64::max),
        watermark: stat.watermark,
        next_seq: stat.next_seq,
        open_ids: stat.open_ids as u64,
        totals: SpoolTotals {
            appended: stat.totals.appended,
            settled: stat.totals.settled,
            lost: stat.totals.lost,
        },
        streams,
        writer: None,
    }
}

/// What the running process adds.
pub(in crate::server) fn writer_of(log: &LogStatus, recovery: RecoveryStatus) -> WriterStatus {
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
            p50_seconds: None,
            p99_seconds: None,
        },
        recovery,
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
