//! Packet ids of QoS 2 over the death of a broker: no new message is lost because its id was used before.
//!
//! The broker says in every CONNACK that there is no session, which lets a device use all its ids for new messages at
//! once. So it takes what is repeated over a new connection for a new message too: twice rather than not at all.

use anyhow::{Result, ensure};
use forebay_tests::mqtt::{
    Client, Connect, Packet, Properties, Property, Publish, Received, Version, acknowledge, id,
    publish,
};
use serde_json::json;

use crate::ACK;
use crate::message::{identify, payload};
use crate::site::{LIMIT, Plan, STREAMS, Site};

const ID: u16 = 7;
const PUBREL: u8 = 0x62;

/// A device that asks for its session, or for a clean start.
fn connect(site: &Site, version: Version, clean: bool) -> Result<Client> {
    let mut connect = Connect::new(version, &format!("ids-{version:?}"));
    connect.clean = clean;
    if version == Version::V5 && !clean {
        connect.properties = Properties::default().with(id::SESSION_EXPIRY, Property::Long(3600));
    }
    Ok(Client::connect(site.broker(), &connect)?.0)
}

/// Sends a message of QoS 2 and waits for PUBREC.
fn send(client: &mut Client, key: &str, number: u64, duplicate: bool) -> Result<()> {
    let mut message = Publish::new("dt/ids", payload(key, number), 2);
    message.id = ID;
    message.duplicate = duplicate;
    client.send(&publish(client.version(), &message))?;
    let answer = client.read(LIMIT)?;
    let received = matches!(&answer, Received::Packet(Packet::PubRec(ack)) if ack.id == ID);
    ensure!(received, "instead of PUBREC: {answer:?}");
    Ok(())
}

/// Sends PUBREL and waits for PUBCOMP.
fn release(client: &mut Client) -> Result<()> {
    client.send(&acknowledge(PUBREL, ID))?;
    let answer = client.read(LIMIT)?;
    let completed = matches!(&answer, Received::Packet(Packet::PubComp(ack)) if ack.id == ID);
    ensure!(completed, "instead of PUBCOMP: {answer:?}");
    Ok(())
}

/// Lets both versions do `before`, kills the broker, lets them do `after`, and expects these messages in the streams,
/// in this order and no more.
fn over_a_kill(
    before: fn(&mut Client, &str) -> Result<()>,
    clean: bool,
    after: fn(&mut Client, &str) -> Result<()>,
    expected: &[u64],
) -> Result<()> {
    let mut site = Plan::new(ACK).build()?;
    site.spawn()?;
    site.ready()?;
    // What is not at the stream when the broker dies gets there once.
    site.inject(&json!([{
        "Operation": "PutRecords",
        "Effect": { "Type": "NeverAnswer", "Stored": false },
    }]))?;
    for version in Version::ALL {
        before(
            &mut connect(&site, version, false)?,
            &format!("{version:?}"),
        )?;
    }
    site.kill()?;
    site.heal()?;
    site.spawn()?;
    site.ready()?;
    for version in Version::ALL {
        after(
            &mut connect(&site, version, clean)?,
            &format!("{version:?}"),
        )?;
    }
    site.drain()?;
    for stream in STREAMS {
        let records = site.records(stream)?;
        let found = records.iter().map(identify).collect::<Result<Vec<_>>>()?;
        for version in Version::ALL {
            let key = format!("{version:?}");
            let numbers = found.iter().filter(|(found, _)| *found == key);
            let numbers: Vec<u64> = numbers.map(|(_, number)| *number).collect();
            ensure!(numbers == expected, "{key} in {stream}: {numbers:?}");
        }
    }
    site.stop(LIMIT)?.expect_success()?;
    Ok(())
}

#[test]
fn a_message_that_is_repeated_after_a_restart_is_stored_again() -> Result<()> {
    over_a_kill(
        |client, key| send(client, key, 0, false),
        false,
        |client, key| {
            send(client, key, 0, true)?;
            release(client)?;
            send(client, key, 1, false)?;
            release(client)
        },
        &[0, 0, 1],
    )
}

#[test]
fn an_id_that_was_released_before_a_restart_is_free() -> Result<()> {
    over_a_kill(
        |client, key| {
            send(client, key, 0, false)?;
            release(client)
        },
        false,
        // With DUP: the first time it was sent, the broker was not there.
        |client, key| send(client, key, 1, true),
        &[0, 1],
    )
}

#[test]
fn a_device_that_forgot_its_session_may_use_its_ids_for_new_messages() -> Result<()> {
    for clean in [false, true] {
        over_a_kill(
            |client, key| send(client, key, 0, false),
            clean,
            |client, key| send(client, key, 1, false),
            &[0, 1],
        )?;
    }
    Ok(())
}
