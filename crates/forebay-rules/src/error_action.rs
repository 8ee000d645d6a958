//! A rule's error action, compiled, and what its fields are for one message.

use std::sync::Arc;

use crate::ErrorTarget;
use crate::action::{KinesisAction, RepublishAction};
use crate::failure::UnsupportedAction;
use crate::fields::{CompiledKinesis, Fault, Fields, Value};
use crate::republish::CompiledRepublish;

/// Evaluation steps of the templates of one error action on one message. They are its own: it also runs for a message
/// whose rules have used up theirs.
pub(crate) const STEPS_MAX: u32 = 1_000;

/// An error action with its templates compiled.
#[derive(Debug)]
pub(crate) enum CompiledErrorAction {
    /// The same for every message.
    Fixed(Arc<ErrorTarget>),
    Kinesis(Box<CompiledKinesis>),
    Republish(Box<CompiledRepublish>),
}

impl CompiledErrorAction {
    pub(crate) fn kinesis(action: CompiledKinesis) -> Self {
        match (&action.stream, &action.partition_key) {
            (Value::Fixed(stream), Some(Value::Fixed(key))) => {
                Self::Fixed(Arc::new(ErrorTarget::Kinesis {
                    stream: stream.clone(),
                    partition_key: key.clone(),
                }))
            }
            _ => Self::Kinesis(Box::new(action)),
        }
    }

    pub(crate) fn republish(action: CompiledRepublish) -> Self {
        match (&action.topic, &action.headers) {
            (Value::Fixed(topic), None) => Self::Fixed(Arc::new(ErrorTarget::Republish {
                topic: topic.clone(),
                qos: action.qos,
                properties: Default::default(),
            })),
            _ => Self::Republish(Box::new(action)),
        }
    }

    pub(crate) fn unsupported(action: &UnsupportedAction) -> Self {
        let reason = UnsupportedAction::REASON;
        Self::Fixed(Arc::new(ErrorTarget::unusable(&action.name, reason)))
    }

    /// Where the documents of failures on this message go.
    pub(crate) fn target<'a>(&'a self, fields: &mut Fields<'_, 'a>) -> Arc<ErrorTarget> {
        let (name, target) = match self {
            Self::Fixed(target) => return Arc::clone(target),
            Self::Kinesis(action) => (KinesisAction::FAILURE_NAME, record(action, fields)),
            Self::Republish(action) => (RepublishAction::FAILURE_NAME, message(action, fields)),
        };
        Arc::new(target.unwrap_or_else(|fault| ErrorTarget::unusable(name, &fault.reason())))
    }
}

fn record<'a>(
    action: &'a CompiledKinesis,
    fields: &mut Fields<'_, 'a>,
) -> Result<ErrorTarget, Fault<'a>> {
    Ok(ErrorTarget::Kinesis {
        stream: action.stream(fields)?,
        partition_key: action.partition_key(fields)?,
    })
}

fn message<'a>(
    action: &'a CompiledRepublish,
    fields: &mut Fields<'_, 'a>,
) -> Result<ErrorTarget, Fault<'a>> {
    Ok(ErrorTarget::Republish {
        topic: action.topic(fields)?,
        qos: action.qos,
        properties: action.properties(fields)?,
    })
}
