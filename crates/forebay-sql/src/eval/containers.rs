//! Arrays and objects, of the payload and made by a statement: members, equality, IN.

use super::{EvalError, Evaluation};
use crate::json::{Elements, Kind};
use crate::number::Number;
use crate::value::{Range, Value, Vector};

/// Bytes of a payload that are looked over for one evaluation step.
const WALKED_BYTES_PER_STEP: usize = 1024;

/// A walk over the elements of an array of either kind.
#[derive(Debug)]
pub(crate) enum Walk {
    Payload(Elements),
    Made(Range),
}

impl<'a> Evaluation<'a> {
    /// The member of an object; Undefined for anything else. A look-up goes over all members, because the last of
    /// equal names wins, so that every 64 of them are one more step.
    pub(crate) fn member(&mut self, value: Value<'a>, name: &str) -> Result<Value<'a>, EvalError> {
        Ok(match value {
            Value::Payload(item) => {
                let Some(document) = self.parsed() else {
                    return Ok(Value::Undefined);
                };
                let members = document.len(item);
                let member = document.member(item, name);
                self.step(members as usize / 64)?;
                member.map_or(Value::Undefined, Value::Payload)
            }
            Value::Object(range) => {
                let members = self.arena.members.get(range.indexes()).unwrap_or_default();
                let member = members.iter().find(|(other, _)| *other == name);
                member.map_or(Value::Undefined, |(_, value)| *value)
            }
            _ => Value::Undefined,
        })
    }

    pub(crate) fn walk(&self, value: Value<'a>) -> Option<Walk> {
        match value {
            Value::Array(range) => Some(Walk::Made(range)),
            Value::Payload(item) => {
                let document = self
                    .parsed()
                    .filter(|document| document.kind(item) == Kind::Array)?;
                Some(Walk::Payload(document.elements(item)))
            }
            _ => None,
        }
    }

    /// The next element. What it takes to find it is used up in steps, which the next one that is counted notices.
    pub(crate) fn next(&mut self, walk: &mut Walk) -> Option<Value<'a>> {
        match walk {
            Walk::Payload(elements) => {
                let (item, bytes) = elements.next(self.parsed()?)?;
                self.use_up(bytes / WALKED_BYTES_PER_STEP);
                Some(Value::Payload(item))
            }
            Walk::Made(range) => {
                let value = self.arena.elements.get(range.indexes())?.first().copied()?;
                range.start += 1;
                Some(value)
            }
        }
    }

    /// True for an object of either kind.
    pub(crate) fn is_object(&self, value: Value<'a>) -> bool {
        match value {
            Value::Object(_) => true,
            Value::Payload(item) => self
                .parsed()
                .is_some_and(|document| document.kind(item) == Kind::Object),
            _ => false,
        }
    }

    /// True for an array of either kind.
    pub(crate) fn is_array(&self, value: Value<'a>) -> bool {
        self.walk(value).is_some()
    }

    /// The element of an array at this place, counted from 0; Undefined beyond its end and for anything else.
    pub(crate) fn element_at(
        &mut self,
        array: Value<'a>,
        index: usize,
    ) -> Result<Value<'a>, EvalError> {
        let Some(mut walk) = self.walk(array) else {
            return Ok(Value::Undefined);
        };
        let mut left = index;
        while let Some(element) = self.next(&mut walk) {
            if left == 0 {
                return Ok(element);
            }
            left -= 1;
            if left.is_multiple_of(16) {
                self.step(1)?;
            }
        }
        Ok(Value::Undefined)
    }

    /// Bytes of the JSON text of a value.
    pub(crate) fn json_bytes(&mut self, value: Value<'a>) -> Result<usize, EvalError> {
        let mut operand = std::mem::take(self.arena.operand);
        operand.clear();
        self.write_json(value, &mut operand);
        let bytes = operand.len();
        *self.arena.operand = operand;
        self.step(bytes / 64)?;
        Ok(bytes)
    }

    /// Puts the members of an object, each name once, on the stack of members and says where they lie; `None` for
    /// anything else. Whoever asks takes them off again.
    pub(crate) fn push_distinct(&mut self, value: Value<'a>) -> Option<Range> {
        let mut stack = std::mem::replace(&mut self.arena.distinct, Vector::new_in(self.texts));
        let start = stack.len();
        let is_object = self.extend_distinct(value, &mut stack);
        let end = stack.len();
        self.arena.distinct = stack;
        is_object.then_some(Range { start, end })
    }

    fn extend_distinct(
        &self,
        value: Value<'a>,
        stack: &mut Vector<'a, (&'a str, Value<'a>)>,
    ) -> bool {
        match value {
            Value::Object(range) => {
                stack
                    .extend_from_slice(self.arena.members.get(range.indexes()).unwrap_or_default());
            }
            Value::Payload(item) => {
                let document = self.parsed();
                let object = document.filter(|document| document.kind(item) == Kind::Object);
                let Some(document) = object else {
                    return false;
                };
                if document.has_duplicate_names(item) {
                    let members = document.distinct_members(item).into_iter();
                    stack.extend(members.map(|(name, item)| (name, Value::Payload(item))));
                } else {
                    let mut members = document.members(item);
                    while let Some((name, item)) = members.next(document) {
                        stack.push((name, Value::Payload(item)));
                    }
                }
            }
            _ => return false,
        }
        true
    }

    /// The member at this place of the stack.
    pub(crate) fn distinct(&self, place: usize) -> Option<(&'a str, Value<'a>)> {
        self.arena.distinct.get(place).copied()
    }

    /// Takes members off the stack again, and all that lie above them.
    pub(crate) fn pop_distinct(&mut self, start: usize) {
        self.arena.distinct.truncate(start);
    }

    /// Whether two values are equal; `None` when one is Undefined. Values of different types are not equal.
    pub(crate) fn equal(
        &mut self,
        left: Value<'a>,
        right: Value<'a>,
    ) -> Result<Option<bool>, EvalError> {
        self.step(1)?;
        Ok(Some(match (self.read(left), self.read(right)) {
            (Value::Undefined, _) | (_, Value::Undefined) => return Ok(None),
            (Value::Null, Value::Null) => true,
            (Value::Bool(left), Value::Bool(right)) => left == right,
            (Value::Number(left), Value::Number(right)) => {
                Number::from(left).compare(right.into()).is_eq()
            }
            (Value::Text(left), Value::Text(right)) => self.bytes(left) == self.bytes(right),
            (left, right) => match (self.walk(left), self.walk(right)) {
                (Some(left), Some(right)) => self.equal_arrays(left, right)?,
                (None, None) => self.equal_objects(left, right)?,
                _ => false,
            },
        }))
    }

    fn equal_arrays(&mut self, mut left: Walk, mut right: Walk) -> Result<bool, EvalError> {
        loop {
            match (self.next(&mut left), self.next(&mut right)) {
                (None, None) => return Ok(true),
                (Some(left), Some(right)) if self.equal(left, right)? == Some(true) => {}
                _ => return Ok(false),
            }
        }
    }

    /// Objects are equal when they have the same members, in any order.
    fn equal_objects(&mut self, left: Value<'a>, right: Value<'a>) -> Result<bool, EvalError> {
        let start = self.arena.distinct.len();
        let ranges = (self.push_distinct(left), self.push_distinct(right));
        let equal = match ranges {
            (Some(left), Some(right)) => self.equal_members(left, right),
            _ => Ok(false),
        };
        self.pop_distinct(start);
        equal
    }

    fn equal_members(&mut self, left: Range, right: Range) -> Result<bool, EvalError> {
        let len = left.end - left.start;
        self.step(len / 16)?;
        if len != right.end - right.start {
            return Ok(false);
        }
        for range in [left, right] {
            if let Some(members) = self.arena.distinct.get_mut(range.indexes()) {
                members.sort_unstable_by_key(|(name, _)| *name);
            }
        }
        for place in 0..len {
            let left = self.distinct(left.start + place);
            let right = self.distinct(right.start + place);
            let (Some((left_name, left)), Some((right_name, right))) = (left, right) else {
                return Ok(false);
            };
            if left_name != right_name || self.equal(left, right)? != Some(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `value IN array`.
    pub(super) fn contains(
        &mut self,
        value: Value<'a>,
        array: Value<'a>,
    ) -> Result<Value<'a>, EvalError> {
        let value = self.read(value);
        let Some(mut walk) = self
            .walk(array)
            .filter(|_| !matches!(value, Value::Undefined))
        else {
            return Ok(Value::Undefined);
        };
        while let Some(element) = self.next(&mut walk) {
            if self.equal(value, element)? == Some(true) {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }

    /// Appends the JSON text of a value, which is not Undefined. A value of the payload keeps its source text.
    pub(crate) fn write_json(&self, value: Value<'a>, out: &mut Vec<u8>) {
        match value {
            Value::Undefined | Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Value::Number(number) => Number::from(number).write(out),
            Value::Text(text) => {
                // The arena holds whole UTF-8, because only whole strings are put into it.
                let text = std::str::from_utf8(self.bytes(text)).unwrap_or_default();
                crate::writer::write_string(text, out);
            }
            Value::Payload(item) => {
                if let Some(document) = self.parsed() {
                    document.write(item, out);
                }
            }
            Value::Array(range) => {
                out.push(b'[');
                let elements = self.arena.elements.get(range.indexes()).unwrap_or_default();
                // An Undefined element is left out.
                let defined = elements
                    .iter()
                    .filter(|value| !matches!(value, Value::Undefined));
                for (index, element) in defined.enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.write_json(*element, out);
                }
                out.push(b']');
            }
            Value::Object(range) => {
                out.push(b'{');
                let members = self.arena.members.get(range.indexes()).unwrap_or_default();
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    crate::writer::write_string(name, out);
                    out.push(b':');
                    self.write_json(*value, out);
                }
                out.push(b'}');
            }
        }
    }
}
