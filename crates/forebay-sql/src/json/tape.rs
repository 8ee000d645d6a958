//! simd-json's tape.

use forebay_core::limits::JSON_DEPTH_MAX;
use simd_json::{Node, StaticNode, Tape, fill_tape};

use super::document::Kind;

/// Buffers that parsing reuses.
pub(super) struct TapeBuffers {
    /// simd-json unescapes strings in place, so it gets a copy of the payload.
    input: Vec<u8>,
    simd: simd_json::Buffers,
    tape: Tape<'static>,
}

impl Default for TapeBuffers {
    fn default() -> Self {
        Self {
            input: Vec::new(),
            simd: simd_json::Buffers::with_max_depth(1024, JSON_DEPTH_MAX),
            tape: Tape(Vec::new()),
        }
    }
}

/// A document on the tape. Node 0 is the root; the nodes of a container follow it, names before their values.
#[derive(Debug)]
pub(super) struct TapeTree<'a> {
    tape: Tape<'a>,
    /// Address of the input copy: strings lie inside it, where they stand in the payload.
    base: usize,
    home: &'a mut Tape<'static>,
}

impl<'a> TapeTree<'a> {
    /// Parses a payload; `None` when simd-json finds an error in it.
    pub(super) fn parse(payload: &[u8], buffers: &'a mut TapeBuffers) -> Option<Self> {
        let TapeBuffers {
            input,
            simd,
            tape: home,
        } = buffers;
        input.clear();
        input.extend_from_slice(payload);
        let base = input.as_ptr().addr();
        let mut tape: Tape<'a> = std::mem::replace(home, Tape(Vec::new()));
        match fill_tape(input, simd, &mut tape) {
            Ok(()) => Some(Self { tape, base, home }),
            Err(_) => {
                *home = tape.reset();
                None
            }
        }
    }

    fn node(&self, node: u32) -> Node<'a> {
        self.tape
            .0
            .get(node as usize)
            .copied()
            .unwrap_or(Node::Static(StaticNode::Null))
    }

    pub(super) fn kind(&self, node: u32) -> Kind {
        match self.node(node) {
            Node::String(_) => Kind::String,
            Node::Object { .. } => Kind::Object,
            Node::Array { .. } => Kind::Array,
            Node::Static(StaticNode::Null) => Kind::Null,
            Node::Static(StaticNode::Bool(value)) => Kind::Bool(value),
            Node::Static(StaticNode::I64(value)) => Kind::Int(value),
            Node::Static(StaticNode::U64(value)) => {
                i64::try_from(value).map_or(Kind::Number, Kind::Int)
            }
            Node::Static(_) => Kind::Number,
        }
    }

    pub(super) fn string(&self, node: u32) -> &'a str {
        match self.node(node) {
            Node::String(text) => text,
            _ => "",
        }
    }

    /// Where the text of a string begins in the payload, behind its quote.
    pub(super) fn string_start(&self, node: u32) -> usize {
        self.string(node).as_ptr().addr().wrapping_sub(self.base)
    }

    pub(super) fn size(&self, node: u32) -> u32 {
        let inner = match self.node(node) {
            Node::Object { count, .. } | Node::Array { count, .. } => count,
            Node::String(_) | Node::Static(_) => 0,
        };
        narrow(inner) + 1
    }

    pub(super) fn len(&self, node: u32) -> u32 {
        match self.node(node) {
            Node::Object { len, .. } | Node::Array { len, .. } => narrow(len),
            Node::String(_) | Node::Static(_) => 0,
        }
    }
}

impl Drop for TapeTree<'_> {
    fn drop(&mut self) {
        // Hands the allocation back for the next payload.
        *self.home = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX - 1)
}
