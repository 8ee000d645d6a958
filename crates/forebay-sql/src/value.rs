//! Values while a statement runs. They are small and copied freely: text and members lie in the message, the program,
//! the payload's document or the arena.

use crate::json::{DecodedBuffers, Item};
use crate::number::Number;

/// A value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Undefined,
    Null,
    Bool(bool),
    Number(Number),
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

/// Values and text that a statement makes, kept until the statement ends.
#[derive(Debug, Default)]
pub(crate) struct Arena<'a> {
    pub(crate) text: Vec<u8>,
    pub(crate) elements: Vec<Value<'a>>,
    pub(crate) members: Vec<(&'a str, Value<'a>)>,
    /// Elements and members of the containers being made, innermost last.
    pub(crate) pending: Vec<Member<'a>>,
    /// The text of one operand, before it is joined to `text`.
    pub(crate) operand: Vec<u8>,
    /// Members of the outgoing object, and behind them of the objects that nested queries are making.
    pub(crate) output: Vec<Member<'a>>,
    /// Values of the statement's variables.
    pub(crate) variables: Vec<Value<'a>>,
    /// Members of objects that are compared or joined, those of the innermost last.
    pub(crate) distinct: Vec<(&'a str, Value<'a>)>,
    /// Of the JSON text that `decode` looks into.
    pub(crate) decoded: DecodedBuffers,
    /// What of the vectors above the variables need: it outlives the statement, for the templates of its rule.
    kept: Kept,
}

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

    /// Empties the arena and makes it fit for values of another lifetime, keeping the allocations.
    pub(crate) fn recycle<'b>(mut self) -> Arena<'b> {
        self.clear();
        Arena {
            text: self.text,
            elements: recycle(self.elements),
            members: recycle(self.members),
            pending: recycle(self.pending),
            operand: self.operand,
            output: recycle(self.output),
            variables: recycle(self.variables),
            distinct: recycle(self.distinct),
            decoded: self.decoded,
            kept: Kept::default(),
        }
    }
}

/// An empty vector of another type in the allocation of this one: the standard library collects in place when the
/// layouts agree.
fn recycle<A, B>(empty: Vec<A>) -> Vec<B> {
    debug_assert!(empty.is_empty());
    empty
        .into_iter()
        .map(|_| -> B { unreachable!("the vector is empty") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recycling_keeps_the_allocations() {
        let mut arena = Arena::default();
        let name = "n".to_owned();
        arena.members.push((&name, Value::Null));
        arena.elements.reserve(100);
        let (members, elements) = (arena.members.capacity(), arena.elements.capacity());
        let recycled: Arena<'static> = arena.recycle();
        assert_eq!(recycled.members.capacity(), members);
        assert_eq!(recycled.elements.capacity(), elements);
    }
}
