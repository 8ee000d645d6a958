//! An exact JSON parser (RFC 8259) that keeps the place of every value: for payloads whose numbers or surrogates
//! simd-json's tape cannot carry, and as the final verdict on payloads in which it finds an error.

use forebay_core::limits::JSON_DEPTH_MAX;

use super::document::Kind;
use super::source;
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

/// A name of the outermost object. They stand in one row, because most statements ask for some of them.
#[derive(Debug, Clone, Copy)]
struct RootName {
    hash: u32,
    node: u32,
}

/// A number that differs for most pairs of names; its upper bits are the best ones.
#[inline(always)]
fn hash(name: &[u8]) -> u32 {
    let four = |bytes: Option<&[u8; 4]>| bytes.map(|bytes| u32::from_le_bytes(*bytes));
    let (first, last) = match (four(name.first_chunk()), four(name.last_chunk())) {
        (Some(first), Some(last)) => (first, last),
        _ => (
            name.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)),
            0,
        ),
    };
    let mixed = first ^ last.rotate_left(11) ^ narrow(name.len()).rotate_left(25);
    mixed.wrapping_mul(0x9e37_79b1)
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
#[derive(Debug, Clone, Copy)]
pub(super) struct ExactTree<'a> {
    source: &'a str,
    buffers: &'a Buffers,
}

impl<'a> ExactTree<'a> {
    /// Parses a payload.
    pub(super) fn parse(payload: &'a [u8], buffers: &'a mut Buffers) -> Result<Self, PayloadFault> {
        let source = std::str::from_utf8(payload).map_err(|_| PayloadFault::NotJson)?;
        buffers.nodes.clear();
        buffers.texts.clear();
        buffers.ends.clear();
        buffers.names.clear();
        let mut parser = Parser {
            source: payload,
            buffers: &mut *buffers,
        };
        if parser.document()? < payload.len() {
            return Err(PayloadFault::NotJson);
        }
        Ok(Self { source, buffers })
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
        let hash = hash(name.as_bytes());
        let mut names = self.buffers.names.iter().rev();
        let found = names.find(|entry| entry.hash == hash && self.string(entry.node) == name)?;
        Some(found.node)
    }

    /// True when one of the object's names, at most 64, occurs twice.
    pub(super) fn has_duplicates(&self, object: u32) -> bool {
        if object != ROOT {
            return super::document::has_duplicates(self.names(object));
        }
        let names = &self.buffers.names;
        let mut seen = [0_u64; 4];
        names.iter().enumerate().any(|(index, name)| {
            // The two highest bits choose the word, the next six the bit.
            let word = &mut seen[(name.hash >> 30) as usize];
            let bit = 1 << (name.hash >> 24 & 63);
            let may_be_one = *word & bit != 0;
            *word |= bit;
            // Most names have a bit of their own, so that few are ever compared.
            may_be_one && {
                let mut earlier = names.iter().take(index);
                earlier.any(|other| {
                    other.hash == name.hash && self.string(other.node) == self.string(name.node)
                })
            }
        })
    }

    /// The names of an object's members, duplicates included; none of any other value.
    pub(super) fn names(&self, object: u32) -> Names<'a> {
        let node = self.node(object);
        Names {
            tree: *self,
            next: object + 1,
            left: if node.shape == Shape::Object {
                node.len
            } else {
                0
            },
        }
    }

    pub(super) fn string(&self, node: u32) -> &'a str {
        let node = self.node(node);
        let (text, start, end) = match node.shape {
            Shape::Plain => (self.source, node.start + 1, node.end - 1),
            Shape::Escaped => {
                let ends = &self.buffers.ends;
                let end = |place: usize| ends.get(place).copied().unwrap_or(0);
                let place = node.len as usize;
                let start = place.checked_sub(1).map_or(0, end);
                (self.buffers.texts.as_str(), start, end(place))
            }
            _ => return "",
        };
        text.get(start as usize..end as usize).unwrap_or_default()
    }
}

/// The node of the whole document.
const ROOT: u32 = 0;

/// A walk over the names of an object.
#[derive(Debug, Clone)]
pub(super) struct Names<'a> {
    tree: ExactTree<'a>,
    next: u32,
    left: u32,
}

impl<'a> Names<'a> {
    /// The next name with its node.
    #[inline]
    fn next_name(&mut self) -> Option<(u32, &'a [u8])> {
        self.left = self.left.checked_sub(1)?;
        let at = self.next;
        let (name, value) = (self.tree.node(at), self.tree.node(at + 1));
        self.next = at + 1 + value.size;
        let text = match name.shape {
            Shape::Plain => {
                let inside = name.start as usize + 1..name.end as usize - 1;
                self.tree.source.as_bytes().get(inside).unwrap_or_default()
            }
            _ => self.tree.string(at).as_bytes(),
        };
        Some((at, text))
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        self.next_name().map(|(_, text)| text)
    }
}

type Parsed<T> = Result<T, PayloadFault>;

/// The container around the outermost value.
const OUTSIDE: u32 = u32::MAX;

/// Positions are passed along and not kept, so that they stay in registers.
struct Parser<'a, 'b> {
    source: &'a [u8],
    buffers: &'b mut Buffers,
}

impl Parser<'_, '_> {
    /// The byte at a position; 0, which no token begins with, behind the end.
    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        self.source.get(at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn push(&mut self, shape: Shape, start: usize, end: usize) {
        self.buffers.nodes.push(Node {
            start: narrow(start),
            end: narrow(end),
            size: 1,
            len: 0,
            shape,
        });
    }

    /// Parses the whole text without recursion, and returns the position behind the value and white space.
    fn document(&mut self) -> Parsed<usize> {
        let mut at = source::skip_space(self.source, 0);
        let (mut open, mut depth) = (OUTSIDE, 0);
        loop {
            let first = self.byte(at);
            if let b'{' | b'[' = first {
                if depth == JSON_DEPTH_MAX {
                    return Err(PayloadFault::TooDeep);
                }
                let is_object = first == b'{';
                let index = narrow(self.buffers.nodes.len());
                let shape = if is_object {
                    Shape::Object
                } else {
                    Shape::Array
                };
                self.push(shape, at, at);
                self.set_around(index, open);
                (open, depth) = (index, depth + 1);
                at = source::skip_space(self.source, at + 1);
                let close = if is_object { b'}' } else { b']' };
                if self.byte(at) != close {
                    if is_object {
                        at = self.name(at, depth)?;
                    }
                    continue;
                }
                at += 1;
                (open, depth) = (self.close(open, at), depth - 1);
            } else {
                at = self.scalar(first, at)?;
            }
            // Behind a value: further members or elements, or the end of the containers that it ends.
            loop {
                at = source::skip_space(self.source, at);
                let Some(container) = self.buffers.nodes.get_mut(open as usize) else {
                    return Ok(at);
                };
                container.len += 1;
                let is_object = container.shape == Shape::Object;
                match self.byte(at) {
                    b',' => {
                        at = source::skip_space(self.source, at + 1);
                        if is_object {
                            at = self.name(at, depth)?;
                        }
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return Err(PayloadFault::NotJson),
                }
                at += 1;
                (open, depth) = (self.close(open, at), depth - 1);
            }
        }
    }

    fn set_around(&mut self, container: u32, around: u32) {
        if let Some(node) = self.buffers.nodes.get_mut(container as usize) {
            node.size = around;
        }
    }

    /// Closes a container and returns the one around it.
    fn close(&mut self, container: u32, end: usize) -> u32 {
        let count = narrow(self.buffers.nodes.len());
        let Some(node) = self.buffers.nodes.get_mut(container as usize) else {
            return OUTSIDE;
        };
        node.end = narrow(end);
        std::mem::replace(&mut node.size, count - container)
    }

    /// Parses a name and its colon, and returns the position of the value.
    #[inline(always)]
    fn name(&mut self, at: usize, depth: usize) -> Parsed<usize> {
        if self.byte(at) != b'"' {
            return Err(PayloadFault::NotJson);
        }
        let end = self.string(at)?;
        if depth == 1 {
            self.note_root_name(at, end);
        }
        let colon = source::skip_space(self.source, end);
        if self.byte(colon) != b':' {
            return Err(PayloadFault::NotJson);
        }
        Ok(source::skip_space(self.source, colon + 1))
    }

    /// Notes the name that was parsed last, which stands here with its quotes.
    #[inline(always)]
    fn note_root_name(&mut self, start: usize, end: usize) {
        let Buffers {
            nodes,
            texts,
            ends,
            names,
        } = &mut *self.buffers;
        let is_escaped = nodes
            .last()
            .is_some_and(|node| node.shape == Shape::Escaped);
        let text = if is_escaped {
            let last = ends.len() - 1;
            let from = last
                .checked_sub(1)
                .and_then(|before| ends.get(before).copied());
            texts
                .as_bytes()
                .get(from.unwrap_or(0) as usize..)
                .unwrap_or_default()
        } else {
            self.source.get(start + 1..end - 1).unwrap_or_default()
        };
        names.push(RootName {
            hash: hash(text),
            node: narrow(nodes.len() - 1),
        });
    }

    #[inline(always)]
    fn scalar(&mut self, first: u8, at: usize) -> Parsed<usize> {
        let (word, shape): (&[u8], _) = match first {
            b'"' => return self.string(at),
            b'-' | b'0'..=b'9' => {
                let end = self.number(at)?;
                self.push(Shape::Number, at, end);
                return Ok(end);
            }
            b't' => (b"true", Shape::True),
            b'f' => (b"false", Shape::False),
            b'n' => (b"null", Shape::Null),
            _ => return Err(PayloadFault::NotJson),
        };
        let end = at + word.len();
        if self.source.get(at..end) != Some(word) {
            return Err(PayloadFault::NotJson);
        }
        self.push(shape, at, end);
        Ok(end)
    }

    /// Parses the string whose quote is here, and returns the position behind it.
    #[inline(always)]
    fn string(&mut self, start: usize) -> Parsed<usize> {
        let at = plain_end(self.source, start + 1);
        if self.byte(at) == b'"' {
            self.push(Shape::Plain, start, at + 1);
            return Ok(at + 1);
        }
        self.escaped(start, at)
    }

    /// The same from the first escape on.
    #[cold]
    fn escaped(&mut self, start: usize, mut at: usize) -> Parsed<usize> {
        let mut copied = start + 1;
        loop {
            let piece = self.source.get(copied..at).unwrap_or_default();
            // Both ends are beside ASCII characters of a text that is valid UTF-8.
            let piece = std::str::from_utf8(piece).unwrap_or_default();
            self.buffers.texts.push_str(piece);
            match self.byte(at) {
                b'"' => break,
                b'\\' => {}
                _ => return Err(PayloadFault::NotJson),
            }
            at += 1;
            let character = self.escape(&mut at)?;
            self.buffers.texts.push(character);
            copied = at;
            at = plain_end(self.source, at);
        }
        self.push(Shape::Escaped, start, at + 1);
        let place = narrow(self.buffers.ends.len());
        self.buffers.ends.push(narrow(self.buffers.texts.len()));
        if let Some(node) = self.buffers.nodes.last_mut() {
            node.len = place;
        }
        Ok(at + 1)
    }

    /// What follows a backslash.
    fn escape(&self, at: &mut usize) -> Parsed<char> {
        let escape = self.byte(*at);
        *at += 1;
        Ok(match escape {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex(at)?;
                let second = if (0xd800..0xdc00).contains(&unit) {
                    if self.source.get(*at..*at + 2) != Some(b"\\u") {
                        return Err(PayloadFault::NotJson);
                    }
                    *at += 2;
                    Some(self.hex(at)?)
                } else {
                    None
                };
                // A surrogate without its partner is no character.
                let mut decoded = char::decode_utf16([unit].into_iter().chain(second));
                decoded
                    .next()
                    .and_then(Result::ok)
                    .ok_or(PayloadFault::NotJson)?
            }
            _ => return Err(PayloadFault::NotJson),
        })
    }

    fn hex(&self, at: &mut usize) -> Parsed<u16> {
        let digits = self.source.get(*at..*at + 4).ok_or(PayloadFault::NotJson)?;
        *at += 4;
        digits.iter().try_fold(0_u16, |value, byte| {
            let digit = char::from(*byte)
                .to_digit(16)
                .ok_or(PayloadFault::NotJson)?;
            Ok(value << 4 | u16::try_from(digit).unwrap_or(0))
        })
    }

    /// The position behind a number.
    #[inline(always)]
    fn number(&self, mut at: usize) -> Parsed<usize> {
        at += usize::from(self.byte(at) == b'-');
        at = if self.byte(at) == b'0' {
            at + 1
        } else {
            self.digits(at)?
        };
        if self.byte(at) == b'.' {
            at = self.digits(at + 1)?;
        }
        if let b'e' | b'E' = self.byte(at) {
            at += 1 + usize::from(matches!(self.byte(at + 1), b'+' | b'-'));
            at = self.digits(at)?;
        }
        Ok(at)
    }

    #[inline(always)]
    fn digits(&self, start: usize) -> Parsed<usize> {
        let mut at = start;
        while self.byte(at).is_ascii_digit() {
            at += 1;
        }
        if at == start {
            Err(PayloadFault::NotJson)
        } else {
            Ok(at)
        }
    }
}

/// The first position from `at` on of a quote, a backslash, a control character, or the end: eight bytes at a time.
#[inline(always)]
fn plain_end(source: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    while let Some(group) = source.get(at..at + 8) {
        let mut word = [0; 8];
        word.copy_from_slice(group);
        let word = u64::from_le_bytes(word);
        // The high bit of a byte below the subtrahend. A borrow can only mark bytes behind one that is marked itself,
        // and the first mark is what counts.
        let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let marks = (is(b'"') | is(b'\\') | below(word, 0x20)) & HIGHS;
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = source.get(at..).unwrap_or_default();
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    at + rest.iter().position(ends).unwrap_or(rest.len())
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
