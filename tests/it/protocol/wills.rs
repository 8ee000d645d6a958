//! Wills: published at once when a connection ends in any way but an orderly DISCONNECT.

use std::time::Duration;

use anyhow::{Result, ensure};
use forebay_tests::forebay::Builder;
use forebay_tests::mqtt::{
    Client, Connect, Properties, Property, Publish, Version, Will, disconnect, id,
};

use crate::bed::{self, Bed, LIMIT};

fn with_will(version: Version, id: &str, will_topic: &str) -> Connect {
    Connect {
        will: Some(Will {
            topic: will_topic.to_owned(),
            payload: id.as_bytes().to_vec(),
            qos: 1,
            retain: false,
            properties: Properties::default(),
        }),
        ..Connect::new(version, id)
    }
}

/// A way in which a connection ends, and whether its will is to be published.
type End = (&'static str, bool, fn(Client) -> Result<()>);

const ENDS: [End; 6] = [
    ("a socket that closes", true, |client| {
        drop(client);
        Ok(())
    }),
    ("a protocol error", true, |client| {
        say_and_wait(client, &[0xD0, 0x00])
    }),
    ("silence", true, |client| say_and_wait(client, &[])),
    ("DISCONNECT", false, |client| {
        say_and_wait(client, &disconnect(Version::V3, 0))
    }),
    ("DISCONNECT of one byte", false, |client| {
        say_and_wait(client, &[0xE0, 0x01, 0x00])
    }),
    ("DISCONNECT with will", true, |client| {
        say_and_wait(client, &disconnect(Version::V5, 0x04))
    }),
];

fn say_and_wait(mut client: Client, bytes: &[u8]) -> Result<()> {
    client.send(bytes)?;
    client.read_to_close(LIMIT).map(drop)
}

#[test]
fn a_will_is_published_unless_the_client_takes_its_leave() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let broker = forebay.mqtt();
    let mut watcher = Client::simple(broker, Version::V5, "watcher")?;
    watcher.subscribe(&[("wills/#", 1)])?;
    for version in Version::ALL {
        for (index, (how, published, end)) in ENDS.into_iter().enumerate() {
            // The last two do not exist in 3.1.1.
            if version == Version::V3 && index >= 4 {
                continue;
            }
            let id = format!("mortal-{version:?}-{index}");
            let mut wanted = with_will(version, &id, "wills/x");
            if how == "silence" {
                wanted.keep_alive = 1;
            }
            end(Client::connect(broker, &wanted)?.0)?;
            // The id is only free when the connection before has ended for good, its will included.
            let mut heir = Client::simple(broker, version, &id)?;
            heir.publish(Publish::new("wills/end", id.as_str(), 1))?;
            let first = watcher.receive(LIMIT)?;
            ensure!(
                (first.topic == "wills/x") == published,
                "{version:?} {how}: {first:?}"
            );
            ensure!(
                first.payload == id.as_bytes() && !first.retain,
                "{how}: {first:?}"
            );
            if published {
                ensure!(watcher.receive(LIMIT)?.topic == "wills/end");
            }
        }
    }
    bed::stop(forebay)
}

#[test]
fn a_takeover_publishes_the_will_of_the_connection_that_it_ends() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let mut watcher = Client::simple(forebay.mqtt(), Version::V3, "watcher")?;
    watcher.subscribe(&[("wills/#", 2)])?;
    for version in Version::ALL {
        let id = format!("replaced-{version:?}");
        let (_older, _) = Client::connect(forebay.mqtt(), &with_will(version, &id, "wills/x"))?;
        let _newer = Client::simple(forebay.mqtt(), version, &id)?;
        let will = watcher.receive(LIMIT)?;
        ensure!(will.payload == id.as_bytes() && will.qos == 1, "{will:?}");
    }
    bed::stop(forebay)
}

/// Devices say "offline" by will and "online" by themselves. Whoever listens must be left with
/// "online", on whatever threads of the broker the three of them are served.
#[test]
fn a_will_comes_before_what_its_successor_says() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let broker = forebay.mqtt();
    let mut watchers = Vec::new();
    for index in 0..4 {
        let mut watcher = Client::simple(broker, Version::V5, &format!("watcher-{index}"))?;
        watcher.subscribe(&[("state/#", 0)])?;
        watchers.push(watcher);
    }
    for round in 0..200 {
        let id = format!("device-{round}");
        let topic = format!("state/{round}");
        let _older = Client::connect(broker, &with_will(Version::V5, &id, &topic))?;
        let mut newer = Client::simple(broker, Version::V5, &id)?;
        newer.publish(Publish::new(&topic, "online", 1))?;
        for watcher in &mut watchers {
            let said = [watcher.receive(LIMIT)?, watcher.receive(LIMIT)?];
            let in_order = said[0].payload == id.as_bytes() && said[1].payload == b"online";
            ensure!(in_order, "round {round}: {said:?}");
        }
    }
    bed::stop(forebay)
}

#[test]
fn a_will_can_be_retained_and_its_delay_is_none() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let mut wanted = with_will(Version::V5, "delayed", "wills/kept");
    if let Some(will) = &mut wanted.will {
        will.retain = true;
        will.properties = Properties::default()
            .with(id::WILL_DELAY, Property::Long(3600))
            .with(id::CONTENT_TYPE, Property::Text("text/plain".into()));
    }
    let mut watcher = Client::simple(forebay.mqtt(), Version::V5, "watcher")?;
    watcher.subscribe(&[("wills/kept", 1)])?;
    drop(Client::connect(forebay.mqtt(), &wanted)?);
    let will = watcher.receive(LIMIT)?;
    ensure!(!will.retain && will.properties.text(id::CONTENT_TYPE) == Some("text/plain"));
    ensure!(will.properties.get(id::WILL_DELAY).is_none());
    let mut late = Client::simple(forebay.mqtt(), Version::V3, "late")?;
    late.subscribe(&[("wills/kept", 1)])?;
    ensure!(late.receive(LIMIT)?.retain);
    bed::stop(forebay)
}

/// A will is a publish of its owner: rules select it, and their functions see the owner.
#[test]
fn a_will_goes_through_the_rules() -> Result<()> {
    let bed = Bed::start(&["wills:1"], |builder| {
        builder.kinesis_rule(
            "wills",
            "SELECT clientid() AS who, topic() AS what FROM 'wills/#'",
            "wills",
            "${clientid()}",
        )
    })?;
    let wanted = with_will(Version::V3, "owner-7", "wills/owner");
    drop(Client::connect(bed.forebay.mqtt(), &wanted)?);
    bed::until_metrics(&bed.forebay, "the will to be stored", |metrics| {
        metrics.sum("forebay_records_settled_total", &[("how", "stored")]) == 1.0
    })?;
    let records = bed.records("wills")?;
    ensure!(
        records.len() == 1 && records[0].partition_key == "owner-7",
        "{records:?}"
    );
    let expected = serde_json::json!({ "who": "owner-7", "what": "wills/owner" });
    ensure!(records[0].json()? == expected, "{records:?}");
    bed.stop()
}

/// The server's own stop is not the death of its clients.
#[test]
fn a_stop_publishes_no_wills_and_says_why_to_clients_of_5_0() -> Result<()> {
    let bed = Bed::start(&["wills:1"], |builder| {
        builder.kinesis_rule("wills", "SELECT * FROM 'wills/#'", "wills", "${topic()}")
    })?;
    let broker = bed.forebay.mqtt();
    let mut clients = Vec::new();
    for version in Version::ALL {
        let wanted = with_will(version, &format!("stopped-{version:?}"), "wills/x");
        clients.push(Client::connect(broker, &wanted)?.0);
    }
    let Bed {
        forebay, streams, ..
    } = bed;
    bed::stop(forebay)?;
    for client in &mut clients {
        let version = client.version();
        super::expect_reason(
            version,
            &client.read_to_close(Duration::from_secs(5))?,
            0x8B,
        )?;
    }
    let records = forebay_tests::kinesis::read_stream(&streams.endpoint(), "wills")?;
    ensure!(records.is_empty(), "{records:?}");
    Ok(())
}
