//! Packets that no client may send: what the sender sees of it, that nothing behind them is
//! interpreted, and that nobody else notices.
//!
//! 3.1.1 is closed without a word (MQTT 3.1.1, 4.8), 5.0 is told the reason first (MQTT 5.0, 4.13).

mod openings;
mod packets;

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use forebay_tests::forebay::Builder;
use forebay_tests::mqtt::{
    Client, ConnAck, Connect, Packet, Publish, Received, Version, acknowledge, packet, publish,
};

use crate::bed::{self, LIMIT};
use crate::witnesses::{BEYOND, Witnesses};
use openings::Opening;
use packets::Case;

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

/// A string with its length in front.
fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let length = u16::try_from(text.len()).expect("strings of a test are short");
    [&length.to_be_bytes(), text].concat()
}

/// The packet with this first byte and these parts of its body.
fn of(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    packet(first, &parts.concat())
}

/// Sends `bytes` and what must not be interpreted any more, and returns what came before the end.
fn send_and_read(client: &mut Client, bytes: &[u8]) -> Result<Vec<Packet>> {
    let beyond = publish(client.version(), &Publish::new(BEYOND, "interpreted", 0));
    client.send(&[bytes, &beyond].concat())?;
    client.read_to_close(LIMIT)
}

fn check_cases(version: Version, cases: Vec<Case>) -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let mut witnesses = Witnesses::connect(forebay.mqtt())?;
    for (index, (name, bytes, reason)) in cases.into_iter().enumerate() {
        let mut client = Client::simple(forebay.mqtt(), version, &format!("offender-{index}"))?;
        let last = send_and_read(&mut client, &bytes).context(name)?;
        let as_it_should = match (version, last.as_slice()) {
            (Version::V3, []) => true,
            (Version::V5, [Packet::Disconnect { reason: got, .. }]) => *got == reason,
            _ => false,
        };
        ensure!(as_it_should, "{name}: {last:02x?}, not {reason:#04x}");
        witnesses.expect_service().context(name)?;
    }
    bed::stop(forebay)
}

#[test]
fn malformed_packets_of_3_1_1_close_their_connection_and_nothing_else() -> Result<()> {
    check_cases(Version::V3, packets::of_3())
}

#[test]
fn malformed_packets_of_5_0_are_answered_with_their_reason_and_disturb_nobody() -> Result<()> {
    check_cases(Version::V5, packets::of_5())
}

fn check_opening(broker: SocketAddr, version: Version, opening: &Opening) -> Result<()> {
    let (_, bytes, code) = opening;
    let mut client = Client::open(broker, version)?;
    let last = send_and_read(&mut client, bytes)?;
    let got: Vec<_> = last
        .iter()
        .map(|packet| match packet {
            Packet::ConnAck(ConnAck {
                session_present: false,
                code,
                ..
            }) => Some(*code),
            _ => None,
        })
        .collect();
    let wanted: Vec<_> = code.iter().map(|code| Some(*code)).collect();
    ensure!(got == wanted, "{last:02x?}, not {code:02x?}");
    Ok(())
}

#[test]
fn first_packets_that_cannot_be_accepted_are_refused_in_the_words_of_their_version() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let mut witnesses = Witnesses::connect(forebay.mqtt())?;
    for (version, openings) in [
        (Version::V3, openings::of_3()),
        (Version::V5, openings::of_5()),
    ] {
        for opening in openings {
            check_opening(forebay.mqtt(), version, &opening).context(opening.0)?;
            witnesses.expect_service().context(opening.0)?;
        }
    }
    bed::stop(forebay)
}

#[test]
fn what_only_looks_malformed_is_accepted() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    for version in Version::ALL {
        let mut client = Client::simple(forebay.mqtt(), version, &format!("odd-{version:?}"))?;
        // A length in more bytes than it needs.
        client.send(&[0xC0, 0x80, 0x00])?;
        ensure!(client.read(LIMIT)? == Received::Packet(Packet::PingResp));
        // Acknowledgements of what was never sent.
        for bytes in [acknowledge(0x40, 77), acknowledge(0x70, 77)] {
            client.send(&bytes)?;
            client.ping()?;
        }
        let not_found = if version == Version::V5 { 0x92 } else { 0 };
        client.send(&acknowledge(0x62, 77))?;
        match client.read(LIMIT)? {
            Received::Packet(Packet::PubComp(ack)) => {
                ensure!((ack.id, ack.reason) == (77, not_found), "{ack:?}");
            }
            other => bail!("instead of PUBCOMP: {other:?}"),
        }
    }
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "pubrec")?;
    client.send(&acknowledge(0x50, 78))?;
    match client.read(LIMIT)? {
        Received::Packet(Packet::PubRel(ack)) => ensure!((ack.id, ack.reason) == (78, 0x92)),
        other => bail!("instead of PUBREL: {other:?}"),
    }
    bed::stop(forebay)
}

/// Passwords are binary, and 5.0 allows one without a user name.
#[test]
fn user_names_and_passwords_of_any_form_are_read_and_do_no_harm() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let broker = forebay.mqtt();
    let (binary, empty) = (Some(vec![0xFF, 0x00, 0xFE]), Some(String::new()));
    let logins = [
        (Version::V3, Some("user".to_owned()), binary.clone()),
        (Version::V3, empty.clone(), None),
        (Version::V5, Some("user".to_owned()), binary.clone()),
        (Version::V5, empty, binary.clone()),
        (Version::V5, None, binary),
    ];
    for (index, (version, user_name, password)) in logins.into_iter().enumerate() {
        let mut wanted = Connect::new(version, &format!("login-{index}"));
        wanted.user_name = user_name;
        wanted.password = password;
        let (mut client, _) =
            Client::connect(broker, &wanted).with_context(|| format!("{wanted:?}"))?;
        client.ping()?;
    }
    bed::stop(forebay)
}
