//! Expressions: from a node of the program to a value.

use super::{EvalError, Evaluation};
use crate::json::Kind;
use crate::program::{Case, Node};
use crate::syntax::Operator;
use crate::value::{Text, Value};

/// Numbers of smaller payloads are short enough.
const CHARGED_PAYLOAD_BYTES: usize = 4096;
/// Digits that count as one evaluation step.
const DIGITS_PER_STEP: usize = 64;

impl<'a> Evaluation<'a> {
    /// The value of an expression.
    pub(crate) fn evaluate(&mut self, node: &'a Node) -> Result<Value<'a>, EvalError> {
        self.step(1)?;
        Ok(match node {
            Node::Undefined => Value::Undefined,
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Number(number) => (*number).into(),
            Node::Text(text) => Value::Text(Text::Borrowed(text)),
            // Only functions that take patterns have one, and they look for it themselves.
            Node::Pattern(_) | Node::Time(_) => Value::Undefined,
            // Handed on as it comes: a value is large enough for every copy to show.
            Node::Payload(path) => return self.payload_member(path),
            Node::Element(path) => {
                let element = self.element.unwrap_or(Value::Undefined);
                let value = path
                    .iter()
                    .try_fold(element, |value, name| self.member(value, name))?;
                self.charge(value)?
            }
            Node::Variable(place) => {
                let value = self.arena.variables.get(*place).copied();
                self.charge(value.unwrap_or(Value::Undefined))?
            }
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
            Node::Call(evaluate, arguments) => return evaluate(self, arguments),
            Node::Case(case) => self.case(case)?,
            Node::Cast(value, target) => {
                let value = self.evaluate(value)?;
                self.cast(value, *target)?
            }
            Node::Query(query) => self.query(query)?,
            Node::Exists(query) => self.exists(query)?,
        })
    }

    /// Counts the digits of a number that a query may look at again and again; whoever reads it goes over all of them.
    fn charge(&mut self, value: Value<'a>) -> Result<Value<'a>, EvalError> {
        if let Value::Payload(item) = value
            && self.context.payload.len() > CHARGED_PAYLOAD_BYTES
            && let Some(document) = self.parsed()
            && document.kind(item) == Kind::Number
        {
            let digits = document.number_text(item).len();
            self.step(digits / DIGITS_PER_STEP)?;
        }
        Ok(value)
    }

    /// The first branch that equals the operand. An Undefined operand makes all of it Undefined, its default too.
    fn case(&mut self, case: &'a Case) -> Result<Value<'a>, EvalError> {
        let operand = self.evaluate(&case.operand)?;
        let operand = self.read(operand);
        if matches!(operand, Value::Undefined) {
            return Ok(Value::Undefined);
        }
        for (when, then) in &case.branches {
            let when = self.evaluate(when)?;
            if self.equal(operand, when)? == Some(true) {
                return self.evaluate(then);
            }
        }
        match &case.default {
            Some(default) => self.evaluate(default),
            None => Ok(Value::Undefined),
        }
    }

    /// What `*` stands for: the element of the nested query, or the payload when it is JSON.
    pub(super) fn whole(&mut self) -> Value<'a> {
        if let Some(element) = self.element {
            return element;
        }
        let root = self.document().map(|document| document.root());
        root.map_or(Value::Undefined, Value::Payload)
    }

    /// A look-up counts as [`member`](Self::member) does. Only items are passed from name to name, which are much
    /// smaller than values.
    fn payload_member(&mut self, path: &'a [Box<str>]) -> Result<Value<'a>, EvalError> {
        let Some(document) = self.document() else {
            return Ok(Value::Undefined);
        };
        let (mut found, mut steps) = (Some(document.root()), 0);
        for name in path {
            let Some(object) = found else {
                break;
            };
            steps += document.len(object) as usize / 64;
            found = document.member(object, name);
        }
        if steps > 0 {
            self.step(steps)?;
        }
        Ok(found.map_or(Value::Undefined, Value::Payload))
    }

    fn make_array(&mut self, elements: &'a [Node]) -> Result<Value<'a>, EvalError> {
        let waiting = self.arena.pending.len();
        for element in elements {
            let value = self.evaluate(element)?;
            self.push_pending("", value);
        }
        Ok(self.take_pending(waiting))
    }

    fn make_object(&mut self, members: &'a [(Box<str>, Node)]) -> Result<Value<'a>, EvalError> {
        let waiting = self.arena.pending.len();
        for (name, node) in members {
            let value = self.evaluate(node)?;
            if matches!(value, Value::Undefined) {
                continue;
            }
            // The last of several equal names wins and stands where the first stood.
            self.set_pending(waiting, name, value);
        }
        Ok(self.take_pending_members(waiting))
    }
}
