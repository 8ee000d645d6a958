//! Inputs that stop a server built on rumqttd's router and listeners. Forebay uses only its codec,
//! and must go on serving everybody after each of them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use forebay_tests::forebay::Builder;
use forebay_tests::mqtt::{
    Client, Connect, Packet, Properties, Property, Publish, Received, Version, Will, id,
};

use crate::bed::{self, LIMIT};
use crate::witnesses::Witnesses;

/// Longer than any answer takes.
const SOON: Duration = Duration::from_secs(10);

/// Does `crash` to a broker that others use, who must not notice.
fn unnoticed(builder: Builder, crash: impl FnOnce(SocketAddr) -> Result<()>) -> Result<()> {
    let forebay = builder.start()?;
    let mut witnesses = Witnesses::connect(forebay.mqtt())?;
    crash(forebay.mqtt())?;
    witnesses.expect_service()?;
    bed::stop(forebay)
}

/// A CONNACK that a client sends panics the codec's reader of version 5.0.
#[test]
fn a_connack_from_a_client_closes_only_its_connection() -> Result<()> {
    const CONNACK: &[u8] = &[0x20, 0x03, 0x00, 0x00, 0x00];
    const UNSUBACK: &[u8] = &[0xB0, 0x04, 0x00, 0x01, 0x00, 0x00];
    unnoticed(Builder::new()?, |broker| {
        for (index, bytes) in [CONNACK, UNSUBACK].into_iter().enumerate() {
            let mut stranger = Client::open(broker, Version::V5)?;
            stranger.send(bytes)?;
            ensure!(stranger.read_to_close(SOON)?.is_empty());

            let mut client = Client::simple(broker, Version::V5, &format!("server-{index}"))?;
            client.send(bytes)?;
            let last = client.read_to_close(SOON)?;
            ensure!(
                matches!(last[..], [Packet::Disconnect { reason: 0x82, .. }]),
                "{last:?}"
            );
            // The client id is free again.
            Client::simple(broker, Version::V5, &format!("server-{index}"))?.ping()?;

            let mut client = Client::simple(broker, Version::V3, &format!("server-{index}-v3"))?;
            client.send(bytes)?;
            ensure!(client.read_to_close(SOON)?.is_empty());
        }
        Ok(())
    })
}

/// A topic that begins with a character of several bytes panics the router's matching.
#[test]
fn a_topic_that_begins_outside_ascii_is_matched_like_any_other() -> Result<()> {
    const TOPICS: [&str; 4] = ["é/x", "日本/x", "\u{10FFFF}/x", "é"];
    unnoticed(Builder::new()?, |broker| {
        for version in Version::ALL {
            let mut subscriber = Client::simple(broker, version, &format!("reader-{version:?}"))?;
            subscriber.subscribe(&[("#", 1), ("é/#", 1), ("+/x", 1), ("é/x", 0)])?;
            let mut publisher = Client::simple(broker, version, &format!("writer-{version:?}"))?;
            for topic in TOPICS {
                let outcome = publisher.publish(Publish::new(topic, topic, 1))?;
                ensure!(outcome.reason == 0, "{topic}: {outcome:?}");
                let message = subscriber.receive(SOON)?;
                ensure!(message.topic == topic && message.qos == 1, "{message:?}");
            }
        }
        Ok(())
    })
}

/// Two CONNECTs with such a client id poison a lock that every later CONNECT needs.
#[test]
fn client_ids_with_topic_characters_are_accepted_and_taken_over() -> Result<()> {
    const IDS: [&str; 8] = ["a+", "$a", "a#", "a/b", "+", "$", "#", "/"];
    unnoticed(Builder::new()?, |broker| {
        for version in Version::ALL {
            for id in IDS {
                let mut older = Client::simple(broker, version, id)?;
                let mut newer = Client::simple(broker, version, id)?;
                let last = older.read_to_close(SOON)?;
                match version {
                    Version::V3 => ensure!(last.is_empty(), "{last:?}"),
                    Version::V5 => ensure!(
                        matches!(last[..], [Packet::Disconnect { reason: 0x8E, .. }]),
                        "{last:?}"
                    ),
                }
                newer.publish(Publish::new("x", id, 1))?;
                newer.disconnect()?;
            }
        }
        Ok(())
    })
}

fn every_property() -> Properties {
    Properties::default()
        .with(id::PAYLOAD_FORMAT, Property::Byte(1))
        .with(id::MESSAGE_EXPIRY, Property::Long(600))
        .with(id::CONTENT_TYPE, Property::Text("text/plain".into()))
        .with(id::RESPONSE_TOPIC, Property::Text("answers".into()))
        .with(id::CORRELATION_DATA, Property::Binary(vec![0, 1]))
        .with(
            id::USER_PROPERTY,
            Property::Pair("name".into(), "value".into()),
        )
}

/// A message with any property of 5.0 panics the connection of a subscriber that speaks 3.1.1.
#[test]
fn properties_do_not_reach_subscribers_of_3_1_1() -> Result<()> {
    unnoticed(Builder::new()?, |broker| {
        let mut older = Client::simple(broker, Version::V3, "older")?;
        let mut newer = Client::simple(broker, Version::V5, "newer")?;
        for client in [&mut older, &mut newer] {
            client.subscribe(&[("p/#", 2)])?;
        }
        let will = Will {
            topic: "p/will".into(),
            payload: b"will".to_vec(),
            qos: 1,
            retain: false,
            properties: every_property(),
        };
        let connect = Connect {
            will: Some(will),
            ..Connect::new(Version::V5, "publisher")
        };
        let (mut publisher, _) = Client::connect(broker, &connect)?;
        for qos in 0..=2 {
            let mut message = Publish::new("p/live", "live", qos).retained();
            message.properties = every_property();
            publisher.publish(message)?;
        }
        // Without DISCONNECT, so that the will is published.
        drop(publisher);

        for qos in [0, 1, 2, 1] {
            // The decoder refuses bytes that 3.1.1 does not have.
            let bare = older.receive(SOON)?;
            let full = newer.receive(SOON)?;
            ensure!((bare.qos, full.qos) == (qos, qos), "{bare:?} {full:?}");
            ensure!(bare.payload == full.payload, "{bare:?} {full:?}");
            ensure!(full.properties.text(id::CONTENT_TYPE) == Some("text/plain"));
            ensure!(full.properties.user() == [("name", "value")], "{full:?}");
        }
        // Retained messages keep their properties, and lose them on the way to 3.1.1.
        let mut late = Client::simple(broker, Version::V3, "late")?;
        late.subscribe(&[("p/live", 1)])?;
        let stored = late.receive(SOON)?;
        ensure!(stored.retain && stored.payload == b"live", "{stored:?}");
        Ok(())
    })
}

/// One connection on which nothing comes stops a listener that shakes hands while it accepts.
#[test]
fn silent_connections_hold_nobody_up_and_are_closed() -> Result<()> {
    let builder = Builder::new()?.set("listeners.default.limits.time_to_connect", "\"2s\"");
    let forebay = builder.start()?;
    let broker = forebay.mqtt();
    let mut witnesses = Witnesses::connect(broker)?;
    let mut silent = Vec::new();
    for index in 0..40 {
        let mut client = Client::open(broker, Version::V5)?;
        // Nothing at all, or a CONNECT that never comes to its end.
        let part: &[u8] = [&[][..], &[0x10], &[0x10, 0xFF, 0x7F], b"\x10\x20\0\x04MQ"][index % 4];
        client.send(part)?;
        silent.push(client);
    }
    witnesses.expect_service()?;
    for client in &mut silent {
        let last = client.read(LIMIT)?;
        ensure!(last == Received::Closed, "{last:?}");
    }
    witnesses.expect_service()?;
    bed::stop(forebay)
}
