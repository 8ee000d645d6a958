//! The one door to JSON payloads: an exact parser, simd-json's tape for very large payloads that it can carry, and the
//! source text of every value, which copies keep.

mod decoded;
mod document;
mod exact;
mod reader;
mod scan;
mod source;
mod string_scan;
mod tape;

pub use reader::JsonReader;

pub(crate) use decoded::{Buffers as DecodedBuffers, Decoded, Node as DecodedNode};
pub(crate) use document::{Buffers, Document, Elements, Item, Kind};
pub(crate) use string_scan::plain_end;
