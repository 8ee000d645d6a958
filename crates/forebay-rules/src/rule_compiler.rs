//! From a rule's document and settings to a rule ready to run.

use std::fmt;

use forebay_core::topic::validate_filter;
use forebay_core::{AckMode, HashKey, PartitionKey, StreamName};
use forebay_sql::{Code, Diagnostic, Environment, SqlVersion, Statement, Template};

use crate::action::{Action, KinesisAction};
use crate::rule::{CompiledAction, CompiledKinesis, Rule, RuleError, RuleWarning, Value};
use crate::{RuleDocument, RuleLimits, RuleSettings};

/// Checks and compiles a rule, adding to `errors` everything that is wrong with it.
pub(crate) fn compile(
    index: u32,
    document: RuleDocument,
    settings: RuleSettings,
    limits: &RuleLimits,
    environment: &Environment,
    errors: &mut Vec<RuleError>,
) -> Option<Rule> {
    let before = errors.len();
    let mut compiler = Compiler {
        rule: &document.name,
        version: document.version,
        environment,
        errors,
        warnings: Vec::new(),
        statement: None,
    };
    compiler.policies(&settings);
    compiler.statement = compiler.compile_statement(&document.sql, limits);
    let hash_key = settings
        .explicit_hash_key
        .as_deref()
        .and_then(|text| compiler.hash_key(text));
    let actions: Vec<_> = document
        .actions
        .iter()
        .enumerate()
        .filter_map(|(at, action)| compiler.action(&format!("actions[{at}]"), action))
        .collect();
    if let Some(action) = &document.error_action {
        compiler.warnings.push(RuleWarning::ErrorAction);
        // Its templates are checked now, so that a version that runs it finds no surprise.
        if let Action::Kinesis(action) = action {
            compiler.kinesis("errorAction", action);
        }
    }
    let Compiler {
        warnings,
        statement,
        ..
    } = compiler;
    let statement = statement.filter(|_| errors.len() == before)?;
    Some(Rule {
        index,
        document,
        settings,
        statement,
        hash_key,
        actions,
        warnings,
    })
}

struct Compiler<'a> {
    rule: &'a str,
    version: SqlVersion,
    environment: &'a Environment,
    errors: &'a mut Vec<RuleError>,
    warnings: Vec<RuleWarning>,
    /// The rule's statement, unless it is refused.
    statement: Option<Statement>,
}

impl Compiler<'_> {
    fn policies(&mut self, settings: &RuleSettings) {
        if let (Some(on_full), Some(ack)) = (settings.on_full, settings.ack)
            && on_full.drops()
            && ack != AckMode::Accept
        {
            let rule = self.rule.to_owned();
            self.errors.push(RuleError::Drops { rule, on_full, ack });
        }
    }

    /// Takes over what the compilation of a text found.
    fn text<T>(
        &mut self,
        field: &str,
        text: &str,
        compiled: Result<T, Vec<Diagnostic>>,
        warnings: fn(&T) -> &[Diagnostic],
    ) -> Option<T> {
        match compiled {
            Ok(compiled) => {
                self.warnings
                    .extend(
                        warnings(&compiled)
                            .iter()
                            .map(|diagnostic| RuleWarning::Text {
                                field: field.to_owned(),
                                diagnostic: diagnostic.clone(),
                            }),
                    );
                Some(compiled)
            }
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

    fn compile_statement(&mut self, sql: &str, limits: &RuleLimits) -> Option<Statement> {
        let compiled = Statement::compile_with(sql, self.version, self.environment);
        let statement = self.text("sql", sql, compiled, Statement::warnings)?;
        if let Some(filter) = statement.filter()
            && let Err(reason) = validate_filter(filter, limits.topic)
        {
            let (filter, reason) = (filter.to_owned(), reason.to_string());
            self.warnings
                .push(RuleWarning::NeverMatches { filter, reason });
        }
        Some(statement)
    }

    fn template(&mut self, field: &str, text: &str) -> Option<Template> {
        let compiled = match &self.statement {
            Some(statement) => statement.template_with(text, self.environment),
            // Which variables a refused statement would have is not known.
            None => Template::compile_with(text, self.version, self.environment).map_err(
                |mut errors| {
                    errors.retain(|error| error.code != Code::Variable);
                    errors
                },
            ),
        };
        if compiled.as_ref().is_err_and(Vec::is_empty) {
            return None;
        }
        self.text(field, text, compiled, Template::warnings)
    }

    /// A field of an action. A fixed text that is not usable is no error: AWS IoT takes such a rule, too, and its
    /// action fails.
    fn value<T, E: fmt::Display>(
        &mut self,
        field: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Value<T>> {
        let template = self.template(field, text)?;
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

    fn hash_key(&mut self, text: &str) -> Option<Value<HashKey>> {
        let template = self.template("explicit_hash_key", text)?;
        let Some(literal) = template.literal() else {
            return Some(Value::Template(template));
        };
        match literal.parse::<HashKey>() {
            Ok(value) => Some(Value::Fixed(value)),
            Err(reason) => {
                let reason = reason.to_string();
                self.errors.push(RuleError::HashKey {
                    rule: self.rule.to_owned(),
                    reason,
                });
                None
            }
        }
    }

    fn action(&mut self, field: &str, action: &Action) -> Option<CompiledAction> {
        match action {
            Action::Unsupported { kind, .. } => {
                let (field, kind) = (field.to_owned(), kind.clone());
                self.warnings
                    .push(RuleWarning::UnsupportedAction { field, kind });
                Some(CompiledAction::Unsupported)
            }
            Action::Kinesis(action) => self.kinesis(field, action),
        }
    }

    fn kinesis(&mut self, field: &str, action: &KinesisAction) -> Option<CompiledAction> {
        let stream_field = format!("{field}.kinesis.streamName");
        let stream = self.value(&stream_field, &action.stream_name, StreamName::new);
        let partition_key = match &action.partition_key {
            None => None,
            Some(text) => {
                let key_field = format!("{field}.kinesis.partitionKey");
                Some(self.value(&key_field, text, PartitionKey::new)?)
            }
        };
        Some(CompiledAction::Kinesis(Box::new(CompiledKinesis {
            stream: stream?,
            partition_key,
        })))
    }
}
