//! Bytes of a server as packets. Whatever the specification forbids a server to send is an error.

use anyhow::{Context as _, Result, bail, ensure};

use super::{Acknowledgement, ConnAck, Packet, Properties, Publish, SubAck, Version};

/// Where the first packet of a buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The first byte: type and flags.
    pub first: u8,
    /// Bytes before the body.
    pub header: usize,
    /// Bytes of header and body.
    pub total: usize,
}

/// Finds the first packet of `bytes`; `None` if it is not complete yet.
///
/// # Errors
/// If the length has more than four bytes.
pub fn frame(bytes: &[u8]) -> Result<Option<Frame>> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let mut length = 0_usize;
    for (at, &byte) in rest.iter().enumerate() {
        ensure!(at < 4, "a length of more than four bytes");
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let header = at + 2;
            let total = header + length;
            let found = Frame {
                first,
                header,
                total,
            };
            return Ok((bytes.len() >= total).then_some(found));
        }
    }
    ensure!(rest.len() < 4, "a length of more than four bytes");
    Ok(None)
}

/// Decodes a packet from its first byte and its body.
///
/// # Errors
/// If it is not a well-formed packet of a server.
pub fn decode(version: Version, first: u8, body: &[u8]) -> Result<Packet> {
    let mut reader = Reader::new(body);
    let kind = first >> 4;
    let flags = first & 0x0F;
    let flags_wanted = match kind {
        3 => flags,
        6 => 2,
        _ => 0,
    };
    ensure!(flags == flags_wanted, "flags {flags:#x} of packet {kind}");
    let packet = match kind {
        2 => Packet::ConnAck(connack(version, &mut reader)?),
        3 => Packet::Publish(publish(version, flags, &mut reader)?),
        4 => Packet::PubAck(acknowledgement(version, &mut reader)?),
        5 => Packet::PubRec(acknowledgement(version, &mut reader)?),
        6 => Packet::PubRel(acknowledgement(version, &mut reader)?),
        7 => Packet::PubComp(acknowledgement(version, &mut reader)?),
        9 => Packet::SubAck(suback(version, &mut reader)?),
        11 => Packet::UnsubAck(suback(version, &mut reader)?),
        13 => Packet::PingResp,
        14 if version == Version::V5 => {
            let (reason, properties) = reason_and_properties(&mut reader)?;
            Packet::Disconnect { reason, properties }
        }
        other => bail!("a server does not send packets of type {other}"),
    };
    ensure!(reader.is_empty(), "bytes after the end of {packet:?}");
    Ok(packet)
}

fn connack(version: Version, reader: &mut Reader<'_>) -> Result<ConnAck> {
    let flags = reader.byte()?;
    ensure!(flags <= 1, "CONNACK flags {flags:#x}");
    Ok(ConnAck {
        session_present: flags == 1,
        code: reader.byte()?,
        properties: reader.properties(version)?,
    })
}

fn publish(version: Version, flags: u8, reader: &mut Reader<'_>) -> Result<Publish> {
    let qos = (flags >> 1) & 3;
    ensure!(qos < 3, "PUBLISH with QoS 3");
    let duplicate = flags & 8 != 0;
    ensure!(qos > 0 || !duplicate, "DUP with QoS 0");
    let topic = reader.text()?;
    ensure!(!topic.contains(['+', '#']), "wildcard in topic {topic}");
    let id = if qos > 0 { reader.id()? } else { 0 };
    Ok(Publish {
        topic,
        qos,
        retain: flags & 1 != 0,
        duplicate,
        id,
        properties: reader.properties(version)?,
        payload: reader.rest().to_vec(),
    })
}

fn acknowledgement(version: Version, reader: &mut Reader<'_>) -> Result<Acknowledgement> {
    let id = reader.id()?;
    let (reason, properties) = match version {
        Version::V3 => (0, Properties::default()),
        Version::V5 => reason_and_properties(reader)?,
    };
    Ok(Acknowledgement {
        id,
        reason,
        properties,
    })
}

/// Both may be left out at the end of a packet of 5.0, which means success and none.
fn reason_and_properties(reader: &mut Reader<'_>) -> Result<(u8, Properties)> {
    if reader.is_empty() {
        return Ok((0, Properties::default()));
    }
    let reason = reader.byte()?;
    if reader.is_empty() {
        return Ok((reason, Properties::default()));
    }
    Ok((reason, Properties::decode(reader)?))
}

fn suback(version: Version, reader: &mut Reader<'_>) -> Result<SubAck> {
    Ok(SubAck {
        id: reader.id()?,
        properties: reader.properties(version)?,
        codes: reader.rest().to_vec(),
    })
}

/// Takes fields off the front of a body.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let split = self.0.split_at_checked(length);
        let (taken, rest) = split.context("the packet is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn short(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into()?))
    }

    pub(super) fn long(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    pub(super) fn varint(&mut self) -> Result<u32> {
        let mut value = 0;
        for at in 0..4 {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        bail!("a variable byte integer of more than four bytes")
    }

    pub(super) fn binary(&mut self) -> Result<&'a [u8]> {
        let length = self.short()?;
        self.take(length.into())
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let text = std::str::from_utf8(self.binary()?)?;
        ensure!(!text.contains('\0'), "U+0000 in {text:?}");
        Ok(text.to_owned())
    }

    fn id(&mut self) -> Result<u16> {
        let id = self.short()?;
        ensure!(id > 0, "packet identifier 0");
        Ok(id)
    }

    fn properties(&mut self, version: Version) -> Result<Properties> {
        match version {
            Version::V3 => Ok(Properties::default()),
            Version::V5 => Properties::decode(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Property, encode, id};
    use super::*;

    fn decode_whole(version: Version, bytes: &[u8]) -> Result<Packet> {
        let frame = frame(bytes)?.context("not a whole packet")?;
        assert_eq!(frame.total, bytes.len());
        decode(version, frame.first, &bytes[frame.header..])
    }

    #[test]
    fn a_publish_survives_both_ways_in_both_versions() {
        for version in Version::ALL {
            let mut sent = Publish::new("a/b", vec![7; 300], 1).retained();
            sent.id = 9;
            if version == Version::V5 {
                sent.properties = Properties::default()
                    .with(id::MESSAGE_EXPIRY, Property::Long(60))
                    .with(id::USER_PROPERTY, Property::Pair("k".into(), "v".into()))
                    .with(id::USER_PROPERTY, Property::Pair("k".into(), "w".into()));
            }
            let bytes = encode::publish(version, &sent);
            assert_eq!(
                decode_whole(version, &bytes).unwrap(),
                Packet::Publish(sent)
            );
        }
    }

    #[test]
    fn packets_written_out_by_hand_are_understood() {
        let connack = [0x20, 0x06, 0x01, 0x00, 0x03, 0x21, 0x01, 0x00];
        let Packet::ConnAck(connack) = decode_whole(Version::V5, &connack).unwrap() else {
            panic!("not a CONNACK");
        };
        assert!(connack.session_present);
        assert_eq!(connack.properties.number(id::RECEIVE_MAXIMUM), Some(256));

        let puback = decode_whole(Version::V5, &[0x40, 0x03, 0x00, 0x05, 0x10]).unwrap();
        assert!(matches!(puback, Packet::PubAck(ack) if ack.id == 5 && ack.reason == 0x10));

        let suback = decode_whole(Version::V3, &[0x90, 0x04, 0x00, 0x01, 0x02, 0x80]).unwrap();
        assert!(matches!(suback, Packet::SubAck(ack) if ack.codes == [2, 0x80]));
    }

    #[test]
    fn what_a_server_must_not_send_is_an_error() {
        let cases: [(Version, &[u8]); 9] = [
            (Version::V3, &[0x20, 0x02, 0x02, 0x00]),
            (Version::V3, &[0x20, 0x03, 0x00, 0x00, 0x00]),
            (Version::V3, &[0x40, 0x02, 0x00, 0x00]),
            (Version::V3, &[0x41, 0x02, 0x00, 0x01]),
            (Version::V3, &[0x36, 0x05, 0x00, 0x01, b'a', 0x00, 0x01]),
            (Version::V3, &[0x30, 0x03, 0x00, 0x01, b'#']),
            (Version::V3, &[0xE0, 0x00]),
            (Version::V5, &[0x20, 0x05, 0x00, 0x00, 0x02, 0x7F, 0x00]),
            (
                Version::V5,
                &[0x20, 0x07, 0x00, 0x00, 0x04, 0x24, 0x01, 0x24, 0x01],
            ),
        ];
        for (version, bytes) in cases {
            assert!(decode_whole(version, bytes).is_err(), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_packet_is_found_only_when_it_is_complete() {
        let bytes = encode::publish(Version::V3, &Publish::new("t", vec![0; 200], 0));
        assert_eq!(bytes.len(), 206);
        for end in 0..bytes.len() {
            assert_eq!(frame(&bytes[..end]).unwrap(), None, "{end}");
        }
        let found = frame(&bytes).unwrap().unwrap();
        assert_eq!((found.header, found.total), (3, 206));
        assert!(frame(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]).is_err());
    }
}
