//! Actions that failed: what the error action is told about each.

use std::borrow::Cow;

use forebay_sql::EvalError;

use crate::fields::{Fault, clipped};

/// The end of one action that failed for good, as the error action's document tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The action's name, such as `KinesisAction`; [`Failure::RULE_EVALUATION`] when the rule itself met a limit.
    pub action: Cow<'static, str>,
    /// What the action was about: the stream, the topic, or the rule's name. Empty when that is unknown.
    pub resource: String,
    /// What went wrong, in words.
    pub message: String,
    /// The error code of the service, or Forebay's own.
    pub code: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// True when an attempt may have succeeded all the same.
    pub ambiguous: bool,
}

impl Failure {
    /// The action's name when a limit ended the rule before any action ran.
    pub const RULE_EVALUATION: &'static str = "RuleEvaluation";
    /// The name of the Kinesis action, whose failures also tell code, attempts and doubt.
    pub const KINESIS: &'static str = crate::action::KinesisAction::FAILURE_NAME;
    /// The name of the republish action.
    pub const REPUBLISH: &'static str = crate::action::RepublishAction::FAILURE_NAME;

    /// An action without a usable field, or one that the message has no bytes left for. `topic` is that of the
    /// message, `resource` what is known of the stream or topic that the action is about.
    pub(crate) fn of_fault(
        kind: ActionKind,
        fault: &Fault<'_>,
        topic: &str,
        resource: &str,
    ) -> Self {
        let resource = clipped(resource, RESOURCE_BYTES_MAX);
        let (name, did, about) = match kind {
            ActionKind::Kinesis => (Self::KINESIS, "put record", "kinesis, Stream"),
            ActionKind::Republish => (Self::REPUBLISH, "republish", "republish, Topic"),
        };
        let reason = fault.reason();
        Self {
            message: format!(
                "Failed to {did}. The error received was {reason}. Message arrived on: {topic}, Action: {about}: {resource}"
            ),
            code: fault.code().map(str::to_owned),
            ..Self::untried(Cow::Borrowed(name), resource)
        }
    }

    /// A rule that met a limit before any action ran.
    pub(crate) fn of_rule(name: &str, error: EvalError, topic: &str) -> Self {
        Self {
            message: format!(
                "Failed to evaluate the rule. The error received was {error}. Message arrived on: {topic}, Rule: {name}"
            ),
            ..Self::untried(Cow::Borrowed(Self::RULE_EVALUATION), name)
        }
    }

    /// An action that Forebay does not carry out.
    pub(crate) fn of_unsupported(action: &UnsupportedAction, topic: &str) -> Self {
        let UnsupportedAction { kind, name } = action;
        let reason = UnsupportedAction::REASON;
        Self {
            message: format!("{reason}. Message arrived on: {topic}, Action: {kind}"),
            ..Self::untried(Cow::Owned(name.clone()), "")
        }
    }

    fn untried(action: Cow<'static, str>, resource: &str) -> Self {
        Self {
            action,
            resource: resource.to_owned(),
            message: String::new(),
            code: None,
            attempts: 0,
            ambiguous: false,
        }
    }
}

/// Bytes of a resource that turned out to be none, such as a text that is no stream name.
const RESOURCE_BYTES_MAX: usize = 256;

/// The actions that Forebay carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActionKind {
    Kinesis,
    Republish,
}

/// An action that Forebay does not carry out.
#[derive(Debug)]
pub(crate) struct UnsupportedAction {
    /// Its name in documents.
    pub(crate) kind: String,
    /// Its name in error documents.
    pub(crate) name: String,
}

impl UnsupportedAction {
    /// What its error document says.
    pub(crate) const REASON: &'static str = "action not supported by this broker";
}

/// A failure of a rule that has an error action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionFailure {
    /// Index of the rule in its set.
    pub rule: u32,
    /// What failed.
    pub failure: Failure,
}
