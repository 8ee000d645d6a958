//! Expressions: from a node of the program to a value.

use super::{EvalError, Evaluation};
use crate::program::Node;
use crate::syntax::Operator;
use crate::value::{Arena, Member, Range, Text, Value};

impl<'a> Evaluation<'a> {
    /// The value of an expression.
    pub(crate) fn evaluate(&mut self, node: &'a Node) -> Result<Value<'a>, EvalError> {
        self.step(1)?;
        Ok(match node {
            Node::Undefined => Value::Undefined,
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Number(number) => Value::Number(*number),
            Node::Text(text) => Value::Text(Text::Borrowed(text)),
            Node::Payload(path) => self.payload_member(path)?,
            Node::Member(base, path) => {
                let base = self.evaluate(base)?;
                path.iter()
                    .try_fold(base, |value, name| self.member(value, name))?
            }
            Node::Array(elements) => self.make_array(elements)?,
            Node::Object(members) => self.make_object(members)?,
            Node::Not(operand) => {
                let value = self.evaluate(operand)?;
                self.boolean(value)
                    .map_or(Value::Undefined, |value| Value::Bool(!value))
            }
            Node::Negate(operand) => {
                let value = self.evaluate(operand)?;
                self.negate(value)
            }
            Node::Chain(first, rest) => {
                let mut left = self.evaluate(first)?;
                for (operator, node) in rest {
                    // OR is settled by a true side, whatever the other one is.
                    if *operator == Operator::Or && self.boolean(left) == Some(true) {
                        left = Value::Bool(true);
                        continue;
                    }
                    let right = self.evaluate(node)?;
                    left = self.operate(*operator, left, right)?;
                }
                left
            }
            Node::Call(evaluate, arguments) => evaluate(self, arguments)?,
        })
    }

    fn payload_member(&mut self, path: &'a [Box<str>]) -> Result<Value<'a>, EvalError> {
        let root = self.document().map(|document| document.root());
        let root = root.map_or(Value::Undefined, Value::Payload);
        path.iter()
            .try_fold(root, |value, name| self.member(value, name))
    }

    fn make_array(&mut self, elements: &'a [Node]) -> Result<Value<'a>, EvalError> {
        let waiting = self.arena.pending.len();
        for element in elements {
            let value = Some(self.evaluate(element)?);
            self.arena.pending.push(Member {
                parent: None,
                name: "",
                value,
            });
        }
        let Arena {
            pending, elements, ..
        } = &mut self.arena;
        let start = elements.len();
        elements.extend(pending.drain(waiting..).filter_map(|member| member.value));
        Ok(Value::Array(Range {
            start,
            end: elements.len(),
        }))
    }

    fn make_object(&mut self, members: &'a [(Box<str>, Node)]) -> Result<Value<'a>, EvalError> {
        let waiting = self.arena.pending.len();
        for (name, node) in members {
            let value = self.evaluate(node)?;
            if matches!(value, Value::Undefined) {
                continue;
            }
            let made = self.arena.pending.get_mut(waiting..).unwrap_or_default();
            // The last of several equal names wins and stands where the first stood.
            match made.iter_mut().find(|member| *member.name == **name) {
                Some(member) => member.value = Some(value),
                None => self.arena.pending.push(Member {
                    parent: None,
                    name,
                    value: Some(value),
                }),
            }
        }
        let Arena {
            pending, members, ..
        } = &mut self.arena;
        let start = members.len();
        members.extend(
            pending
                .drain(waiting..)
                .filter_map(|member| Some((member.name, member.value?))),
        );
        Ok(Value::Object(Range {
            start,
            end: members.len(),
        }))
    }
}
