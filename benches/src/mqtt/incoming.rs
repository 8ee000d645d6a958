//! What a broker answers to a publisher, found by scanning.

use super::Version;

/// Longest answer that is taken in. A CONNACK or DISCONNECT may carry a reason string and user properties.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Reason codes from here on are refusals (MQTT 5.0, 2.4).
const REFUSED_FROM: u8 = 0x80;
const RECEIVE_MAXIMUM: u8 = 0x21;

/// One packet from the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// The answer to CONNECT: 0 is success. Without a Receive Maximum of the broker it is 65 535.
    ConnAck { code: u8, receive_maximum: u16 },
    /// QoS 1 ends here.
    PubAck { id: u16, refused: bool },
    /// QoS 2: the broker has the message, or refuses it.
    PubRec { id: u16, refused: bool },
    /// QoS 2 ends here.
    PubComp { id: u16 },
    /// The answer to PINGREQ.
    PingResp,
    /// The broker ends the connection (5.0 only).
    Disconnect { code: u8 },
}

/// Why a scan cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScanError {
    /// A packet that a broker has no reason to send to a publisher.
    #[error("unexpected packet, first byte {first:#04x}")]
    Unexpected { first: u8 },
    /// A packet whose fields do not fit its length.
    #[error("malformed packet, first byte {first:#04x}")]
    Malformed { first: u8 },
    /// An answer that is longer than any broker needs.
    #[error("answer of {bytes} bytes > {ANSWER_BYTES_MAX}")]
    TooLong { bytes: usize },
}

/// Hands every complete packet of `bytes` to `on` and returns how many bytes they took. What is left is the beginning
/// of a packet.
pub(crate) fn scan(
    bytes: &[u8],
    version: Version,
    mut on: impl FnMut(Incoming),
) -> Result<usize, ScanError> {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        // Nearly everything is an acknowledgement in its shortest form.
        if let [first @ (0x40 | 0x50 | 0x70), 2, high, low, ..] = *rest {
            on(acknowledgement(first, u16::from_be_bytes([high, low]), 0));
            at += 4;
            continue;
        }
        let Some((header, length)) = frame(rest)? else {
            return Ok(at);
        };
        let Some(body) = rest.get(header..header + length) else {
            return Ok(at);
        };
        on(parse(rest[0], body, version)?);
        at += header + length;
    }
}

/// Bytes of the fixed header and of what follows, once the fixed header is complete.
fn frame(bytes: &[u8]) -> Result<Option<(usize, usize)>, ScanError> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if length > ANSWER_BYTES_MAX {
            return Err(ScanError::TooLong { bytes: length });
        }
        if byte & 0x80 == 0 {
            return Ok(Some((index + 2, length)));
        }
    }
    if bytes.len() > 4 {
        return Err(ScanError::Malformed { first: bytes[0] });
    }
    Ok(None)
}

fn parse(first: u8, body: &[u8], version: Version) -> Result<Incoming, ScanError> {
    let malformed = ScanError::Malformed { first };
    match (first, body) {
        (0x20, [_, code, properties @ ..]) => Ok(Incoming::ConnAck {
            code: *code,
            receive_maximum: match version {
                Version::V311 => u16::MAX,
                Version::V5 => receive_maximum(properties).ok_or(malformed)?,
            },
        }),
        (0x40 | 0x50 | 0x70, [high, low, rest @ ..]) => {
            let id = u16::from_be_bytes([*high, *low]);
            Ok(acknowledgement(
                first,
                id,
                rest.first().copied().unwrap_or(0),
            ))
        }
        (0xd0, []) => Ok(Incoming::PingResp),
        (0xe0, rest) if version == Version::V5 => Ok(Incoming::Disconnect {
            code: rest.first().copied().unwrap_or(0),
        }),
        (0x20 | 0x40 | 0x50 | 0x70 | 0xd0, _) => Err(malformed),
        _ => Err(ScanError::Unexpected { first }),
    }
}

fn acknowledgement(first: u8, id: u16, code: u8) -> Incoming {
    let refused = code >= REFUSED_FROM;
    match first {
        0x40 => Incoming::PubAck { id, refused },
        0x50 => Incoming::PubRec { id, refused },
        _ => Incoming::PubComp { id },
    }
}

/// The Receive Maximum among CONNACK's properties; 65 535 without one, `None` when the properties cannot be read.
fn receive_maximum(properties: &[u8]) -> Option<u16> {
    // Brokers send it early and properties have a handful of layouts, so a walk over them needs only their lengths.
    let (header, length) = match properties {
        [] => return Some(u16::MAX),
        [one, ..] if one & 0x80 == 0 => (1, usize::from(*one)),
        [one, two, ..] if two & 0x80 == 0 => (2, usize::from(one & 0x7f) | usize::from(*two) << 7),
        [one, two, three, ..] => (
            3,
            usize::from(one & 0x7f) | usize::from(two & 0x7f) << 7 | usize::from(*three) << 14,
        ),
        _ => return None,
    };
    let mut rest = properties.get(header..header + length)?;
    let string = |rest: &[u8], at: usize| {
        let length = u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]);
        Some(at + 2 + usize::from(length))
    };
    while let [id, ..] = *rest {
        let taken = match id {
            RECEIVE_MAXIMUM => return Some(u16::from_be_bytes([*rest.get(1)?, *rest.get(2)?])),
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 2,
            0x13 | 0x22 => 3,
            0x11 | 0x27 => 5,
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => string(rest, 1)?,
            0x26 => string(rest, string(rest, 1)?)?,
            _ => return None,
        };
        rest = rest.get(taken..)?;
    }
    Some(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], version: Version) -> (Vec<Incoming>, Result<usize, ScanError>) {
        let mut found = Vec::new();
        let taken = scan(bytes, version, |incoming| found.push(incoming));
        (found, taken)
    }

    #[test]
    fn acknowledgements_of_all_lengths_are_found_and_a_tail_is_left() {
        let bytes = b"\x40\x02\0\x01\x40\x03\0\x02\x10\x40\x04\0\x03\x97\0\xd0\0\x50\x02\0\x04\x70\x02\0\x05\x40\x02\0";
        let (found, taken) = all(bytes, Version::V5);
        assert_eq!(taken, Ok(bytes.len() - 3));
        let ack = |id, refused| Incoming::PubAck { id, refused };
        assert_eq!(
            found,
            [
                ack(1, false),
                ack(2, false),
                ack(3, true),
                Incoming::PingResp,
                Incoming::PubRec {
                    id: 4,
                    refused: false
                },
                Incoming::PubComp { id: 5 },
            ]
        );
    }

    #[test]
    fn connack_tells_the_receive_maximum_behind_other_properties() {
        let plain = |receive_maximum| Incoming::ConnAck {
            code: 0,
            receive_maximum,
        };
        assert_eq!(all(b"\x20\x02\0\0", Version::V311).0, [plain(65_535)]);
        assert_eq!(all(b"\x20\x03\0\0\0", Version::V5).0, [plain(65_535)]);
        let bytes = b"\x20\x12\0\0\x0f\x24\x01\x12\0\x02id\x11\0\0\0\0\x21\0\x0a";
        assert_eq!(all(bytes, Version::V5).0, [plain(10)]);
        let refused = Incoming::ConnAck {
            code: 5,
            receive_maximum: 65_535,
        };
        assert_eq!(all(b"\x20\x02\0\x05", Version::V311).0, [refused]);
    }

    #[test]
    fn what_a_broker_must_not_send_ends_the_scan() {
        for bytes in [
            &b"\x30\x03\0\x01t"[..],
            b"\x40\x01\0",
            b"\xd0\x01\0",
            b"\x40\xff\xff\xff\xff\x01",
            b"\x20\x05\0\0\x02\x7f\0",
        ] {
            assert!(all(bytes, Version::V5).1.is_err(), "{bytes:?} was accepted");
        }
        assert!(all(b"\xe0\x01\x8b", Version::V311).1.is_err());
        assert_eq!(
            all(b"\xe0\x01\x8b", Version::V5).0,
            [Incoming::Disconnect { code: 0x8b }]
        );
    }

    #[test]
    fn every_cut_of_a_stream_of_answers_waits_for_more() {
        let bytes = b"\x20\x03\0\0\0\x40\x02\0\x01\x40\x04\0\x03\x97\0\xd0\0";
        for cut in 0..bytes.len() {
            let (_, taken) = all(&bytes[..cut], Version::V5);
            assert!(taken.unwrap() <= cut);
        }
    }
}
