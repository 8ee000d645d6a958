//! Files of cases: what is read, what is reported, and that a result which differs is noticed.

use forebay_rules::cases::{Case, CaseFile, Difference};
use serde_json::{Value, json};

fn case(members: &Value) -> Case {
    let file = CaseFile::read_lines(&members.to_string());
    assert_eq!(file.findings, [], "{members}");
    file.cases.into_iter().next().expect("one case")
}

fn differences(members: &Value) -> Vec<Difference> {
    case(members).differences(1_700_000_000_000)
}

/// A case about `SELECT t AS u` of `{"t": 1.50}`.
fn statement(expect: &Value) -> Value {
    json!({
        "id": "a.b-1", "sql": "SELECT t AS u FROM 'a' WHERE t > 1", "sqlVersion": "2016-03-23", "topic": "a",
        "payload": "{\"t\": 1.50}", "expect": expect,
    })
}

fn template(text: &str, field: Option<&str>, payload: &str, expect: &Value) -> Value {
    json!({
        "id": "t-1", "template": text, "field": field, "sqlVersion": "2016-03-23", "topic": "a/b",
        "payload": payload, "expect": expect,
    })
}

#[test]
fn results_are_judged_by_every_member_of_expect() {
    for expect in [
        json!({"json": {"u": 1.5}}),
        json!({"text": "{\"u\":1.50}"}),
        json!({"base64": "eyJ1IjoxLjUwfQ=="}),
        json!({"noMatch": false}),
        json!({"text": "{\"u\":1.50}", "json": {"u": 1.500}}),
    ] {
        assert_eq!(differences(&statement(&expect)), [], "{expect}");
    }
    for (expect, shown) in [
        (json!({"json": {"u": 2}}), "json.u: 1.50 instead of 2"),
        (
            json!({"json": {"u": 1.5, "v": null}}),
            "json.v: nothing instead of null",
        ),
        (
            json!({"text": "{\"u\":1.5}"}),
            "text: {\"u\":1.50} instead of {\"u\":1.5}",
        ),
        (
            json!({"base64": "AA=="}),
            "base64: eyJ1IjoxLjUwfQ== instead of AA==",
        ),
        (
            json!({"noMatch": true}),
            "outcome: the output {\"u\":1.50} instead of no action",
        ),
        (
            json!({"error": "sqlParse"}),
            "outcome: the output {\"u\":1.50} instead of a refusal: sqlParse",
        ),
        (
            json!({"string": "x"}),
            "outcome: the output {\"u\":1.50} instead of the text \"x\"",
        ),
    ] {
        let shown_now: Vec<_> = differences(&statement(&expect))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown_now, [shown], "{expect}");
    }
    let both = json!({"text": "x", "json": {}});
    assert_eq!(differences(&statement(&both)).len(), 2);
}

#[test]
fn why_no_action_ran_is_told() {
    let with = |name: &str, value: Value| {
        let mut members = statement(&json!({"json": {}}));
        members[name] = value;
        differences(&members)[0].got.clone()
    };
    assert_eq!(
        with("payload", json!("{\"t\": 1}")),
        "no action: WHERE is not true"
    );
    assert_eq!(
        with("topic", json!("b")),
        "no action: the topic does not match"
    );
    assert_eq!(
        with("topic", json!("$aws/rules/x/a")),
        "no action: the topic names another rule"
    );
    assert_eq!(
        with("sql", json!("SELECT VALUE x FROM 'a'")),
        "no action: rule error: eval"
    );
    assert_eq!(
        with("sql", json!("SELECT uper(x) FROM 'a'")),
        "refused: [R014] rule case: sql: unknown function `uper`"
    );
    assert_eq!(
        with("sqlVersion", json!("2017")),
        "refused: [R111] unknown awsIotSqlVersion \"2017\""
    );
}

#[test]
fn refusals_are_known_by_name_or_code() {
    let refusal = |error: &str| {
        let mut members = statement(&json!({"error": error}));
        members["sql"] = json!("SELECT uper(x) FROM 'a'");
        differences(&members).is_empty()
    };
    assert!(refusal("sqlParse") && refusal("SqlParseException") && refusal("R014"));
    assert!(!refusal("R001"));
}

#[test]
fn everything_a_message_brings_along_can_be_given() {
    let text = "${clientid()} ${principal()} ${sourceip()} ${accountid()} ${timestamp()} ${traceid()} \
        ${get_mqtt_property('content_type')} ${get_mqtt_property('format_indicator')} \
        ${decode(get_mqtt_property('correlation_data'), 'base64')} ${get_mqtt_property('response_topic')} \
        ${get(get_user_properties('k'), 0)}";
    let expected =
        "c p 192.0.2.1 123456789012 7 00000000-0000-0000-0000-00000000000f t UTF8_DATA hi r v";
    let mut members = template(text, None, "{}", &json!({"string": expected}));
    for (name, value) in [
        ("clientId", json!("c")),
        ("principal", json!("p")),
        ("sourceIp", json!("192.0.2.1")),
        ("accountId", json!("123456789012")),
        ("timestampMs", json!(7)),
        ("traceId", json!("00000000-0000-0000-0000-00000000000f")),
        ("seed", json!(3)),
        (
            "mqttProperties",
            json!({
                "contentType": "t", "payloadFormatIndicator": "UTF8_DATA", "correlationData": "aGk=",
                "responseTopic": "r", "userProperties": [{"k": "v"}],
            }),
        ),
    ] {
        members[name] = value;
    }
    assert_eq!(differences(&members), []);
    members["protocol"] = json!("HTTP");
    assert!(differences(&members)[0].got.starts_with("n/a "));
    // A message without a time of its own has the caller's.
    let now = template(
        "${timestamp()}",
        None,
        "{}",
        &json!({"string": "1700000000000"}),
    );
    assert_eq!(differences(&now), []);
}

#[test]
fn a_template_is_judged_by_its_field() {
    let fails = json!({"actionFails": true});
    for (text, field, payload) in [
        ("${x}", None, "{}"),
        ("${x}", Some("kinesis.partitionKey"), "{}"),
        ("${topic()}", Some("kinesis.streamName"), "{}"),
        ("${x}", Some("explicit_hash_key"), "{\"x\": \"-1\"}"),
        ("a/${x}", Some("republish.topic"), "{\"x\": \"+\"}"),
        (
            "$$aws/${x}",
            Some("republish.topic"),
            "{\"x\": \"rules/a/b\"}",
        ),
    ] {
        assert_eq!(
            differences(&template(text, field, payload, &fails)),
            [],
            "{text} {field:?}"
        );
    }
    let ok = template(
        "${x}",
        Some("explicit_hash_key"),
        "{\"x\": 12}",
        &json!({"string": "12"}),
    );
    assert_eq!(differences(&ok), []);
    let got = |members: &Value| differences(members)[0].to_string();
    assert_eq!(
        got(&template("k", None, "{}", &fails)),
        "outcome: the text \"k\" instead of a failing action"
    );
    assert_eq!(
        got(&template("k", None, "{}", &json!({"string": "l"}))),
        "string: k instead of l"
    );
    assert_eq!(
        got(&template(
            "${x",
            Some("republish.topic"),
            "{}",
            &json!({"string": "l"})
        )),
        "outcome: refused: [R016] rule case: actions[0].republish.topic: `${` without its closing `}` instead of the text \"l\""
    );
}

#[test]
fn what_is_no_case_is_reported_with_its_place() {
    let file = |text: &str| {
        let file = CaseFile::read_lines(text);
        let shown: Vec<_> = file
            .findings
            .iter()
            .map(|f| {
                format!(
                    "{} {} {}",
                    f.code,
                    f.message,
                    text.get(f.span.clone()).unwrap_or_default()
                )
            })
            .collect();
        (file.cases.len(), shown)
    };
    let good = statement(&json!({"noMatch": false})).to_string();
    assert_eq!(file(&format!("\n{good}\n\n{good}")), (2, Vec::new()));
    assert_eq!(
        file(&format!("{good}\n[1]\n{{")),
        (
            1,
            vec![
                "R130 a case is a JSON object, not an array [1]".to_owned(),
                "R130 not JSON: a member name is expected ".to_owned(),
            ]
        )
    );
    let mut members = statement(&json!({"jsn": 1}));
    members["clientID"] = json!("c");
    let (cases, shown) = file(&members.to_string());
    assert_eq!(cases, 0);
    assert_eq!(
        shown,
        [
            "R131 unknown member `clientID` in a case \"clientID\"",
            "R131 unknown member `jsn` in a case \"jsn\"",
            "R130 `expect` says nothing {\"jsn\":1}",
        ]
    );
    for (name, value) in [
        ("sql", json!(1)),
        ("topic", json!(null)),
        ("payload", json!({})),
        ("payloadBase64", json!("?")),
        ("sourceIp", json!("nowhere")),
        ("timestampMs", json!(1.5)),
        ("protocol", json!("CoAP")),
        ("traceId", json!("x")),
        ("mqttProperties", json!({"userProperties": [1]})),
        ("mqttProperties", json!({"content_type": "x"})),
        ("expect", json!("x")),
        ("field", json!("republish.topic")),
    ] {
        let mut members = statement(&json!({"noMatch": false}));
        members[name] = value;
        let (cases, shown) = file(&members.to_string());
        assert_eq!((cases, shown.len()), (0, 1), "{name}: {shown:?}");
    }
}

/// The case of the tool's repository that shows how it turns values into text.
#[test]
fn documents_of_the_validation_tool_are_cases() {
    let text = r#"{
        "topic": "test/3",
        "inputPayload": { "a": 36.903999599999999, "b": 5.0 },
        "inputSql": "SELECT a, b FROM 'test/3'",
        "expectedOutput": { "a": 36.9039996, "b": 5 }
    }"#;
    let file = CaseFile::read_document("numbers", text);
    assert_eq!(file.findings, []);
    assert_eq!(file.cases[0].id(), "numbers");
    assert_eq!(file.cases[0].differences(0), []);

    let text = text.replace("{ \"a\": 36.9039996, \"b\": 5 }", "\"{ }\"");
    let file = CaseFile::read_document("numbers", &text);
    assert_eq!(
        file.cases[0].differences(0)[0].to_string(),
        "text: {\"a\":36.9039996,\"b\":5} instead of { }"
    );
    let file = CaseFile::read_document(
        "numbers",
        r#"{"topic": "a", "inputSql": "SELECT * FROM 'a'"}"#,
    );
    let messages: Vec<_> = file.findings.iter().map(|f| f.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "a case has no `inputPayload`",
            "a case has no `expectedOutput`"
        ]
    );
    // The form with one case per line may also stand alone in a document.
    let own = serde_json::to_string_pretty(&statement(&json!({"noMatch": false}))).expect("JSON");
    assert_eq!(CaseFile::read_document("x", &own).cases[0].id(), "a.b-1");
}
