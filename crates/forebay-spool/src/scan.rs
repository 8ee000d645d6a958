//! Reading the frames of one segment in order, over damage.

use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{FsError, FsFile};

use crate::frame::{FrameHeader, HEADER};
use crate::segment::{PAGE, SegmentHeader};
use crate::wire::{narrow, read_full, wide};

/// Bytes that are read at once at least.
const WINDOW: usize = 256 * 1024;

/// What lies at one place of a segment.
#[derive(Debug)]
pub(crate) enum Item {
    /// A frame whose checksums are right.
    Frame {
        offset: u64,
        header: FrameHeader,
        payload: Bytes,
    },
    /// Something that is no frame, and frames follow.
    Damage {
        offset: u64,
        len: u64,
        /// The header of the next frame.
        next: FrameHeader,
    },
    /// The end: no frame follows.
    End {
        offset: u64,
        /// True when the header of a frame is here and its payload is not.
        torn: bool,
    },
}

/// Reads frames from a segment.
#[derive(Debug)]
pub(crate) struct Scanner<T> {
    file: Arc<T>,
    segment: SegmentHeader,
    offset: u64,
    /// Frames lie below this offset.
    limit: u64,
    /// The next frame has at least this number.
    next_frame: u64,
    window: Bytes,
    window_at: u64,
}

impl<T: FsFile> Scanner<T> {
    /// A scanner from the first frame on. Frames end at `limit`.
    pub(crate) fn new(file: Arc<T>, segment: SegmentHeader, limit: u64) -> Self {
        Self {
            file,
            offset: PAGE,
            limit,
            next_frame: segment.base_frame,
            segment,
            window: Bytes::new(),
            window_at: 0,
        }
    }

    /// The least number that the next frame can have.
    pub(crate) fn next_frame(&self) -> u64 {
        self.next_frame
    }

    /// Where the next item begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes to an offset at which an item begins, and whose frame has at least this number.
    pub(crate) fn go_to(&mut self, offset: u64, next_frame: u64) {
        self.offset = offset;
        self.next_frame = next_frame;
    }

    /// The next item. After [`Item::End`] it is that again.
    pub(crate) fn next(&mut self) -> Result<Item, FsError> {
        let offset = self.offset;
        let Some(header) = self.header_at(offset)? else {
            return self.over_damage(offset, None);
        };
        let from = offset + wide(HEADER);
        let payload = self.bytes(from, narrow(u64::from(header.payload_len)))?;
        if !header.matches(&payload, &self.segment) {
            return self.over_damage(offset, Some(header));
        }
        self.offset = offset + header.stride(self.segment.align);
        self.next_frame = header.frame + 1;
        Ok(Item::Frame {
            offset,
            header,
            payload,
        })
    }

    fn over_damage(&mut self, offset: u64, header: Option<FrameHeader>) -> Result<Item, FsError> {
        let align = u64::from(self.segment.align);
        let mut next_frame = self.next_frame;
        let mut at = offset + align;
        if let Some(header) = &header {
            next_frame = header.frame + 1;
            at = offset + header.stride(self.segment.align);
        }
        let saved = std::mem::replace(&mut self.next_frame, next_frame);
        while at + wide(HEADER) <= self.limit {
            if let Some(next) = self.header_at(at)? {
                self.offset = at;
                return Ok(Item::Damage {
                    offset,
                    len: at - offset,
                    next,
                });
            }
            at += align;
        }
        self.next_frame = saved;
        Ok(Item::End {
            offset,
            torn: header.is_some(),
        })
    }

    fn header_at(&mut self, offset: u64) -> Result<Option<FrameHeader>, FsError> {
        let bytes = self.bytes(offset, HEADER)?;
        let header = FrameHeader::decode(&bytes, &self.segment);
        Ok(header.filter(|header| {
            let end = offset + wide(HEADER) + u64::from(header.payload_len);
            header.frame >= self.next_frame && end <= self.limit
        }))
    }

    /// `len` bytes at `offset`, fewer at the end of the file.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<Bytes, FsError> {
        let within = offset >= self.window_at
            && offset + wide(len) <= self.window_at + wide(self.window.len());
        if !within {
            let want = len.max(narrow(
                wide(WINDOW).min(self.segment.size.saturating_sub(offset)),
            ));
            let mut buffer = vec![0; want];
            let read = read_full(&*self.file, &mut buffer, offset)?;
            buffer.truncate(read);
            self.window = Bytes::from(buffer);
            self.window_at = offset;
        }
        let from = narrow(offset - self.window_at).min(self.window.len());
        let to = (from + len).min(self.window.len());
        Ok(self.window.slice(from..to))
    }
}
