//! The language's conformance cases (`tests/conformance/sql.jsonl`, `templates.jsonl`): every statement must pass, and
//! every template but those in the fields of an action that is not carried out.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use forebay_core::{Message, Origin, Properties, SeededEntropy};
use forebay_rules::{
    Evaluated, RuleDocument, RuleError, RuleLimits, RuleOutcome, RuleSet, RuleSettings, Scratch,
};
use support::Json;

/// One line of a case file.
struct Case {
    id: String,
    fields: BTreeMap<String, Json>,
}

impl Case {
    fn read(file: &str) -> Vec<Case> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/conformance")
            .join(file);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.lines()
            .map(|line| {
                let Json::Object(fields) = Json::parse(line.as_bytes()).expect("a case is JSON")
                else {
                    panic!("a case is an object: {line}");
                };
                let id = fields["id"].text().to_owned();
                Case { id, fields }
            })
            .collect()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(Json::text)
    }

    fn expected(&self, name: &str) -> Option<&Json> {
        match &self.fields["expect"] {
            Json::Object(expect) => expect.get(name),
            _ => panic!("{}: expect is an object", self.id),
        }
    }

    fn payload(&self) -> Bytes {
        match self.text("payloadBase64") {
            Some(encoded) => Bytes::from(support::base64_decode(encoded)),
            None => Bytes::from(
                self.text("payload")
                    .expect("a case has a payload")
                    .to_owned(),
            ),
        }
    }

    /// A property of the PUBLISH packet.
    fn property(&self, name: &str) -> Option<String> {
        match self.fields.get("mqttProperties") {
            Some(Json::Object(properties)) => {
                properties.get(name).map(|value| value.text().to_owned())
            }
            _ => None,
        }
    }

    fn user_properties(&self) -> Vec<(String, String)> {
        let Some(Json::Object(properties)) = self.fields.get("mqttProperties") else {
            return Vec::new();
        };
        let Some(Json::Array(user)) = properties.get("userProperties") else {
            return Vec::new();
        };
        user.iter()
            .flat_map(|property| match property {
                Json::Object(members) => members
                    .iter()
                    .map(|(name, value)| (name.clone(), value.text().to_owned())),
                _ => panic!("a user property is an object"),
            })
            .collect()
    }

    fn rules(&self, sql: &str, partition_key: &str) -> Result<RuleSet, Vec<RuleError>> {
        let document = serde_json::json!({
            "sql": sql,
            "awsIotSqlVersion": self.text("sqlVersion").expect("a case has a version"),
            "actions": [{"kinesis": {"streamName": "s", "partitionKey": partition_key, "roleArn": "arn"}}],
        });
        let name = self.text("ruleName").unwrap_or("r");
        let document = RuleDocument::from_json(document.to_string().as_bytes(), Some(name))
            .expect("a document");
        RuleSet::build(
            vec![(document, RuleSettings::default())],
            RuleLimits::default(),
        )
    }

    fn evaluate(&self, rules: &RuleSet) -> Evaluated {
        let mut out = Evaluated::default();
        let principal = self.text("principal");
        let correlation = self.property("correlationData");
        let correlation = correlation.map(|encoded| support::base64_decode(&encoded));
        let content_type = self.property("contentType");
        let response_topic = self.property("responseTopic");
        let user = self.user_properties();
        let origin = Origin {
            principal,
            source_ip: self
                .text("sourceIp")
                .map(|address| address.parse().expect("an address")),
            trace_id: None,
            account_id: self.text("accountId"),
            properties: Properties {
                content_type: content_type.as_deref(),
                response_topic: response_topic.as_deref(),
                correlation_data: correlation.as_deref(),
                is_utf8: self.property("payloadFormatIndicator").as_deref() == Some("UTF8_DATA"),
                user: &user,
            },
        };
        let message = Message {
            topic: self.text("topic").expect("a case has a topic"),
            payload: &self.payload(),
            client_id: (self.text("protocol") != Some("HTTP"))
                .then(|| self.text("clientId").unwrap_or("client")),
            timestamp_ms: match self.fields.get("timestampMs") {
                Some(Json::Number(text)) => text.parse().expect("a whole number"),
                _ => 1_700_000_000_123,
            },
            origin: &origin,
        };
        rules.evaluate(
            &message,
            &mut Scratch::default(),
            &mut SeededEntropy::new(1),
            &mut out,
        );
        out
    }
}

#[derive(Default)]
struct Report {
    ran: usize,
    excluded: BTreeMap<String, Vec<String>>,
    failed: Vec<String>,
}

impl Report {
    fn exclude(&mut self, case: &Case, construct: String) {
        self.excluded
            .entry(construct)
            .or_default()
            .push(case.id.clone());
    }

    fn check(&mut self, case: &Case, outcome: Result<(), String>) {
        self.ran += 1;
        if let Err(reason) = outcome {
            self.failed.push(format!("{}: {reason}", case.id));
        }
    }

    fn finish(self, total: usize, ran: usize) {
        let excluded: usize = self.excluded.values().map(Vec::len).sum();
        let constructs: Vec<_> = self
            .excluded
            .iter()
            .map(|(construct, cases)| format!("{construct} ({})", cases.len()))
            .collect();
        let summary = format!(
            "{} ran, {excluded} need a later construct: {}",
            self.ran,
            constructs.join(", ")
        );
        assert!(
            self.failed.is_empty(),
            "{} failed\n{}\n{summary}",
            self.failed.len(),
            self.failed.join("\n")
        );
        assert_eq!(self.ran + excluded, total, "{summary}");
        // A construct that breaks would otherwise only move its cases from one number to the other.
        assert_eq!(self.ran, ran, "{summary}");
    }
}

fn check_statement(case: &Case, rules: Result<RuleSet, Vec<RuleError>>) -> Result<(), String> {
    let rules = match rules {
        Err(errors) if case.expected("error").is_some() => {
            // The refusal must be about the statement and not about something that is not built.
            return if errors.iter().any(|error| error.code() != "R015") {
                Ok(())
            } else {
                Err(format!("{errors:?}"))
            };
        }
        Err(errors) => return Err(format!("refused: {errors:?}")),
        Ok(_) if case.expected("error").is_some() => return Err("was not refused".to_owned()),
        Ok(rules) => rules,
    };
    let evaluated = case.evaluate(&rules);
    let Some(record) = evaluated.records.first() else {
        return match case.expected("noMatch") {
            Some(_) => Ok(()),
            None => Err(format!("no record: {evaluated:?}")),
        };
    };
    let got = String::from_utf8_lossy(&record.data);
    if case.expected("noMatch").is_some() {
        return Err(format!("selected {got}"));
    }
    if let Some(base64) = case.expected("base64")
        && support::base64_decode(base64.text()) != record.data
    {
        return Err(format!("other bytes: {got:?}"));
    }
    if let Some(text) = case.expected("text")
        && text.text() != got
    {
        return Err(format!("{got} instead of {}", text.text()));
    }
    if let Some(json) = case.expected("json") {
        let tolerance = case.fields.get("tol").map(|tolerance| tolerance.number());
        let same = Json::parse(&record.data).is_some_and(|value| value.same(json, tolerance));
        if !same {
            return Err(format!("{got} instead of {json:?}"));
        }
    }
    Ok(())
}

#[test]
fn statements() {
    let cases = Case::read("sql.jsonl");
    let mut report = Report::default();
    for case in &cases {
        let rules = case.rules(case.text("sql").expect("a case has a statement"), "k");
        report.check(case, check_statement(case, rules));
    }
    report.finish(cases.len(), 1284);
}

#[test]
fn templates() {
    let cases = Case::read("templates.jsonl");
    let mut report = Report::default();
    for case in &cases {
        if case.text("field").is_some() {
            report.exclude(case, "republish".to_owned());
            continue;
        }
        let sql = format!(
            "SELECT * FROM '{}'",
            case.text("topic").expect("a case has a topic")
        );
        let rules = case.rules(
            case.text("sql").unwrap_or(&sql),
            case.text("template").expect("a template"),
        );
        match rules {
            Err(errors) => report.check(case, Err(format!("refused: {errors:?}"))),
            Ok(rules) => {
                let evaluated = case.evaluate(&rules);
                let got = evaluated
                    .records
                    .first()
                    .map(|record| record.partition_key.as_str());
                let expected = case.expected("string").map(Json::text);
                let outcome = if got == expected {
                    Ok(())
                } else {
                    Err(format!("{got:?} instead of {expected:?}"))
                };
                report.check(case, outcome);
            }
        }
    }
    report.finish(cases.len(), 52);
}

#[test]
fn where_and_select_errors_are_told_apart() {
    let case = &Case::read("sql.jsonl")
        .into_iter()
        .find(|case| case.id == "dec.value.undef-01")
        .expect("the case");
    let evaluated = case.evaluate(
        &case
            .rules(case.text("sql").expect("a statement"), "k")
            .expect("valid"),
    );
    assert!(matches!(
        evaluated.outcomes[..],
        [(0, RuleOutcome::Error(forebay_rules::ErrorKind::Eval))]
    ));
}
