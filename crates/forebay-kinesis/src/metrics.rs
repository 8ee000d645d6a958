//! The metrics of the sink: handles made once per stream and shard, sums handed over once per answer.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use forebay_core::{ShardMap, StreamName, Time};
use forebay_metrics::{BatchedCounter, Counter, Gauge, HistogramShard, Registry, buckets};
use forebay_pipeline::{DuplicateSource, FailureReason};

use crate::aggregator::{Closed, LaneFigures, Request};
use crate::classify::code_label;
use crate::config::BatchSettings;

/// The shard label of shards beyond the limit.
const OTHER: &str = "other";
/// The billing unit of a provisioned stream (Amazon Kinesis Data Streams pricing).
const PUT_UNIT_BYTES: u64 = 25 * 1024;

/// Makes handles, and sees to it that there are not too many shard labels.
#[derive(Debug)]
pub(crate) struct SinkMetrics {
    registry: Registry,
    shard_label_limit: usize,
    labelled: HashSet<(String, String)>,
}

impl SinkMetrics {
    pub(crate) fn new(registry: Registry, shard_label_limit: usize) -> Self {
        Self {
            registry,
            shard_label_limit,
            labelled: HashSet::new(),
        }
    }

    fn shard_label<'a>(&mut self, stream: &str, shard: &'a str) -> &'a str {
        let key = (stream.to_owned(), shard.to_owned());
        if self.labelled.contains(&key) {
            return shard;
        }
        if self.labelled.len() >= self.shard_label_limit {
            return OTHER;
        }
        self.labelled.insert(key);
        shard
    }
}

/// The series of one shard label.
#[derive(Debug)]
struct ShardSeries {
    user_records: BatchedCounter,
    user_bytes: BatchedCounter,
    records: BatchedCounter,
    bytes: BatchedCounter,
    buffering: HistogramShard,
    errors: BTreeMap<&'static str, Counter>,
    label: String,
    gauges: ShardGauges,
    /// Has something to hand over.
    dirty: bool,
}

/// The gauges of one shard label.
#[derive(Debug, Clone)]
pub(crate) struct ShardGauges {
    pending: Gauge,
    pending_bytes: Gauge,
    oldest: Gauge,
    factor: Gauge,
    waited: Counter,
    records_used: Gauge,
    bytes_used: Gauge,
}

impl ShardGauges {
    /// Shows what the lanes that share this label have.
    fn show(&self, lanes: &[&LaneFigures], now: Time) {
        let sum =
            |figure: fn(&LaneFigures) -> f64| lanes.iter().map(|lane| figure(lane)).sum::<f64>();
        let most = |figure: fn(&LaneFigures) -> f64| {
            lanes.iter().map(|lane| figure(lane)).fold(0.0, f64::max)
        };
        self.pending.set(sum(|lane| lane.pending as f64));
        self.pending_bytes
            .set(sum(|lane| lane.pending_bytes as f64));
        let oldest = lanes.iter().filter_map(|lane| lane.oldest).min();
        self.oldest
            .set(oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()));
        self.factor
            .set(lanes.iter().map(|lane| lane.factor).fold(1.0, f64::min));
        let waited: Duration = lanes.iter().map(|lane| lane.limited).sum();
        self.waited.absolute(waited.as_secs());
        self.records_used.set(most(|lane| lane.utilization.0));
        self.bytes_used.set(most(|lane| lane.utilization.1));
    }
}

/// The metrics of one stream.
#[derive(Debug)]
pub(crate) struct StreamMetrics {
    registry: Registry,
    stream: String,
    /// Series by shard label; lanes beyond the limit share the last one.
    series: Vec<ShardSeries>,
    /// Index of the series of each lane.
    lanes: Vec<usize>,
    dirty: Vec<usize>,
    failed: Vec<(FailureReason, Counter)>,
    request_errors: BTreeMap<&'static str, Counter>,
    request_seconds: [HistogramShard; 2],
    end_to_end: HistogramShard,
    retries: HistogramShard,
    records_per_request: HistogramShard,
    lanes_per_request: HistogramShard,
    fill_records: HistogramShard,
    fill_bytes: HistogramShard,
    closed: [Counter; Closed::ALL.len()],
    duplicates: [(DuplicateSource, Counter); DuplicateSource::ALL.len()],
    inversions: Counter,
    wrong_shard: Counter,
    put_units: BatchedCounter,
    refreshes: [Counter; 3],
    gauges: StreamGauges,
    blocked: Option<&'static str>,
}

/// The gauges of one stream.
#[derive(Debug, Clone)]
pub(crate) struct StreamGauges {
    epoch: Gauge,
    shards: Gauge,
    in_flight: Gauge,
    in_flight_bytes: Gauge,
}

/// How a look for the shard map ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refresh {
    Unchanged,
    Changed,
    Failed,
}

impl StreamMetrics {
    pub(crate) fn new(sink: &SinkMetrics, stream: &StreamName) -> Self {
        let registry = sink.registry.clone();
        let make = Maker {
            registry: &registry,
            stream: stream.as_str(),
        };
        Self {
            failed: FailureReason::ALL
                .map(|reason| (reason, make.failed(reason)))
                .into(),
            request_errors: BTreeMap::new(),
            request_seconds: ["ok", "error"].map(|result| make.request_seconds(result)),
            end_to_end: make.end_to_end(),
            retries: make.counts(
                "forebay_kinesis_retries_per_record",
                "Attempts beyond the first of each stored record.",
            ),
            records_per_request: make.counts(
                "forebay_kinesis_records_per_request",
                "Records in each PutRecords request.",
            ),
            lanes_per_request: make.counts(
                "forebay_kinesis_lanes_per_request",
                "Shards in each PutRecords request.",
            ),
            fill_records: make.fill("records"),
            fill_bytes: make.fill("bytes"),
            closed: Closed::ALL.map(|reason| {
                make.counter(
                    "forebay_kinesis_batch_closed_total",
                    "Requests by what closed them.",
                    "reason",
                    reason.as_str(),
                )
            }),
            duplicates: DuplicateSource::ALL
                .map(|source| (source, source.counter(&registry, stream.as_str()))),
            inversions: make.plain_counter(
                "forebay_kinesis_order_inversions_total",
                "Refused records that a newer record of their key overtook within a request.",
            ),
            wrong_shard: make.plain_counter(
                "forebay_kinesis_wrong_shard_total",
                "Records stored in another shard than the map said.",
            ),
            put_units: BatchedCounter::new(make.plain_counter(
                "forebay_kinesis_put_payload_units_total",
                "Units of 25 KB that a provisioned stream bills.",
            )),
            refreshes: ["unchanged", "changed", "failed"].map(|result| {
                make.counter(
                    "forebay_kinesis_shard_map_refresh_total",
                    "Looks for the shard map, by result.",
                    "result",
                    result,
                )
            }),
            gauges: make.stream_gauges(),
            blocked: None,
            series: Vec::new(),
            lanes: Vec::new(),
            dirty: Vec::new(),
            stream: stream.as_str().to_owned(),
            registry,
        }
    }

    /// Makes the series of a new map's shards.
    pub(crate) fn set_map(&mut self, sink: &mut SinkMetrics, map: &ShardMap) {
        self.flush();
        self.show_lanes(&[], Time::ZERO);
        self.lanes.clear();
        for shard in map.shards() {
            let label = sink.shard_label(&self.stream, shard.id());
            let known = self.series.iter().position(|series| series.label == label);
            let index = known.unwrap_or_else(|| {
                let make = Maker {
                    registry: &self.registry,
                    stream: &self.stream,
                };
                self.series.push(make.shard_series(label));
                self.series.len() - 1
            });
            self.lanes.push(index);
        }
    }

    fn series_of(&mut self, lane: usize) -> Option<&mut ShardSeries> {
        let index = *self.lanes.get(lane)?;
        let series = self.series.get_mut(index)?;
        if !series.dirty {
            series.dirty = true;
            self.dirty.push(index);
        }
        Some(series)
    }

    pub(crate) fn stored(&mut self, lane: usize, stored: Stored) {
        self.end_to_end.record(nanos(stored.end_to_end));
        self.retries.record(u64::from(stored.retries));
        let bytes = stored.bytes as u64;
        self.put_units.add(bytes.div_ceil(PUT_UNIT_BYTES).max(1));
        if let Some(series) = self.series_of(lane) {
            series.user_records.add(1);
            series.user_bytes.add(bytes);
            series.records.add(1);
            series.bytes.add(bytes);
            series.buffering.record(nanos(stored.buffered));
        }
    }

    pub(crate) fn failed(&self, reason: FailureReason) {
        if let Some((_, counter)) = self.failed.iter().find(|(known, _)| *known == reason) {
            counter.increment(1);
        }
    }

    pub(crate) fn record_refused(&mut self, lane: usize, code: &str) {
        let code = code_label(code);
        let (registry, stream) = (self.registry.clone(), self.stream.clone());
        let Some(series) = self.series_of(lane) else {
            return;
        };
        let counter = series.errors.entry(code).or_insert_with(|| {
            let labels = [
                ("stream", stream.as_str()),
                ("shard", &series.label),
                ("code", code),
            ];
            let help = "Records that the service refused, by error code.";
            registry.counter("forebay_kinesis_record_errors_total", help, &labels)
        });
        counter.increment(1);
    }

    pub(crate) fn request_failed(&mut self, code: &str) {
        let code = code_label(code);
        let make = Maker {
            registry: &self.registry,
            stream: &self.stream,
        };
        let counter = self.request_errors.entry(code).or_insert_with(|| {
            let help = "Requests that failed as a whole, by error code.";
            make.counter("forebay_kinesis_request_errors_total", help, "code", code)
        });
        counter.increment(1);
    }

    pub(crate) fn sent(&self, request: &Request, settings: &BatchSettings) {
        let records = request.entries().len();
        self.records_per_request.record(records as u64);
        self.lanes_per_request.record(request.parts().len() as u64);
        self.fill_records
            .record(per_mille(records, settings.records_per_request));
        self.fill_bytes
            .record(per_mille(request.bytes(), settings.bytes_per_request));
        let reason = Closed::ALL
            .iter()
            .position(|reason| *reason == request.closed());
        self.closed[reason.expect("all reasons are listed")].increment(1);
    }

    pub(crate) fn answered(&self, ok: bool, after: Duration) {
        self.request_seconds[usize::from(!ok)].record(nanos(after));
    }

    pub(crate) fn possible_duplicates(&self, source: DuplicateSource, records: u64) {
        if let Some((_, counter)) = self.duplicates.iter().find(|(known, _)| *known == source) {
            counter.increment(records);
        }
    }

    pub(crate) fn inversions(&self, records: usize) {
        self.inversions.increment(records as u64);
    }

    pub(crate) fn wrong_shard(&self, records: usize) {
        self.wrong_shard.increment(records as u64);
    }

    pub(crate) fn refreshed(&self, result: Refresh) {
        self.refreshes[result as usize].increment(1);
    }

    /// Shows for which reason the stream is held; `None` when it is not.
    pub(crate) fn set_blocked(&mut self, reason: Option<&str>) {
        let reason = reason.map(code_label);
        if reason == self.blocked {
            return;
        }
        let make = Maker {
            registry: &self.registry,
            stream: &self.stream,
        };
        if let Some(old) = self.blocked {
            make.blocked(old).set(0.0);
        }
        if let Some(new) = reason {
            make.blocked(new).set(1.0);
        }
        self.blocked = reason;
    }

    /// Hands the sums over.
    pub(crate) fn flush(&mut self) {
        self.put_units.flush();
        for index in self.dirty.drain(..) {
            let series = &mut self.series[index];
            series.dirty = false;
            for sum in [
                &mut series.user_records,
                &mut series.user_bytes,
                &mut series.records,
                &mut series.bytes,
            ] {
                sum.flush();
            }
        }
    }

    /// Shows figures of the lanes; none stands for an empty stream.
    pub(crate) fn show_lanes(&self, figures: &[LaneFigures], now: Time) {
        for (index, series) in self.series.iter().enumerate() {
            let mine: Vec<&LaneFigures> = figures
                .iter()
                .enumerate()
                .filter(|(lane, _)| self.lanes.get(*lane) == Some(&index))
                .map(|(_, figures)| figures)
                .collect();
            series.gauges.show(&mine, now);
        }
    }

    pub(crate) fn show_stream(&self, epoch: u64, shards: usize, in_flight: usize, bytes: usize) {
        self.gauges.epoch.set(epoch as f64);
        self.gauges.shards.set(shards as f64);
        self.gauges.in_flight.set(in_flight as f64);
        self.gauges.in_flight_bytes.set(bytes as f64);
    }
}

/// What is counted of one stored record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) bytes: usize,
    pub(crate) retries: u32,
    pub(crate) buffered: Duration,
    pub(crate) end_to_end: Duration,
}

/// Makes handles that carry the stream's name.
struct Maker<'a> {
    registry: &'a Registry,
    stream: &'a str,
}

impl Maker<'_> {
    fn plain_counter(&self, name: &'static str, help: &'static str) -> Counter {
        self.registry
            .counter(name, help, &[("stream", self.stream)])
    }

    fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        value: &str,
    ) -> Counter {
        self.registry
            .counter(name, help, &[("stream", self.stream), (label, value)])
    }

    fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.registry.gauge(name, help, &[("stream", self.stream)])
    }

    fn counts(&self, name: &'static str, help: &'static str) -> HistogramShard {
        self.registry
            .histogram(name, help, &[("stream", self.stream)], buckets::COUNT)
            .shard()
    }

    fn failed(&self, reason: FailureReason) -> Counter {
        let help = "Records that will never be stored, by reason.";
        self.counter(
            "forebay_kinesis_user_records_failed_total",
            help,
            "reason",
            reason.as_str(),
        )
    }

    fn request_seconds(&self, result: &str) -> HistogramShard {
        let help = "Time from sending a request to its answer.";
        let labels = [("stream", self.stream), ("result", result)];
        let name = "forebay_kinesis_request_seconds";
        self.registry
            .histogram(name, help, &labels, buckets::LATENCY)
            .shard()
    }

    fn end_to_end(&self) -> HistogramShard {
        let help = "Time from the admission of a record to its sequence number.";
        let labels = [("stream", self.stream)];
        let name = "forebay_kinesis_end_to_end_seconds";
        self.registry
            .histogram(name, help, &labels, buckets::LATENCY)
            .shard()
    }

    fn fill(&self, limit: &str) -> HistogramShard {
        let help = "How full requests are, as part of a limit.";
        let labels = [("stream", self.stream), ("limit", limit)];
        let name = "forebay_kinesis_request_fill_ratio";
        self.registry
            .histogram(name, help, &labels, buckets::RATIO)
            .shard()
    }

    fn blocked(&self, reason: &str) -> Gauge {
        let help = "1 while the stream is held for this reason.";
        let labels = [("stream", self.stream), ("reason", reason)];
        self.registry
            .gauge("forebay_kinesis_blocked", help, &labels)
    }

    fn stream_gauges(&self) -> StreamGauges {
        StreamGauges {
            epoch: self.gauge("forebay_kinesis_shard_map_epoch", "Shard maps so far."),
            shards: self.gauge("forebay_kinesis_shards_open", "Open shards."),
            in_flight: self.gauge("forebay_kinesis_inflight_requests", "Requests in flight."),
            in_flight_bytes: self
                .gauge("forebay_kinesis_inflight_bytes", "Counted bytes in flight."),
        }
    }

    fn shard_series(&self, shard: &str) -> ShardSeries {
        let labels = [("stream", self.stream), ("shard", shard)];
        let sum = |name, help| BatchedCounter::new(self.registry.counter(name, help, &labels));
        let buffering = self.registry.histogram(
            "forebay_kinesis_buffering_seconds",
            "Time from the admission of a record to the request that stored it.",
            &labels,
            buckets::LATENCY,
        );
        ShardSeries {
            user_records: sum(
                "forebay_kinesis_user_records_stored_total",
                "Rule outputs stored.",
            ),
            user_bytes: sum(
                "forebay_kinesis_user_bytes_stored_total",
                "Counted bytes of rule outputs stored.",
            ),
            records: sum(
                "forebay_kinesis_records_stored_total",
                "Kinesis records stored.",
            ),
            bytes: sum(
                "forebay_kinesis_bytes_stored_total",
                "Counted bytes of Kinesis records stored.",
            ),
            buffering: buffering.shard(),
            errors: BTreeMap::new(),
            label: shard.to_owned(),
            gauges: self.shard_gauges(shard),
            dirty: false,
        }
    }

    fn shard_gauges(&self, shard: &str) -> ShardGauges {
        let labels = [("stream", self.stream), ("shard", shard)];
        let gauge = |name, help| self.registry.gauge(name, help, &labels);
        let used = |limit| {
            let labels = [("stream", self.stream), ("shard", shard), ("limit", limit)];
            let help = "What was accepted over the last second, as part of what a shard takes.";
            self.registry
                .gauge("forebay_kinesis_shard_utilization_ratio", help, &labels)
        };
        ShardGauges {
            pending: gauge(
                "forebay_kinesis_user_records_pending",
                "Records queued or in flight at the sink.",
            ),
            pending_bytes: gauge("forebay_kinesis_pending_bytes", "Counted bytes of those."),
            oldest: gauge(
                "forebay_kinesis_oldest_pending_seconds",
                "Age of the oldest of those.",
            ),
            factor: gauge(
                "forebay_kinesis_limiter_factor",
                "Adaptive factor of the rate limit, 0.05 to 1.",
            ),
            waited: self.registry.counter(
                "forebay_kinesis_limiter_wait_seconds_total",
                "Time for which only the rate limit kept records from being sent.",
                &labels,
            ),
            records_used: used("records"),
            bytes_used: used("bytes"),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn per_mille(part: usize, whole: usize) -> u64 {
    (part * 1000 / whole.max(1)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_beyond_the_limit_share_a_label() {
        let registry = Registry::new();
        let mut sink = SinkMetrics::new(registry.clone(), 2);
        let mut metrics = StreamMetrics::new(&sink, &StreamName::new("s").unwrap());
        let map = ShardMap::even(4).unwrap();
        metrics.set_map(&mut sink, &map);
        let stored = Stored {
            bytes: 26 * 1024,
            retries: 0,
            buffered: Duration::from_millis(1),
            end_to_end: Duration::from_millis(2),
        };
        for lane in 0..4 {
            metrics.stored(lane, stored);
        }
        metrics.record_refused(3, "NobodyKnowsThis");
        metrics.set_blocked(Some("AccessDeniedException"));
        metrics.set_blocked(Some("ResourceNotFoundException"));
        metrics.flush();
        let text = registry.render();
        for line in [
            "forebay_kinesis_user_records_stored_total{stream=\"s\",shard=\"shardId-000000000001\"} 1",
            "forebay_kinesis_user_records_stored_total{stream=\"s\",shard=\"other\"} 2",
            "forebay_kinesis_put_payload_units_total{stream=\"s\"} 8",
            "forebay_kinesis_record_errors_total{stream=\"s\",shard=\"other\",code=\"other\"} 1",
            "forebay_kinesis_blocked{stream=\"s\",reason=\"AccessDeniedException\"} 0",
            "forebay_kinesis_blocked{stream=\"s\",reason=\"ResourceNotFoundException\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("shardId-000000000002"));
    }
}
