//! Running a case: the same compilation and evaluation that messages go through.

use forebay_core::topic::{HashParent, TopicLimits, basic_ingest, matches};
use forebay_core::{HashKey, Message, PartitionKey, SeededEntropy, StreamName};
use forebay_sql::{
    Context, Diagnostic, Evaluation, SelectStar, Selection, SqlVersion, Statement, Template,
};
use serde_json::json;

use super::case::{Case, Field, Subject};
use crate::republish_topic::RepublishTopic;
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
                template(case, sql, text, *field, message).unwrap_or_else(|ending| ending)
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
    let document = match RuleDocument::from_json(document.to_string().as_bytes(), Some(name)) {
        Ok(document) => document,
        Err(error) => return Ending::Refused(vec![(error.code(), error.to_string())]),
    };
    let rules = vec![(document, RuleSettings::default())];
    let rules = match RuleSet::build(rules, RuleLimits::default()) {
        Ok(rules) => rules,
        Err(errors) => {
            let reasons = errors.iter().map(|error| (error.code(), error.to_string()));
            return Ending::Refused(reasons.collect());
        }
    };
    let mut out = Evaluated::default();
    let mut scratch = Scratch::default();
    rules.evaluate(message, &mut scratch, &mut entropy(case), &mut out);
    match out.records.pop() {
        Some(record) => Ending::Output(record.data.into()),
        None => Ending::NoAction(why_nothing(&out)),
    }
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
    let compiled = Field::compile(field, text, |text| match &statement {
        Some(statement) => statement.template(text),
        None => Template::compile(text, version),
    })
    .map_err(refused)?;

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
    let written = compiled.write(&mut evaluation, limits.topic);
    Ok(match written {
        Ok(text) => Ending::Text(text),
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

/// A template in its field.
enum InField {
    Template(Template, Field),
    RepublishTopic(RepublishTopic),
}

impl Field {
    fn compile(
        self,
        text: &str,
        compile: impl FnOnce(&str) -> Result<Template, Vec<Diagnostic>>,
    ) -> Result<InField, Vec<Diagnostic>> {
        Ok(match self {
            Self::RepublishTopic => {
                InField::RepublishTopic(RepublishTopic::compile(text, compile)?)
            }
            field => InField::Template(compile(text)?, field),
        })
    }
}

impl InField {
    /// The text for one message, or why it is of no use in its field.
    fn write<'a>(
        &'a self,
        evaluation: &mut Evaluation<'a>,
        limits: TopicLimits,
    ) -> Result<String, String> {
        let (template, field) = match self {
            Self::RepublishTopic(topic) => {
                return topic
                    .topic(evaluation, limits)
                    .map_err(|error| error.to_string());
            }
            Self::Template(template, field) => (template, *field),
        };
        let mut text = Vec::new();
        evaluation
            .template(template, &mut text)
            .map_err(|error| error.to_string())?;
        // A template writes whole UTF-8.
        let text = String::from_utf8_lossy(&text).into_owned();
        let usable = match field {
            Field::StreamName => StreamName::new(&text).map(drop).map_err(|e| e.to_string()),
            Field::PartitionKey => PartitionKey::new(&text)
                .map(drop)
                .map_err(|e| e.to_string()),
            Field::ExplicitHashKey => text.parse::<HashKey>().map(drop).map_err(|e| e.to_string()),
            Field::Any | Field::RepublishTopic => Ok(()),
        };
        usable.map(|()| text)
    }
}
