//! Evaluation of statements and templates on one message.

mod cast;
mod containers;
mod conversion;
mod decoded;
mod expression;
mod operators;
mod output;
mod query;
mod service;
mod text;

use std::fmt;

pub(crate) use containers::Walk;
pub(crate) use text::TextBuilder;

use bumpalo::Bump;
use forebay_core::{Entropy, Origin};

use crate::environment::{self, Environment};
use crate::json::{self, Document};
use crate::program::Node;
use crate::service_data::DataFault;
use crate::template::Part;
use crate::value::{Arena, ArenaBytes, Value};
use crate::{SelectStar, SqlVersion, Statement, Template};

/// Bytes of the values of a statement's variables as JSON (AWS IoT developer guide, SET clause).
const VARIABLES_BYTES_MAX: usize = 128 * 1024;

/// What SQL can see of a message.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The topic as SQL sees it: without a Basic Ingest prefix.
    pub topic: &'a str,
    /// The payload, any bytes.
    pub payload: &'a [u8],
    /// Client id of the publisher; `None` when the message did not come over MQTT.
    pub client_id: Option<&'a str>,
    /// Wall clock of the message in milliseconds since the Unix epoch: one value for the whole message.
    pub timestamp_ms: i64,
    /// Who published it, from where, and with which properties.
    pub origin: &'a Origin<'a>,
}

/// Bounds of the evaluation of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Evaluation steps of all statements and templates of the message together.
    pub steps_max: u32,
    /// Bytes of one outgoing payload, and of one string that a statement makes.
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

/// Why a statement or a template gives no result. Wrong types and missing members are no errors: they make an
/// expression Undefined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// `SELECT VALUE` of Undefined.
    #[error("the result of SELECT is Undefined")]
    Undefined,
    /// More evaluation steps than the limit.
    #[error("more evaluation steps than a message may take")]
    Steps,
    /// The values of the variables are longer than a statement may have.
    #[error("the values of the variables take more than 128 KiB")]
    Variables,
    /// More outgoing bytes than the limit.
    #[error("outgoing payload or text longer than the limit")]
    OutputBytes,
    /// A function of another service found no answer in its data.
    #[error("the function {0}: {1}")]
    Function(&'static str, DataFault),
}

/// What was wrong with a payload that a clause has read. Its fields are Undefined; that is no [`EvalError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadFault {
    /// Not a JSON object or array.
    #[error("the payload is no JSON object or array")]
    NotJson,
    /// JSON with more nested brackets than the limit.
    #[error("the payload's brackets are nested too deeply")]
    TooDeep,
}

/// What a statement selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// WHERE was not true: nothing.
    Filtered,
    /// The payload, byte for byte.
    Payload,
    /// What was written to the output.
    Written,
}

/// Buffers that evaluations reuse; one per thread. After a few messages most evaluations allocate nothing: only names
/// that occur twice in an object and objects of very many members do.
#[derive(Default)]
pub struct Scratch {
    json: json::Buffers,
    bytes: ArenaBytes,
    texts: Bump,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

/// The evaluation of any number of statements and templates on one message, which is parsed at most once.
pub struct Evaluation<'a> {
    context: Context<'a>,
    limits: Limits,
    steps_left: u32,
    version: SqlVersion,
    payload: Payload<'a>,
    read: bool,
    arena: Arena<'a>,
    /// Text that functions make, kept until the message's end.
    texts: &'a Bump,
    /// Bytes in `texts`.
    stored: usize,
    entropy: &'a mut dyn Entropy,
    environment: &'a Environment,
    trace_id: Option<u128>,
    /// The statement or one of its templates has asked the registry.
    registry_asked: bool,
    /// What the innermost nested query looks at.
    element: Option<Value<'a>>,
    /// Where the members of the object begin that a projection is making.
    output_base: usize,
}

impl fmt::Debug for Evaluation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluation")
            .field("context", &self.context)
            .field("steps_left", &self.steps_left)
            .finish_non_exhaustive()
    }
}

/// The payload, as far as it is known.
#[derive(Debug)]
enum Payload<'a> {
    Unread(&'a mut json::Buffers),
    Json(Document<'a>),
    Fault(PayloadFault),
}

impl<'a> Evaluation<'a> {
    /// Begins the evaluation of a message. Nothing is parsed yet. Random functions draw from `entropy`.
    pub fn new(
        context: Context<'a>,
        limits: Limits,
        scratch: &'a mut Scratch,
        entropy: &'a mut dyn Entropy,
    ) -> Self {
        let Scratch { json, bytes, texts } = scratch;
        texts.reset();
        let texts = &*texts;
        Self {
            context,
            limits,
            steps_left: limits.steps_max,
            version: SqlVersion::default(),
            payload: Payload::Unread(json),
            read: false,
            arena: Arena::new(bytes, texts),
            texts,
            stored: 0,
            entropy,
            environment: &environment::DEFAULT,
            trace_id: context.origin.trace_id,
            registry_asked: false,
            element: None,
            output_base: 0,
        }
    }

    /// Makes it one of rules of this environment.
    pub fn set_environment(&mut self, environment: &'a Environment) {
        self.environment = environment;
    }

    pub(crate) fn environment(&self) -> &'a Environment {
        self.environment
    }

    pub(crate) fn context(&self) -> &Context<'a> {
        &self.context
    }

    pub(crate) fn version(&self) -> SqlVersion {
        self.version
    }

    /// The source of random values that the evaluation was given.
    pub fn entropy(&mut self) -> &mut dyn Entropy {
        self.entropy
    }

    /// The message's random UUID, one for all its rules.
    pub fn trace_id(&mut self) -> u128 {
        match self.trace_id {
            Some(bits) => bits,
            None => *self.trace_id.insert(self.entropy.uuid_bits()),
        }
    }

    /// Gives what follows another number of evaluation steps and returns how many were left: for texts that must not
    /// suffer from what the statements of the message used up.
    pub fn replace_steps(&mut self, steps: u32) -> u32 {
        std::mem::replace(&mut self.steps_left, steps)
    }

    /// The argument at this place; Undefined when it was left out.
    pub(crate) fn argument(
        &mut self,
        arguments: &'a [Node],
        place: usize,
    ) -> Result<Value<'a>, EvalError> {
        match arguments.get(place) {
            Some(node) => self.evaluate(node),
            None => Ok(Value::Undefined),
        }
    }

    /// Runs a statement: first WHERE, and SELECT only when it is true. What SELECT writes replaces what is in `out`.
    ///
    /// # Errors
    /// When SELECT gives nothing, or a limit is exceeded. `out` then holds a part of the output.
    pub fn select(
        &mut self,
        statement: &'a Statement,
        star: SelectStar,
        out: &mut Vec<u8>,
    ) -> Result<Selection, EvalError> {
        self.begin(statement.version);
        self.registry_asked = false;
        self.arena.clear();
        out.clear();
        if !statement.variables.is_empty() {
            self.assign(&statement.variables)?;
        }
        if let Some(condition) = &statement.condition {
            let value = self.evaluate(condition)?;
            if self.boolean(value) != Some(true) {
                return Ok(Selection::Filtered);
            }
        }
        self.project(&statement.projection, star, out)
    }

    /// Writes the text of a template, whole UTF-8, in place of what is in `out`. Undefined and Null are no text. A template
    /// that uses variables sees those of the statement that was selected last.
    ///
    /// # Errors
    /// When a limit is exceeded.
    pub fn template(&mut self, template: &'a Template, out: &mut Vec<u8>) -> Result<(), EvalError> {
        self.begin(template.version);
        out.clear();
        for part in &*template.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Expression(node) => {
                    let value = self.evaluate(node)?;
                    self.write_text(value, out);
                }
            }
            self.check_output(out.len())?;
        }
        Ok(())
    }

    /// What was wrong with the payload, if a statement or template has read it since this was last asked.
    pub fn take_payload_fault(&mut self) -> Option<PayloadFault> {
        let read = std::mem::take(&mut self.read);
        match self.payload {
            // Nothing at all is no broken JSON.
            Payload::Fault(fault) if read && !self.context.payload.is_empty() => Some(fault),
            _ => None,
        }
    }

    /// The value of an expression that asks nothing of the message.
    pub(crate) fn constant(
        &mut self,
        node: &'a Node,
        version: SqlVersion,
    ) -> Result<Value<'a>, EvalError> {
        self.begin(version);
        self.evaluate(node)
    }

    fn begin(&mut self, version: SqlVersion) {
        self.version = version;
        self.element = None;
        self.output_base = 0;
        self.arena.forget();
    }

    /// Evaluates SET. The values stay for the templates that follow.
    fn assign(&mut self, variables: &'a [Node]) -> Result<(), EvalError> {
        let mut bytes = 0;
        for node in variables {
            let value = self.evaluate(node)?;
            if !matches!(value, Value::Undefined) {
                bytes += self.json_bytes(value)?;
            }
            if bytes > VARIABLES_BYTES_MAX {
                return Err(EvalError::Variables);
            }
            self.arena.variables.push(value);
        }
        self.arena.keep();
        Ok(())
    }

    /// Counts evaluation steps.
    pub(crate) fn step(&mut self, steps: usize) -> Result<(), EvalError> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        match self.steps_left.checked_sub(steps) {
            Some(left) => {
                self.steps_left = left;
                Ok(())
            }
            None => {
                // The statements that follow have nothing left either.
                self.steps_left = 0;
                Err(EvalError::Steps)
            }
        }
    }

    /// Counts evaluation steps of what cannot fail; with none left the next counted one does.
    pub(crate) fn use_up(&mut self, steps: usize) {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.steps_left = self.steps_left.saturating_sub(steps);
    }

    pub(crate) fn check_output(&self, bytes: usize) -> Result<(), EvalError> {
        if bytes > self.limits.output_bytes_max {
            Err(EvalError::OutputBytes)
        } else {
            Ok(())
        }
    }

    /// The payload as JSON, parsed when it is asked for first.
    fn document(&mut self) -> Option<&Document<'a>> {
        self.read = true;
        if let Payload::Unread(_) = self.payload {
            let unread =
                std::mem::replace(&mut self.payload, Payload::Fault(PayloadFault::NotJson));
            if let Payload::Unread(buffers) = unread {
                self.payload = match Document::parse(self.context.payload, buffers) {
                    Ok(document) => Payload::Json(document),
                    Err(fault) => Payload::Fault(fault),
                };
            }
        }
        self.parsed()
    }

    /// The payload's document, where a value of it shows that it was parsed.
    pub(crate) fn parsed(&self) -> Option<&Document<'a>> {
        match &self.payload {
            Payload::Json(document) => Some(document),
            Payload::Unread(_) | Payload::Fault(_) => None,
        }
    }
}
