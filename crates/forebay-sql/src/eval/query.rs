//! Nested queries: SELECT over the elements of an array or over one object.

use super::{EvalError, Evaluation};
use crate::program::{Projection, Query};
use crate::value::{Arena, Member, Range, Value};

/// What an error in the middle of containers and queries leaves behind, as it was before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position<'a> {
    pending: usize,
    output: usize,
    output_base: usize,
    element: Option<Value<'a>>,
}

impl<'a> Evaluation<'a> {
    /// Over an array: an array of what the elements that pass WHERE give. Over an object: what the object gives.
    /// Anything else is Undefined.
    pub(super) fn query(&mut self, query: &'a Query) -> Result<Value<'a>, EvalError> {
        let source = self.evaluate(&query.source)?;
        let waiting = self.arena.pending.len();
        if let Some(mut walk) = self.walk(source) {
            while let Some(element) = self.next(&mut walk) {
                self.push_selected(query, element)?;
            }
        } else if !self.is_object(source) {
            return Ok(Value::Undefined);
        } else if query.wraps {
            self.push_selected(query, source)?;
        } else {
            let selected = self.select_element(query, source)?;
            return Ok(selected.unwrap_or(Value::Undefined));
        }
        Ok(self.take_pending(waiting))
    }

    /// True when a nested query gives at least one element.
    pub(super) fn exists(&mut self, query: &'a Query) -> Result<Value<'a>, EvalError> {
        let source = self.evaluate(&query.source)?;
        if let Some(mut walk) = self.walk(source) {
            while let Some(element) = self.next(&mut walk) {
                if self.select_element(query, element)?.is_some() {
                    return Ok(Value::Bool(true));
                }
            }
            return Ok(Value::Bool(false));
        }
        let found = self.is_object(source) && self.select_element(query, source)?.is_some();
        Ok(Value::Bool(found))
    }

    fn push_selected(&mut self, query: &'a Query, element: Value<'a>) -> Result<(), EvalError> {
        if let Some(value) = self.select_element(query, element)? {
            self.push_pending("", value);
        }
        Ok(())
    }

    /// What the query makes of one element: nothing when WHERE is not true or VALUE is Undefined.
    fn select_element(
        &mut self,
        query: &'a Query,
        element: Value<'a>,
    ) -> Result<Option<Value<'a>>, EvalError> {
        self.step(1)?;
        let outer = self.element.replace(element);
        let selected = self.select_in_scope(query, element);
        self.element = outer;
        selected
    }

    fn select_in_scope(
        &mut self,
        query: &'a Query,
        element: Value<'a>,
    ) -> Result<Option<Value<'a>>, EvalError> {
        if let Some(condition) = &query.condition {
            let value = self.evaluate(condition)?;
            if self.boolean(value) != Some(true) {
                return Ok(None);
            }
        }
        let value = match &query.projection {
            Projection::Star => element,
            Projection::Value(node) => self.evaluate(node)?,
            Projection::Items(items) => {
                let base = std::mem::replace(&mut self.output_base, self.arena.output.len());
                self.collect(items, false)?;
                let object = self.take_output(None);
                self.arena.output.truncate(self.output_base);
                self.output_base = base;
                object
            }
        };
        Ok((!matches!(value, Value::Undefined)).then_some(value))
    }

    /// The object whose members have this parent, out of those that were collected last.
    fn take_output(&mut self, parent: Option<usize>) -> Value<'a> {
        // An object of dotted aliases comes before its members.
        let from = parent.map_or(self.output_base, |parent| parent + 1);
        let waiting = self.arena.pending.len();
        for index in from..self.arena.output.len() {
            let Some(member) = self.arena.output.get(index).copied() else {
                break;
            };
            if member.parent == parent {
                let value = match member.value {
                    Some(value) => value,
                    None => self.take_output(Some(index)),
                };
                self.push_pending(member.name, value);
            }
        }
        self.take_pending_members(waiting)
    }

    /// How many values wait to become part of a container.
    pub(crate) fn pending(&self) -> usize {
        self.arena.pending.len()
    }

    /// How far the containers are that are being made.
    pub(crate) fn position(&self) -> Position<'a> {
        Position {
            pending: self.arena.pending.len(),
            output: self.arena.output.len(),
            output_base: self.output_base,
            element: self.element,
        }
    }

    /// Goes back to a position after an error that is no error of the statement.
    pub(crate) fn recover(&mut self, position: Position<'a>) {
        self.arena.pending.truncate(position.pending);
        self.arena.output.truncate(position.output);
        self.output_base = position.output_base;
        self.element = position.element;
    }

    /// Adds to the container that is being made.
    pub(crate) fn push_pending(&mut self, name: &'a str, value: Value<'a>) {
        self.arena.pending.push(Member {
            parent: None,
            name,
            value: Some(value),
        });
    }

    /// Adds a member to the object that is being made since `start` members were pending, or gives the member of that
    /// name a new value in its old place.
    pub(crate) fn set_pending(&mut self, start: usize, name: &'a str, value: Value<'a>) {
        let made = self.arena.pending.get_mut(start..).unwrap_or_default();
        match made.iter_mut().find(|member| *member.name == *name) {
            Some(member) => member.value = Some(value),
            None => self.push_pending(name, value),
        }
    }

    /// The array of what was pushed since `waiting` elements were pending.
    pub(crate) fn take_pending(&mut self, waiting: usize) -> Value<'a> {
        let Arena {
            pending, elements, ..
        } = &mut self.arena;
        let start = elements.len();
        elements.extend(pending.drain(waiting..).filter_map(|member| member.value));
        Value::Array(Range {
            start,
            end: elements.len(),
        })
    }

    /// The object of what was pushed since `waiting` members were pending.
    pub(crate) fn take_pending_members(&mut self, waiting: usize) -> Value<'a> {
        let Arena {
            pending, members, ..
        } = &mut self.arena;
        let start = members.len();
        members.extend(
            pending
                .drain(waiting..)
                .filter_map(|member| Some((member.name, member.value?))),
        );
        Value::Object(Range {
            start,
            end: members.len(),
        })
    }
}
