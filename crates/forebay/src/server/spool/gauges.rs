//! The spool in metrics. Histograms of its writes are the pipeline's own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use forebay_core::{Clock, Fs as _};
use forebay_metrics::{Counter, Gauge, Registry};
use forebay_pipeline::{LogCondition, LogStatus, PipelineControl};
use forebay_spool::DiskFs;

use super::view::OTHER;

/// Label values of streams over the life of the process; those that come later count together.
const LABELS_MAX: usize = 1000;

/// Registers what is looked up at scrape.
pub(in crate::server) fn register(
    control: PipelineControl,
    clock: Arc<dyn Clock>,
    registry: &Registry,
) {
    let gauges = Gauges::new(registry);
    let streams = Mutex::new(Streams {
        registry: registry.clone(),
        known: BTreeMap::new(),
    });
    registry.on_scrape(move || {
        if let Some(log) = control.log() {
            gauges.set(&log, &*clock);
            streams
                .lock()
                .expect("no panic while the gauges are set")
                .set(&log, clock.wall_millis());
        }
    });
}

struct Gauges {
    limit: Gauge,
    unsettled: Gauge,
    segments: [Gauge; 4],
    disk_free: Gauge,
    stage: Gauge,
    lanes: Gauge,
    writable: Gauge,
    fallback: Counter,
    flush_errors: Counter,
    damaged: Counter,
    lost: Counter,
    checks: Counter,
    check_bytes: Counter,
    check_ended: Gauge,
}

impl Gauges {
    fn new(registry: &Registry) -> Self {
        let gauge = |name, help| registry.gauge(name, help, &[]);
        let segments = |state| {
            let help = "Segments of the spool by what they are.";
            registry.gauge("forebay_spool_segments", help, &[("state", state)])
        };
        Self {
            limit: gauge(
                "forebay_spool_limit_bytes",
                "Greatest size of all segments of the spool.",
            ),
            unsettled: gauge(
                "forebay_spool_unsettled_records",
                "Records in the spool that Kinesis does not have yet.",
            ),
            segments: ["live", "ready", "unallocated", "bad"].map(segments),
            disk_free: gauge(
                "forebay_disk_free_bytes",
                "Free space of the disk with the spool.",
            ),
            stage: gauge(
                "forebay_overload_stage",
                "Measures in force against a spool that fills up: 0 none, 1 from 80 %, 2 from 90 %, 3 from 95 %.",
            ),
            lanes: gauge(
                "forebay_sender_budget_used_bytes",
                "Bytes of records of the spool that lanes and sender hold.",
            ),
            writable: gauge(
                "forebay_spool_writable",
                "1 while the spool can be written, 0 while its disk fails.",
            ),
            fallback: registry.counter(
                "forebay_spool_fallback_records_total",
                "Records that were acknowledged when Kinesis had them because the spool could not be written.",
                &[],
            ),
            flush_errors: registry.counter(
                "forebay_spool_flush_errors_total",
                "Writes and flushes of the spool that failed.",
                &[],
            ),
            damaged: registry.counter(
                "forebay_spool_frames_damaged_total",
                "Damaged places that were found in the spool.",
                &[],
            ),
            lost: registry.counter(
                "forebay_spool_records_lost_total",
                "Acknowledged records that damage of the disk took. Anything but 0 is an alarm.",
                &[],
            ),
            checks: registry.counter(
                "forebay_spool_checks_total",
                "Readings of the whole spool in search of damage that came to their end.",
                &[],
            ),
            check_bytes: registry.counter(
                "forebay_spool_check_bytes_total",
                "Bytes that these readings have read.",
                &[],
            ),
            check_ended: gauge(
                "forebay_spool_check_ended_timestamp_seconds",
                "When the last of these readings ended, in seconds since the Unix epoch; 0 before the first.",
            ),
        }
    }

    fn set(&self, log: &LogStatus, clock: &dyn Clock) {
        let stat = &log.stat;
        self.limit.set(stat.limit_bytes as f64);
        self.unsettled.set(stat.unsettled_records as f64);
        let counts = [
            stat.live_segments,
            stat.ready_segments,
            stat.unallocated_segments,
            stat.bad_segments,
        ];
        for (gauge, count) in self.segments.iter().zip(counts) {
            gauge.set(count as f64);
        }
        // A disk that does not say how much is free keeps the last figure.
        if let Ok(free) = DiskFs.free_bytes(&stat.dir) {
            self.disk_free.set(free as f64);
        }
        self.stage.set(f64::from(log.stage.level()));
        self.lanes.set(log.lane_bytes.0 as f64);
        let writable = log.condition != LogCondition::Failed;
        self.writable.set(f64::from(u8::from(writable)));
        self.fallback.absolute(log.fallback_records);
        self.flush_errors.absolute(stat.counters.flush_errors);
        self.damaged.absolute(stat.counters.frames_damaged);
        self.lost.absolute(stat.counters.records_lost);
        self.checks.absolute(log.check.ended);
        self.check_bytes.absolute(log.check.bytes);
        if let Some(last) = &log.check.last {
            let age = clock.now().since(last.ended).as_secs_f64();
            self.check_ended
                .set(clock.wall_millis() as f64 / 1000.0 - age);
        }
    }
}

/// The gauges of the streams that have, or had, something in the spool.
struct Streams {
    registry: Registry,
    known: BTreeMap<String, [Gauge; 3]>,
}

impl Streams {
    fn set(&mut self, log: &LogStatus, wall_ms: i64) {
        let mut figures: BTreeMap<String, [f64; 3]> = BTreeMap::new();
        figures.extend(self.known.keys().map(|name| (name.clone(), [0.0; 3])));
        for stream in super::status_of(&log.stat, &log.backlog, wall_ms).streams {
            let has_place = figures.len() < LABELS_MAX || figures.contains_key(&stream.stream);
            let name = if has_place {
                stream.stream
            } else {
                OTHER.to_owned()
            };
            let [records, bytes, oldest] = figures.entry(name).or_default();
            *records += stream.records as f64;
            *bytes += stream.bytes as f64;
            *oldest = oldest.max(stream.oldest_age_seconds.unwrap_or(0.0));
        }
        for (name, figures) in figures {
            let registry = &self.registry;
            let gauges = self
                .known
                .entry(name)
                .or_insert_with_key(|name| stream_gauges(registry, name));
            for (gauge, figure) in gauges.iter().zip(figures) {
                gauge.set(figure);
            }
        }
    }
}

fn stream_gauges(registry: &Registry, stream: &str) -> [Gauge; 3] {
    let labels = [("stream", stream)];
    [
        registry.gauge(
            "forebay_spool_records",
            "Records in the spool that Kinesis does not have yet.",
            &labels,
        ),
        registry.gauge("forebay_spool_bytes", "Bytes of these records.", &labels),
        registry.gauge(
            "forebay_spool_oldest_age_seconds",
            "Age of the oldest of these records, 0 when there is none.",
            &labels,
        ),
    ]
}
