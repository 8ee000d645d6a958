//! From a rule's document and settings to a rule ready to run.

use forebay_core::topic::{HashParent, TopicLimits, matches, validate_filter};
use forebay_core::{AckMode, HashKey, PartitionKey, StreamName};
use forebay_sql::{Code, Diagnostic, Environment, SqlVersion, Statement, Template};

use crate::action::{Action, KinesisAction, RepublishAction, RepublishHeaders};
use crate::error_action::CompiledErrorAction;
use crate::failure::UnsupportedAction;
use crate::fields::{CompiledKinesis, FieldError, Unusable, Value};
use crate::republish::CompiledRepublish;
use crate::republish_headers::{
    CompiledHeaders, correlation_data, expiry, format_indicator, mqtt_text, response_topic,
};
use crate::republish_topic::RepublishTopic;
use crate::rule::{CompiledAction, Rule, RuleError, RuleWarning};
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
        topic_limits: limits.topic,
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
    let error_action = document.error_action.as_ref();
    let error_action = error_action.and_then(|action| compiler.error_action(action));
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
        error_action,
        warnings,
    })
}

struct Compiler<'a> {
    rule: &'a str,
    version: SqlVersion,
    environment: &'a Environment,
    topic_limits: TopicLimits,
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

    /// Takes over what the compilation of a text found, from the byte `cut` on.
    fn text<T>(
        &mut self,
        field: &str,
        (text, cut): (&str, usize),
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
                                diagnostic: diagnostic.clone().shifted(cut),
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
                        diagnostic: diagnostic.shifted(cut),
                    }));
                None
            }
        }
    }

    fn compile_statement(&mut self, sql: &str, limits: &RuleLimits) -> Option<Statement> {
        let compiled = Statement::compile_with(sql, self.version, self.environment);
        let statement = self.text("sql", (sql, 0), compiled, Statement::warnings)?;
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
        self.template_after(field, text, 0)
    }

    /// A template that begins after `cut` bytes of the text.
    fn template_after(&mut self, field: &str, text: &str, cut: usize) -> Option<Template> {
        let template = text.get(cut..).unwrap_or_default();
        let compiled = match &self.statement {
            Some(statement) => statement.template_with(template, self.environment),
            // Which variables a refused statement would have is not known.
            None => Template::compile_with(template, self.version, self.environment).map_err(
                |mut errors| {
                    errors.retain(|error| error.code != Code::Variable);
                    errors
                },
            ),
        };
        if compiled.as_ref().is_err_and(Vec::is_empty) {
            return None;
        }
        self.text(field, (text, cut), compiled, Template::warnings)
    }

    /// A field of an action. A fixed text that is not usable is no error: AWS IoT takes such a rule, too, and its
    /// action fails.
    fn value<T, E: Into<FieldError>>(
        &mut self,
        field: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Value<T>> {
        self.value_after(field, text, 0, parse)
    }

    fn value_after<T, E: Into<FieldError>>(
        &mut self,
        field: &str,
        text: &str,
        cut: usize,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Value<T>> {
        let template = self.template_after(field, text, cut)?;
        let Some(literal) = template.literal() else {
            return Some(Value::Template(template));
        };
        Some(match parse(literal) {
            Ok(value) => Value::Fixed(value),
            Err(error) => {
                let reason = error.into();
                self.warnings.push(RuleWarning::AlwaysFails {
                    field: field.to_owned(),
                    reason: reason.to_string(),
                });
                let text = text.to_owned();
                Value::Unusable(Box::new(Unusable { text, reason }))
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
        Some(match action {
            Action::Kinesis(action) => {
                CompiledAction::Kinesis(Box::new(self.kinesis(field, action)?))
            }
            Action::Republish(action) => {
                CompiledAction::Republish(Box::new(self.republish(field, action)?))
            }
            Action::Unsupported { kind, .. } => {
                let (field, kind) = (field.to_owned(), kind.clone());
                self.warnings
                    .push(RuleWarning::UnsupportedAction { field, kind });
                CompiledAction::Unsupported(Box::new(unsupported(action)))
            }
        })
    }

    fn error_action(&mut self, action: &Action) -> Option<CompiledErrorAction> {
        let field = "errorAction";
        Some(match action {
            Action::Kinesis(action) => CompiledErrorAction::kinesis(self.kinesis(field, action)?),
            Action::Republish(action) => {
                CompiledErrorAction::republish(self.republish(field, action)?)
            }
            Action::Unsupported { kind, .. } => {
                let kind = kind.clone();
                self.warnings.push(RuleWarning::ErrorAction { kind });
                CompiledErrorAction::unsupported(&unsupported(action))
            }
        })
    }

    fn kinesis(&mut self, field: &str, action: &KinesisAction) -> Option<CompiledKinesis> {
        let stream_field = format!("{field}.kinesis.streamName");
        let stream = self.value(&stream_field, &action.stream_name, StreamName::new);
        let partition_key = match &action.partition_key {
            None => None,
            Some(text) => {
                let key_field = format!("{field}.kinesis.partitionKey");
                Some(self.value(&key_field, text, PartitionKey::new)?)
            }
        };
        Some(CompiledKinesis {
            stream: stream?,
            partition_key,
        })
    }

    fn republish(&mut self, field: &str, action: &RepublishAction) -> Option<CompiledRepublish> {
        let field = format!("{field}.republish");
        let topic_field = format!("{field}.topic");
        let text = action.topic.as_str();
        let rule = self.rule.to_owned();
        if RepublishTopic::is_basic_ingest(text) {
            self.errors.push(RuleError::RepublishToRule {
                rule,
                field: topic_field,
                topic: text.to_owned(),
            });
            return None;
        }
        let (kind, cut) = RepublishTopic::of_field(text, self.topic_limits);
        let topic = self.value_after(&topic_field, text, cut, |text| kind.topic(text));
        let filter = self.statement.as_ref().and_then(Statement::filter);
        if let (Some(Value::Fixed(topic)), Some(filter)) = (&topic, filter)
            && matches(filter, topic, HashParent::Excluded)
        {
            self.errors.push(RuleError::RepublishLoop {
                rule,
                field: topic_field,
                filter: filter.to_owned(),
            });
        }
        let headers = match &action.headers {
            None => None,
            Some(headers) => Some(Box::new(
                self.headers(&format!("{field}.headers"), headers)?,
            )),
        };
        Some(CompiledRepublish {
            kind,
            topic: topic?,
            qos: action.qos,
            headers,
        })
    }

    fn headers(&mut self, field: &str, headers: &RepublishHeaders) -> Option<CompiledHeaders> {
        let topic_limits = self.topic_limits;
        let indicator = headers.payload_format_indicator.as_deref();
        let topic = headers.response_topic.as_deref();
        let data = headers.correlation_data.as_deref();
        let seconds = headers.message_expiry.as_deref();
        let content_type = headers.content_type.as_deref();
        let place = |name| format!("{field}.{name}");
        let payload_format_indicator =
            self.header(place("payloadFormatIndicator"), indicator, format_indicator);
        let content_type = self.header(place("contentType"), content_type, mqtt_text);
        let response_topic = self.header(place("responseTopic"), topic, |text| {
            response_topic(text, topic_limits)
        });
        let correlation_data = self.header(place("correlationData"), data, correlation_data);
        let message_expiry = self.header(place("messageExpiry"), seconds, expiry);
        let pairs = headers.user_properties.iter().enumerate();
        let pairs: Vec<_> = pairs
            .map(|(place, (name, value))| {
                let place = format!("{field}.userProperties[{place}]");
                let name = self.value(&format!("{place}.key"), name, mqtt_text);
                let value = self.value(&format!("{place}.value"), value, mqtt_text);
                Some((name?, value?))
            })
            .collect();
        Some(CompiledHeaders {
            payload_format_indicator: payload_format_indicator?,
            content_type: content_type?,
            response_topic: response_topic?,
            correlation_data: correlation_data?,
            message_expiry: message_expiry?,
            user_properties: pairs.into_iter().collect::<Option<_>>()?,
            topic_limits,
        })
    }

    /// A header that may be absent; `None` when it is refused.
    #[expect(clippy::option_option, reason = "refused and absent are two things")]
    fn header<T, E: Into<FieldError>>(
        &mut self,
        field: String,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<Value<T>>> {
        match text {
            None => Some(None),
            Some(text) => self.value(&field, text, parse).map(Some),
        }
    }
}

fn unsupported(action: &Action) -> UnsupportedAction {
    UnsupportedAction {
        kind: action.kind().to_owned(),
        name: action.failure_name().into_owned(),
    }
}
