//! An exact JSON parser (RFC 8259) that keeps the place of every value: for payloads of all common sizes, for those whose
//! numbers or surrogates simd-json's tape cannot carry, and as the final verdict on payloads in which it finds an error.

mod parser;
mod root_names;

use std::cell::OnceCell;

use simdutf8::basic as utf8;

use self::parser::Parser;
use self::root_names::RootName;
use super::document::Kind;
use crate::eval::PayloadFault;

/// Buffers that parsing reuses.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    nodes: Vec<Node>,
    /// Strings that contain escapes, without them, one behind the other.
    texts: String,
    /// Where each of them ends.
    ends: Vec<u32>,
    /// The names of the outermost object.
    names: Vec<RootName>,
}

/// A value or the name of a member.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// Where its text begins, quotes included.
    start: u32,
    /// Behind its text.
    end: u32,
    /// Nodes of the value, itself included. While a container is open: the container around it.
    size: u32,
    /// Members or elements; of a string with escapes its place among them.
    len: u32,
    shape: Shape,
}

impl Node {
    /// Where the text of a string lies inside its quotes.
    fn inside(&self) -> std::ops::Range<usize> {
        self.start as usize + 1..self.end as usize - 1
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Null,
    True,
    False,
    Number,
    /// A string that is its own text.
    Plain,
    /// A string with escapes.
    Escaped,
    Array,
    Object,
}

/// A parsed document: nodes in the order of the text, the names of members before their values.
#[derive(Debug)]
pub(super) struct ExactTree<'a> {
    source: &'a [u8],
    /// The source as text, which it is known to be: few statements look into a string.
    text: OnceCell<&'a str>,
    buffers: &'a Buffers,
}

impl<'a> ExactTree<'a> {
    /// Parses a payload.
    pub(super) fn parse(source: &'a [u8], buffers: &'a mut Buffers) -> Result<Self, PayloadFault> {
        if u32::try_from(source.len()).is_err() {
            return Err(PayloadFault::NotJson);
        }
        buffers.nodes.clear();
        buffers.texts.clear();
        buffers.ends.clear();
        buffers.names.clear();
        let mut parser = Parser {
            source,
            buffers: &mut *buffers,
            is_ascii: true,
        };
        let parsed = parser.document();
        let is_ascii = parser.is_ascii;
        match parsed {
            Ok(end) if end == source.len() => {}
            // What is no text is no JSON before it is too deep.
            Err(PayloadFault::TooDeep) if utf8::from_utf8(source).is_ok() => {
                return Err(PayloadFault::TooDeep);
            }
            _ => return Err(PayloadFault::NotJson),
        }
        let text = OnceCell::new();
        if !is_ascii {
            let whole = utf8::from_utf8(source).map_err(|_| PayloadFault::NotJson)?;
            text.get_or_init(|| whole);
        }
        Ok(Self {
            source,
            text,
            buffers,
        })
    }

    fn text(&self) -> &'a str {
        let validate = || utf8::from_utf8(self.source).unwrap_or_default();
        self.text.get_or_init(validate)
    }

    fn node(&self, node: u32) -> &'a Node {
        const NULL: &Node = &Node {
            start: 0,
            end: 0,
            size: 1,
            len: 0,
            shape: Shape::Null,
        };
        self.buffers.nodes.get(node as usize).unwrap_or(NULL)
    }

    pub(super) fn kind(&self, node: u32) -> Kind {
        match self.node(node).shape {
            Shape::Null => Kind::Null,
            Shape::True => Kind::Bool(true),
            Shape::False => Kind::Bool(false),
            Shape::Number => Kind::Number,
            Shape::Plain | Shape::Escaped => Kind::String,
            Shape::Array => Kind::Array,
            Shape::Object => Kind::Object,
        }
    }

    pub(super) fn start(&self, node: u32) -> usize {
        self.node(node).start as usize
    }

    /// Behind the text of a value.
    pub(super) fn end(&self, node: u32) -> usize {
        self.node(node).end as usize
    }

    pub(super) fn size(&self, node: u32) -> u32 {
        self.node(node).size
    }

    /// Members or elements.
    pub(super) fn len(&self, node: u32) -> u32 {
        let node = self.node(node);
        match node.shape {
            Shape::Escaped => 0,
            _ => node.len,
        }
    }

    /// The name of the last member of this name; an object has members, anything else has none.
    pub(super) fn member(&self, object: u32, name: &str) -> Option<u32> {
        if object == ROOT {
            return self.root_member(name);
        }
        let mut found = None;
        let mut names = self.names(object);
        while let Some((node, text)) = names.next_name() {
            // Most names differ in length, which is seen without a look at their bytes.
            if text.len() == name.len() && text == name.as_bytes() {
                found = Some(node);
            }
        }
        found
    }

    fn root_member(&self, name: &str) -> Option<u32> {
        let name = name.as_bytes();
        let hash = root_names::hash(name);
        let mut names = self.buffers.names.iter().rev();
        let found =
            names.find(|entry| entry.hash == hash && self.string_bytes(entry.node) == name)?;
        Some(found.node)
    }

    /// Whether one of the object's names occurs twice; `None` when there are too many of them for a quick answer.
    pub(super) fn has_duplicates(&self, object: u32) -> Option<bool> {
        if object == ROOT {
            return root_names::is_any_repeated(&self.buffers.names, |node| {
                self.string_bytes(node)
            });
        }
        super::document::has_duplicates(self.names(object), self.len(object))
    }

    /// The names of an object's members, duplicates included; none of any other value.
    pub(super) fn names(&self, object: u32) -> Names<'_, 'a> {
        let node = self.node(object);
        Names {
            tree: self,
            next: object + 1,
            left: if node.shape == Shape::Object {
                node.len
            } else {
                0
            },
        }
    }

    /// The value of a string or the name of a member, without its escapes.
    pub(super) fn string(&self, node: u32) -> &'a str {
        let node = self.node(node);
        let (text, inside) = match node.shape {
            Shape::Plain => (self.text(), node.inside()),
            Shape::Escaped => (self.buffers.texts.as_str(), self.unescaped(node)),
            _ => return "",
        };
        text.get(inside).unwrap_or_default()
    }

    /// The same as bytes.
    #[inline]
    fn string_bytes(&self, node: u32) -> &'a [u8] {
        let node = self.node(node);
        let (text, inside) = match node.shape {
            Shape::Plain => (self.source, node.inside()),
            Shape::Escaped => (self.buffers.texts.as_bytes(), self.unescaped(node)),
            _ => return b"",
        };
        text.get(inside).unwrap_or_default()
    }

    /// Where the text of a string with escapes lies.
    #[cold]
    fn unescaped(&self, node: &Node) -> std::ops::Range<usize> {
        let end = |place: usize| self.buffers.ends.get(place).map_or(0, |end| *end as usize);
        let place = node.len as usize;
        place.checked_sub(1).map_or(0, end)..end(place)
    }
}

/// The node of the whole document.
const ROOT: u32 = 0;

/// A walk over the names of an object.
#[derive(Debug, Clone)]
pub(super) struct Names<'t, 'a> {
    tree: &'t ExactTree<'a>,
    next: u32,
    left: u32,
}

impl<'a> Names<'_, 'a> {
    /// The next name with its node.
    #[inline]
    fn next_name(&mut self) -> Option<(u32, &'a [u8])> {
        self.left = self.left.checked_sub(1)?;
        let at = self.next;
        self.next = at + 1 + self.tree.node(at + 1).size;
        Some((at, self.tree.string_bytes(at)))
    }
}

impl<'a> Iterator for Names<'_, 'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        self.next_name().map(|(_, text)| text)
    }
}

/// A position or a count inside a payload that [`ExactTree::parse`] takes.
#[expect(
    clippy::cast_possible_truncation,
    reason = "no payload is longer than a u32 says"
)]
fn narrow(count: usize) -> u32 {
    count as u32
}
