//! JSON texts inside a message, scalars included, node by node.

use super::document::Kind;
use super::exact::{self, ExactTree};
use super::source;

/// Buffers of one text.
#[derive(Debug, Default)]
pub(crate) struct Buffers(exact::Buffers);

/// A parsed text. Node 0 is its value; the nodes of a container follow it, names before their values.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    source: &'a str,
    tree: ExactTree<'a>,
}

/// What stands at a node.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    /// The text of a number.
    Number(&'a [u8]),
    /// A string or the name of a member.
    String(&'a str),
    /// How many elements follow.
    Array(u32),
    /// How many members follow.
    Object(u32),
}

impl<'a> Decoded<'a> {
    /// Parses a text; `None` when it is no JSON.
    pub(crate) fn parse(source: &'a str, buffers: &'a mut Buffers) -> Option<Self> {
        let tree = ExactTree::parse(source.as_bytes(), &mut buffers.0).ok()?;
        Some(Self { source, tree })
    }

    pub(crate) fn node(&self, node: u32) -> Node<'a> {
        match self.tree.kind(node) {
            Kind::Null => Node::Null,
            Kind::Bool(value) => Node::Bool(value),
            Kind::Int(_) | Kind::Number => {
                let (source, start) = (self.source.as_bytes(), self.tree.start(node));
                let text = source.get(start..source::scalar_end(source, start));
                Node::Number(text.unwrap_or_default())
            }
            Kind::String => Node::String(self.tree.string(node)),
            Kind::Array => Node::Array(self.tree.len(node)),
            Kind::Object => Node::Object(self.tree.len(node)),
        }
    }
}
