//! One pass over the bytes, without recursion. Positions are passed along and not kept, so that they stay in
//! registers; the common form of each token is recognised where it stands, everything else out of the way.

use forebay_core::limits::JSON_DEPTH_MAX;

use super::root_names::RootName;
use super::{Buffers, Node, Shape, narrow};
use crate::eval::PayloadFault;
use crate::json::source;
use crate::json::string_scan::{any_end, plain_end};

pub(super) type Parsed<T> = Result<T, PayloadFault>;

/// The container around the outermost value.
const OUTSIDE: u32 = u32::MAX;

/// The innermost container that is not closed yet.
struct Open {
    node: u32,
    /// Values in it so far.
    len: u32,
    is_object: bool,
}

pub(super) struct Parser<'a, 'b> {
    pub(super) source: &'a [u8],
    pub(super) buffers: &'b mut Buffers,
    /// No byte above 0x7f was seen in a string. Elsewhere it is an error.
    pub(super) is_ascii: bool,
}

impl Parser<'_, '_> {
    /// The byte at a position; 0, which no token begins with, behind the end.
    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        self.source.get(at).copied().unwrap_or(0)
    }

    /// The first position from `at` on that is no white space, and the byte there.
    #[inline(always)]
    fn token(&self, at: usize) -> (usize, u8) {
        let byte = self.byte(at);
        // Most payloads have none.
        if byte > b' ' {
            return (at, byte);
        }
        let at = source::skip_space(self.source, at);
        (at, self.byte(at))
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

    /// Parses the whole text, and returns the position behind the value and white space.
    pub(super) fn document(&mut self) -> Parsed<usize> {
        let (mut at, mut first) = self.token(0);
        let mut depth = 0;
        let mut open = Open {
            node: OUTSIDE,
            len: 0,
            is_object: false,
        };
        loop {
            at = match first {
                b'"' => self.string(at)?,
                b'{' | b'[' => {
                    if depth == JSON_DEPTH_MAX {
                        return Err(PayloadFault::TooDeep);
                    }
                    depth += 1;
                    open = self.open(open, first == b'{', at);
                    (at, first) = self.token(at + 1);
                    if first != closing(open.is_object) {
                        if open.is_object {
                            (at, first) = self.name(at, first, depth)?;
                        }
                        continue;
                    }
                    depth -= 1;
                    open = self.close(&open, at + 1);
                    at + 1
                }
                _ => self.scalar(first, at)?,
            };
            // Behind a value: further members or elements, or the end of the containers that it ends.
            loop {
                (at, first) = self.token(at);
                if open.node == OUTSIDE {
                    return Ok(at);
                }
                open.len += 1;
                if first == b',' {
                    (at, first) = self.token(at + 1);
                    if open.is_object {
                        (at, first) = self.name(at, first, depth)?;
                    }
                    break;
                }
                if first != closing(open.is_object) {
                    return Err(PayloadFault::NotJson);
                }
                at += 1;
                depth -= 1;
                open = self.close(&open, at);
            }
        }
    }

    /// Opens a container inside another one.
    fn open(&mut self, around: Open, is_object: bool, at: usize) -> Open {
        let nodes = &mut self.buffers.nodes;
        if let Some(node) = nodes.get_mut(around.node as usize) {
            node.len = around.len;
        }
        let node = narrow(nodes.len());
        let shape = if is_object {
            Shape::Object
        } else {
            Shape::Array
        };
        nodes.push(Node {
            start: narrow(at),
            end: narrow(at),
            size: around.node,
            len: 0,
            shape,
        });
        Open {
            node,
            len: 0,
            is_object,
        }
    }

    /// Closes a container and returns the one around it.
    fn close(&mut self, container: &Open, end: usize) -> Open {
        let nodes = &mut self.buffers.nodes;
        let count = narrow(nodes.len());
        let mut around = OUTSIDE;
        if let Some(node) = nodes.get_mut(container.node as usize) {
            node.end = narrow(end);
            node.len = container.len;
            around = std::mem::replace(&mut node.size, count - container.node);
        }
        let outer = nodes.get(around as usize);
        Open {
            node: around,
            len: outer.map_or(0, |node| node.len),
            is_object: outer.is_some_and(|node| node.shape == Shape::Object),
        }
    }

    /// Parses a name and its colon, and returns the position of the value and its first byte.
    #[inline(always)]
    fn name(&mut self, start: usize, first: u8, depth: usize) -> Parsed<(usize, u8)> {
        if first != b'"' {
            return Err(PayloadFault::NotJson);
        }
        let end = self.string(start)?;
        if depth == 1 {
            self.note_root_name(start, end);
        }
        match self.token(end) {
            (colon, b':') => Ok(self.token(colon + 1)),
            _ => Err(PayloadFault::NotJson),
        }
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
        let text = match nodes.last() {
            Some(node) if node.shape == Shape::Escaped => {
                let before = ends.len().checked_sub(2);
                let from = before.and_then(|before| ends.get(before)).copied();
                texts.as_bytes().get(from.unwrap_or(0) as usize..)
            }
            _ => self.source.get(start + 1..end - 1),
        };
        names.push(RootName::new(
            text.unwrap_or_default(),
            narrow(nodes.len() - 1),
        ));
    }

    #[inline(always)]
    fn scalar(&mut self, first: u8, at: usize) -> Parsed<usize> {
        let (word, shape): (&[u8], _) = match first {
            b'-' | b'0'..=b'9' => {
                let end = self.number(first, at)?;
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
        self.unusual(start, at)
    }

    /// The same from the first byte on that is not ASCII or begins an escape.
    #[inline(never)]
    fn unusual(&mut self, start: usize, mut at: usize) -> Parsed<usize> {
        if !self.byte(at).is_ascii() {
            self.is_ascii = false;
            at = any_end(self.source, at);
            if self.byte(at) == b'"' {
                self.push(Shape::Plain, start, at + 1);
                return Ok(at + 1);
            }
        }
        let mut copied = start + 1;
        loop {
            let piece = self.source.get(copied..at).unwrap_or_default();
            self.is_ascii &= piece.is_ascii();
            // Both ends are beside ASCII characters. A text that is no UTF-8 is refused in the end.
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
            at = any_end(self.source, at);
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

    /// The position behind the number that begins with this byte.
    #[inline(always)]
    fn number(&self, first: u8, start: usize) -> Parsed<usize> {
        let whole = start + usize::from(first == b'-');
        let (mut at, mut next) = if self.byte(whole) == b'0' {
            (whole + 1, self.byte(whole + 1))
        } else {
            self.digits(whole)?
        };
        if next == b'.' {
            (at, next) = self.digits(at + 1)?;
        }
        if let b'e' | b'E' = next {
            let sign = matches!(self.byte(at + 1), b'+' | b'-');
            (at, _) = self.digits(at + 1 + usize::from(sign))?;
        }
        Ok(at)
    }

    /// Passes over at least one digit, and returns the position and the byte behind. One by one: most numbers are
    /// short, and of alike length in alike messages, so that the processor runs ahead of the loop.
    #[inline(always)]
    fn digits(&self, start: usize) -> Parsed<(usize, u8)> {
        let mut at = start;
        loop {
            let byte = self.byte(at);
            if !byte.is_ascii_digit() {
                break if at == start {
                    Err(PayloadFault::NotJson)
                } else {
                    Ok((at, byte))
                };
            }
            at += 1;
        }
    }
}

/// What ends a container.
#[inline(always)]
fn closing(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}
