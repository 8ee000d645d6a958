//! Text that functions read and make. It lies in the message, in the program or in the text store of the message, so
//! that it lives as long as the evaluation.

use super::{EvalError, Evaluation};
use crate::value::{Text, Value};

/// A text that grows in the store of the message.
pub(crate) type TextBuilder<'a> = bumpalo::collections::String<'a>;

/// Bytes of text that count as one evaluation step.
const BYTES_PER_STEP: usize = 64;

impl<'a> Evaluation<'a> {
    /// The string form of a value; `None` for Null and Undefined.
    pub(crate) fn text(&mut self, value: Value<'a>) -> Result<Option<&'a str>, EvalError> {
        let value = self.read(value);
        if let Value::Text(Text::Borrowed(text)) = value {
            self.step(text.len() / BYTES_PER_STEP)?;
            return Ok(Some(text));
        }
        let mut operand = std::mem::take(self.arena.operand);
        operand.clear();
        let has_text = self.write_text(value, &mut operand);
        // Whole strings and JSON texts are valid UTF-8.
        let text = std::str::from_utf8(&operand).ok().filter(|_| has_text);
        let stored = text.map(|text| self.store(text)).transpose();
        *self.arena.operand = operand;
        stored
    }

    /// The string form of a value as a value; Undefined for Null and Undefined.
    pub(crate) fn text_value(&mut self, value: Value<'a>) -> Result<Value<'a>, EvalError> {
        if let Value::Text(_) = value {
            return Ok(value);
        }
        let text = self.text(value)?;
        Ok(text.map_or(Value::Undefined, |text| Value::Text(Text::Borrowed(text))))
    }

    /// Keeps a text that a function made.
    ///
    /// # Errors
    /// When it is longer than the limit, or all of them together are a few times as long.
    pub(crate) fn store(&mut self, text: &str) -> Result<&'a str, EvalError> {
        self.count(text.len())?;
        Ok(self.texts.alloc_str(text))
    }

    /// An empty text in the store of the message, for [`keep`](Self::keep).
    pub(crate) fn builder(&self) -> TextBuilder<'a> {
        TextBuilder::new_in(self.texts)
    }

    /// Bytes in the store of the message.
    pub(crate) fn bytes_of(&self, len: usize) -> &'a mut [u8] {
        self.texts.alloc_slice_fill_copy(len, 0)
    }

    /// Keeps a text that a function made in the store itself.
    ///
    /// # Errors
    /// As [`store`](Self::store).
    pub(crate) fn keep(&mut self, text: TextBuilder<'a>) -> Result<Value<'a>, EvalError> {
        let text = text.into_bump_str();
        self.count(text.len())?;
        Ok(Value::Text(Text::Borrowed(text)))
    }

    /// Counts a text that is kept.
    ///
    /// # Errors
    /// As [`store`](Self::store).
    pub(crate) fn count(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.step(bytes / BYTES_PER_STEP)?;
        self.check_output(bytes)?;
        self.stored += bytes;
        self.check_output(self.stored / 4)
    }

    /// A text that a function made, as a value.
    pub(crate) fn made(&mut self, text: &str) -> Result<Value<'a>, EvalError> {
        Ok(Value::Text(Text::Borrowed(self.store(text)?)))
    }
}
