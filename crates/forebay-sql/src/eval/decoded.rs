//! JSON texts that are not the payload: what `decode` finds.

use super::{EvalError, Evaluation};
use crate::json::{self, DecodedNode};
use crate::number::Number;
use crate::value::{Text, Value};

impl<'a> Evaluation<'a> {
    /// The value of a JSON text, scalars included; any other text is itself.
    pub(crate) fn json_value(&mut self, text: &'a str) -> Result<Value<'a>, EvalError> {
        let mut buffers = std::mem::take(self.arena.decoded);
        let value = match json::Decoded::parse(text, &mut buffers) {
            Some(decoded) => {
                let mut next = 0;
                self.decoded_value(&decoded, &mut next)
            }
            None => Ok(Value::Text(Text::Borrowed(text))),
        };
        *self.arena.decoded = buffers;
        value
    }

    /// The value at node `next`, which is moved behind it. The parser has bounded the depth.
    fn decoded_value(
        &mut self,
        decoded: &json::Decoded<'_>,
        next: &mut u32,
    ) -> Result<Value<'a>, EvalError> {
        self.step(1)?;
        let node = *next;
        *next += 1;
        let waiting = self.pending();
        Ok(match decoded.node(node) {
            DecodedNode::Null => Value::Null,
            DecodedNode::Bool(value) => Value::Bool(value),
            DecodedNode::Number(text) => Number::json(text, self.version).into(),
            DecodedNode::String(text) => self.made(text)?,
            DecodedNode::Array(len) => {
                for _ in 0..len {
                    let element = self.decoded_value(decoded, next)?;
                    self.push_pending("", element);
                }
                self.take_pending(waiting)
            }
            DecodedNode::Object(len) => {
                for _ in 0..len {
                    let DecodedNode::String(name) = decoded.node(*next) else {
                        return Ok(Value::Undefined);
                    };
                    *next += 1;
                    let name = self.store(name)?;
                    let value = self.decoded_value(decoded, next)?;
                    self.step((self.pending() - waiting) / 256)?;
                    self.set_pending(waiting, name, value);
                }
                self.take_pending_members(waiting)
            }
        })
    }
}
