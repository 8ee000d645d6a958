//! Running a case: the same compilation and evaluation that messages go through.

use forebay_core::topic::{HashParent, basic_ingest, matches};
use forebay_core::{HashKey, Message, PartitionKey, SeededEntropy, StreamName};
use forebay_sql::{
    Context, Diagnostic, Evaluation, SelectStar, Selection, SqlVersion, Statement, Template,
};
use serde_json::json;

use super::case::{Case, Field, Subject};
use crate::{Evaluated, RuleDocument, RuleLimits, RuleOutcome, RuleSet, RuleSettings, Scratch};

/// Name of a rule that has none.
const RULE_NAME: &str = "case";
/// Seed of what is random in a case that gives none.
const SEED: u64 = 1;

/// What came of it.
#[derive(Debug)]
pub(super) enum Ending {
    /// The rule cannot be made; each reason with its code.
    Refused(Vec<(&'static str, String)>),
    /// No action ran, and why.
    NoAction(String),
    /// The action failed, and why.
    ActionFailed(String),
    /// The outgoing payload.
    Output(Vec<u8>),
    /// The text of the template.
    Text(String),
}

pub(super) fn run(case: &Case, now_ms: i64) -> Ending {
    case.published
        .with_message(now_ms, |message| match &case.subject {
            Subject::Statement(sql) => statement(case, sql, message),
            Subject::Template { text, field, sql } => {
                let sql = sql.as_deref();
                match field {
                    Field::RepublishTopic => republish(case, sql, text, message),
                    field => {
                        template(case, sql, text, *field, message).unwrap_or_else(|ending| ending)
                    }
                }
            }
        })
}

fn entropy(case: &Case) -> SeededEntropy {
    SeededEntropy::new(case.published.seed.unwrap_or(SEED))
}

fn statement(case: &Case, sql: &str, message: &Message<'_>) -> Ending {
    let name = case.rule_name.as_deref().unwrap_or(RULE_NAME);
    let document = json!({
        "sql": sql,
        "awsIotSqlVersion": case.version,
        "actions": [{ "kinesis": { "streamName": "s", "partitionKey": "k", "roleArn": "" } }],
    });
    let mut out = match evaluate(case, name, &document, message) {
        Ok(out) => out,
        Err(refused) => return refused,
    };
    match out.records.pop() {
        Some(record) => Ending::Output(record.data.into()),
        None => Ending::NoAction(why_nothing(&out)),
    }
}

/// Evaluates the topic of a rule that republishes. Without a statement the message names the rule, so that no filter
/// has a say.
fn republish(case: &Case, sql: Option<&str>, topic: &str, message: &Message<'_>) -> Ending {
    let document = json!({
        "sql": sql.unwrap_or("SELECT *"),
        "awsIotSqlVersion": case.version,
        "actions": [{ "republish": { "topic": topic, "roleArn": "" } }],
        "errorAction": { "kinesis": { "streamName": "s", "partitionKey": "k", "roleArn": "" } },
    });
    let name = case.rule_name.as_deref().unwrap_or(RULE_NAME);
    let named = format!("$aws/rules/{name}/{}", message.topic);
    let is_named = sql.is_none() && basic_ingest(message.topic).is_none();
    let topic = if is_named { &named } else { message.topic };
    let mut out = match evaluate(case, name, &document, &Message { topic, ..*message }) {
        Ok(out) => out,
        Err(refused) => return refused,
    };
    match (out.republished.pop(), out.failures.pop()) {
        (Some(republished), _) => Ending::Text(republished.message.topic),
        (None, Some(failed)) => Ending::ActionFailed(failed.failure.message),
        (None, None) => Ending::NoAction(why_nothing(&out)),
    }
}

/// What a rule makes of the message, or why there cannot be such a rule.
fn evaluate(
    case: &Case,
    name: &str,
    document: &serde_json::Value,
    message: &Message<'_>,
) -> Result<Evaluated, Ending> {
    let document = RuleDocument::from_json(document.to_string().as_bytes(), Some(name))
        .map_err(|error| Ending::Refused(vec![(error.code(), error.to_string())]))?;
    let rules = vec![(document, RuleSettings::default())];
    let rules = RuleSet::build(rules, RuleLimits::default()).map_err(|errors| {
        let reasons = errors.iter().map(|error| (error.code(), error.to_string()));
        Ending::Refused(reasons.collect())
    })?;
    let mut out = Evaluated::default();
    rules.evaluate(
        message,
        &mut Scratch::default(),
        &mut entropy(case),
        &mut out,
    );
    Ok(out)
}

fn why_nothing(out: &Evaluated) -> String {
    if out.unknown_rule {
        return "the topic names another rule".to_owned();
    }
    match out.outcomes.first() {
        None => "the topic does not match".to_owned(),
        Some((_, RuleOutcome::Error(kind))) => format!("rule error: {}", kind.as_str()),
        Some((_, RuleOutcome::Selected | RuleOutcome::Filtered)) => "WHERE is not true".to_owned(),
    }
}

/// Evaluates a template by itself. What ends it early is the error.
fn template(
    case: &Case,
    sql: Option<&str>,
    text: &str,
    field: Field,
    message: &Message<'_>,
) -> Result<Ending, Ending> {
    let version = match &case.version {
        None => SqlVersion::default(),
        Some(text) => text.parse().map_err(|()| {
            Ending::Refused(vec![("R111", format!("unknown awsIotSqlVersion {text:?}"))])
        })?,
    };
    let statement = sql
        .map(|sql| Statement::compile(sql, version))
        .transpose()
        .map_err(refused)?;
    let compiled = match &statement {
        Some(statement) => statement.template(text),
        None => Template::compile(text, version),
    };
    let compiled = compiled.map_err(refused)?;

    let topic = basic_ingest(message.topic).map_or(message.topic, |(_, topic)| topic);
    let limits = RuleLimits::default();
    let context = Context {
        topic,
        payload: message.payload,
        client_id: message.client_id,
        timestamp_ms: message.timestamp_ms,
        origin: message.origin,
    };
    let (mut scratch, mut entropy) = (forebay_sql::Scratch::default(), entropy(case));
    let mut evaluation = Evaluation::new(context, limits.evaluation, &mut scratch, &mut entropy);
    if let Some(statement) = &statement {
        select(statement, topic, &mut evaluation)?;
    }
    let mut text = Vec::new();
    let written = evaluation.template(&compiled, &mut text);
    if let Err(error) = written {
        return Ok(Ending::ActionFailed(error.to_string()));
    }
    // A template writes whole UTF-8.
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(match field.check(&text) {
        Ok(()) => Ending::Text(text),
        Err(reason) => Ending::ActionFailed(reason),
    })
}

/// Runs the statement that a template belongs to, for its variables; without selection no action runs.
fn select<'a>(
    statement: &'a Statement,
    topic: &str,
    evaluation: &mut Evaluation<'a>,
) -> Result<(), Ending> {
    let matches_topic = |filter: &str| matches(filter, topic, HashParent::Excluded);
    if !statement.filter().is_some_and(matches_topic) {
        return Err(Ending::NoAction("the topic does not match".to_owned()));
    }
    match evaluation.select(statement, SelectStar::Verbatim, &mut Vec::new()) {
        Ok(Selection::Payload | Selection::Written) => Ok(()),
        Ok(Selection::Filtered) => Err(Ending::NoAction("WHERE is not true".to_owned())),
        Err(error) => Err(Ending::NoAction(error.to_string())),
    }
}

fn refused(diagnostics: Vec<Diagnostic>) -> Ending {
    let reasons = diagnostics
        .into_iter()
        .map(|diagnostic| (diagnostic.code.as_str(), diagnostic.message));
    Ending::Refused(reasons.collect())
}

impl Field {
    /// Why the text is of no use in the field, if it is not.
    fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::StreamName => StreamName::new(text).map(drop).map_err(|e| e.to_string()),
            Self::PartitionKey => PartitionKey::new(text).map(drop).map_err(|e| e.to_string()),
            Self::ExplicitHashKey => text.parse::<HashKey>().map(drop).map_err(|e| e.to_string()),
            Self::Any | Self::RepublishTopic => Ok(()),
        }
    }
}
