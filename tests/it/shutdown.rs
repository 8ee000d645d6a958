//! SIGTERM under load: what was acknowledged is in the stream, and the exit is clean.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use forebay_tests::forebay::Builder;
use forebay_tests::kinesis;
use forebay_tests::mqtt::{Client, Packet, Publish, Received, Version, publish};
use forebay_tests::streams::StreamServer;
use forebay_tests::wait;
use tempfile::TempDir;

const CONNECTIONS: u64 = 8;
const WINDOW: u64 = 50;

/// Publishes numbered messages until the connection ends and returns how many were acknowledged, in order.
fn publish_until_closed(mut client: Client, topic: &str) -> Result<u64> {
    let (mut sent, mut acknowledged) = (0_u64, 0_u64);
    loop {
        while sent < acknowledged + WINDOW {
            let mut message = Publish::new(topic, sent.to_string(), 1);
            message.id = (sent % 60_000) as u16 + 1;
            if client.send(&publish(Version::V5, &message)).is_err() {
                break;
            }
            sent += 1;
        }
        match client.read(Duration::from_secs(20)) {
            Ok(Received::Packet(Packet::PubAck(ack))) => {
                ensure!(
                    u64::from(ack.id) == acknowledged % 60_000 + 1,
                    "out of order: {ack:?}"
                );
                ensure!(ack.reason == 0, "{ack:?}");
                acknowledged += 1;
            }
            Ok(Received::Packet(Packet::Disconnect { reason, .. })) => {
                ensure!(reason == 0x8B, "DISCONNECT {reason:#x}");
            }
            // The end of the connection, in order or because the last writes met a closed socket.
            Ok(Received::Closed) | Err(_) => return Ok(acknowledged),
            Ok(other) => anyhow::bail!("{other:?}"),
        }
    }
}

#[test]
fn sigterm_under_load_loses_nothing_that_was_acknowledged() -> Result<()> {
    let data = TempDir::new()?;
    let server = StreamServer::embedded(data.path(), &["--limits", "off"])?;
    kinesis::create_stream(&server.endpoint(), "telemetry", 4)?;
    let forebay = Builder::new()?
        .endpoint(&server.endpoint())
        .set("kinesis.rate_limit", "\"off\"")
        .kinesis_rule(
            "telemetry",
            "SELECT * FROM 'dt/#'",
            "telemetry",
            "${topic()}",
        )?
        .start()?;
    let broker = forebay.mqtt();
    let publishers: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            thread::spawn(move || -> Result<(String, u64)> {
                let client = Client::simple(broker, Version::V5, &format!("device-{connection}"))?;
                let topic = format!("dt/{connection}");
                let acknowledged = publish_until_closed(client, &topic)?;
                Ok((topic, acknowledged))
            })
        })
        .collect();
    wait::until_true("load", Duration::from_secs(20), || {
        let metrics = forebay.metrics()?;
        Ok(metrics.value("forebay_records_settled_total", &[("how", "stored")])? > 5_000.0)
    })?;
    let finished = forebay.stop(Duration::from_secs(30))?;
    ensure!(finished.code() == Some(0), "{finished:?}");
    let acknowledged = publishers
        .into_iter()
        .map(|publisher| publisher.join().expect("no panic"))
        .collect::<Result<BTreeMap<_, _>>>()?;
    let mut stored: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in kinesis::read_stream(&server.endpoint(), "telemetry")? {
        let number = String::from_utf8(record.data)?.parse()?;
        stored.entry(record.partition_key).or_default().push(number);
    }
    for (topic, count) in acknowledged {
        ensure!(count > 0, "{topic} had no acknowledgement");
        let numbers = &stored[&topic];
        ensure!(
            numbers.iter().copied().eq(0..numbers.len() as u64),
            "{topic} is not in order"
        );
        ensure!(
            numbers.len() as u64 >= count,
            "{topic}: {count} acknowledged, {} stored",
            numbers.len()
        );
    }
    Ok(())
}

#[test]
fn the_records_of_the_embedded_stream_survive_its_restart() -> Result<()> {
    let data = TempDir::new()?;
    let server = StreamServer::embedded(data.path(), &[])?;
    kinesis::create_stream(&server.endpoint(), "kept", 2)?;
    let forebay = Builder::new()?
        .endpoint(&server.endpoint())
        .kinesis_rule("kept", "SELECT * FROM 'kept/#'", "kept", "${topic()}")?
        .start()?;
    let mut client = Client::simple(forebay.mqtt(), Version::V3, "keeper")?;
    let messages = |from: u64| (from..from + 100).map(|n| Publish::new("kept/a", n.to_string(), 1));
    client.publish_all(messages(0), 20)?;
    let before = kinesis::read_stream(&server.endpoint(), "kept")?;
    let address = server.address();
    ensure!(server.stop(Duration::from_secs(10))?.code() == Some(0));
    let server = StreamServer::embedded_at(address, data.path(), &[])?;
    ensure!(kinesis::read_stream(&server.endpoint(), "kept")? == before);
    // The broker goes on by itself, and what comes later stands behind what was there.
    client.publish_all(messages(100), 20)?;
    let after = kinesis::read_stream(&server.endpoint(), "kept")?;
    let numbers: Vec<u64> = after
        .iter()
        .map(|record| Ok(String::from_utf8(record.data.clone())?.parse()?))
        .collect::<Result<_>>()?;
    ensure!(numbers.iter().copied().eq(0..200), "{numbers:?}");
    Ok(())
}
