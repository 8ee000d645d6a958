//! SUBSCRIBE, UNSUBSCRIBE and what is delivered.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use forebay_tests::forebay::Builder;
use forebay_tests::mqtt::{
    Client, Connect, Packet, Properties, Property, Publish, Received, SubAck, Version, acknowledge,
    id, subscribe,
};

use crate::bed::{self, LIMIT};

/// In the order of the filters: what can be granted is, whatever else is refused.
#[test]
fn filters_are_judged_one_by_one() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let deep = "/".repeat(32);
    let filters = [
        ("a/b", 1, 1),
        ("a/+/c", 0, 0),
        ("#", 2, 2),
        ("a/#/b", 1, 0x8F),
        ("a+", 1, 0x8F),
        ("", 1, 0x8F),
        (deep.as_str(), 1, 0x8F),
        ("$share/group/a", 1, 0x9E),
        ("$share", 1, 0x9E),
        ("$aws/rules/r", 1, 0x87),
        ("$aws/events/#", 1, 1),
    ];
    for version in Version::ALL {
        let mut client = Client::simple(forebay.mqtt(), version, &format!("judged-{version:?}"))?;
        let wanted: Vec<_> = filters
            .iter()
            .map(|(filter, qos, _)| (*filter, *qos))
            .collect();
        let codes = client.subscribe(&wanted)?;
        for ((filter, _, code), got) in filters.iter().zip(codes) {
            let expected = if version == Version::V3 && *code >= 0x80 {
                0x80
            } else {
                *code
            };
            ensure!(
                got == expected,
                "{version:?} {filter:?}: {got:#x}, not {expected:#x}"
            );
        }
        ensure!(client.publish(Publish::new("a/b", "x", 1))?.reason == 0);
        ensure!(client.receive(LIMIT)?.payload == b"x");
    }
    bed::stop(forebay)
}

#[test]
fn a_subscription_identifier_is_refused_and_nothing_is_subscribed() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "identified")?;
    let identifier = Property::Variable(300);
    let properties = Properties::default().with(id::SUBSCRIPTION_IDENTIFIER, identifier);
    client.send(&subscribe(
        Version::V5,
        5,
        &[("a", 1), ("b", 0)],
        &properties,
    ))?;
    match client.read(LIMIT)? {
        Received::Packet(Packet::SubAck(SubAck { id: 5, codes, .. })) => {
            ensure!(codes == [0xA1, 0xA1], "{codes:02x?}");
        }
        other => bail!("instead of SUBACK: {other:?}"),
    }
    ensure!(client.publish(Publish::new("a", "x", 1))?.reason == 0x10);
    bed::stop(forebay)
}

#[test]
fn filters_and_subscriptions_beyond_the_limits_are_refused() -> Result<()> {
    let builder = Builder::new()?
        .set("limits.filters_per_subscribe", "3")
        .set("limits.subscriptions_per_client", "4");
    let forebay = builder.start()?;
    for (version, refused) in [(Version::V3, 0x80), (Version::V5, 0x97)] {
        let mut client = Client::simple(forebay.mqtt(), version, &format!("many-{version:?}"))?;
        let codes = client.subscribe(&[("a", 0), ("b", 0), ("c", 0), ("d", 0)])?;
        ensure!(codes == [0, 0, 0, refused], "{codes:02x?}");
        let codes = client.subscribe(&[("d", 0), ("e", 0), ("a", 1)])?;
        // One that exists is replaced, which takes no room.
        ensure!(codes == [0, refused, 1], "{codes:02x?}");
    }
    bed::stop(forebay)
}

#[test]
fn overlapping_filters_bring_one_message_with_the_highest_granted_qos() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    for version in Version::ALL {
        let mut client = Client::simple(forebay.mqtt(), version, &format!("overlap-{version:?}"))?;
        client.subscribe(&[("o/+", 0), ("o/#", 1), ("o/x", 2)])?;
        for (sent, delivered) in [(0, 0), (1, 1), (2, 2)] {
            client.publish(Publish::new("o/x", "x", sent))?;
            ensure!(client.receive(LIMIT)?.qos == delivered);
        }
        client.unsubscribe(&["o/x"])?;
        client.publish(Publish::new("o/x", "x", 2))?;
        ensure!(client.receive(LIMIT)?.qos == 1);
        // Subscribing again replaces.
        client.subscribe(&[("o/#", 0)])?;
        client.publish(Publish::new("o/x", "last", 2))?;
        let last = client.receive(LIMIT)?;
        ensure!(last.qos == 0 && last.payload == b"last", "{last:?}");
    }
    bed::stop(forebay)
}

#[test]
fn unsubscribe_answers_for_each_filter_and_ends_delivery() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    for (version, codes) in [(Version::V3, &[][..]), (Version::V5, &[0, 0x11, 0][..])] {
        let mut client = Client::simple(forebay.mqtt(), version, &format!("leaver-{version:?}"))?;
        client.subscribe(&[("a/#", 1), ("b", 1)])?;
        ensure!(client.unsubscribe(&["a/#", "never", "b"])? == codes);
        for topic in ["a/x", "b"] {
            client.publish(Publish::new(topic, "x", 1))?;
        }
        client.ping()?;
        ensure!(client.try_receive(Duration::ZERO)?.is_none());
        ensure!(client.unsubscribe(&["a/#"])?.len() == usize::from(version == Version::V5));
    }
    bed::stop(forebay)
}

/// A wildcard in the first level does not match topics that begin with `$` (MQTT 5.0, 4.7.2).
#[test]
fn wildcards_match_levels_as_the_standard_says() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("a/+/c", &["a/b/c", "a//c"], &["a/b/b/c", "a/c", "a/b/c/"]),
        ("a/#", &["a", "a/", "a/b", "a/b/c"], &["b", "ab", "A/b"]),
        ("+", &["a", "é"], &["a/b", "/a"]),
        ("/+", &["/a", "/"], &["a", "//"]),
        ("+/+", &["/a", "a/", "/"], &["a", "a/b/c"]),
    ];
    for version in Version::ALL {
        let mut client = Client::simple(forebay.mqtt(), version, &format!("wild-{version:?}"))?;
        for (filter, matching, others) in cases {
            client.subscribe(&[(filter, 1)])?;
            for topic in *others {
                client.publish(Publish::new(topic, "no", 1))?;
            }
            for topic in *matching {
                client.publish(Publish::new(topic, "yes", 1))?;
                let message = client.receive(LIMIT)?;
                ensure!(
                    message.topic == *topic,
                    "{filter}: {message:?}, not {topic}"
                );
            }
            client.unsubscribe(&[filter])?;
        }
    }
    bed::stop(forebay)
}

/// The client says how many it takes at once, and of what size.
#[test]
fn what_the_client_announces_is_kept_to() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let mut wanted = Connect::new(Version::V5, "modest");
    wanted.properties = Properties::default()
        .with(id::RECEIVE_MAXIMUM, Property::Short(2))
        .with(id::MAXIMUM_PACKET_SIZE, Property::Long(100));
    let (mut modest, _) = Client::connect(forebay.mqtt(), &wanted)?;
    modest.set_acknowledges(false);
    modest.subscribe(&[("m", 1)])?;
    let mut publisher = Client::simple(forebay.mqtt(), Version::V3, "publisher")?;
    publisher.publish(Publish::new("m", vec![b'x'; 100], 1))?;
    for number in 0..5 {
        publisher.publish(Publish::new("m", number.to_string(), 1))?;
    }
    let mut open = Vec::new();
    for number in 0..5 {
        if number >= 2 {
            // Two are unacknowledged: the next comes when the older one is done with.
            modest.ping()?;
            ensure!(
                modest.try_receive(Duration::ZERO)?.is_none(),
                "more than two at once"
            );
            modest.send(&acknowledge(0x40, open.remove(0)))?;
        }
        let message = modest.receive(LIMIT)?;
        ensure!(
            message.payload == number.to_string().as_bytes(),
            "{message:?}"
        );
        open.push(message.id);
    }
    let dropped = [("reason", "too_large_for_client")];
    ensure!(
        forebay
            .metrics()?
            .sum("forebay_publish_dropped_total", &dropped)
            == 1.0
    );
    bed::stop(forebay)
}
