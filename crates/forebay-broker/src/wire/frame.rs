//! Finds one frame at the front of a buffer, from its fixed header alone.
//!
//! Type, flags and size are judged as soon as their bytes are there, before anything is buffered for the packet.

use crate::outcome::{Cause, Version};

/// The fixed header of a complete frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Packet type, 1 to 15.
    pub(crate) kind: u8,
    /// The low four bits of the first byte.
    pub(crate) flags: u8,
    /// Bytes of the fixed header, 2 to 5.
    pub(crate) header_len: usize,
    /// Bytes of the whole packet.
    pub(crate) total_len: usize,
}

impl Frame {
    /// Bytes after the fixed header.
    pub(crate) fn remaining_len(&self) -> usize {
        self.total_len - self.header_len
    }
}

/// What is at the front of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peek {
    /// Not even the fixed header is complete.
    Header,
    /// The packet is so many bytes long, and not all of them are there.
    Partial(usize),
    /// A whole packet.
    Complete(Frame),
}

/// Packet types, as far as this module and the gate name them.
pub(super) mod kind {
    pub(crate) const CONNECT: u8 = 1;
    pub(crate) const PUBLISH: u8 = 3;
    pub(crate) const PUBACK: u8 = 4;
    pub(crate) const PUBREC: u8 = 5;
    pub(crate) const PUBREL: u8 = 6;
    pub(crate) const PUBCOMP: u8 = 7;
    pub(crate) const SUBSCRIBE: u8 = 8;
    pub(crate) const UNSUBSCRIBE: u8 = 10;
    pub(crate) const PINGREQ: u8 = 12;
    pub(crate) const DISCONNECT: u8 = 14;
    pub(crate) const AUTH: u8 = 15;
}

/// Looks at the front of `buffer`. `version` is `None` before the CONNECT, when nothing else may come.
///
/// # Errors
/// A packet type that a client may not send now, wrong flags, a bad length, or a packet above `bytes_max`.
pub(crate) fn peek(
    buffer: &[u8],
    version: Option<Version>,
    bytes_max: usize,
    lenient_flags: bool,
) -> Result<Peek, Cause> {
    let Some(first) = buffer.first() else {
        return Ok(Peek::Header);
    };
    let (kind, flags) = (first >> 4, first & 0x0f);
    check_kind(kind, version)?;
    check_flags(kind, flags, lenient_flags)?;

    let mut remaining = 0;
    let mut header_len = 1;
    loop {
        // A fifth length byte is malformed (MQTT 5.0, 1.5.5); it never has to arrive for that.
        if header_len == 5 {
            return Err(Cause::Malformed);
        }
        let Some(byte) = buffer.get(header_len) else {
            return Ok(Peek::Header);
        };
        remaining |= usize::from(byte & 0x7f) << (7 * (header_len - 1));
        header_len += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let total_len = header_len + remaining;
    if total_len > bytes_max {
        return Err(Cause::TooLarge);
    }
    if buffer.len() < total_len {
        return Ok(Peek::Partial(total_len));
    }
    Ok(Peek::Complete(Frame {
        kind,
        flags,
        header_len,
        total_len,
    }))
}

fn check_kind(kind: u8, version: Option<Version>) -> Result<(), Cause> {
    match version {
        None if kind == kind::CONNECT => Ok(()),
        None => Err(Cause::ProtocolError),
        Some(version) => match kind {
            0 => Err(Cause::Malformed),
            kind::AUTH if version == Version::V311 => Err(Cause::Malformed),
            // A second CONNECT, an AUTH that nobody asked for, and what only servers send.
            kind::CONNECT | 2 | 9 | 11 | 13 | kind::AUTH => Err(Cause::ProtocolError),
            _ => Ok(()),
        },
    }
}

fn check_flags(kind: u8, flags: u8, lenient: bool) -> Result<(), Cause> {
    let right = match kind {
        kind::PUBLISH => {
            let qos = (flags >> 1) & 3;
            qos != 3 && !(qos == 0 && flags & 8 != 0)
        }
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => flags == 2 || lenient,
        _ => flags == 0,
    };
    if right { Ok(()) } else { Err(Cause::Malformed) }
}
