//! Mutated packets through gate, codec and state machine, without sockets.

use std::net::SocketAddr;

use forebay_core::{Clock, Entropy, ManualClock, OnFull, Ordering as RecordOrder, SeededEntropy};
use forebay_metrics::Registry;
use forebay_pipeline::{Pipeline, PipelineConfig};
use forebay_rules::{RuleLimits, RuleSet};

use super::*;
use crate::config::{BrokerLimits, ListenerConfig, MqttSettings};

/// A worker without sockets, and what keeps its pipeline.
struct Bed {
    worker: Worker,
    shared: Arc<Shared>,
    clock: Arc<ManualClock>,
    _sink: forebay_pipeline::SinkPort,
}

fn bed() -> Bed {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let registry = Registry::new();
    let config = PipelineConfig {
        workers: 1,
        ingest_bytes: 1 << 20,
        per_stream_share: 1.0,
        on_full: OnFull::Block,
        ordering: RecordOrder::Key,
        record_deadline: None,
        output_bytes_per_message: 1 << 20,
        max_streams: 4,
        stream_idle: Duration::from_secs(600),
        rule_label_limit: 4,
        ..PipelineConfig::default()
    };
    let rules = Arc::new(RuleSet::build(Vec::new(), RuleLimits::default()).unwrap());
    let mut pipeline: Pipeline =
        Pipeline::new(config, &rules, &registry, &mut SeededEntropy::new(1));
    let limits = BrokerLimits {
        connects_burst_per_client: u32::MAX,
        retained_messages: 100,
        ..BrokerLimits::default()
    };
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let listener = Listener::new(0, ListenerConfig::default(), address, clock.now());
    let shared = Arc::new(Shared::new(
        vec![Arc::new(listener)],
        limits,
        MqttSettings::default(),
        1,
        Arc::clone(&clock) as Arc<dyn Clock>,
        registry,
    ));
    let intake = pipeline.intakes.remove(0);
    let worker = Worker::new(0, Arc::clone(&shared), intake, SeededEntropy::new(2));
    Bed {
        worker,
        shared,
        clock,
        _sink: pipeline.sink,
    }
}

impl Bed {
    fn at(&self) -> Moment {
        Moment {
            now: self.clock.now(),
            wall_millis: self.clock.wall_millis(),
        }
    }

    fn open(&mut self) -> Connection {
        let listener = Arc::clone(&self.shared.listeners[0]);
        let key = self.worker.open(256);
        let peer = SocketAddr::from(([127, 0, 0, 1], 2));
        let now = self.clock.now();
        Connection::new(key, Arc::clone(&self.shared), listener, peer, None, now)
    }

    fn feed(&mut self, connection: &mut Connection, bytes: &[u8]) {
        let at = self.at();
        let mut input = std::mem::take(&mut connection.partial);
        input.extend_from_slice(bytes);
        connection.receive(&mut self.worker, &mut input, at);
        connection.partial = input;
        self.worker.turn(at.now);
        connection.events(&mut self.worker, at);
    }
}

/// Properties with their length, for versions that have them.
fn properties(version: Version, bytes: &[u8]) -> Vec<u8> {
    match version {
        Version::V311 => Vec::new(),
        Version::V5 => [&[bytes.len() as u8], bytes].concat(),
    }
}

/// Valid packets to begin with, by version; the first is a CONNECT.
fn seeds(version: Version) -> Vec<Vec<u8>> {
    let v5 = version == Version::V5;
    let none = properties(version, &[]);
    let mut packets = Vec::new();
    let mut add = |first: u8, parts: &[&[u8]]| {
        let body = parts.concat();
        assert!(body.len() < 128);
        packets.push([&[first, body.len() as u8][..], &body].concat());
    };
    let wishes = b"\x11\0\0\0\x09\x21\0\x09\x27\0\x01\0\0\x22\0\x01\x19\x01\x17\x01\x26\0\0\0\0";
    add(
        0x10,
        &[
            b"\0\x04MQTT",
            if v5 { &[5] } else { &[4] },
            &[0xee, 0, 9],
            &properties(version, wishes),
            b"\0\x01c",
            &properties(version, &[0x18, 0, 0, 0, 1]),
            b"\0\x01w\0\x01x\0\x01u\0\x01p",
        ],
    );
    let of_message =
        b"\x01\x01\x02\0\0\0\x09\x03\0\x01c\x08\0\x01r\x09\0\x02\0\xff\x26\0\x01k\0\x01v";
    for flags in [0_u8, 1, 2, 3, 4, 5, 10, 12] {
        let id: &[u8] = if flags & 6 == 0 { &[] } else { &[0, 7] };
        add(0x30 | flags, &[b"\0\x03a/b", id, &none, b"{\"x\":1}"]);
        let properties = properties(version, of_message);
        add(0x30 | flags, &[b"\0\x04d/\xc3\xa9", id, &properties, b"y"]);
    }
    for first in [0x40, 0x50, 0x62, 0x70] {
        add(first, &[&[0, 1]]);
        if v5 {
            add(first, &[&[0, 1, 0, 5, 0x1f, 0, 2, b'o', b'k']]);
        }
    }
    add(0x82, &[&[0, 2], &none, b"\0\x03a/+\x01\0\x01#\x02"]);
    let identifier = properties(version, b"\x0b\x05\x26\0\x01k\0\x01v");
    add(0x82, &[&[0, 3], &identifier, b"\0\x08$share/g\x01"]);
    add(0xa2, &[&[0, 4], &none, b"\0\x03a/+\0\x01z"]);
    add(0xc0, &[]);
    add(0xe0, &[]);
    if v5 {
        add(0xe0, &[&[4]]);
        add(0xe0, &[&[0, 5, 0x11, 0, 0, 0, 1]]);
        add(0xf0, &[&[0x18, 0]]);
    }
    packets
}

/// Changes bytes, cuts, repeats, or grows a packet; now and then it mends the length afterwards.
fn mutate(packet: &mut Vec<u8>, entropy: &mut SeededEntropy) {
    const BYTES: [u8; 12] = [
        0, 1, 2, 0x0b, 0x23, 0x26, 0x7f, 0x80, 0x81, 0xc3, 0xfe, 0xff,
    ];
    for _ in 0..=entropy.below(4) {
        let at = entropy.below(packet.len() as u64 + 1) as usize;
        match entropy.below(6) {
            0 if at < packet.len() => packet[at] = entropy.below(256) as u8,
            1 if at < packet.len() => packet[at] = BYTES[entropy.below(12) as usize],
            2 if at < packet.len() => packet[at] ^= 1 << entropy.below(8),
            3 => packet.insert(at, BYTES[entropy.below(12) as usize]),
            4 if packet.len() > 2 && at < packet.len() => drop(packet.remove(at)),
            _ => packet.truncate(at.max(2)),
        }
    }
    if entropy.below(2) == 0 && packet.len() >= 2 && packet.len() < 130 {
        packet[1] = (packet.len() - 2) as u8;
    }
}

fn mutated_packets(version: Version) {
    let mut bed = bed();
    let mut entropy = SeededEntropy::new(20_261_125);
    let seeds = seeds(version);
    let mut connection = bed.open();
    let (mut ended, mut answered) = (0_u32, 0_u64);
    for _ in 0..100_000 {
        if connection.is_closing() || connection.is_closed() || entropy.below(50) == 0 {
            let at = bed.at();
            connection.lost(&mut bed.worker, at);
            connection.abandon(&mut bed.worker, at);
            ended += 1;
            connection = bed.open();
            if entropy.below(8) > 0 {
                bed.feed(&mut connection, &seeds[0]);
                assert!(
                    connection.output.starts_with(&[0x20]),
                    "the CONNECT is valid"
                );
            }
        }
        let mut packet = seeds[entropy.below(seeds.len() as u64) as usize].clone();
        if entropy.below(8) > 0 {
            mutate(&mut packet, &mut entropy);
        }
        bed.feed(&mut connection, &packet);
        answered += connection.output.len() as u64;
        connection.output.clear();
        assert!(connection.partial.len() < 256 * 1024);
        bed.clock.advance(Duration::from_micros(10));
    }
    // The mutations reach both sides: connections end, and others are answered.
    assert!(
        ended > 1_000 && answered > 100_000,
        "{ended} ended, {answered} bytes"
    );
    let at = bed.at();
    connection.abandon(&mut bed.worker, at);
    assert_eq!(
        bed.shared.subscriptions.len(),
        0,
        "every subscription went with its connection"
    );
    assert_eq!(bed.shared.client_ids.len(), 0);
    assert_eq!(bed.shared.partial.used(), 0);
}

#[test]
fn a_hundred_thousand_mutated_packets_of_3_1_1_do_no_harm() {
    mutated_packets(Version::V311);
}

#[test]
fn a_hundred_thousand_mutated_packets_of_5_0_do_no_harm() {
    mutated_packets(Version::V5);
}

#[test]
fn a_connection_that_was_accepted_after_the_stop_ends_at_once() {
    let mut bed = bed();
    bed.worker.wake_all(Some(Cause::Shutdown));
    let mut late = bed.open();
    let at = bed.at();
    late.events(&mut bed.worker, at);
    assert!(late.is_closing());
}

#[test]
fn a_connection_that_stops_in_the_middle_of_a_packet_takes_up_where_it_was() {
    let mut bed = bed();
    for version in [Version::V311, Version::V5] {
        let mut whole = seeds(version)[0].clone();
        let publish: Vec<Vec<u8>> = seeds(version)
            .into_iter()
            .filter(|packet| packet[0] == 0x32)
            .collect();
        for packet in publish {
            whole.extend(packet);
        }
        let mut at_once = bed.open();
        bed.feed(&mut at_once, &whole);
        let expected = at_once.output.clone();
        let mut bytewise = bed.open();
        let at = bed.at();
        at_once.abandon(&mut bed.worker, at);
        for byte in whole {
            bed.feed(&mut bytewise, &[byte]);
        }
        assert_eq!(bytewise.output, expected);
        bytewise.abandon(&mut bed.worker, at);
    }
}
