//! PUBLISH towards the broker: order of the answers, what stops the reading, what is refused.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use forebay_tests::forebay::Builder;
use forebay_tests::kinesis;
use forebay_tests::mqtt::{Client, Packet, Publish, Received, Version, acknowledge, ping, publish};
use serde_json::json;

use super::expect_reason;
use crate::bed::{self, Bed, LIMIT, until_metrics};

/// A held stream is asked for every 15 s at most.
const HOLD_LIMIT: Duration = Duration::from_secs(40);
/// Long enough for an answer that must not come to have come.
const QUIET: Duration = Duration::from_millis(500);

/// A publish with a packet id of the caller's.
fn numbered(
    version: Version,
    topic: &str,
    payload: impl Into<Vec<u8>>,
    qos: u8,
    id: u16,
) -> Vec<u8> {
    let mut message = Publish::new(topic, payload, qos);
    message.id = id;
    publish(version, &message)
}

/// Packet id and reason of the next PUBACK or PUBREC.
fn next_answer(client: &mut Client) -> Result<(u16, u8)> {
    match client.read(HOLD_LIMIT)? {
        Received::Packet(Packet::PubAck(ack) | Packet::PubRec(ack)) => Ok((ack.id, ack.reason)),
        other => bail!("instead of an answer: {other:?}"),
    }
}

/// A broker with a rule on `held/#` whose stream, `later`, does not exist yet.
fn without_stream(configure: impl FnOnce(Builder) -> Builder) -> Result<Bed> {
    Bed::start(&[], |builder| {
        configure(builder).kinesis_rule("held", "SELECT * FROM 'held/#'", "later", "${topic()}")
    })
}

/// Answers that are ready wait for those of earlier publishes (MQTT 5.0, 4.6).
#[test]
fn answers_leave_in_the_order_of_the_publishes() -> Result<()> {
    let bed = Bed::start(&["slow:2"], |builder| {
        builder.kinesis_rule("slow", "SELECT * FROM 'slow/#'", "slow", "${topic()}")
    })?;
    let delay = json!({ "Type": "Delay", "Millis": 300, "JitterMillis": 200 });
    let script = json!({ "Seed": 1, "Rules": [{ "Operation": "PutRecords", "Effect": delay }] });
    bed.streams.control("SetFaults", &script)?;
    for version in Version::ALL {
        let mut client =
            Client::simple(bed.forebay.mqtt(), version, &format!("order-{version:?}"))?;
        let mut bytes = Vec::new();
        for id in 1..=60 {
            // Every third waits for the stream, the others could be answered at once.
            let topic = if id % 3 == 1 {
                format!("slow/{id}")
            } else {
                "fast".to_owned()
            };
            bytes.extend(numbered(
                version,
                &topic,
                "x",
                1 + u8::from(id % 2 == 0),
                id,
            ));
        }
        client.send(&bytes)?;
        for id in 1..=60 {
            let nobody = if version == Version::V5 && id % 3 != 1 {
                0x10
            } else {
                0
            };
            let answer = next_answer(&mut client)?;
            ensure!(
                answer == (id, nobody),
                "{version:?}: {answer:02x?}, not {id}"
            );
        }
    }
    ensure!(bed.records("slow")?.len() == 40);
    bed.stop()
}

#[test]
fn at_receive_maximum_the_reading_pauses_and_the_connection_stays() -> Result<()> {
    let bed =
        without_stream(|builder| builder.set("listeners.default.limits.receive_maximum", "4"))?;
    let mut clients = Vec::new();
    for version in Version::ALL {
        let mut client =
            Client::simple(bed.forebay.mqtt(), version, &format!("eager-{version:?}"))?;
        for id in 1..=7 {
            client.send(&numbered(version, "held/a", "x", 1, id))?;
        }
        client.send(&ping())?;
        clients.push(client);
    }
    until_metrics(&bed.forebay, "four waiting publishes of each", |metrics| {
        metrics.sum("forebay_inflight_messages", &[("direction", "in")]) == 8.0
    })?;
    for client in &mut clients {
        // What was sent beyond the four is not read, and neither is what comes after it.
        ensure!(client.read(QUIET)? == Received::Nothing);
        let id = format!("bystander-{:?}", client.version());
        Client::simple(bed.forebay.mqtt(), client.version(), &id)?.ping()?;
    }
    kinesis::create_stream(&bed.streams.endpoint(), "later", 1)?;
    for client in &mut clients {
        // PINGRESP has no place in the order of the others.
        let (mut answers, mut pings) = (Vec::new(), 0);
        for _ in 0..8 {
            match client.read(HOLD_LIMIT)? {
                Received::Packet(Packet::PubAck(ack)) => answers.push((ack.id, ack.reason)),
                Received::Packet(Packet::PingResp) => pings += 1,
                other => bail!("instead of an answer: {other:?}"),
            }
        }
        ensure!(
            pings == 1 && answers.iter().copied().eq((1..=7).map(|id| (id, 0))),
            "{answers:?}"
        );
    }
    ensure!(bed.records("later")?.len() == 14);
    bed.stop()
}

/// Messages that wait for PUBREL do not stop the reading, or it could never come; so they are bounded.
#[test]
fn unreleased_messages_beyond_twice_receive_maximum_end_the_connection() -> Result<()> {
    let builder = Builder::new()?.set("listeners.default.limits.receive_maximum", "4");
    let forebay = builder.start()?;
    for version in Version::ALL {
        let mut client = Client::simple(forebay.mqtt(), version, &format!("greedy-{version:?}"))?;
        for id in 1..=8 {
            client.send(&numbered(version, "x", "x", 2, id))?;
            ensure!(next_answer(&mut client)?.0 == id);
        }
        client.send(&numbered(version, "x", "x", 2, 9))?;
        expect_reason(version, &client.read_to_close(LIMIT)?, 0x93)?;
    }
    bed::stop(forebay)
}

/// `on_full = "reject"`: 5.0 is told that there is no room, 3.1.1 has to wait.
#[test]
fn a_rule_may_refuse_what_there_is_no_room_for() -> Result<()> {
    let bed = without_stream(|builder| {
        builder
            .set("memory.ingest", "\"8MiB\"")
            .set("memory.per_stream_share", "0.05")
            .more_config("[rule.\"held\"]\non_full = \"reject\"")
    })?;
    let broker = bed.forebay.mqtt();
    let payload = vec![b'x'; 16 << 10];
    let mut first = Client::simple(broker, Version::V5, "first")?;
    for id in 1..=60 {
        first.send(&numbered(Version::V5, "held/first", payload.clone(), 1, id))?;
    }
    let overload = [("reason", "overload")];
    until_metrics(&bed.forebay, "refused publishes", |metrics| {
        metrics.sum("forebay_publish_rejected_total", &overload) > 0.0
    })?;
    let mut late = Client::simple(broker, Version::V5, "late")?;
    for (id, qos) in [(1, 1), (2, 2)] {
        late.send(&numbered(
            Version::V5,
            "held/late",
            payload.clone(),
            qos,
            id,
        ))?;
        ensure!(next_answer(&mut late)? == (id, 0x97));
    }
    let mut older = Client::simple(broker, Version::V3, "older")?;
    older.send(&numbered(Version::V3, "held/older", payload, 1, 1))?;
    until_metrics(&bed.forebay, "a connection that waits", |metrics| {
        metrics.sum("forebay_connections_stalled", &[]) == 1.0
    })?;

    kinesis::create_stream(&bed.streams.endpoint(), "later", 1)?;
    let mut stored = 1;
    for id in 1..=60 {
        let (got, reason) = next_answer(&mut first)?;
        ensure!(got == id && matches!(reason, 0 | 0x97), "{got} {reason:#x}");
        stored += usize::from(reason == 0);
    }
    ensure!(next_answer(&mut older)? == (1, 0));
    ensure!(stored < 61, "nothing was refused");
    ensure!(bed.records("later")?.len() == stored);
    bed.stop()
}

/// A record that the service refuses for itself is settled as failed, and does not hold up others.
#[test]
fn a_record_that_can_never_be_stored_is_answered_as_such() -> Result<()> {
    let bed = Bed::start(&["picky:1"], |builder| {
        builder.kinesis_rule("picky", "SELECT * FROM 'picky/#'", "picky", "${topic()}")
    })?;
    let refuse = json!({ "Type": "RequestError", "Code": "ValidationException" });
    let script = json!({ "Rules": [
        { "Operation": "PutRecords", "PartitionKey": "picky/poison", "Effect": refuse },
    ]});
    bed.streams.control("SetFaults", &script)?;
    for (version, reason) in [(Version::V3, 0), (Version::V5, 0x83)] {
        let mut client =
            Client::simple(bed.forebay.mqtt(), version, &format!("picky-{version:?}"))?;
        let mut bytes = Vec::new();
        for id in 1..=20 {
            let topic = if id == 7 {
                "picky/poison".to_owned()
            } else {
                format!("picky/{id}")
            };
            bytes.extend(numbered(version, &topic, "x", 1, id));
        }
        client.send(&bytes)?;
        for id in 1..=20 {
            let answer = next_answer(&mut client)?;
            ensure!(
                answer == (id, if id == 7 { reason } else { 0 }),
                "{version:?} {answer:02x?}"
            );
        }
    }
    let metrics = bed.forebay.metrics()?;
    ensure!(metrics.sum("forebay_kinesis_user_records_failed_total", &[]) == 2.0);
    ensure!(metrics.value("forebay_records_conservation_difference", &[])? == 0.0);
    ensure!(bed.records("picky")?.len() == 38);
    bed.stop()
}

#[test]
fn a_qos_2_message_that_is_sent_again_is_delivered_once() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    for version in Version::ALL {
        let mut subscriber = Client::simple(forebay.mqtt(), version, &format!("sub-{version:?}"))?;
        subscriber.subscribe(&[("once", 2)])?;
        let mut client = Client::simple(forebay.mqtt(), version, &format!("pub-{version:?}"))?;
        for payload in ["first", "second"] {
            let mut message = Publish::new("once", payload, 2);
            message.id = 7;
            for duplicate in [false, true, true] {
                message.duplicate = duplicate;
                client.send(&publish(version, &message))?;
                ensure!(next_answer(&mut client)?.0 == 7);
            }
            for _ in 0..2 {
                client.send(&acknowledge(0x62, 7))?;
                let answer = client.read(LIMIT)?;
                ensure!(
                    matches!(&answer, Received::Packet(Packet::PubComp(ack)) if ack.id == 7),
                    "{answer:?}"
                );
            }
            let message = subscriber.receive(LIMIT)?;
            ensure!(
                message.payload == payload.as_bytes() && message.qos == 2,
                "{message:?}"
            );
        }
    }
    bed::stop(forebay)
}

#[test]
fn topics_and_payloads_beyond_the_limits_are_refused() -> Result<()> {
    let forebay = Builder::new()?
        .set("limits.payload_bytes", "\"4KiB\"")
        .start()?;
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "limits")?;
    let refused = [
        ("/".repeat(32), 0x90),
        ("t".repeat(1025), 0x90),
        ("$SYS/broker/version".to_owned(), 0x87),
        ("$aws/things/x/shadow/update".to_owned(), 0x87),
        ("$other/x".to_owned(), 0x90),
    ];
    for (topic, reason) in refused {
        for qos in [1, 2] {
            let outcome = client.publish(Publish::new(&topic, "x", qos))?;
            ensure!(outcome.reason == reason, "{topic}: {:#x}", outcome.reason);
        }
        // With QoS 0 there is no answer, and the connection stays.
        client.publish(Publish::new(&topic, "x", 0))?;
    }
    for topic in ["/".repeat(31), "t".repeat(1024)] {
        ensure!(client.publish(Publish::new(&topic, "x", 1))?.reason == 0x10);
    }
    client.publish(Publish::new("t", vec![b'x'; 4096], 1))?;
    client.send(&numbered(Version::V5, "t", vec![b'x'; 4097], 1, 9))?;
    expect_reason(Version::V5, &client.read_to_close(LIMIT)?, 0x95)?;

    let mut client = Client::simple(forebay.mqtt(), Version::V3, "limits-3")?;
    client.publish(Publish::new("t", vec![b'x'; 4096], 1))?;
    client.send(&numbered(Version::V3, "t", vec![b'x'; 4097], 1, 9))?;
    expect_reason(Version::V3, &client.read_to_close(LIMIT)?, 0x95)?;
    bed::stop(forebay)
}

/// `$aws/rules/NAME/...` reaches that rule and nobody else, whatever its FROM says.
#[test]
fn basic_ingest_runs_one_rule_and_nothing_else() -> Result<()> {
    let bed = Bed::start(&["ingest:1", "other:1"], |builder| {
        builder
            .kinesis_rule(
                "ingest",
                "SELECT topic() AS topic FROM 'elsewhere'",
                "ingest",
                "k",
            )?
            .kinesis_rule("other", "SELECT * FROM '#'", "other", "k")
    })?;
    for version in Version::ALL {
        let mut client =
            Client::simple(bed.forebay.mqtt(), version, &format!("basic-{version:?}"))?;
        ensure!(client.subscribe(&[("#", 1)])? == [1]);
        let outcome = client.publish(Publish::new("$aws/rules/ingest/a/b", "{}", 1))?;
        ensure!(outcome.reason == 0, "{:#x}", outcome.reason);
        // A rule that does not exist is no reason to close: devices would only come back.
        let outcome = client.publish(Publish::new("$aws/rules/nobody/a/b", "{}", 1))?;
        ensure!(matches!(outcome.reason, 0 | 0x10), "{:#x}", outcome.reason);
        client.ping()?;
        ensure!(client.try_receive(Duration::ZERO)?.is_none());
    }
    let records = bed.records("ingest")?;
    ensure!(records.len() == 2);
    for record in records {
        ensure!(record.json()? == json!({ "topic": "a/b" }), "{record:?}");
    }
    ensure!(bed.records("other")?.is_empty());
    let unknown = [("reason", "basic_ingest_unknown_rule")];
    ensure!(
        bed.forebay
            .metrics()?
            .sum("forebay_publish_rejected_total", &unknown)
            == 2.0
    );
    bed.stop()
}
