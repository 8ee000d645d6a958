//! Evaluation of statements and templates on one message.

use std::fmt::Write as _;

use crate::template::Part;
use crate::{SelectStar, Statement, Template};

/// What a statement can see of a message.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The topic as SQL sees it: without a Basic Ingest prefix.
    pub topic: &'a str,
    /// The payload, any bytes.
    pub payload: &'a [u8],
    /// Client id, `None` when the message did not come over MQTT.
    pub client_id: Option<&'a str>,
    /// Wall clock of the message, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

/// Bounds of the evaluation of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Evaluation steps of all statements and templates of the message together.
    pub steps_max: u32,
    /// Bytes of one outgoing payload.
    pub output_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps_max: 100_000,
            output_bytes_max: 1024 * 1024,
        }
    }
}

/// Why a statement or a template gives no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// `SELECT VALUE` of Undefined.
    #[error("the result of SELECT is Undefined")]
    Undefined,
    /// More evaluation steps than the limit.
    #[error("more evaluation steps than the limit of a message")]
    Steps,
    /// A longer outgoing payload than the limit.
    #[error("outgoing payload longer than the limit")]
    OutputBytes,
}

/// What the payload turned out to be when a clause read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadFault {
    /// Not a JSON object or array.
    NotJson,
    /// JSON with too many nested brackets.
    TooDeep,
}

/// What a statement selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// WHERE was not true.
    Filtered,
    /// The payload, byte for byte.
    Payload,
    /// What was written to the output.
    Written,
}

/// Buffers that evaluations reuse.
#[derive(Debug, Default)]
pub struct Scratch {}

/// The evaluation of one message.
#[derive(Debug)]
pub struct Evaluation<'a> {
    context: Context<'a>,
    limits: Limits,
}

impl<'a> Evaluation<'a> {
    /// Begins with `context`.
    pub fn new(context: Context<'a>, limits: Limits, _scratch: &'a mut Scratch) -> Self {
        Self { context, limits }
    }

    /// Runs a statement; what it writes is appended to `out`.
    ///
    /// # Errors
    /// When it gives no result or exceeds a limit.
    pub fn select(
        &mut self,
        _statement: &'a Statement,
        _star: SelectStar,
        _out: &mut Vec<u8>,
    ) -> Result<Selection, EvalError> {
        if self.context.payload.len() > self.limits.output_bytes_max {
            return Err(EvalError::OutputBytes);
        }
        Ok(Selection::Payload)
    }

    /// Appends the text of a template to `out`.
    ///
    /// # Errors
    /// When a limit is exceeded.
    pub fn template(&mut self, template: &'a Template, out: &mut String) -> Result<(), EvalError> {
        for part in &template.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Topic => out.push_str(self.context.topic),
                Part::Timestamp => {
                    write!(out, "{}", self.context.timestamp_ms)
                        .expect("writing to a string cannot fail");
                }
            }
        }
        Ok(())
    }

    /// What was wrong with the payload, if a clause has read it since the last call.
    pub fn take_payload_fault(&mut self) -> Option<PayloadFault> {
        None
    }
}
