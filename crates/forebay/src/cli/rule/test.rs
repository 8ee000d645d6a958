//! `rule test`: what a statement or a document makes of one message, down to the shard.

use bytes::Bytes;
use forebay_core::{Clock, Entropy, HashKey, Message, SeededEntropy, ShardMap, SystemClock};
use forebay_rules::{
    Action, Environment, ErrorTarget, Evaluated, Failure as ActionFailure, OutputRecord,
    RepublishProperties, RepublishedMessage, RuleDocument, RuleOutcome, RuleSet, RuleSettings,
    Scratch,
};
use serde_json::{Value, json};

use super::args::TestArguments;
use super::documents::{self, read_input};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::config::COMMAND_LINE_SQL_VERSION;
use crate::diagnostics::Report;

/// Name of a rule that has none.
const NAME: &str = "test";
/// Bytes that one PUT payload unit pays for (Kinesis pricing).
const PUT_UNIT_BYTES: usize = 25 * 1024;

/// Runs the command.
pub(super) fn run(arguments: &TestArguments) -> Outcome {
    let document = document(arguments)?;
    let (Some(topic), Some(payload)) = (&arguments.topic, &arguments.payload) else {
        return Err(Failure::new(Exit::Usage, "give --topic and --payload"));
    };
    let payload = Bytes::from(read_input(payload)?);
    let settings = RuleSettings {
        explicit_hash_key: arguments.explicit_hash_key.clone(),
        ..RuleSettings::default()
    };
    let mut report = Report::default();
    let name_of = |field: &str| name_of(arguments, field);
    let Some(rules) = documents::compile(
        document,
        settings,
        &Environment::DEFAULT,
        &mut report,
        name_of,
    ) else {
        return Err(documents::refuse(&report));
    };
    let message = Message {
        topic,
        payload: &payload,
        client_id: arguments.client_id.as_deref(),
        timestamp_ms: arguments
            .now
            .unwrap_or_else(|| SystemClock::new().wall_millis()),
        origin: &forebay_core::Origin::UNKNOWN,
    };
    let mut entropy = SeededEntropy::from_os();
    let result = Evaluation::of(&rules, &message, &mut entropy);
    let shards = arguments.shards.and_then(ShardMap::even);
    if arguments.json {
        output::json(&result.as_json(shards.as_ref()))?;
    } else {
        output::line(result.as_text(shards.as_ref()).trim_end())?;
    }
    Ok(if result.failed() {
        Exit::Failed
    } else {
        Exit::Done
    })
}

/// The document of `--rule` or one around `--sql`, with the stream and the key that were asked for.
fn document(arguments: &TestArguments) -> Result<RuleDocument, Failure> {
    let mut document = match (&arguments.rule, &arguments.sql) {
        (Some(path), _) => documents::read(path).map_err(|diagnostic| {
            let mut report = Report::default();
            report.push(*diagnostic);
            documents::refuse(&report)
        })?,
        (None, Some(sql)) => around_statement(sql, arguments.sql_version.as_deref())?,
        (None, None) => return Err(Failure::new(Exit::Usage, "give --sql or --rule")),
    };
    for action in &mut document.actions {
        if let Action::Kinesis(action) = action {
            if let Some(stream) = &arguments.stream {
                action.stream_name.clone_from(stream);
            }
            if let Some(key) = &arguments.partition_key {
                action.partition_key = Some(key.clone());
            }
        }
    }
    // A rule that is switched off is tested all the same.
    document.disabled = false;
    Ok(document)
}

fn around_statement(sql: &str, version: Option<&str>) -> Result<RuleDocument, Failure> {
    let document = json!({
        "sql": sql,
        "awsIotSqlVersion": version.unwrap_or(COMMAND_LINE_SQL_VERSION),
        "actions": [{ "kinesis": {
            "streamName": "stream",
            "partitionKey": "${topic()}",
            "roleArn": "",
        }}],
    });
    RuleDocument::from_json(document.to_string().as_bytes(), Some(NAME)).map_err(|error| {
        let help = error.help().map(|help| format!("\n  help: {help}"));
        Failure::new(Exit::Data, format!("{error}{}", help.unwrap_or_default()))
    })
}

/// Where a text of the rule was typed or written.
fn name_of(arguments: &TestArguments, field: &str) -> String {
    match (&arguments.rule, field) {
        (Some(path), field) => format!("{}: {field}", path.display()),
        (None, "sql") => "--sql".to_owned(),
        (None, "explicit_hash_key") => "--explicit-hash-key".to_owned(),
        (None, field) if field.ends_with("partitionKey") => "--partition-key".to_owned(),
        (None, _) => "--stream".to_owned(),
    }
}

/// What came out.
struct Evaluation {
    matched: bool,
    /// Why there is no output, when there is none.
    nothing: Option<String>,
    /// Errors that stopped the rule or one of its actions, or that it went on with.
    errors: Vec<&'static str>,
    records: Vec<OutputRecord>,
    republished: Vec<RepublishedMessage>,
    /// What its error action would be told, and where that would go.
    failures: Vec<(ActionFailure, Option<String>)>,
    selected: bool,
}

impl Evaluation {
    fn of(rules: &RuleSet, message: &Message<'_>, entropy: &mut dyn Entropy) -> Self {
        let mut out = Evaluated::default();
        rules.evaluate(message, &mut Scratch::default(), entropy, &mut out);
        let mut errors: Vec<&'static str> = Vec::new();
        let mut filtered = false;
        let mut selected = false;
        for (_, outcome) in &out.outcomes {
            match outcome {
                RuleOutcome::Selected => selected = true,
                RuleOutcome::Filtered => filtered = true,
                RuleOutcome::Error(kind) => errors.push(kind.as_str()),
            }
        }
        let filter = rules.rules().first().and_then(|rule| rule.filter());
        let nothing = if out.unknown_rule {
            Some(format!(
                "Basic Ingest names a rule that is not this one; its name is {NAME:?}"
            ))
        } else if out.matched == 0 {
            Some(match filter {
                Some(filter) => format!("the topic does not match {filter:?}"),
                None => "the statement has no FROM: only Basic Ingest reaches it".to_owned(),
            })
        } else if filtered {
            Some("WHERE is not true".to_owned())
        } else if out.records.is_empty() && out.republished.is_empty() {
            Some(match errors.first() {
                Some(kind) => format!("rule error: {kind}"),
                None => "the rule has no action".to_owned(),
            })
        } else {
            None
        };
        let target = out
            .error_targets
            .first()
            .map(|(_, target)| shown_target(target));
        Self {
            matched: out.matched > 0,
            nothing,
            errors,
            records: out.records,
            republished: out.republished.into_iter().map(|one| one.message).collect(),
            failures: out
                .failures
                .into_iter()
                .map(|failed| (failed.failure, target.clone()))
                .collect(),
            selected,
        }
    }

    /// True when something went wrong that keeps a record from its stream; a WHERE that says no is no failure.
    fn failed(&self) -> bool {
        let is_nothing = self.records.is_empty() && self.republished.is_empty();
        self.matched && !self.errors.is_empty() && is_nothing
    }

    fn as_text(&self, shards: Option<&ShardMap>) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: &str| {
            text.push_str(&format!("{name:<14} {value}\n"));
        };
        if let Some(nothing) = &self.nothing {
            row("output", &format!("none: {nothing}"));
        }
        for record in &self.records {
            row("output", &shown_data(&record.data));
            row("bytes", &record.data.len().to_string());
            row("stream", record.stream.as_str());
            row("partition key", record.partition_key.as_str());
            let (hash, how) = hash_of(record);
            row("hash key", &format!("{} ({how})", hash.value()));
            if let Some(map) = shards {
                let shard = map.shard(map.lookup(hash));
                row("shard", &format!("{} of {}", shard.id(), map.len()));
            }
            row("PUT units", &put_units(record).to_string());
        }
        for message in &self.republished {
            row("output", &shown_data(&message.payload));
            row("bytes", &message.payload.len().to_string());
            row("topic", &message.topic);
            row("QoS", &message.qos.level().to_string());
            for (name, value) in shown_properties(&message.properties) {
                row(&name, &value);
            }
        }
        if self.nothing.is_none() {
            for kind in &self.errors {
                row("rule error", kind);
            }
        }
        for (failure, target) in &self.failures {
            row("failure", &failure.message);
            row("told to", target.as_deref().unwrap_or("nobody"));
        }
        text
    }

    fn as_json(&self, shards: Option<&ShardMap>) -> Value {
        let records: Vec<Value> = self
            .records
            .iter()
            .map(|record| {
                let (hash, how) = hash_of(record);
                json!({
                    "output": std::str::from_utf8(&record.data).ok(),
                    "output_hex": hexadecimal(&record.data),
                    "bytes": record.data.len(),
                    "stream": record.stream.as_str(),
                    "partition_key": record.partition_key.as_str(),
                    "hash_key": hash.value().to_string(),
                    "hash_key_from": how,
                    "shard": shards.map(|map| map.shard(map.lookup(hash)).id()),
                    "put_units": put_units(record),
                })
            })
            .collect();
        let republished: Vec<Value> = self.republished.iter().map(message_as_json).collect();
        let failures: Vec<Value> = self
            .failures
            .iter()
            .map(|(failure, target)| {
                json!({
                    "action": failure.action,
                    "resource": failure.resource,
                    "message": failure.message,
                    "told_to": target,
                })
            })
            .collect();
        json!({
            "matched": self.matched,
            "selected": self.selected,
            "nothing": self.nothing,
            "errors": self.errors,
            "records": records,
            "republished": republished,
            "failures": failures,
        })
    }
}

fn message_as_json(message: &RepublishedMessage) -> Value {
    let properties: serde_json::Map<String, Value> = shown_properties(&message.properties)
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    json!({
        "output": std::str::from_utf8(&message.payload).ok(),
        "output_hex": hexadecimal(&message.payload),
        "bytes": message.payload.len(),
        "topic": message.topic,
        "qos": message.qos.level(),
        "properties": properties,
    })
}

/// The properties that a message has, under the names of their headers.
fn shown_properties(properties: &RepublishProperties) -> Vec<(String, String)> {
    let RepublishProperties {
        payload_format_indicator,
        content_type,
        response_topic,
        correlation_data,
        message_expiry,
        user_properties,
    } = properties;
    let single = [
        (
            "format",
            payload_format_indicator.map(|value| value.to_string()),
        ),
        ("content type", content_type.clone()),
        ("response topic", response_topic.clone()),
        ("correlation", correlation_data.as_deref().map(hexadecimal)),
        (
            "expiry",
            message_expiry.map(|seconds| format!("{seconds} s")),
        ),
    ];
    let single = single.into_iter();
    let single = single.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let pairs = user_properties.iter();
    let pairs = pairs.map(|(name, value)| (format!("user {name}"), value.clone()));
    single.chain(pairs).collect()
}

fn shown_target(target: &ErrorTarget) -> String {
    match target {
        ErrorTarget::Kinesis {
            stream,
            partition_key,
        } => format!("stream {stream}, partition key {partition_key}"),
        ErrorTarget::Republish { topic, .. } => format!("topic {topic}"),
        ErrorTarget::Unusable { action, reason } => format!("nobody: {action}: {reason}"),
    }
}

/// Bytes as text where they are some.
fn shown_data(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("{} (hexadecimal)", hexadecimal(data)),
    }
}

/// The hash key that decides the shard, and where it comes from.
fn hash_of(record: &OutputRecord) -> (HashKey, &'static str) {
    match record.explicit_hash_key {
        Some(hash) => (hash, "explicit"),
        None => (
            HashKey::of_partition_key(record.partition_key.as_str()),
            "MD5 of the partition key",
        ),
    }
}

fn put_units(record: &OutputRecord) -> usize {
    let bytes = record.data.len() + record.partition_key.as_str().len();
    bytes.div_ceil(PUT_UNIT_BYTES).max(1)
}

fn hexadecimal(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}
