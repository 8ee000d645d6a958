//! Values while a statement runs. They are small and copied freely: text and members lie in the message, the program,
//! the payload's document or the arena.

use bumpalo::Bump;

use crate::json::{DecodedBuffers, Item};
use crate::number::{Number, Packed};

/// A value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Undefined,
    Null,
    Bool(bool),
    Number(Packed),
    Text(Text<'a>),
    /// A value of the payload that nothing has looked into: copied, it keeps its source text.
    Payload(Item),
    /// An array that the statement made: elements in the arena.
    Array(Range),
    /// An object that the statement made: members in the arena, names distinct.
    Object(Range),
}

/// The types of values that conversions tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// Int or Decimal.
    Number,
    /// True or false.
    Boolean,
    /// Text.
    String,
    /// A list of values.
    Array,
    /// Named values.
    Object,
    /// The one value of JSON's `null`.
    Null,
    /// No value.
    Undefined,
}

impl From<Number> for Value<'_> {
    fn from(number: Number) -> Self {
        Self::Number(number.into())
    }
}

impl From<Option<Number>> for Value<'_> {
    /// No number is Undefined.
    fn from(number: Option<Number>) -> Self {
        number.map_or(Self::Undefined, Self::from)
    }
}

/// A string.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text<'a> {
    Borrowed(&'a str),
    /// A piece of the arena's text, whole UTF-8.
    Made(Range),
}

/// A range of the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Range {
    pub(crate) fn indexes(self) -> std::ops::Range<usize> {
        self.start..self.end
    }
}

/// Bytes that an [`Arena`] writes and that the next message's arena reuses.
#[derive(Debug, Default)]
pub(crate) struct ArenaBytes {
    text: Vec<u8>,
    operand: Vec<u8>,
    decoded: DecodedBuffers,
}

/// Values and text that a statement makes, kept until the statement ends. Its vectors lie in the store of the message,
/// so that a message that needs none pays for none.
#[derive(Debug)]
pub(crate) struct Arena<'a> {
    pub(crate) text: &'a mut Vec<u8>,
    pub(crate) elements: Vector<'a, Value<'a>>,
    pub(crate) members: Vector<'a, (&'a str, Value<'a>)>,
    /// Elements and members of the containers being made, innermost last.
    pub(crate) pending: Vector<'a, Member<'a>>,
    /// The text of one operand, before it is joined to `text`.
    pub(crate) operand: &'a mut Vec<u8>,
    /// Members of the outgoing object, and behind them of the objects that nested queries are making.
    pub(crate) output: Vector<'a, Member<'a>>,
    /// Values of the statement's variables.
    pub(crate) variables: Vector<'a, Value<'a>>,
    /// Members of objects that are compared or joined, those of the innermost last.
    pub(crate) distinct: Vector<'a, (&'a str, Value<'a>)>,
    /// Of the JSON text that `decode` looks into.
    pub(crate) decoded: &'a mut DecodedBuffers,
    /// What of the vectors above the variables need: it outlives the statement, for the templates of its rule.
    kept: Kept,
}

/// A vector in the store of the message.
pub(crate) type Vector<'a, T> = bumpalo::collections::Vec<'a, T>;

/// Lengths of the arena's vectors.
#[derive(Debug, Default, Clone, Copy)]
struct Kept {
    text: usize,
    elements: usize,
    members: usize,
}

/// A member of the outgoing object, or of an object inside it that dotted aliases make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'a> {
    /// Index of the enclosing member, `None` at the top.
    pub(crate) parent: Option<usize>,
    pub(crate) name: &'a str,
    /// `None` for an object that dotted aliases make.
    pub(crate) value: Option<Value<'a>>,
}

impl<'a> Arena<'a> {
    /// An empty arena for a message.
    pub(crate) fn new(bytes: &'a mut ArenaBytes, store: &'a Bump) -> Self {
        let ArenaBytes {
            text,
            operand,
            decoded,
        } = bytes;
        text.clear();
        Self {
            text,
            elements: Vector::new_in(store),
            members: Vector::new_in(store),
            pending: Vector::new_in(store),
            operand,
            output: Vector::new_in(store),
            variables: Vector::new_in(store),
            distinct: Vector::new_in(store),
            decoded,
            kept: Kept::default(),
        }
    }

    /// Forgets everything, variables included.
    pub(crate) fn clear(&mut self) {
        self.kept = Kept::default();
        self.variables.clear();
        self.forget();
    }

    /// Forgets what was made since the variables were assigned.
    pub(crate) fn forget(&mut self) {
        self.text.truncate(self.kept.text);
        self.elements.truncate(self.kept.elements);
        self.members.truncate(self.kept.members);
        self.pending.clear();
        self.operand.clear();
        self.distinct.clear();
        self.output.clear();
    }

    /// Keeps what was made so far as long as the variables.
    pub(crate) fn keep(&mut self) {
        self.kept = Kept {
            text: self.text.len(),
            elements: self.elements.len(),
            members: self.members.len(),
        };
    }
}
