//! A rule ready to run: its statement and its templates, checked and compiled once.

use forebay_core::topic::validate_filter;
use forebay_core::{AckMode, HashKey, PartitionKey, StreamName};
use forebay_sql::{Diagnostic, SqlVersion, Statement, Template};

use crate::action::{Action, KinesisAction};
use crate::{RuleDocument, RuleLimits, RuleSettings};

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
        on_full: forebay_core::OnFull,
        /// The acknowledgement.
        ack: AckMode,
    },
}

impl RuleError {
    /// The stable code of the diagnostic.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Text { diagnostic, .. } => diagnostic.code.as_str(),
            Self::Duplicate { .. } => "R120",
            Self::TooMany { .. } => "R121",
            Self::Drops { .. } => "R122",
        }
    }

    /// The rule that it is about.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Text { rule, .. } | Self::Duplicate { rule } | Self::Drops { rule, .. } => {
                Some(rule)
            }
            Self::TooMany { .. } => None,
        }
    }
}

/// Something that works as written and probably not as meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleWarning {
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
    /// Error actions are kept and not run.
    #[error("errorAction is not supported by this version of Forebay; it is kept and does not run")]
    ErrorAction,
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
    pub(crate) actions: Vec<CompiledAction>,
    warnings: Vec<RuleWarning>,
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

    /// What an operator should be told once.
    pub fn warnings(&self) -> &[RuleWarning] {
        &self.warnings
    }

    /// Checks and compiles a rule, adding to `errors` everything that is wrong with it.
    pub(crate) fn compile(
        index: u32,
        document: RuleDocument,
        settings: RuleSettings,
        limits: &RuleLimits,
        errors: &mut Vec<RuleError>,
    ) -> Option<Self> {
        let before = errors.len();
        if let (Some(on_full), Some(ack)) = (settings.on_full, settings.ack)
            && on_full.drops()
            && ack != AckMode::Accept
        {
            errors.push(RuleError::Drops {
                rule: document.name.clone(),
                on_full,
                ack,
            });
        }
        let mut compiler = Compiler {
            rule: &document.name,
            version: document.version,
            errors,
            warnings: Vec::new(),
        };
        let statement = compiler.texts("sql", &document.sql, Statement::compile);
        if let Some(filter) = statement.as_ref().and_then(Statement::filter)
            && let Err(reason) = validate_filter(filter, limits.topic)
        {
            let (filter, reason) = (filter.to_owned(), reason.to_string());
            compiler
                .warnings
                .push(RuleWarning::NeverMatches { filter, reason });
        }
        let hash_key = settings.explicit_hash_key.as_deref();
        let actions: Vec<_> = document
            .actions
            .iter()
            .enumerate()
            .map(|(at, action)| compiler.action(&format!("actions[{at}]"), action, hash_key))
            .collect();
        if let Some(action) = &document.error_action {
            compiler.warnings.push(RuleWarning::ErrorAction);
            // Its templates are checked now, so that a later version that runs it finds no surprise.
            compiler.action("errorAction", action, None);
        }
        let warnings = compiler.warnings;
        let statement = statement.filter(|_| errors.len() == before)?;
        let actions = actions.into_iter().flatten().collect();
        Some(Self {
            index,
            document,
            settings,
            statement,
            actions,
            warnings,
        })
    }
}

/// An action with its templates compiled.
#[derive(Debug)]
pub(crate) enum CompiledAction {
    Kinesis(Box<CompiledKinesis>),
    Unsupported,
}

#[derive(Debug)]
pub(crate) struct CompiledKinesis {
    pub(crate) stream: Value<StreamName>,
    /// `None`: a random UUID per record.
    pub(crate) partition_key: Option<Value<PartitionKey>>,
    pub(crate) hash_key: Option<Value<HashKey>>,
}

/// A field of an action: known when the rule is made, or written anew for each message.
#[derive(Debug)]
pub(crate) enum Value<T> {
    Fixed(T),
    /// A fixed text that is no `T`.
    Unusable,
    Template(Template),
}

struct Compiler<'a> {
    rule: &'a str,
    version: SqlVersion,
    errors: &'a mut Vec<RuleError>,
    warnings: Vec<RuleWarning>,
}

impl Compiler<'_> {
    fn texts<T>(
        &mut self,
        field: &str,
        text: &str,
        compile: impl FnOnce(&str, SqlVersion) -> Result<T, Vec<Diagnostic>>,
    ) -> Option<T> {
        match compile(text, self.version) {
            Ok(compiled) => Some(compiled),
            Err(diagnostics) => {
                self.errors
                    .extend(diagnostics.into_iter().map(|diagnostic| RuleError::Text {
                        rule: self.rule.to_owned(),
                        field: field.to_owned(),
                        text: text.to_owned(),
                        diagnostic,
                    }));
                None
            }
        }
    }

    fn value<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Value<T>> {
        let template = self.texts(field, text, Template::compile)?;
        let Some(literal) = template.literal() else {
            return Some(Value::Template(template));
        };
        Some(match parse(literal) {
            Ok(value) => Value::Fixed(value),
            Err(reason) => {
                let (field, reason) = (field.to_owned(), reason.to_string());
                self.warnings
                    .push(RuleWarning::AlwaysFails { field, reason });
                Value::Unusable
            }
        })
    }

    fn action(
        &mut self,
        field: &str,
        action: &Action,
        hash_key: Option<&str>,
    ) -> Option<CompiledAction> {
        match action {
            Action::Unsupported { kind, .. } => {
                let (field, kind) = (field.to_owned(), kind.clone());
                self.warnings
                    .push(RuleWarning::UnsupportedAction { field, kind });
                Some(CompiledAction::Unsupported)
            }
            Action::Kinesis(action) => self.kinesis(field, action, hash_key),
        }
    }

    fn kinesis(
        &mut self,
        field: &str,
        action: &KinesisAction,
        hash_key: Option<&str>,
    ) -> Option<CompiledAction> {
        let stream = self.value(
            &format!("{field}.kinesis.streamName"),
            &action.stream_name,
            StreamName::new,
        );
        let key_field = format!("{field}.kinesis.partitionKey");
        let key = action
            .partition_key
            .as_deref()
            .map(|text| self.value(&key_field, text, PartitionKey::new));
        let hash =
            hash_key.map(|text| self.value("explicit_hash_key", text, str::parse::<HashKey>));
        Some(CompiledAction::Kinesis(Box::new(CompiledKinesis {
            stream: stream?,
            partition_key: flip(key)?,
            hash_key: flip(hash)?,
        })))
    }
}

/// `None` when there is a text that did not compile.
fn flip<T>(compiled: Option<Option<T>>) -> Option<Option<T>> {
    match compiled {
        Some(None) => None,
        Some(some) => Some(some),
        None => Some(None),
    }
}
