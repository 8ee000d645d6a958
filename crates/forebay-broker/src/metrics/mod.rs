//! The broker's metrics. Each worker adds up in plain memory and hands its sums over once per turn.

mod labels;

use forebay_core::{AckMode, QoS, Time};
use forebay_metrics::{BatchedCounter, Counter, HistogramShard, Registry, buckets};

use crate::outcome::{Cause, Version};

pub(crate) use labels::{Dropped, Limit, Rejected};

/// The `type` label of packets, by packet type.
const PACKET_TYPES: [&str; 16] = [
    "reserved",
    "connect",
    "connack",
    "publish",
    "puback",
    "pubrec",
    "pubrel",
    "pubcomp",
    "subscribe",
    "suback",
    "unsubscribe",
    "unsuback",
    "pingreq",
    "pingresp",
    "disconnect",
    "auth",
];

/// The `protocol` labels; the last one is for connections that never said.
const PROTOCOLS: [&str; 3] = ["3.1.1", "5.0", "unknown"];

fn protocol_index(version: Option<Version>) -> usize {
    match version {
        Some(Version::V311) => 0,
        Some(Version::V5) => 1,
        None => 2,
    }
}

/// The families of counters that are added up.
#[derive(Debug, Clone, Copy)]
enum Family {
    PacketsReceived,
    PacketsSent,
    BytesReceived,
    BytesSent,
    PublishReceived,
    PublishReceivedBytes,
    PublishSent,
    Rejected,
    Dropped,
    Limits,
    Subscribes,
    Owed,
}

/// Which series a family has.
#[derive(Debug, Clone, Copy)]
enum Series {
    /// One per value of a label.
    Values(&'static str, &'static [&'static str]),
    /// One per listener.
    Listeners,
    /// One per protocol and QoS, in this order.
    ProtocolAndQos,
}

const QOS: [&str; 3] = ["0", "1", "2"];

/// Every family in the order of [`Family`]: name, help text, series.
const FAMILIES: [(&str, &str, Series); 12] = [
    (
        "forebay_packets_received_total",
        "Packets received, by type.",
        Series::Values("type", &PACKET_TYPES),
    ),
    (
        "forebay_packets_sent_total",
        "Packets sent, by type.",
        Series::Values("type", &PACKET_TYPES),
    ),
    (
        "forebay_bytes_received_total",
        "Bytes received from clients.",
        Series::Listeners,
    ),
    (
        "forebay_bytes_sent_total",
        "Bytes sent to clients.",
        Series::Listeners,
    ),
    (
        "forebay_publish_received_total",
        "Publishes received from clients.",
        Series::ProtocolAndQos,
    ),
    (
        "forebay_publish_received_bytes_total",
        "Payload bytes received from clients.",
        Series::ProtocolAndQos,
    ),
    (
        "forebay_publish_sent_total",
        "Messages sent to subscribers.",
        Series::Values("qos", &QOS),
    ),
    (
        "forebay_publish_rejected_total",
        "Publishes refused.",
        Series::Values("reason", Rejected::LABELS),
    ),
    (
        "forebay_publish_dropped_total",
        "Messages not delivered to a subscriber.",
        Series::Values("reason", Dropped::LABELS),
    ),
    (
        "forebay_limit_hits_total",
        "Limits reached, by configuration key.",
        Series::Values("limit", Limit::LABELS),
    ),
    (
        "forebay_subscribe_total",
        "Filters subscribed to.",
        Series::Values("result", &["ok", "refused"]),
    ),
    (
        "forebay_messages_owed_total",
        "Publishes with QoS 1 and 2 whose answer was released.",
        Series::Values("ack", &["accept", "spool", "stored"]),
    ),
];

/// The counters of one worker.
#[derive(Debug)]
pub(crate) struct Tally {
    sums: Vec<BatchedCounter>,
    /// Where each family begins in `sums`.
    starts: [usize; FAMILIES.len()],
    listeners: usize,
    connects: Vec<Counter>,
    disconnects: Vec<(&'static str, Counter)>,
    protocol_errors: Vec<(&'static str, Counter)>,
    ack_seconds: [[HistogramShard; AckMode::ALL.len()]; 2],
    connect_seconds: HistogramShard,
    dirty: bool,
}

const CONNECT_RESULTS: [&str; 10] = [
    "ok",
    "bad_credentials",
    "not_authorised",
    "protocol_version",
    "client_id",
    "quota",
    "rate",
    "authorizer_unavailable",
    "timeout",
    "malformed",
];

impl Tally {
    /// Registers everything, so that each series exists before it is counted.
    pub(crate) fn new(registry: &Registry, listeners: &[String]) -> Self {
        let mut sums = Vec::new();
        let starts = FAMILIES.map(|(name, help, series)| {
            let start = sums.len();
            series.for_each(listeners, |labels| {
                sums.push(BatchedCounter::new(registry.counter(name, help, labels)));
            });
            start
        });
        Self {
            sums,
            starts,
            listeners: listeners.len(),
            connects: connects(registry, listeners),
            disconnects: per_cause(
                registry,
                "forebay_disconnects_total",
                "Ended connections, by reason.",
                "reason",
                |cause| Some(cause.disconnect_reason()),
            ),
            protocol_errors: per_cause(
                registry,
                "forebay_protocol_errors_total",
                "Connections ended because of what the client sent.",
                "kind",
                Cause::protocol_error_kind,
            ),
            ack_seconds: ack_seconds(registry),
            connect_seconds: registry
                .histogram(
                    "forebay_connect_duration_seconds",
                    "From the connection to its CONNACK.",
                    &[("phase", "mqtt")],
                    buckets::LATENCY,
                )
                .shard(),
            dirty: false,
        }
    }

    fn add(&mut self, family: Family, series: usize, by: u64) {
        self.sums[self.starts[family as usize] + series].add(by);
        self.dirty = true;
    }

    pub(crate) fn packet_received(&mut self, kind: u8) {
        self.add(Family::PacketsReceived, usize::from(kind & 0x0f), 1);
    }

    pub(crate) fn packet_sent(&mut self, kind: u8) {
        self.add(Family::PacketsSent, usize::from(kind & 0x0f), 1);
    }

    pub(crate) fn bytes(&mut self, listener: usize, received: u64, sent: u64) {
        self.add(Family::BytesReceived, listener, received);
        self.add(Family::BytesSent, listener, sent);
    }

    pub(crate) fn publish_received(&mut self, version: Version, qos: u8, payload: usize) {
        let index = protocol_index(Some(version)) * 3 + usize::from(qos.min(2));
        self.add(Family::PublishReceived, index, 1);
        self.add(Family::PublishReceivedBytes, index, payload as u64);
    }

    pub(crate) fn publish_sent(&mut self, qos: QoS) {
        self.add(Family::PublishSent, usize::from(qos.level()), 1);
    }

    pub(crate) fn rejected(&mut self, reason: Rejected) {
        self.add(Family::Rejected, reason as usize, 1);
    }

    pub(crate) fn dropped(&mut self, reason: Dropped, count: usize) {
        self.add(Family::Dropped, reason as usize, count as u64);
    }

    pub(crate) fn limit(&mut self, limit: Limit) {
        self.add(Family::Limits, limit as usize, 1);
    }

    pub(crate) fn subscribed(&mut self, accepted: bool) {
        self.add(Family::Subscribes, usize::from(!accepted), 1);
    }

    /// A publish was answered after `waited`.
    pub(crate) fn answered(&mut self, qos2: bool, ack: AckMode, waited: std::time::Duration) {
        let mode = ack as usize;
        self.add(Family::Owed, mode, 1);
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.ack_seconds[usize::from(qos2)][mode].record(nanos);
    }

    /// A connection was accepted, or refused for a cause.
    pub(crate) fn connect(
        &mut self,
        listener: usize,
        version: Option<Version>,
        refused: Option<Cause>,
    ) {
        let result = refused.map_or("ok", Cause::connect_result);
        let result = CONNECT_RESULTS
            .iter()
            .position(|known| *known == result)
            .unwrap_or(CONNECT_RESULTS.len() - 1);
        debug_assert!(listener < self.listeners);
        let index = (listener * PROTOCOLS.len() + protocol_index(version)) * CONNECT_RESULTS.len();
        self.connects[index + result].increment(1);
    }

    /// How long an accepted connection took.
    pub(crate) fn connect_took(&self, from: Time, to: Time) {
        let nanos = u64::try_from(to.since(from).as_nanos()).unwrap_or(u64::MAX);
        self.connect_seconds.record(nanos);
    }

    /// An accepted connection ended.
    pub(crate) fn disconnect(&mut self, cause: Cause) {
        increment(&self.disconnects, cause.disconnect_reason());
    }

    /// A connection is ended because of what the client sent.
    pub(crate) fn protocol_error(&mut self, cause: Cause) {
        if let Some(kind) = cause.protocol_error_kind() {
            increment(&self.protocol_errors, kind);
        }
    }

    /// True when there is something to hand over.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Hands the sums over.
    pub(crate) fn flush(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.sums.iter_mut().for_each(BatchedCounter::flush);
        }
    }
}

impl Series {
    /// Calls `register` with the labels of each series, in order.
    fn for_each(self, listeners: &[String], mut register: impl FnMut(&[(&'static str, &str)])) {
        match self {
            Self::Values(key, values) => values.iter().for_each(|value| register(&[(key, value)])),
            Self::Listeners => listeners
                .iter()
                .for_each(|name| register(&[("listener", name)])),
            Self::ProtocolAndQos => {
                for protocol in &PROTOCOLS[..2] {
                    QOS.iter()
                        .for_each(|qos| register(&[("protocol", protocol), ("qos", qos)]));
                }
            }
        }
    }
}

fn increment(counters: &[(&'static str, Counter)], label: &str) {
    if let Some((_, counter)) = counters.iter().find(|(known, _)| *known == label) {
        counter.increment(1);
    }
}

fn connects(registry: &Registry, listeners: &[String]) -> Vec<Counter> {
    let mut counters = Vec::new();
    for listener in listeners {
        for protocol in PROTOCOLS {
            for result in CONNECT_RESULTS {
                counters.push(registry.counter(
                    "forebay_connects_total",
                    "Connections accepted or refused, by result.",
                    &[
                        ("listener", listener),
                        ("protocol", protocol),
                        ("result", result),
                    ],
                ));
            }
        }
    }
    counters
}

fn per_cause(
    registry: &Registry,
    name: &'static str,
    help: &'static str,
    key: &'static str,
    label: impl Fn(Cause) -> Option<&'static str>,
) -> Vec<(&'static str, Counter)> {
    let mut counters: Vec<(&'static str, Counter)> = Vec::new();
    for value in Cause::ALL.into_iter().filter_map(label) {
        if counters.iter().all(|(known, _)| *known != value) {
            counters.push((value, registry.counter(name, help, &[(key, value)])));
        }
    }
    counters
}

fn ack_seconds(registry: &Registry) -> [[HistogramShard; AckMode::ALL.len()]; 2] {
    ["1", "2"].map(|qos| {
        AckMode::ALL.map(|ack| {
            registry
                .histogram(
                    "forebay_publish_ack_seconds",
                    "From a publish to its PUBACK or PUBREC.",
                    &[("qos", qos), ("ack", ack.as_str())],
                    buckets::LATENCY,
                )
                .shard()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_reach_their_own_series() {
        let registry = Registry::new();
        let mut tally = Tally::new(&registry, &["a".to_owned(), "b".to_owned()]);
        tally.packet_received(3);
        tally.packet_sent(4);
        tally.bytes(1, 10, 20);
        tally.publish_received(Version::V5, 1, 256);
        tally.rejected(Rejected::Alias);
        tally.dropped(Dropped::Slow, 3);
        tally.limit(Limit::PartialPackets);
        tally.connect(1, Some(Version::V5), None);
        tally.connect(1, None, Some(Cause::ConnectTimeout));
        tally.disconnect(Cause::TakenOver);
        tally.protocol_error(Cause::TooLarge);
        tally.answered(true, AckMode::Stored, std::time::Duration::from_millis(3));
        tally.flush();
        let text = registry.render();
        for line in [
            "forebay_packets_received_total{type=\"publish\"} 1",
            "forebay_packets_sent_total{type=\"puback\"} 1",
            "forebay_bytes_received_total{listener=\"b\"} 10",
            "forebay_bytes_sent_total{listener=\"b\"} 20",
            "forebay_bytes_sent_total{listener=\"a\"} 0",
            "forebay_publish_received_total{protocol=\"5.0\",qos=\"1\"} 1",
            "forebay_publish_received_bytes_total{protocol=\"5.0\",qos=\"1\"} 256",
            "forebay_publish_rejected_total{reason=\"alias\"} 1",
            "forebay_publish_dropped_total{reason=\"slow\"} 3",
            "forebay_limit_hits_total{limit=\"partial_packets\"} 1",
            "forebay_connects_total{listener=\"b\",protocol=\"5.0\",result=\"ok\"} 1",
            "forebay_connects_total{listener=\"b\",protocol=\"unknown\",result=\"timeout\"} 1",
            "forebay_disconnects_total{reason=\"duplicate_clientid\"} 1",
            "forebay_protocol_errors_total{kind=\"oversize\"} 1",
            "forebay_publish_ack_seconds_count{qos=\"2\",ack=\"stored\"} 1",
            "forebay_messages_owed_total{ack=\"stored\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
