//! `rule explain`: what a rule reads, converts and evaluates beforehand, which way its output takes, where its records
//! go, which settings are in force, and what a message costs.

mod json;
mod text;

use bytes::Bytes;
use forebay_core::{Clock, Message, Origin, SystemClock};
use forebay_rules::{
    FoldedValue, JsonReader, OutputPath, PayloadUse, Rule, RuleExplanation, RuleOutcome, RuleSet,
    RuleSettings, SelectStar, ValueType,
};

use super::args::ExplainArguments;
use super::documents::{self, read_input, shown_name};
use super::list::{self, load};
use super::measure::{self, Measured};
use super::sample;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::config::Config;
use crate::diagnostics::Report;

/// Client id of the message that is measured.
const CLIENT_ID: &str = "device-1";

/// Runs the command.
pub(super) fn run(arguments: &ExplainArguments) -> Outcome {
    let mut report = Report::default();
    let document = documents::read(&arguments.file).map_err(|diagnostic| {
        report.push(*diagnostic);
        documents::refuse(&report)
    })?;
    let config = load(&arguments.config)?;
    let settings = config.rule_set.rule(&document.name);
    let settings = settings.map_or_else(RuleSettings::default, |rule| rule.settings().clone());
    let file = shown_name(&arguments.file);
    let name_of = |field: &str| format!("{file}: {field}");
    // A rule that is switched off is explained all the same.
    let is_enabled = !document.disabled;
    let mut document = document;
    document.disabled = false;
    let environment = config.rule_set.environment();
    let Some(rules) = documents::compile(document, settings, environment, &mut report, name_of)
    else {
        return Err(documents::refuse(&report));
    };
    let explained = rules.rules().first().and_then(|rule| {
        let explanation = rules.explain(rule.name())?;
        Some((rule, explanation))
    });
    let (rule, explanation) =
        explained.ok_or_else(|| Failure::new(Exit::Data, format!("{file} cannot be explained")))?;
    let cost = Cost::of(&rules, rule, &explanation, arguments)?;
    let explained = Explained {
        rule,
        is_enabled,
        explanation: &explanation,
        settings: in_force(rule, &config),
        cost,
    };
    if arguments.json {
        output::json(&explained.as_json())?;
    } else {
        output::line(explained.as_text().trim_end())?;
    }
    Ok(Exit::Done)
}

/// The settings that decide over the rule's records, each with where it comes from.
fn in_force(rule: &Rule, config: &Config) -> Vec<(&'static str, String)> {
    let settings = rule.settings();
    let own = |value: String| format!("{value} (rule)");
    let ack = match settings.ack {
        Some(ack) => own(ack.to_string()),
        None => {
            let listeners = config.listeners.iter();
            let acks: Vec<String> = listeners
                .map(|listener| format!("{} (listener {})", listener.ack, listener.name))
                .collect();
            acks.join(", ")
        }
    };
    let on_full = match settings.on_full {
        Some(on_full) => own(on_full.to_string()),
        None => format!("{} (memory.on_full)", config.memory.on_full),
    };
    let ordering = match settings.ordering {
        Some(ordering) => own(ordering.to_string()),
        None => format!("{} (kinesis.ordering)", config.kinesis.ordering),
    };
    let select_star = match settings.select_star {
        SelectStar::Verbatim => "verbatim",
        SelectStar::Compact => "compact (rule)",
    };
    let on_config_error = rule.on_config_error().to_string();
    let on_config_error = match settings.on_config_error {
        Some(_) => own(on_config_error),
        None => on_config_error,
    };
    vec![
        ("ack", ack),
        ("on_full", on_full),
        ("ordering", ordering),
        ("select_star", select_star.to_owned()),
        ("on_config_error", on_config_error),
    ]
}

/// What was measured, and with what.
struct Cost {
    topic: String,
    payload: Bytes,
    is_made_up: bool,
    outcome: Option<RuleOutcome>,
    measured: Measured,
}

impl Cost {
    fn of(
        rules: &RuleSet,
        rule: &Rule,
        explanation: &RuleExplanation,
        arguments: &ExplainArguments,
    ) -> Result<Self, Failure> {
        let topic = arguments
            .topic
            .clone()
            .unwrap_or_else(|| sample::topic(rule));
        let is_made_up = arguments.payload.is_none();
        let candidates = match &arguments.payload {
            Some(path) => vec![Bytes::from(read_input(path)?)],
            None => sample::payloads(explanation),
        };
        let timestamp_ms = SystemClock::new().wall_millis();
        let message = |payload| Message {
            topic: &topic,
            payload,
            client_id: Some(CLIENT_ID),
            timestamp_ms,
            origin: &Origin::UNKNOWN,
        };
        // A message that the rule selects costs all that the rule can cost.
        let selected = candidates.iter().find(|payload| {
            measure::outcome(rules, &message(payload)) == Some(RuleOutcome::Selected)
        });
        let payload = selected.or(candidates.first()).cloned().unwrap_or_default();
        let message = message(&payload);
        let outcome = measure::outcome(rules, &message);
        let measured = measure::measure(rules, &message);
        Ok(Self {
            topic: topic.clone(),
            payload: payload.clone(),
            is_made_up,
            outcome,
            measured,
        })
    }

    fn outcome(&self) -> String {
        match self.outcome {
            None => "the topic does not match".to_owned(),
            Some(RuleOutcome::Selected) => "selected".to_owned(),
            Some(RuleOutcome::Filtered) => "WHERE is not true".to_owned(),
            Some(RuleOutcome::Error(kind)) => format!("rule error: {}", kind.as_str()),
        }
    }

    fn reader(&self) -> &'static str {
        match JsonReader::of(&self.payload) {
            JsonReader::Tape => "simd-json's tape",
            JsonReader::Exact => "the exact parser",
            JsonReader::None => "no parser: no JSON object or array",
        }
    }
}

struct Explained<'a> {
    rule: &'a Rule,
    is_enabled: bool,
    explanation: &'a RuleExplanation,
    settings: Vec<(&'static str, String)>,
    cost: Cost,
}

impl Explained<'_> {
    /// True when the statement or a template parses the payload.
    fn parses(&self) -> bool {
        let templates = self.explanation.templates.iter();
        templates
            .map(|template| template.explanation.payload)
            .chain([self.explanation.statement.payload])
            .any(|payload| payload == PayloadUse::Parsed)
    }

    /// Stream, key and hash of each action.
    fn records(&self) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        for (index, action) in self.rule.document().actions.iter().enumerate() {
            match action {
                forebay_rules::Action::Kinesis(action) => {
                    rows.push((format!("{index} stream"), action.stream_name.clone()));
                    let key = action.partition_key.as_deref();
                    rows.push((
                        format!("{index} key"),
                        key.unwrap_or("a random UUID per record").to_owned(),
                    ));
                }
                forebay_rules::Action::Republish(action) => {
                    let qos = action.qos.level();
                    rows.push((
                        format!("{index} topic"),
                        format!("{} (QoS {qos})", action.topic),
                    ));
                }
                forebay_rules::Action::Unsupported { kind, .. } => {
                    rows.push((format!("{index} {kind}"), "not run".to_owned()));
                }
            }
        }
        if let Some(error_action) = &self.rule.document().error_action {
            rows.push(("on failure".to_owned(), list::action(error_action)));
        }
        let hash = self.rule.settings().explicit_hash_key.as_deref();
        rows.push((
            "hash key".to_owned(),
            hash.unwrap_or("MD5 of the partition key").to_owned(),
        ));
        rows
    }
}

fn read(read: &forebay_rules::Read) -> String {
    let path = if read.path.is_empty() {
        "*".to_owned()
    } else {
        read.path.join(".")
    };
    if read.of_element {
        format!("{path} (of each element)")
    } else {
        path
    }
}

fn output_path(path: OutputPath) -> &'static str {
    match path {
        OutputPath::Verbatim => "verbatim: the payload's own bytes",
        OutputPath::Splice => {
            "spliced: the payload's own bytes with members added before the last brace"
        }
        OutputPath::Written => {
            "written: member by member, values that are only copied keep their text"
        }
        OutputPath::Value => "written: one value",
        OutputPath::Text => "text",
    }
}

fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Number => "a number",
        ValueType::Boolean => "a boolean",
        ValueType::String => "a string",
        ValueType::Array => "an array",
        ValueType::Object => "an object",
        ValueType::Null => "null",
        ValueType::Undefined => "undefined",
    }
}

fn folded_value(value: &FoldedValue) -> String {
    match value {
        FoldedValue::Scalar(text) => text.clone(),
        FoldedValue::String(text) => format!("'{text}'"),
        FoldedValue::Undefined => "undefined".to_owned(),
        FoldedValue::Pattern { backtracks: true } => {
            "a compiled pattern, which may backtrack".to_owned()
        }
        FoldedValue::Pattern { backtracks: false } => "a compiled pattern".to_owned(),
    }
}
