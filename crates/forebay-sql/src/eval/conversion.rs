//! Conversions between types, as operators and functions apply them to an operand of the wrong type.

use super::Evaluation;
use crate::json::Kind;
use crate::number::Number;
use crate::value::{Text, Value};

impl<'a> Evaluation<'a> {
    /// The value with its type known: a scalar of the payload is read, arrays and objects stay where they are. A
    /// number beyond binary64 is Undefined.
    pub(crate) fn read(&self, value: Value<'a>) -> Value<'a> {
        let (Value::Payload(item), Some(document)) = (value, self.parsed()) else {
            return value;
        };
        match document.kind(item) {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(value),
            Kind::Int(value) => Number::from(value).into(),
            Kind::Number => Number::json(document.number_text(item), self.version).into(),
            Kind::String => Value::Text(Text::Borrowed(document.text(item))),
            Kind::Array | Kind::Object => value,
        }
    }

    /// A Boolean, or a string that says true or false in any case.
    pub(crate) fn boolean(&self, value: Value<'a>) -> Option<bool> {
        match self.read(value) {
            Value::Bool(value) => Some(value),
            Value::Text(text) => {
                let text = self.bytes(text);
                if text.eq_ignore_ascii_case(b"true") {
                    Some(true)
                } else {
                    text.eq_ignore_ascii_case(b"false").then_some(false)
                }
            }
            _ => None,
        }
    }

    /// A number, or the Decimal that a string in the form of one stands for. That stays Decimal, whole or not, so that
    /// dividing it is exact.
    pub(crate) fn number(&self, value: Value<'a>) -> Option<Number> {
        match self.read(value) {
            Value::Number(value) => Some(value.into()),
            Value::Text(text) => Number::from_string(self.bytes(text)).map(Number::Decimal),
            _ => None,
        }
    }

    /// The bytes of a string.
    pub(crate) fn bytes(&self, text: Text<'a>) -> &[u8] {
        match text {
            Text::Borrowed(text) => text.as_bytes(),
            Text::Made(range) => self.arena.text.get(range.indexes()).unwrap_or_default(),
        }
    }

    /// Appends the string form of a value: strings without quotes, numbers in their one text form, arrays and objects
    /// as JSON. Null and Undefined have none: false.
    pub(crate) fn write_text(&self, value: Value<'a>, out: &mut Vec<u8>) -> bool {
        match self.read(value) {
            Value::Undefined | Value::Null => return false,
            Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Value::Number(number) => Number::from(number).write(out),
            Value::Text(text) => out.extend_from_slice(self.bytes(text)),
            container @ (Value::Payload(_) | Value::Array(_) | Value::Object(_)) => {
                self.write_json(container, out)
            }
        }
        true
    }
}
