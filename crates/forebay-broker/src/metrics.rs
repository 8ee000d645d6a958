//! The broker's metrics. Each worker adds up in plain memory and hands its sums over once per turn.

use forebay_core::{AckMode, QoS, Time};
use forebay_metrics::{Counter, HistogramShard, Registry, buckets};

use crate::outcome::{Cause, Version};

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

/// An enum whose values are labels of one counter.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            const LABELS: &[&str] = &[$($label,)+];
        }
    };
}

labels! {
    /// Why a publish from a client was refused.
    Rejected {
        NotAuthorised => "not_authorised",
        BadTopic => "bad_topic",
        TooLarge => "too_large",
        Quota => "quota",
        Alias => "alias",
        Overload => "overload",
    }
}

labels! {
    /// Why a message was not delivered to a subscriber. None of them is recovered elsewhere.
    Dropped {
        /// The queue of its session had no room. Growing means a subscriber that is too slow: alert on its rate.
        QueueFull => "queue_full",
        /// Its expiry interval passed before it could be sent.
        Expired => "expired",
        /// The subscriber announced a smaller Maximum Packet Size.
        TooLargeForClient => "too_large_for_client",
        /// The session ended with messages in its queue.
        Slow => "slow",
    }
}

labels! {
    /// Limits that were hit, by configuration key.
    Limit {
        Topic => "topic_bytes",
        TopicLevels => "topic_levels",
        Payload => "payload_bytes",
        Packet => "packet_bytes",
        ClientId => "client_id_bytes",
        ReceiveMaximum => "receive_maximum",
        Subscriptions => "subscriptions_per_client",
        Filters => "filters_per_subscribe",
        UserProperties => "user_properties",
        RetainedMessages => "retained_messages",
        Connections => "connections",
        ConnectsPerSecond => "connects_per_second",
        ConnectsPerClient => "connects_per_second_per_client",
        TimeToConnect => "time_to_connect",
        PacketTimeout => "packet_timeout",
        WriteTimeout => "write_timeout",
        UnsentBytes => "unsent_bytes",
        SessionQueue => "session_queue_messages",
        PartialPackets => "partial_packets",
    }
}

/// A counter and what was not handed to it yet.
#[derive(Debug)]
struct Sum {
    pending: u64,
    counter: Counter,
}

impl Sum {
    fn flush(&mut self) {
        if self.pending > 0 {
            self.counter.increment(std::mem::take(&mut self.pending));
        }
    }
}

/// The counters of one worker.
#[derive(Debug)]
pub(crate) struct Tally {
    sums: Vec<Sum>,
    listeners: usize,
    at: Offsets,
    connects: Vec<Counter>,
    disconnects: Vec<(&'static str, Counter)>,
    protocol_errors: Vec<(&'static str, Counter)>,
    ack_seconds: [[HistogramShard; 2]; 2],
    connect_seconds: HistogramShard,
    dirty: bool,
}

/// Where each family of counters begins in the list of sums.
#[derive(Debug, Clone, Copy)]
struct Offsets {
    packets_sent: usize,
    bytes_received: usize,
    bytes_sent: usize,
    publish_received: usize,
    publish_received_bytes: usize,
    publish_sent: usize,
    rejected: usize,
    dropped: usize,
    limits: usize,
    subscribes: usize,
    owed: usize,
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
        let mut family =
            |name: &'static str,
             help: &'static str,
             labels: &mut dyn Iterator<Item = Vec<(&'static str, &str)>>| {
                let start = sums.len();
                for labels in labels {
                    sums.push(Sum {
                        pending: 0,
                        counter: registry.counter(name, help, &labels),
                    });
                }
                start
            };
        let one = |key: &'static str, values: &'static [&'static str]| {
            values.iter().map(move |value| vec![(key, *value)])
        };
        let listener = || {
            listeners
                .iter()
                .map(|name| vec![("listener", name.as_str())])
        };
        let by_qos = || {
            PROTOCOLS[..2].iter().flat_map(|protocol| {
                ["0", "1", "2"].map(|qos| vec![("protocol", *protocol), ("qos", qos)])
            })
        };

        family(
            "forebay_packets_received_total",
            "Packets received, by type.",
            &mut one("type", &PACKET_TYPES),
        );
        let at = Offsets {
            packets_sent: family(
                "forebay_packets_sent_total",
                "Packets sent, by type.",
                &mut one("type", &PACKET_TYPES),
            ),
            bytes_received: family(
                "forebay_bytes_received_total",
                "Bytes received from clients.",
                &mut listener(),
            ),
            bytes_sent: family(
                "forebay_bytes_sent_total",
                "Bytes sent to clients.",
                &mut listener(),
            ),
            publish_received: family(
                "forebay_publish_received_total",
                "Publishes received from clients.",
                &mut by_qos(),
            ),
            publish_received_bytes: family(
                "forebay_publish_received_bytes_total",
                "Payload bytes received from clients.",
                &mut by_qos(),
            ),
            publish_sent: family(
                "forebay_publish_sent_total",
                "Messages sent to subscribers.",
                &mut one("qos", &["0", "1", "2"]),
            ),
            rejected: family(
                "forebay_publish_rejected_total",
                "Publishes refused.",
                &mut one("reason", Rejected::LABELS),
            ),
            dropped: family(
                "forebay_publish_dropped_total",
                "Messages not delivered to a subscriber.",
                &mut one("reason", Dropped::LABELS),
            ),
            limits: family(
                "forebay_limit_hits_total",
                "Limits reached, by configuration key.",
                &mut one("limit", Limit::LABELS),
            ),
            subscribes: family(
                "forebay_subscribe_total",
                "Filters subscribed to.",
                &mut one("result", &["ok", "refused"]),
            ),
            owed: family(
                "forebay_messages_owed_total",
                "Publishes with QoS 1 and 2 whose answer was released.",
                &mut one("ack", &["accept", "stored"]),
            ),
        };
        Self {
            sums,
            listeners: listeners.len(),
            at,
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

    fn add(&mut self, index: usize, by: u64) {
        self.sums[index].pending += by;
        self.dirty = true;
    }

    pub(crate) fn packet_received(&mut self, kind: u8) {
        self.add(usize::from(kind & 0x0f), 1);
    }

    pub(crate) fn packet_sent(&mut self, kind: u8) {
        self.add(self.at.packets_sent + usize::from(kind & 0x0f), 1);
    }

    pub(crate) fn bytes(&mut self, listener: usize, received: u64, sent: u64) {
        self.add(self.at.bytes_received + listener, received);
        self.add(self.at.bytes_sent + listener, sent);
    }

    pub(crate) fn publish_received(&mut self, version: Version, qos: u8, payload: usize) {
        let index = protocol_index(Some(version)) * 3 + usize::from(qos.min(2));
        self.add(self.at.publish_received + index, 1);
        self.add(self.at.publish_received_bytes + index, payload as u64);
    }

    pub(crate) fn publish_sent(&mut self, qos: QoS) {
        self.add(self.at.publish_sent + usize::from(qos.level()), 1);
    }

    pub(crate) fn rejected(&mut self, reason: Rejected) {
        self.add(self.at.rejected + reason as usize, 1);
    }

    pub(crate) fn dropped(&mut self, reason: Dropped, count: usize) {
        self.add(self.at.dropped + reason as usize, count as u64);
    }

    pub(crate) fn limit(&mut self, limit: Limit) {
        self.add(self.at.limits + limit as usize, 1);
    }

    pub(crate) fn subscribed(&mut self, accepted: bool) {
        self.add(self.at.subscribes + usize::from(!accepted), 1);
    }

    /// A publish was answered after `waited`.
    pub(crate) fn answered(&mut self, qos2: bool, ack: AckMode, waited: std::time::Duration) {
        let mode = usize::from(ack == AckMode::Stored);
        self.add(self.at.owed + mode, 1);
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

    /// Hands the sums over.
    pub(crate) fn flush(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.sums.iter_mut().for_each(Sum::flush);
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

fn ack_seconds(registry: &Registry) -> [[HistogramShard; 2]; 2] {
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
