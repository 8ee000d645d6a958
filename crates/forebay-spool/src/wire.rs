//! Little-endian fields in byte slices, and reading and writing of whole ranges of a file.

use forebay_core::{FsError, FsErrorKind, FsFile};

/// Reads fields one after another; `None` where the bytes end.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// A length of 16 bits and as many bytes of text.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(usize::from(len))?).ok()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }
}

/// Writes a text as [`Fields::text`] reads it. Longer texts are cut: callers pass names that the services bound far
/// below 65 535 bytes.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let len = u16::try_from(end).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text.as_bytes().get(..end).unwrap_or_default());
}

/// A length in 32 bits. Groups are refused long before a length could exceed that.
pub(crate) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A length or offset of this machine as a file offset, and back. Both directions are lossless on the 64-bit
/// platforms that Forebay is built for.
pub(crate) fn wide(len: usize) -> u64 {
    len as u64
}

pub(crate) fn narrow(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// `value` rounded up to a multiple of `to`, a power of two.
pub(crate) fn round_up(value: u64, to: u64) -> u64 {
    value.saturating_add(to - 1) & !(to - 1)
}

/// Writes all of `bytes`. A short write is a failure: what comes after it is unknown.
pub(crate) fn write_all<F: FsFile>(file: &F, bytes: &[u8], offset: u64) -> Result<(), FsError> {
    loop {
        match file.write_at(bytes, offset) {
            Ok(len) if len == bytes.len() => return Ok(()),
            Ok(len) => {
                return Err(FsError {
                    kind: FsErrorKind::Io,
                    operation: "write",
                    path: std::path::PathBuf::new(),
                    detail: format!("short write: {len} of {} bytes", bytes.len()),
                });
            }
            Err(error) if error.kind == FsErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Tries of a read that fails: a disk that fails for longer is the caller's affair.
const READ_TRIES: usize = 3;

/// Reads until `buffer` is full or the file ends; returns the bytes read.
pub(crate) fn read_full<F: FsFile>(
    file: &F,
    buffer: &mut [u8],
    offset: u64,
) -> Result<usize, FsError> {
    let mut filled = 0;
    let mut tries = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + wide(filled)) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind == FsErrorKind::Interrupted => {}
            Err(error) => {
                tries += 1;
                if tries == READ_TRIES {
                    return Err(error);
                }
            }
        }
    }
    Ok(filled)
}
