//! Binary operators and the unary minus (AWS IoT developer guide, "Operators").

use std::cmp::Ordering;

use super::{EvalError, Evaluation};
use crate::number::Number;
use crate::syntax::Operator;
use crate::value::{Range, Text, Value};

impl<'a> Evaluation<'a> {
    pub(super) fn operate(
        &mut self,
        operator: Operator,
        left: Value<'a>,
        right: Value<'a>,
    ) -> Result<Value<'a>, EvalError> {
        Ok(match operator {
            Operator::And => match (self.boolean(left), self.boolean(right)) {
                (Some(left), Some(right)) => Value::Bool(left && right),
                _ => Value::Undefined,
            },
            Operator::Or => match (self.boolean(left), self.boolean(right)) {
                (Some(true), _) | (_, Some(true)) => Value::Bool(true),
                (Some(false), Some(false)) => Value::Bool(false),
                _ => Value::Undefined,
            },
            Operator::Equal => truth(self.equal(left, right)?),
            Operator::NotEqual => truth(self.equal(left, right)?.map(|equal| !equal)),
            Operator::Less => truth(self.order(left, right).map(Ordering::is_lt)),
            Operator::LessEqual => truth(self.order(left, right).map(Ordering::is_le)),
            Operator::Greater => truth(self.order(left, right).map(Ordering::is_gt)),
            Operator::GreaterEqual => truth(self.order(left, right).map(Ordering::is_ge)),
            Operator::In => self.contains(left, right)?,
            Operator::Add => self.add(left, right)?,
            Operator::Subtract => self.arithmetic(left, right, Number::subtract),
            Operator::Multiply => self.arithmetic(left, right, Number::multiply),
            Operator::Divide => self.arithmetic(left, right, Number::divide),
            Operator::DivideExactly => self.arithmetic(left, right, Number::divide_exactly),
            Operator::Remainder => self.arithmetic(left, right, Number::remainder),
        })
    }

    /// Numbers and strings in the form of numbers have an order; nothing else has.
    fn order(&self, left: Value<'a>, right: Value<'a>) -> Option<Ordering> {
        let (left, right) = (self.number(left)?, self.number(right)?);
        Some(left.compare(right))
    }

    fn arithmetic(
        &self,
        left: Value<'a>,
        right: Value<'a>,
        operation: fn(Number, Number, crate::SqlVersion) -> Option<Number>,
    ) -> Value<'a> {
        let (Some(left), Some(right)) = (self.number(left), self.number(right)) else {
            return Value::Undefined;
        };
        operation(left, right, self.version).into()
    }

    pub(super) fn negate(&self, value: Value<'a>) -> Value<'a> {
        match self.number(value).map(Number::negate) {
            Some(Number::Decimal(value)) => Number::from_decimal(value, self.version).into(),
            int => int.into(),
        }
    }

    /// With a string on a side `+` joins the string forms; it never turns strings into numbers.
    fn add(&mut self, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, EvalError> {
        match (self.read(left), self.read(right)) {
            (Value::Number(left), Value::Number(right)) => {
                Ok(Number::from(left).add(right.into(), self.version).into())
            }
            (left @ Value::Text(_), right) | (left, right @ Value::Text(_)) => {
                self.concatenate(left, right)
            }
            _ => Ok(Value::Undefined),
        }
    }

    fn concatenate(&mut self, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, EvalError> {
        let start = match left {
            // A string that was made last is continued in its place, so that a chain is written once.
            Value::Text(Text::Made(range)) if range.end == self.arena.text.len() => range.start,
            _ => {
                let start = self.arena.text.len();
                if !self.append(left) {
                    return Ok(Value::Undefined);
                }
                start
            }
        };
        if !self.append(right) {
            return Ok(Value::Undefined);
        }
        let end = self.arena.text.len();
        self.check_output(end - start)?;
        // Intermediate strings stay until the statement ends; together they may take a few times the limit.
        self.check_output(end / 4)?;
        Ok(Value::Text(Text::Made(Range { start, end })))
    }

    /// Appends the string form of a value to the arena's text; false when it has none.
    pub(crate) fn append(&mut self, value: Value<'a>) -> bool {
        match value {
            Value::Text(Text::Borrowed(text)) => self.arena.text.extend_from_slice(text.as_bytes()),
            Value::Text(Text::Made(range)) => self.arena.text.extend_from_within(range.indexes()),
            other => {
                let mut operand = std::mem::take(self.arena.operand);
                operand.clear();
                let has_text = self.write_text(other, &mut operand);
                self.arena.text.extend_from_slice(&operand);
                *self.arena.operand = operand;
                return has_text;
            }
        }
        true
    }
}

fn truth<'a>(value: Option<bool>) -> Value<'a> {
    value.map_or(Value::Undefined, Value::Bool)
}
