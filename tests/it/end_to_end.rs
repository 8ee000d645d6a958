//! From MQTT clients to the shards of three different Kinesis-compatible servers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use forebay_tests::forebay::{Builder, Forebay};
use forebay_tests::kinesis::{self, Record};
use forebay_tests::mqtt::{Client, Publish, Version, publish};
use forebay_tests::oracle::{Vector, compare, positions, vectors};
use forebay_tests::streams::StreamServer;
use forebay_tests::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bed::until_metrics;

const CONNECTIONS: usize = 20;
const MESSAGES: u64 = 10_000;
const WINDOW: usize = 50;
/// Messages to a stream that does not exist: more than its share of the budget takes, and little
/// enough for the rest to wait in the sockets.
const HELD: usize = 1300;
const LIMIT: Duration = Duration::from_secs(60);

/// The messages of one connection: every key belongs to exactly one, so each key has one order.
fn messages(connection: usize, vectors: &[Vector], per_key: u64) -> Vec<Publish> {
    let topic = format!("dt/{connection}/telemetry");
    let keys: Vec<&Vector> = vectors
        .iter()
        .skip(connection)
        .step_by(CONNECTIONS)
        .collect();
    (0..per_key)
        .flat_map(|number| keys.iter().map(move |vector| (number, *vector)))
        .map(|(number, vector)| {
            let payload = json!({ "key": vector.key, "number": number, "temperature": 21.5 });
            Publish::new(&topic, payload.to_string(), 1)
        })
        .collect()
}

/// Publishes over all connections at once, both protocol versions, and returns how many acknowledgements came.
fn publish_all(
    broker: SocketAddr,
    messages: impl Fn(usize) -> Vec<Publish> + Sync,
) -> Result<usize> {
    thread::scope(|scope| {
        let messages = &messages;
        let publishers: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                scope.spawn(move || -> Result<usize> {
                    let version = Version::ALL[connection % 2];
                    let mut client =
                        Client::simple(broker, version, &format!("device-{connection}"))?;
                    client.set_limit(LIMIT);
                    let outcomes = client.publish_all(messages(connection), WINDOW)?;
                    ensure!(outcomes.iter().all(|outcome| outcome.reason == 0));
                    client.disconnect()?;
                    Ok(outcomes.len())
                })
            })
            .collect();
        publishers
            .into_iter()
            .map(|publisher| publisher.join().expect("no panic"))
            .sum()
    })
}

/// Key and number as the payload says them; the partition key must be the payload's.
fn identify(record: &Record) -> Result<(String, u64)> {
    let value: Value = record.json()?;
    let key = value["key"].as_str().unwrap_or_default().to_owned();
    ensure!(
        record.partition_key == key,
        "{:?} under {:?}",
        key,
        record.partition_key
    );
    Ok((key, value["number"].as_u64().unwrap_or(u64::MAX)))
}

fn expect_balance(forebay: &Forebay) -> Result<()> {
    let metrics = forebay.metrics()?;
    ensure!(metrics.value("forebay_records_conservation_difference", &[])? == 0.0);
    ensure!(metrics.value("forebay_records_pending", &[])? == 0.0);
    Ok(())
}

/// Every message exactly once, in the order of its key, in the shard that the vectors predict.
fn every_key_to_its_shard(server: &StreamServer, shards: u32, builder: Builder) -> Result<()> {
    let stream = format!("telemetry-{shards}");
    kinesis::create_stream(&server.endpoint(), &stream, shards)?;
    let vectors = vectors()?;
    let per_key = MESSAGES / vectors.len() as u64;
    let forebay = builder
        .endpoint(&server.endpoint())
        .kinesis_rule(
            "telemetry",
            "SELECT * FROM 'dt/+/telemetry'",
            &stream,
            "${key}",
        )?
        .start()?;
    let acknowledged = publish_all(forebay.mqtt(), |connection| {
        messages(connection, &vectors, per_key)
    })?;
    ensure!(acknowledged as u64 == MESSAGES);

    // `stored` is the default: what is acknowledged is there, without waiting.
    let records = kinesis::read_stream(&server.endpoint(), &stream)?;
    let published: BTreeMap<String, u64> = vectors
        .iter()
        .map(|vector| (vector.key.clone(), per_key))
        .collect();
    compare(&published, &records, identify)?.expect_exact()?;
    let positions = positions(&kinesis::shards(&server.endpoint(), &stream)?);
    for vector in &vectors {
        let expected = vector.shard(shards);
        for record in records
            .iter()
            .filter(|record| record.partition_key == vector.key)
        {
            let found = positions[&record.shard];
            ensure!(
                found == expected,
                "{:?} is in shard {found}, not {expected}",
                vector.key
            );
        }
    }
    expect_balance(&forebay)?;
    ensure!(forebay.stop(LIMIT)?.code() == Some(0));
    Ok(())
}

#[test]
fn every_key_reaches_its_shard_of_the_embedded_stream() -> Result<()> {
    let data = TempDir::new()?;
    let server = StreamServer::embedded(data.path(), &["--limits", "off"])?;
    for shards in [1, 2, 3, 4, 7, 16] {
        let builder = Builder::new()?
            .spooled()
            .set("kinesis.rate_limit", "\"off\"");
        every_key_to_its_shard(&server, shards, builder)?;
    }
    Ok(())
}

#[test]
fn every_key_reaches_its_shard_of_kinesalite() -> Result<()> {
    let server = StreamServer::kinesalite()?;
    every_key_to_its_shard(
        &server,
        4,
        Builder::new()?
            .spooled()
            .set("kinesis.rate_limit", "\"off\""),
    )
}

#[test]
fn every_key_reaches_its_shard_of_ministack() -> Result<()> {
    let server = StreamServer::ministack()?;
    every_key_to_its_shard(
        &server,
        3,
        Builder::new()?
            .spooled()
            .set("kinesis.rate_limit", "\"off\""),
    )
}

#[test]
fn plain_select_star_keyed_by_topic_keeps_every_byte_and_the_order_of_each_topic() -> Result<()> {
    let data = TempDir::new()?;
    let servers = [
        StreamServer::embedded(data.path(), &["--limits", "off"])?,
        StreamServer::kinesalite()?,
        StreamServer::ministack()?,
    ];
    for server in servers {
        kinesis::create_stream(&server.endpoint(), "plain", 4)?;
        let forebay = Builder::new()?
            .endpoint(&server.endpoint())
            .set("kinesis.rate_limit", "\"off\"")
            .kinesis_rule("plain", "SELECT * FROM 'raw/#'", "plain", "${topic()}")?
            .start()?;
        let per_topic = MESSAGES / CONNECTIONS as u64;
        // No JSON: the bytes pass through as they are, even those that are no text at all.
        let payload = |number: u64| [b"\xff\x00{".as_slice(), &number.to_be_bytes()].concat();
        publish_all(forebay.mqtt(), |connection| {
            let topic = format!("raw/é/{connection}");
            (0..per_topic)
                .map(|number| Publish::new(&topic, payload(number), 1))
                .collect()
        })?;
        let records = kinesis::read_stream(&server.endpoint(), "plain")?;
        let published = (0..CONNECTIONS)
            .map(|c| (format!("raw/é/{c}"), per_topic))
            .collect();
        compare(&published, &records, |record| {
            let number = record
                .data
                .last_chunk()
                .copied()
                .map_or(u64::MAX, u64::from_be_bytes);
            ensure!(record.data == payload(number));
            Ok((record.partition_key.clone(), number))
        })?
        .expect_exact()?;
        expect_balance(&forebay)?;
        ensure!(forebay.stop(LIMIT)?.code() == Some(0));
    }
    Ok(())
}

/// A device that comes back on another connection, and there perhaps to another thread of the broker,
/// finds its messages in the order in which it published them, while others publish too.
#[test]
fn the_order_of_a_key_outlives_its_connection() -> Result<()> {
    const CONNECTIONS: u64 = 400;
    const PER_CONNECTION: u64 = 5;
    let data = TempDir::new()?;
    let arguments = ["--limits", "off", "--stream", "moved:2"];
    let server = StreamServer::embedded(data.path(), &arguments)?;
    let forebay = Builder::new()?
        .endpoint(&server.endpoint())
        .set("kinesis.rate_limit", "\"off\"")
        // Where an answer waits for the stream, the next connection comes after it anyway.
        .set("server.ack", "\"accept\"")
        .set("limits.connects_burst_per_client", "1000")
        .kinesis_rule("moved", "SELECT * FROM 'moved/#'", "moved", "${topic()}")?
        .start()?;
    let broker = forebay.mqtt();
    let done = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let others: Vec<_> = (0..2)
            .map(|index| {
                let done = &done;
                scope.spawn(move || -> Result<()> {
                    let mut client =
                        Client::simple(broker, Version::V5, &format!("other-{index}"))?;
                    while !done.load(Ordering::SeqCst) {
                        let messages = (0..200).map(|_| Publish::new("moved/other", "{}", 1));
                        client.publish_all(messages, 100)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let device = || -> Result<()> {
            for connection in 0..CONNECTIONS {
                let mut client = Client::simple(broker, Version::V5, "device")?;
                let first = connection * PER_CONNECTION;
                let numbers = first..first + PER_CONNECTION;
                client.publish_all(
                    numbers.map(|n| Publish::new("moved/device", n.to_string(), 1)),
                    5,
                )?;
            }
            Ok(())
        };
        let outcome = device();
        done.store(true, Ordering::SeqCst);
        for other in others {
            other.join().expect("no panic")?;
        }
        outcome
    })?;
    wait::until_true("all to be stored", LIMIT, || {
        Ok(forebay.metrics()?.value("forebay_records_pending", &[])? == 0.0)
    })?;
    let mut records = kinesis::read_stream(&server.endpoint(), "moved")?;
    records.retain(|record| record.partition_key == "moved/device");
    let published = [("moved/device".to_owned(), CONNECTIONS * PER_CONNECTION)].into();
    compare(&published, &records, |record| {
        let number = String::from_utf8(record.data.clone())?.parse()?;
        Ok((record.partition_key.clone(), number))
    })?
    .expect_exact()
}

#[test]
fn a_rule_selects_shapes_and_names_its_stream_by_template() -> Result<()> {
    let data = TempDir::new()?;
    let server = StreamServer::embedded(data.path(), &[])?;
    for stream in ["plant-1", "plant-2"] {
        kinesis::create_stream(&server.endpoint(), stream, 2)?;
    }
    let forebay = Builder::new()?
        .endpoint(&server.endpoint())
        .kinesis_rule(
            "hot",
            "SELECT temperature, meta.unit AS unit, topic() AS source FROM 'plants/+/+' WHERE temperature > 50",
            "plant-${plant}",
            "${clientid()}",
        )?
        .start()?;
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "gauge-7")?;
    for (plant, temperature) in [(1, 51), (2, 20), (2, 90)] {
        let payload =
            json!({ "plant": plant, "temperature": temperature, "meta": { "unit": "C" } });
        let topic = format!("plants/{plant}/oven");
        client.publish(Publish::new(&topic, payload.to_string(), 1))?;
    }
    for (plant, temperature) in [(1, 51), (2, 90)] {
        let stream = &format!("plant-{plant}");
        let records = kinesis::read_stream(&server.endpoint(), stream)?;
        assert_eq!(records.len(), 1, "{stream}: {records:?}");
        assert_eq!(records[0].partition_key, "gauge-7");
        let expected = format!(
            "{{\"temperature\":{temperature},\"unit\":\"C\",\"source\":\"plants/{plant}/oven\"}}"
        );
        assert_eq!(String::from_utf8_lossy(&records[0].data), expected);
    }
    Ok(())
}

#[test]
fn a_stream_that_does_not_exist_holds_only_those_who_publish_to_it() -> Result<()> {
    let data = TempDir::new()?;
    let server = StreamServer::embedded(data.path(), &[])?;
    kinesis::create_stream(&server.endpoint(), "there", 1)?;
    let forebay = Builder::new()?
        .endpoint(&server.endpoint())
        .set("memory.ingest", "\"4MiB\"")
        .kinesis_rule(
            "missing",
            "SELECT * FROM 'missing/#'",
            "not-there",
            "${topic()}",
        )?
        .kinesis_rule("there", "SELECT * FROM 'there/#'", "there", "${topic()}")?
        .start()?;
    let broker = forebay.mqtt();
    // More than the stream's share, a quarter of the budget, from a connection that is not read
    // any more then.
    let mut stuck = Client::simple(broker, Version::V3, "stuck")?;
    let held = publish(Version::V3, &Publish::new("missing/x", vec![b'x'; 1000], 0));
    stuck.send(&held.repeat(HELD))?;
    until_metrics(&forebay, "a message without room", |metrics| {
        metrics.sum("forebay_ingest_parked_messages", &[]) == 1.0
    })?;
    let mut client = Client::simple(broker, Version::V5, "fine")?;
    let messages = (0..200).map(|n: u64| Publish::new("there/y", n.to_string(), 1));
    let outcomes = client.publish_all(messages, 20)?;
    assert!(outcomes.iter().all(|outcome| outcome.reason == 0));
    assert_eq!(
        kinesis::read_stream(&server.endpoint(), "there")?.len(),
        200
    );
    // The stream appears, and what was held goes to it.
    kinesis::create_stream(&server.endpoint(), "not-there", 1)?;
    stuck.set_limit(LIMIT);
    stuck.ping()?;
    wait::until_true("the held records to be stored", LIMIT, || {
        Ok(forebay
            .metrics()?
            .value("forebay_ingest_budget_used_bytes", &[])?
            == 0.0)
    })?;
    let records = kinesis::read_stream(&server.endpoint(), "not-there")?;
    assert_eq!(records.len(), HELD);
    Ok(())
}
