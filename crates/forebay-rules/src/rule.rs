//! A rule ready to run: its statement and its templates, checked and compiled once.

use forebay_core::{AckMode, HashKey, OnConfigError, OnFull};
use forebay_sql::{Diagnostic, Statement};

use crate::error_action::CompiledErrorAction;
use crate::failure::UnsupportedAction;
use crate::fields::{CompiledKinesis, Value};
use crate::republish::CompiledRepublish;
use crate::{RuleDocument, RuleSettings};

/// Why a rule cannot be part of a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The statement or a template is wrong.
    #[error("rule {rule}: {field}: {diagnostic}")]
    Text {
        /// Name of the rule.
        rule: String,
        /// The member of the document, or the setting, that holds the text.
        field: String,
        /// The text, which the diagnostic's span points into.
        text: String,
        /// What is wrong.
        diagnostic: Diagnostic,
    },
    /// Two rules of one name.
    #[error("rule {rule} is defined twice")]
    Duplicate {
        /// Name of the rules.
        rule: String,
    },
    /// Too many rules.
    #[error("too many rules: {count} > {max}")]
    TooMany {
        /// Their number.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A policy that drops records, and an acknowledgement that promises to keep them.
    #[error(
        "rule {rule}: on_full = \"{on_full}\" drops records, which ack = \"{ack}\" promises to keep"
    )]
    Drops {
        /// Name of the rule.
        rule: String,
        /// The policy.
        on_full: OnFull,
        /// The acknowledgement.
        ack: AckMode,
    },
    /// A fixed explicit hash key that is none.
    #[error("rule {rule}: explicit_hash_key: {reason}")]
    HashKey {
        /// Name of the rule.
        rule: String,
        /// What is wrong with the text.
        reason: String,
    },
    /// A topic without templates to which the rule itself listens.
    #[error("rule {rule}: {field}: {}", republish_loop(filter))]
    RepublishLoop {
        /// Name of the rule.
        rule: String,
        /// The member that holds the topic.
        field: String,
        /// The rule's topic filter.
        filter: String,
    },
    /// A topic by which messages name a rule.
    #[error(
        "rule {rule}: {field}: {topic:?} is no target of a rule: messages to it would name a rule"
    )]
    RepublishToRule {
        /// Name of the rule.
        rule: String,
        /// The member that holds the topic.
        field: String,
        /// The text.
        topic: String,
    },
}

/// What AWS IoT says to a rule that would run on its own messages.
fn republish_loop(filter: &str) -> String {
    format!("Republish topic cannot be within topic space of rule's topic pattern '{filter}'")
}

impl RuleError {
    /// The stable code of the diagnostic.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Text { diagnostic, .. } => diagnostic.code.as_str(),
            Self::Duplicate { .. } => "R120",
            Self::TooMany { .. } => "R121",
            Self::Drops { .. } => "R122",
            Self::HashKey { .. } => "R123",
            Self::RepublishLoop { .. } => "R124",
            Self::RepublishToRule { .. } => "R125",
        }
    }

    /// The rule that it is about.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Text { rule, .. }
            | Self::Duplicate { rule }
            | Self::Drops { rule, .. }
            | Self::HashKey { rule, .. }
            | Self::RepublishLoop { rule, .. }
            | Self::RepublishToRule { rule, .. } => Some(rule),
            Self::TooMany { .. } => None,
        }
    }

    /// What AWS IoT's control plane answers, where its text is known.
    pub fn aws_message(&self) -> Option<String> {
        match self {
            Self::RepublishLoop { filter, .. } => Some(republish_loop(filter)),
            _ => None,
        }
    }
}

/// Something that works as written and probably not as meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleWarning {
    /// A finding about the statement or a template.
    #[error("{field}: {diagnostic}")]
    Text {
        /// The member of the document, or the setting, that holds the text.
        field: String,
        /// The finding.
        diagnostic: Diagnostic,
    },
    /// An action that Forebay does not carry out.
    #[error(
        "{field}: action {kind:?} is not supported by this version of Forebay; it is kept and fails when it runs"
    )]
    UnsupportedAction {
        /// Where it stands.
        field: String,
        /// Its name.
        kind: String,
    },
    /// An error action that Forebay does not carry out.
    #[error(
        "errorAction: action {kind:?} is not supported by this version of Forebay; it is kept and does not run"
    )]
    ErrorAction {
        /// Its name.
        kind: String,
    },
    /// A fixed text that no record can have, so that the action always fails.
    #[error("{field}: {reason}; the action always fails")]
    AlwaysFails {
        /// The member.
        field: String,
        /// What is wrong with the text.
        reason: String,
    },
    /// A filter that only matches topics which the broker refuses.
    #[error("the filter {filter:?} can never match: {reason}")]
    NeverMatches {
        /// The filter.
        filter: String,
        /// The limit that it exceeds.
        reason: String,
    },
}

/// One rule of a set.
#[derive(Debug)]
pub struct Rule {
    pub(crate) index: u32,
    pub(crate) document: RuleDocument,
    pub(crate) settings: RuleSettings,
    pub(crate) statement: Statement,
    /// `None`: the hash key is that of the partition key.
    pub(crate) hash_key: Option<Value<HashKey>>,
    pub(crate) actions: Vec<CompiledAction>,
    pub(crate) error_action: Option<CompiledErrorAction>,
    pub(crate) warnings: Vec<RuleWarning>,
}

impl Rule {
    /// The rule's name.
    pub fn name(&self) -> &str {
        &self.document.name
    }

    /// Its index in the set, which records and outcomes carry.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The document.
    pub fn document(&self) -> &RuleDocument {
        &self.document
    }

    /// The settings.
    pub fn settings(&self) -> &RuleSettings {
        &self.settings
    }

    /// The topic filter; `None` for a rule that only Basic Ingest reaches.
    pub fn filter(&self) -> Option<&str> {
        self.statement.filter()
    }

    /// True unless the document disables it.
    pub fn is_enabled(&self) -> bool {
        !self.document.disabled
    }

    /// True when failures of its actions have somewhere to go. An error action that Forebay does not carry out counts:
    /// its failures are told apart from a rule without one.
    pub fn has_error_action(&self) -> bool {
        self.error_action.is_some()
    }

    /// What happens to a record whose stream, role or key AWS refuses: the setting, else the error action where there
    /// is one, as on AWS IoT, else the record is held.
    pub fn on_config_error(&self) -> OnConfigError {
        let default = match self.error_action {
            Some(_) => OnConfigError::ErrorAction,
            None => OnConfigError::Hold,
        };
        self.settings.on_config_error.unwrap_or(default)
    }

    /// What an operator should be told once.
    pub fn warnings(&self) -> &[RuleWarning] {
        &self.warnings
    }
}

/// An action with its templates compiled.
#[derive(Debug)]
pub(crate) enum CompiledAction {
    Kinesis(Box<CompiledKinesis>),
    Republish(Box<CompiledRepublish>),
    Unsupported(Box<UnsupportedAction>),
}
