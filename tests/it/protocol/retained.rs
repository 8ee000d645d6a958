//! Retained messages: kept in memory, sent to whoever subscribes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use forebay_tests::forebay::Builder;
use forebay_tests::mqtt::{Client, Publish, Version};

use crate::bed::{self, LIMIT};

const MESSAGES: usize = 300;

/// More than fit in one window of messages in flight.
#[test]
fn a_wildcard_brings_every_retained_message() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let mut publisher = Client::simple(forebay.mqtt(), Version::V5, "publisher")?;
    let messages = (0..MESSAGES).map(|number| {
        let topic = format!("kept/{}/{number}", number % 7);
        Publish::new(&topic, number.to_string(), (number % 3) as u8).retained()
    });
    publisher.publish_all(messages, 50)?;
    publisher.ping()?;
    for version in Version::ALL {
        for granted in 0..=2_u8 {
            let id = format!("reader-{version:?}-{granted}");
            let mut reader = Client::simple(forebay.mqtt(), version, &id)?;
            reader.subscribe(&[("kept/+/#", granted)])?;
            let mut found = BTreeMap::new();
            for _ in 0..MESSAGES {
                let message = reader.receive(LIMIT)?;
                ensure!(message.retain, "{message:?}");
                let number: usize = String::from_utf8(message.payload)?.parse()?;
                ensure!(message.topic == format!("kept/{}/{number}", number % 7));
                ensure!(usize::from(message.qos) == (number % 3).min(granted.into()));
                ensure!(found.insert(number, ()).is_none(), "{number} twice");
            }
            ensure!(reader.try_receive(Duration::ZERO)?.is_none());
        }
    }
    ensure!(forebay.metrics()?.value("forebay_retained_messages", &[])? == MESSAGES as f64);
    bed::stop(forebay)
}

#[test]
fn the_newest_counts_and_an_empty_one_deletes() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    for version in Version::ALL {
        let topic = format!("state/{version:?}");
        let mut publisher = Client::simple(forebay.mqtt(), version, &format!("set-{version:?}"))?;
        for payload in ["old", "new"] {
            publisher.publish(Publish::new(&topic, payload, 1).retained())?;
        }
        // Without RETAIN nothing of the stored message changes, also when the payload is empty.
        for payload in ["live", ""] {
            publisher.publish(Publish::new(&topic, payload, 1))?;
        }
        let mut reader = Client::simple(forebay.mqtt(), version, &format!("get-{version:?}"))?;
        for _ in 0..2 {
            // It comes again with every subscription, also to the same filter.
            reader.subscribe(&[(&topic, 1)])?;
            let message = reader.receive(LIMIT)?;
            ensure!(message.retain && message.payload == b"new", "{message:?}");
        }
        publisher.publish(Publish::new(&topic, "", 1).retained())?;
        let message = reader.receive(LIMIT)?;
        ensure!(!message.retain && message.payload.is_empty(), "{message:?}");
        reader.subscribe(&[(&topic, 1)])?;
        reader.ping()?;
        ensure!(reader.try_receive(Duration::ZERO)?.is_none());
    }
    ensure!(forebay.metrics()?.value("forebay_retained_messages", &[])? == 0.0);
    bed::stop(forebay)
}

/// Retain Handling and Retain As Published of 5.0.
#[test]
fn subscribers_of_5_0_choose_what_retained_means_to_them() -> Result<()> {
    const AS_PUBLISHED: u8 = 0x08;
    const ONLY_IF_NEW: u8 = 0x10;
    const NEVER: u8 = 0x20;
    let forebay = Builder::new()?.start()?;
    let mut publisher = Client::simple(forebay.mqtt(), Version::V5, "publisher")?;
    publisher.publish(Publish::new("kept", "x", 1).retained())?;
    let mut reader = Client::simple(forebay.mqtt(), Version::V5, "reader")?;
    for (options, comes) in [(NEVER, false), (0, true), (ONLY_IF_NEW, false), (0, true)] {
        reader.subscribe(&[("kept", 1 | options | AS_PUBLISHED)])?;
        reader.ping()?;
        let message = reader.try_receive(Duration::ZERO)?;
        ensure!(
            message.is_some() == comes,
            "options {options:#x}: {message:?}"
        );
    }
    publisher.publish(Publish::new("kept", "y", 1).retained())?;
    ensure!(reader.receive(LIMIT)?.retain, "Retain As Published");
    bed::stop(forebay)
}

#[test]
fn what_does_not_fit_is_refused_and_what_is_there_stays() -> Result<()> {
    let forebay = Builder::new()?
        .set("limits.retained_messages", "2")
        .start()?;
    let mut newer = Client::simple(forebay.mqtt(), Version::V5, "newer")?;
    let mut older = Client::simple(forebay.mqtt(), Version::V3, "older")?;
    let keep = |topic: &str| Publish::new(topic, "x", 1).retained();
    for topic in ["a", "b"] {
        newer.publish(keep(topic))?;
    }
    ensure!(newer.publish(keep("c"))?.reason == 0x97);
    // 3.1.1 cannot be told, and goes on.
    older.publish(keep("d"))?;
    older.ping()?;
    // One that is there is replaced, which takes no room.
    ensure!(newer.publish(keep("a"))?.reason != 0x97);
    let mut reader = Client::simple(forebay.mqtt(), Version::V5, "reader")?;
    reader.subscribe(&[("#", 1)])?;
    let mut topics = vec![reader.receive(LIMIT)?.topic, reader.receive(LIMIT)?.topic];
    topics.sort();
    ensure!(topics == ["a", "b"]);
    reader.ping()?;
    ensure!(reader.try_receive(Duration::ZERO)?.is_none());
    bed::stop(forebay)
}
