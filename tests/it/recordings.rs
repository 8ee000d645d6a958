//! Recorded exchanges of the AWS CLI with two other servers: what they were asked is asked here.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use forebay_tests::http::{self, Response};
use serde_json::{Map, Value, json};

use crate::bed::Bed;

const MINISTACK: &str = include_str!("../conformance/iot_api_ministack.jsonl");
const MOTO: &str = include_str!("../conformance/iot_api_moto.jsonl");

/// Where the answer is ours and neither of theirs: both took what AWS's model or documentation refuses, or answer
/// operations that Forebay has not. By call: status and error name.
const OURS: [(u64, u16, &str); 11] = [
    (8, 400, "InvalidRequestException"),
    (9, 400, "SqlParseException"),
    (10, 400, "InvalidRequestException"),
    (11, 400, "SqlParseException"),
    (38, 400, "InvalidRequestException"),
    (39, 400, "InvalidRequestException"),
    (40, 404, ""),
    (41, 404, ""),
    (42, 404, ""),
    (43, 404, ""),
    (44, 404, ""),
];

/// Calls whose lists are compared with what was asked for: both servers ignore the query.
const LISTS: [(u64, &[&str]); 4] = [
    (
        18,
        &["disabled_rule", "hot_telemetry", "noactions", "with_error"],
    ),
    (
        19,
        &["disabled_rule", "hot_telemetry", "noactions", "with_error"],
    ),
    (20, &["disabled_rule"]),
    (21, &["disabled_rule"]),
];

/// Members of answers that may differ: moments, addresses, and what the model leaves out when it is not set.
fn comparable(body: &str) -> Value {
    const OTHER: [&str; 9] = [
        "__type",
        "createdAt",
        "endpointAddress",
        "lastModifiedTime",
        "nextToken",
        "resourceArn",
        "resourceId",
        "traceId",
        "userProperties",
    ];
    fn stripped(value: Value) -> Value {
        match value {
            Value::Object(members) => {
                let kept = members.into_iter().filter(|(name, value)| {
                    !OTHER.contains(&name.as_str()) && !value.is_null() && *value != json!("")
                });
                Value::Object(
                    kept.map(|(name, value)| (name, stripped(value)))
                        .collect::<Map<_, _>>(),
                )
            }
            Value::Array(items) => items.into_iter().map(stripped).collect(),
            value => value,
        }
    }
    stripped(serde_json::from_str(body).unwrap_or_else(|_| json!({})))
}

fn error_of(answer: &Response) -> String {
    answer
        .header("x-amzn-errortype")
        .unwrap_or_default()
        .to_owned()
}

fn check_ours(call: u64, answer: &Response) -> Result<bool> {
    let found = OURS.iter().find(|(number, ..)| *number == call);
    let Some((_, status, name)) = found else {
        return Ok(false);
    };
    ensure!(
        answer.status == *status && error_of(answer) == *name,
        "call {call}: {answer:?}"
    );
    Ok(true)
}

fn check_list(call: u64, answer: &Response) -> Result<bool> {
    let Some((_, names)) = LISTS.iter().find(|(number, _)| *number == call) else {
        return Ok(false);
    };
    let body: Value = serde_json::from_str(&answer.body)?;
    let rules = body["rules"].as_array().context("rules")?;
    let listed: Vec<_> = rules
        .iter()
        .filter_map(|rule| rule["ruleName"].as_str())
        .collect();
    ensure!(listed == *names, "call {call}: {answer:?}");
    ensure!(body["nextToken"].is_string() == (call == 21), "{answer:?}");
    Ok(true)
}

#[test]
fn what_others_were_asked_is_answered_alike() -> Result<()> {
    let bed = Bed::start(&["telemetry:1"], Ok)?;
    let mut own = BTreeSet::new();
    for (line, other) in MINISTACK.lines().zip(MOTO.lines()) {
        let (recorded, other): (Value, Value) =
            (serde_json::from_str(line)?, serde_json::from_str(other)?);
        let call = recorded["call"].as_u64().context("a number")?;
        let request = &recorded["request"];
        let text = |member: &str| request[member].as_str().context("a text");
        let headers: Vec<(&str, &str)> = request["headers"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name != "content-length")
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .collect();
        let (method, path) = (text("method")?, text("path")?);
        let body = text("body")?.as_bytes();
        let answer = http::send(bed.forebay.admin(), method, path, &headers, body)?;
        if check_ours(call, &answer)? || check_list(call, &answer)? {
            own.insert(call);
            continue;
        }
        let theirs = [&recorded, &other].map(|recorded| {
            let response = &recorded["response"];
            let status = response["status"].as_u64();
            let name = response["headers"]["x-amzn-errortype"].as_str();
            let body = response["body"].as_str();
            (
                status,
                name.unwrap_or_default().to_owned(),
                body.unwrap_or_default().to_owned(),
            )
        });
        let status = Some(u64::from(answer.status));
        let name = error_of(&answer);
        let alike = theirs
            .iter()
            .find(|theirs| theirs.0 == status && theirs.1 == name);
        let alike =
            alike.with_context(|| format!("call {call}: {answer:?} is neither of {theirs:?}"))?;
        let mut bodies = [&answer.body, &alike.2].map(|body| comparable(body));
        match call {
            // What is wrong with a statement is said in our words; a rule that names no SQL version has AWS's default.
            4 | 5 | 6 | 25 => bodies
                .iter_mut()
                .for_each(|body| drop(body["message"].take())),
            16 => {
                ensure!(
                    bodies[0]["rule"]["awsIotSqlVersion"] == "2015-10-08",
                    "{answer:?}"
                );
                bodies
                    .iter_mut()
                    .for_each(|body| drop(body["rule"]["awsIotSqlVersion"].take()));
            }
            // They answer a publish with nothing.
            45 | 46 => bodies[0] = json!({}),
            _ => {}
        }
        ensure!(
            bodies[0] == bodies[1],
            "call {call}: {} is not {}",
            bodies[0],
            bodies[1]
        );
    }
    ensure!(own.len() == OURS.len() + LISTS.len());
    bed.stop()
}
