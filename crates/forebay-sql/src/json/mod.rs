//! The one door to JSON payloads: simd-json's tape, an exact parser for what the tape cannot carry, and the source
//! text of every value, which copies keep.

mod document;
mod exact;
mod scan;
mod source;
mod tape;

pub(crate) use document::{Buffers, Document, Elements, Item, Kind};
