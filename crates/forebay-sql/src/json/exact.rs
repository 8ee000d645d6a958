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
    /// Strings that contain escapes, without them.
    texts: String,
}

/// A value or the name of a member.
#[derive(Debug, Clone, Copy)]
struct Node {
    kind: Kind,
    start: u32,
    /// Nodes of the value, itself included.
    size: u32,
    /// Members or elements.
    len: u32,
    text: Text,
}

/// Where the value of a string lies.
#[derive(Debug, Clone, Copy)]
enum Text {
    Source { start: u32, end: u32 },
    Unescaped { start: u32, end: u32 },
}

const NO_TEXT: Text = Text::Source { start: 0, end: 0 };

/// A parsed document: nodes in the order of the text, the names of members before their values.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExactTree<'a> {
    source: &'a str,
    nodes: &'a [Node],
    texts: &'a str,
}

impl<'a> ExactTree<'a> {
    /// Parses a payload.
    pub(super) fn parse(payload: &'a [u8], buffers: &'a mut Buffers) -> Result<Self, PayloadFault> {
        let source = std::str::from_utf8(payload).map_err(|_| PayloadFault::NotJson)?;
        buffers.nodes.clear();
        buffers.texts.clear();
        let mut parser = Parser {
            source: payload,
            at: 0,
            nodes: &mut buffers.nodes,
            texts: &mut buffers.texts,
        };
        parser.value(0)?;
        parser.skip_space();
        if parser.at < payload.len() {
            return Err(PayloadFault::NotJson);
        }
        Ok(Self {
            source,
            nodes: &buffers.nodes,
            texts: &buffers.texts,
        })
    }

    fn node(&self, node: u32) -> &'a Node {
        const NULL: &Node = &Node {
            kind: Kind::Null,
            start: 0,
            size: 1,
            len: 0,
            text: NO_TEXT,
        };
        self.nodes.get(node as usize).unwrap_or(NULL)
    }

    pub(super) fn kind(&self, node: u32) -> Kind {
        self.node(node).kind
    }

    pub(super) fn start(&self, node: u32) -> usize {
        self.node(node).start as usize
    }

    pub(super) fn size(&self, node: u32) -> u32 {
        self.node(node).size
    }

    pub(super) fn len(&self, node: u32) -> u32 {
        self.node(node).len
    }

    pub(super) fn string(&self, node: u32) -> &'a str {
        let (text, start, end) = match self.node(node).text {
            Text::Source { start, end } => (self.source, start, end),
            Text::Unescaped { start, end } => (self.texts, start, end),
        };
        text.get(start as usize..end as usize).unwrap_or_default()
    }
}

type Parsed<T> = Result<T, PayloadFault>;

struct Parser<'a, 'b> {
    source: &'a [u8],
    at: usize,
    nodes: &'b mut Vec<Node>,
    texts: &'b mut String,
}

impl Parser<'_, '_> {
    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        self.at = source::skip_space(self.source, self.at);
    }

    fn expect(&mut self, byte: u8) -> Parsed<()> {
        if self.peek() != Some(byte) {
            return Err(PayloadFault::NotJson);
        }
        self.at += 1;
        Ok(())
    }

    fn take(&mut self, byte: u8) -> bool {
        self.expect(byte).is_ok()
    }

    fn push(&mut self, kind: Kind, start: usize, text: Text) -> usize {
        self.nodes.push(Node {
            kind,
            start: narrow(start),
            size: 1,
            len: 0,
            text,
        });
        self.nodes.len() - 1
    }

    fn value(&mut self, depth: usize) -> Parsed<()> {
        self.skip_space();
        let start = self.at;
        match self.peek() {
            Some(b'{') => self.container(depth, b'}', Kind::Object),
            Some(b'[') => self.container(depth, b']', Kind::Array),
            Some(b'"') => {
                let text = self.string()?;
                self.push(Kind::String, start, text);
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                self.push(Kind::Number, start, NO_TEXT);
                Ok(())
            }
            _ => {
                let rest = self.source.get(start..).unwrap_or_default();
                let literals: [(&[u8], Kind); 3] = [
                    (b"true", Kind::Bool(true)),
                    (b"false", Kind::Bool(false)),
                    (b"null", Kind::Null),
                ];
                let (text, kind) = literals
                    .into_iter()
                    .find(|(text, _)| rest.starts_with(text))
                    .ok_or(PayloadFault::NotJson)?;
                self.at += text.len();
                self.push(kind, start, NO_TEXT);
                Ok(())
            }
        }
    }

    fn container(&mut self, depth: usize, close: u8, kind: Kind) -> Parsed<()> {
        if depth == JSON_DEPTH_MAX {
            return Err(PayloadFault::TooDeep);
        }
        let index = self.push(kind, self.at, NO_TEXT);
        self.at += 1;
        self.skip_space();
        let mut len = 0;
        if !self.take(close) {
            loop {
                if kind == Kind::Object {
                    self.skip_space();
                    let start = self.at;
                    let name = self.string()?;
                    self.push(Kind::String, start, name);
                    self.skip_space();
                    self.expect(b':')?;
                }
                self.value(depth + 1)?;
                len += 1;
                self.skip_space();
                if !self.take(b',') {
                    self.expect(close)?;
                    break;
                }
            }
        }
        let size = narrow(self.nodes.len() - index);
        let node = &mut self.nodes[index];
        node.len = len;
        node.size = size;
        Ok(())
    }

    fn string(&mut self) -> Parsed<Text> {
        self.expect(b'"')?;
        let start = self.at;
        let mut unescaped = None;
        let mut copied = start;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    unescaped.get_or_insert(self.texts.len());
                    self.copy(copied);
                    self.at += 1;
                    let character = self.escape()?;
                    self.texts.push(character);
                    copied = self.at;
                }
                Some(byte) if byte >= 0x20 => self.at += 1,
                _ => return Err(PayloadFault::NotJson),
            }
        }
        let end = self.at;
        self.at += 1;
        Ok(match unescaped {
            None => Text::Source {
                start: narrow(start),
                end: narrow(end),
            },
            Some(text) => {
                let tail = self.source.get(copied..end).unwrap_or_default();
                self.texts
                    .push_str(std::str::from_utf8(tail).map_err(|_| PayloadFault::NotJson)?);
                Text::Unescaped {
                    start: narrow(text),
                    end: narrow(self.texts.len()),
                }
            }
        })
    }

    /// Copies the source from `from` up to here. Both are character boundaries of a text that is valid UTF-8.
    fn copy(&mut self, from: usize) {
        let piece = self.source.get(from..self.at).unwrap_or_default();
        self.texts
            .push_str(std::str::from_utf8(piece).unwrap_or_default());
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Parsed<char> {
        let escape = self.peek().ok_or(PayloadFault::NotJson)?;
        self.at += 1;
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
                let unit = self.hex()?;
                let second = if (0xd800..0xdc00).contains(&unit) {
                    self.expect(b'\\')?;
                    self.expect(b'u')?;
                    Some(self.hex()?)
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

    fn hex(&mut self) -> Parsed<u16> {
        let digits = self
            .source
            .get(self.at..self.at + 4)
            .ok_or(PayloadFault::NotJson)?;
        self.at += 4;
        digits.iter().try_fold(0_u16, |value, byte| {
            let digit = char::from(*byte)
                .to_digit(16)
                .ok_or(PayloadFault::NotJson)?;
            Ok(value << 4 | u16::try_from(digit).unwrap_or(0))
        })
    }

    fn number(&mut self) -> Parsed<()> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Parsed<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            Err(PayloadFault::NotJson)
        } else {
            Ok(())
        }
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
