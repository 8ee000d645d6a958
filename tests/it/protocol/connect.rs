//! CONNECT, CONNACK, keep alive, takeover and the limits on connecting.
#![expect(
    clippy::disallowed_methods,
    reason = "keep alive is about real time, as a client measures it"
)]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use forebay_tests::forebay::Builder;
use forebay_tests::mqtt::{
    Client, Connect, Packet, Properties, Property, Publish, Received, Version, id,
};

use super::expect_reason;
use crate::bed::{self, LIMIT};

/// 1 MiB of payload and 64 KiB for what is around it.
const PACKET_BYTES_MAX: u32 = (1 << 20) + (64 << 10);

#[test]
fn connack_of_5_0_announces_what_exists_and_nothing_else() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let mut wanted = Connect::new(Version::V5, "reader-of-connack");
    wanted.keep_alive = 60;
    let (_client, connack) = Client::connect(forebay.mqtt(), &wanted)?;
    ensure!(!connack.session_present);
    let mut announced = connack.properties.0;
    announced.sort_by_key(|(id, _)| *id);
    assert_eq!(
        announced,
        [
            (id::RECEIVE_MAXIMUM, Property::Short(256)),
            (id::TOPIC_ALIAS_MAXIMUM, Property::Short(0)),
            (id::MAXIMUM_PACKET_SIZE, Property::Long(PACKET_BYTES_MAX)),
            (id::SUBSCRIPTION_IDENTIFIER_AVAILABLE, Property::Byte(0)),
            (id::SHARED_AVAILABLE, Property::Byte(0)),
        ]
    );
    bed::stop(forebay)
}

#[test]
fn nothing_of_a_session_outlives_its_connection() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    for version in Version::ALL {
        let mut wanted = Connect::new(version, &format!("persistent-{version:?}"));
        wanted.clean = false;
        if version == Version::V5 {
            let expiry = Property::Long(3600);
            wanted.properties = Properties::default().with(id::SESSION_EXPIRY, expiry);
        }
        for _ in 0..2 {
            let (mut client, connack) = Client::connect(forebay.mqtt(), &wanted)?;
            ensure!(!connack.session_present);
            let expiry = connack.properties.number(id::SESSION_EXPIRY);
            ensure!(
                expiry == (version == Version::V5).then_some(0),
                "{connack:?}"
            );
            // The subscription of the connection before is gone with it.
            client.publish(Publish::new("kept", "x", 1))?;
            client.ping()?;
            ensure!(client.try_receive(Duration::ZERO)?.is_none());
            client.subscribe(&[("kept", 1)])?;
            client.disconnect()?;
        }
    }
    bed::stop(forebay)
}

#[test]
fn a_client_without_id_is_given_one() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let (_older, _) = Client::connect(forebay.mqtt(), &Connect::new(Version::V3, ""))?;
    let mut ids = Vec::new();
    for clean in [true, false] {
        let mut wanted = Connect::new(Version::V5, "");
        wanted.clean = clean;
        let (client, connack) = Client::connect(forebay.mqtt(), &wanted)?;
        let id = connack.properties.text(id::ASSIGNED_CLIENT_ID);
        let id = id.context("no id assigned")?;
        let random = id.strip_prefix("auto-").context("prefix")?;
        ensure!(random.len() == 22 && random.bytes().all(|b| b.is_ascii_alphanumeric()));
        ids.push((client, id.to_owned()));
    }
    ensure!(ids[0].1 != ids[1].1);
    bed::stop(forebay)
}

#[test]
fn empty_client_ids_can_be_refused() -> Result<()> {
    let builder = Builder::new()?.set("mqtt.allow_empty_client_id", "false");
    let forebay = builder.start()?;
    for (version, code) in [(Version::V3, 2), (Version::V5, 0x85)] {
        let (_, connack) = Client::try_connect(forebay.mqtt(), &Connect::new(version, ""))?;
        ensure!(connack.code == code, "{connack:?}");
    }
    bed::stop(forebay)
}

#[test]
fn the_keep_alive_in_force_is_announced_where_it_is_not_the_client_s_own() -> Result<()> {
    let builder = Builder::new()?
        .set("mqtt.keep_alive_min", "\"30s\"")
        .set("mqtt.keep_alive_max", "\"600s\"")
        .set("mqtt.keep_alive_zero", "\"900s\"");
    let forebay = builder.start()?;
    for (asked, announced) in [(0, Some(900)), (5, Some(30)), (60, None), (601, Some(600))] {
        let mut wanted = Connect::new(Version::V5, &format!("keep-alive-{asked}"));
        wanted.keep_alive = asked;
        let (_, connack) = Client::connect(forebay.mqtt(), &wanted)?;
        let got = connack.properties.number(id::SERVER_KEEP_ALIVE);
        ensure!(got == announced, "{asked}: {connack:?}");
    }
    bed::stop(forebay)
}

/// Between two messages.
const PAUSE: Duration = Duration::from_millis(100);

/// A client that says nothing is closed after one and a half keep alives, also while it is sent messages.
#[test]
fn a_silent_client_is_closed_however_much_it_receives() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    for version in Version::ALL {
        let mut wanted = Connect::new(version, &format!("silent-{version:?}"));
        wanted.keep_alive = 1;
        let (mut silent, _) = Client::connect(forebay.mqtt(), &wanted)?;
        silent.subscribe(&[("news", 0)])?;
        let since = Instant::now();
        let mut talker = Client::simple(forebay.mqtt(), version, &format!("talker-{version:?}"))?;
        let mut received = 0;
        let last = loop {
            ensure!(
                since.elapsed() < LIMIT,
                "still open, {received} messages received"
            );
            talker.publish(Publish::new("news", "x", 1))?;
            // The second reading, which ends without anything, is the pause between two messages.
            match [silent.read(PAUSE * 20)?, silent.read(PAUSE)?] {
                [Received::Packet(Packet::Publish(_)), Received::Nothing] => received += 1,
                [Received::Packet(Packet::Publish(_)), Received::Closed]
                | [Received::Closed, _] => break Vec::new(),
                [Received::Packet(Packet::Publish(_)), Received::Packet(last)]
                | [Received::Packet(last), _] => break vec![last],
                neither => bail!("neither a message nor an end: {neither:?}"),
            }
        };
        let took = since.elapsed();
        expect_reason(version, &last, 0x8D)?;
        ensure!(
            received > 0 && took >= Duration::from_millis(1400),
            "closed after {took:?}"
        );
    }
    bed::stop(forebay)
}

#[test]
fn pings_and_any_other_packet_keep_a_connection_open() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let mut clients = Vec::new();
    for version in Version::ALL {
        let mut wanted = Connect::new(version, &format!("alive-{version:?}"));
        wanted.keep_alive = 1;
        clients.push(Client::connect(forebay.mqtt(), &wanted)?.0);
    }
    let start = Instant::now();
    let mut turn = 0_u32;
    while start.elapsed() < Duration::from_secs(4) {
        turn += 1;
        for client in &mut clients {
            // Reading with a deadline is the pause between two packets.
            let idle = client.read(Duration::from_millis(250))?;
            ensure!(idle == Received::Nothing, "{idle:?}");
            if turn.is_multiple_of(2) {
                client.ping()?;
            } else {
                client.publish(Publish::new("alive", "x", 1))?;
            }
        }
    }
    bed::stop(forebay)
}

#[test]
fn a_second_connection_with_a_client_id_takes_over_from_the_first() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let broker = forebay.mqtt();
    for older_version in Version::ALL {
        for newer_version in Version::ALL {
            let id = format!("wanderer-{older_version:?}-{newer_version:?}");
            let mut older = Client::simple(broker, older_version, &id)?;
            older.subscribe(&[("taken/over", 1)])?;
            let mut newer = Client::simple(broker, newer_version, &id)?;
            expect_reason(older_version, &older.read_to_close(LIMIT)?, 0x8E)?;
            // The subscription ended with the older connection.
            newer.publish(Publish::new("taken/over", "x", 1))?;
            newer.ping()?;
            ensure!(newer.try_receive(Duration::ZERO)?.is_none());
            newer.disconnect()?;
        }
    }
    bed::stop(forebay)
}

#[test]
fn a_client_id_that_connects_too_often_is_told_to_wait() -> Result<()> {
    let builder = Builder::new()?
        .set("limits.connects_per_second_per_client", "1")
        .set("limits.connects_burst_per_client", "2");
    let forebay = builder.start()?;
    for (version, code) in [(Version::V3, 3), (Version::V5, 0x9F)] {
        let wanted = Connect::new(version, &format!("hasty-{version:?}"));
        let mut codes = Vec::new();
        // Fewer attempts than refills would need, however slow the machine is.
        while !codes.contains(&code) && codes.len() < 200 {
            codes.push(Client::try_connect(forebay.mqtt(), &wanted)?.1.code);
        }
        ensure!(
            codes.starts_with(&[0, 0]) && codes.ends_with(&[code]),
            "{codes:?}"
        );
    }
    bed::stop(forebay)
}

#[test]
fn a_listener_takes_as_many_connections_as_it_may() -> Result<()> {
    let builder = Builder::new()?.set("listeners.default.max_connections", "2");
    let forebay = builder.start()?;
    let first = Client::simple(forebay.mqtt(), Version::V3, "first")?;
    let _second = Client::simple(forebay.mqtt(), Version::V5, "second")?;
    for (version, code) in [(Version::V3, 3), (Version::V5, 0x97)] {
        let (_, connack) = Client::try_connect(forebay.mqtt(), &Connect::new(version, "third"))?;
        ensure!(connack.code == code, "{connack:?}");
    }
    first.disconnect()?;
    forebay_tests::wait::until("room for another connection", LIMIT, || {
        let wanted = Connect::new(Version::V5, "fourth");
        let (client, connack) = Client::try_connect(forebay.mqtt(), &wanted)?;
        Ok((connack.code == 0).then_some(client))
    })?;
    bed::stop(forebay)
}

#[test]
fn a_listener_speaks_the_versions_it_is_told_to() -> Result<()> {
    let builder = Builder::new()?.more_config(
        "[listeners.old]\nbind = \"127.0.0.1:0\"\nversions = [\"3.1.1\"]\n\
         [listeners.new]\nbind = \"127.0.0.1:0\"\nversions = [\"5.0\"]\n",
    );
    let forebay = builder.start()?;
    let cases = [
        ("old", Version::V3, 0),
        ("old", Version::V5, 0x84),
        ("new", Version::V3, 1),
        ("new", Version::V5, 0),
    ];
    for (listener, version, code) in cases {
        let wanted = Connect::new(version, &format!("{listener}-{version:?}"));
        let (_, connack) = Client::try_connect(forebay.listener(listener)?, &wanted)?;
        ensure!(connack.code == code, "{listener} {version:?}: {connack:?}");
    }
    bed::stop(forebay)
}
