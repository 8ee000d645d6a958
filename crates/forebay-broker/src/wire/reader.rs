//! A cursor over the bytes of one frame. Every read is checked: what is not there is malformed.

use crate::outcome::Cause;

/// Reads values from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at `at`, which may be the end.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Offset of the next byte from the beginning of the slice.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Cause> {
        let end = self.at.checked_add(len).ok_or(Cause::Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Cause::Malformed)?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Cause> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Cause> {
        let taken = self.take(2)?;
        Ok(u16::from_be_bytes([taken[0], taken[1]]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Cause> {
        let taken = self.take(4)?;
        Ok(u32::from_be_bytes([taken[0], taken[1], taken[2], taken[3]]))
    }

    /// Binary data with its two-byte length.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Cause> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A string with its two-byte length: UTF-8 without the null character (MQTT 5.0, 1.5.4).
    pub(super) fn string(&mut self) -> Result<&'a str, Cause> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| Cause::Malformed)?;
        if text.as_bytes().contains(&0) {
            return Err(Cause::Malformed);
        }
        Ok(text)
    }

    /// A variable byte integer of at most four bytes.
    pub(super) fn variable_integer(&mut self) -> Result<usize, Cause> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Cause::Malformed)
    }

    /// A packet identifier, which is never zero (MQTT 5.0, 2.2.1).
    pub(super) fn packet_id(&mut self) -> Result<u16, Cause> {
        match self.u16()? {
            0 => Err(Cause::ProtocolError),
            id => Ok(id),
        }
    }
}
