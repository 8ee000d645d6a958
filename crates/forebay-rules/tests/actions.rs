//! Republish, error actions and failures: what a rule set gives beside records.

use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{
    Entropy, Message, OnConfigError, Origin, PartitionKey, QoS, SeededEntropy, StreamName,
};
use forebay_rules::{
    Action, ActionFailure, DocumentError, ErrorKind, ErrorTarget, Evaluated, Failure,
    RepublishProperties, RuleDocument, RuleLimits, RuleOutcome, RuleSet, RuleSettings, RuleWarning,
    Scratch,
};
use serde_json::{Value, json};

/// A rule with these actions, and an error action unless it is null.
fn read(sql: &str, actions: &Value, error_action: &Value) -> Result<RuleDocument, DocumentError> {
    let text = json!({
        "sql": sql, "awsIotSqlVersion": "2016-03-23", "actions": actions, "errorAction": error_action,
    });
    RuleDocument::from_json(text.to_string().as_bytes(), Some("r"))
}

fn set_within(limits: RuleLimits, sql: &str, actions: &Value, error_action: &Value) -> RuleSet {
    let document = read(sql, actions, error_action).expect("a document");
    RuleSet::build(vec![(document, RuleSettings::default())], limits).expect("a valid rule")
}

fn set(sql: &str, actions: &Value, error_action: &Value) -> RuleSet {
    set_within(RuleLimits::default(), sql, actions, error_action)
}

/// Why such a rule is refused: code and text.
fn refused(sql: &str, actions: &Value, error_action: &Value) -> (&'static str, String) {
    match read(sql, actions, error_action) {
        Err(error) => (error.code(), error.to_string()),
        Ok(document) => {
            let rules = vec![(document, RuleSettings::default())];
            let errors = RuleSet::build(rules, RuleLimits::default()).expect_err("it is refused");
            assert_eq!(errors.len(), 1, "{errors:?}");
            (errors[0].code(), errors[0].to_string())
        }
    }
}

fn evaluate(rules: &RuleSet, topic: &str, payload: &str) -> Evaluated {
    evaluate_with(rules, topic, payload, &mut SeededEntropy::new(1))
}

fn evaluate_with(
    rules: &RuleSet,
    topic: &str,
    payload: &str,
    entropy: &mut SeededEntropy,
) -> Evaluated {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    let message = Message {
        topic,
        payload: &payload,
        client_id: Some("c"),
        timestamp_ms: 1_700_000_000_123,
        origin: &Origin::UNKNOWN,
    };
    let mut out = Evaluated::default();
    rules.evaluate(&message, &mut Scratch::default(), entropy, &mut out);
    out
}

fn republish(topic: &str) -> Value {
    json!({"republish": {"topic": topic, "roleArn": "r"}})
}

fn kinesis(stream: &str, key: &str) -> Value {
    json!({"kinesis": {"streamName": stream, "partitionKey": key, "roleArn": "r"}})
}

/// The error action of most tests.
fn errors() -> Value {
    kinesis("errors", "${topic()}")
}

fn target(stream: &str, key: &str) -> ErrorTarget {
    ErrorTarget::Kinesis {
        stream: StreamName::new(stream).expect("a name"),
        partition_key: PartitionKey::new(key).expect("a key"),
    }
}

/// The only failure and the only target.
fn failure(out: &Evaluated) -> (&Failure, &ErrorTarget) {
    let ([ActionFailure { rule: 0, failure }], [(0, target)]) =
        (&out.failures[..], &out.error_targets[..])
    else {
        panic!("{:?} {:?}", out.failures, out.error_targets);
    };
    (failure, target)
}

#[test]
fn a_message_is_republished_with_its_headers() {
    let actions = json!([{"republish": {
        "topic": "$$aws/things/${id}/shadow/update", "roleArn": "r", "qos": 1,
        "headers": {
            "payloadFormatIndicator": "UTF8_DATA",
            "contentType": "application/${kind}",
            "responseTopic": "answers/${topic(2)}",
            "correlationData": "${encode(*, 'base64')}",
            "messageExpiry": "${60 * 2}",
            "userProperties": [{"key": "k", "value": "${id}"}, {"key": "k", "value": ""}],
        },
    }}]);
    let rules = set("SELECT id FROM 'a/+'", &actions, &Value::Null);
    let out = evaluate(&rules, "a/b", r#"{"id":"t1","kind":"json"}"#);
    assert_eq!(out.outcomes, [(0, RuleOutcome::Selected)]);
    let [republished] = &out.republished[..] else {
        panic!("{:?}", out.republished);
    };
    assert_eq!(republished.rule, 0);
    let message = &republished.message;
    assert_eq!(message.topic, "$aws/things/t1/shadow/update");
    assert_eq!(message.qos, QoS::AtLeastOnce);
    assert_eq!(message.payload, r#"{"id":"t1"}"#);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        message.properties,
        RepublishProperties {
            payload_format_indicator: Some(1),
            content_type: Some("application/json".to_owned()),
            response_topic: Some("answers/b".to_owned()),
            correlation_data: Some(Bytes::from_static(br#"{"id":"t1","kind":"json"}"#)),
            message_expiry: Some(120),
            user_properties: vec![pair("k", "t1"), pair("k", "")],
        }
    );
    // Nothing was asked of the rule's failures.
    assert!(out.failures.is_empty() && out.error_targets.is_empty() && out.trace_id == 0);
}

#[test]
fn without_headers_the_message_has_no_properties_and_quality_of_service_0() {
    let rules = set("SELECT * FROM 'a'", &json!([republish("b")]), &Value::Null);
    let out = evaluate(&rules, "a", "no JSON");
    let message = &out.republished[0].message;
    assert_eq!(
        (message.qos, &message.payload[..]),
        (QoS::AtMostOnce, &b"no JSON"[..])
    );
    assert_eq!(message.properties, RepublishProperties::default());
}

#[test]
fn a_header_without_meaning_fails_the_action() {
    let long = "x".repeat(5000);
    let payload = json!({"long": long}).to_string();
    for (header, value, reason) in [
        (
            "payloadFormatIndicator",
            "${nothing}",
            "neither UNSPECIFIED_BYTES nor UTF8_DATA",
        ),
        ("contentType", "${chr(0)}", "contains the null character"),
        ("responseTopic", "a/${'#'}", "not a topic"),
        ("responseTopic", "${nothing}", "not a topic"),
        ("responseTopic", "${long}", "not a topic"),
        ("correlationData", "${'%'}", "not base64"),
        (
            "messageExpiry",
            "${604800 + 1}",
            "not a whole number of seconds from 1 to 604800",
        ),
        (
            "messageExpiry",
            "${1 / 2.0}",
            "not a whole number of seconds",
        ),
    ] {
        let actions = json!([
            {"republish": {"topic": "b", "roleArn": "r", "headers": {header: value}}},
            republish("c"),
        ]);
        let out = evaluate(
            &set("SELECT * FROM 'a'", &actions, &errors()),
            "a",
            &payload,
        );
        let (failure, _) = failure(&out);
        assert_eq!(
            (&*failure.action, &*failure.resource),
            ("RepublishAction", "b")
        );
        let reason = format!("received was headers.{header}: {reason}");
        assert!(failure.message.contains(&reason), "{}", failure.message);
        assert!(failure.message.len() < 1000, "{}", failure.message);
        // The other action is none the worse for it.
        assert_eq!(out.republished.len(), 1, "{header}");
        assert_eq!(out.republished[0].message.topic, "c");
        assert_eq!(
            out.outcomes[1],
            (0, RuleOutcome::Error(ErrorKind::Template))
        );
    }
    let pairs: Vec<Value> = (0..2)
        .map(|_| json!({"key": "k", "value": "${long}"}))
        .collect();
    let headers = json!({"userProperties": pairs});
    let actions = json!([{"republish": {"topic": "b", "roleArn": "r", "headers": headers}}]);
    let out = evaluate(
        &set("SELECT * FROM 'a'", &actions, &errors()),
        "a",
        &payload,
    );
    let message = &failure(&out).0.message;
    assert!(
        message.contains("names and values too long: 10002 > 8192 bytes"),
        "{message}"
    );
}

#[test]
fn a_topic_that_no_rule_can_publish_to_fails_the_action() {
    for (topic, payload, resource, reason) in [
        (
            "x/${t}",
            r#"{"t":"+"}"#,
            "x/+",
            "a topic name cannot contain the wildcard",
        ),
        ("${t}", r#"{"t":"$aws/x"}"#, "$aws/x", "begins with $"),
        ("$aws/x", "{}", "$aws/x", "begins with $"),
        (
            "$$aws/${t}",
            r#"{"t":"rules/r/x"}"#,
            "$aws/rules/r/x",
            "is no target of a rule",
        ),
        (
            "$$aws/things/${t}/jobs/get",
            r#"{"t":"x"}"#,
            "$aws/things/x/jobs/get",
            "is no target of a rule",
        ),
        ("${t}", "{}", "", "topic \"\": empty"),
    ] {
        let rules = set("SELECT * FROM 'a'", &json!([republish(topic)]), &errors());
        let out = evaluate(&rules, "a", payload);
        let (failure, _) = failure(&out);
        assert!(failure.message.contains(reason), "{}", failure.message);
        assert_eq!(failure.resource, resource);
        assert!(out.republished.is_empty());
    }
}

#[test]
fn a_rule_does_not_publish_to_itself() {
    let sql = "SELECT * FROM 'dt/+/telemetry'";
    let expected =
        "Republish topic cannot be within topic space of rule's topic pattern 'dt/+/telemetry'";
    let actions = json!([republish("dt/1/telemetry")]);
    let (code, text) = refused(sql, &actions, &Value::Null);
    assert_eq!(
        (code, text),
        (
            "R124",
            format!("rule r: actions[0].republish.topic: {expected}")
        )
    );
    let document = read(sql, &actions, &Value::Null).expect("a document");
    let rules = vec![(document, RuleSettings::default())];
    let errors = RuleSet::build(rules, RuleLimits::default()).expect_err("a loop");
    assert_eq!(errors[0].aws_message().as_deref(), Some(expected));
    // The error document would come back as well.
    let (code, _) = refused(sql, &json!([]), &republish("dt/1/telemetry"));
    assert_eq!(code, "R124");
    // What a template makes of it is known only then, and a wildcard does not reach reserved topics.
    set(sql, &json!([republish("dt/${id}/telemetry")]), &Value::Null);
    set(
        "SELECT * FROM '#'",
        &json!([republish("$$aws/events/x")]),
        &Value::Null,
    );
    // Reserved topics are compared as they will be, with one dollar sign.
    let sql = "SELECT * FROM '$aws/events/#'";
    let (code, _) = refused(sql, &json!([republish("$$aws/events/x")]), &Value::Null);
    assert_eq!(code, "R124");
}

#[test]
fn a_rule_does_not_publish_to_topics_that_name_rules() {
    for topic in ["$$aws/rules/r", "$$aws/rules/${topic()}/x"] {
        let (code, text) = refused(
            "SELECT * FROM 'a'",
            &json!([republish(topic)]),
            &Value::Null,
        );
        assert_eq!(code, "R125");
        assert!(text.contains("is no target of a rule"), "{text}");
        let (code, _) = refused("SELECT * FROM 'a'", &json!([]), &republish(topic));
        assert_eq!(code, "R125");
    }
}

#[test]
fn what_an_action_cannot_mean_is_refused_with_its_place() {
    let text = |len| "x".repeat(len);
    let property = json!({"key": "k", "value": "v"});
    let with = |member: &str, value: Value| {
        let mut body = json!({"topic": "b", "roleArn": "r"});
        body[member] = value;
        json!({"republish": body})
    };
    let header = |name: &str, value: Value| with("headers", json!({name: value}));
    for (action, code, expected) in [
        (
            json!({"republish": {"roleArn": "r"}}),
            "R105",
            "errorAction.republish.topic is missing",
        ),
        (
            json!({"republish": {"topic": "b"}}),
            "R105",
            "errorAction.republish.roleArn is missing",
        ),
        (
            json!({"republish": []}),
            "R106",
            "errorAction.republish is not an object",
        ),
        (
            with("retain", json!(true)),
            "R110",
            "unknown member \"retain\" in errorAction.republish",
        ),
        (
            with("qos", json!(2)),
            "R113",
            "errorAction.republish.qos is 2; a rule publishes with 0 or 1",
        ),
        (
            with("qos", json!(0.5)),
            "R113",
            "errorAction.republish.qos is 0.5; a rule publishes with 0 or 1",
        ),
        (
            with("qos", json!(-1)),
            "R113",
            "errorAction.republish.qos is -1; a rule publishes with 0 or 1",
        ),
        (
            with("qos", json!("2")),
            "R106",
            "errorAction.republish.qos is not 0 or 1",
        ),
        (
            with("qos", json!({"Ref": "Q"})),
            "R112",
            "errorAction.republish.qos holds the CloudFormation function \"Ref\", which only CloudFormation can resolve",
        ),
        (
            with("topic", json!(1)),
            "R106",
            "errorAction.republish.topic is not a string",
        ),
        (
            with("headers", json!(1)),
            "R106",
            "errorAction.republish.headers is not an object",
        ),
        (
            header("contenttype", json!("x")),
            "R110",
            "unknown member \"contenttype\" in errorAction.republish.headers",
        ),
        (
            header("contentType", json!(text(1025))),
            "R114",
            "errorAction.republish.headers.contentType is too long: 1025 > 1024 characters",
        ),
        (
            header("userProperties", json!([])),
            "R114",
            "errorAction.republish.headers.userProperties has 0 entries; it needs 1 to 100",
        ),
        (
            header("userProperties", json!(vec![property.clone(); 101])),
            "R114",
            "errorAction.republish.headers.userProperties has 101 entries; it needs 1 to 100",
        ),
        (
            header("userProperties", json!([property, {"key": "k"}])),
            "R105",
            "errorAction.republish.headers.userProperties[1].value is missing",
        ),
        (
            header("userProperties", json!([{"key": text(1025), "value": ""}])),
            "R114",
            "errorAction.republish.headers.userProperties[0].key is too long: 1025 > 1024 characters",
        ),
        (
            json!({"kinesis": {"streamName": "s", "roleArn": "r", "x": 1}}),
            "R110",
            "unknown member \"x\" in errorAction.kinesis",
        ),
    ] {
        let (got, text) = refused("SELECT * FROM 'a'", &json!([]), &action);
        assert_eq!((got, &*text), (code, expected));
    }
    let document = json!({"sql": "", "actions": [header("userProperties", json!([{"key": "k"}]))]})
        .to_string();
    let error = RuleDocument::from_json(document.as_bytes(), Some("r")).unwrap_err();
    let place = error.place(document.as_bytes()).expect("a place");
    assert_eq!(document.get(place), Some(r#"{"key":"k"}"#));
    // As long as is allowed, counted in characters.
    let headers = header("contentType", json!("é".repeat(1024)));
    read("SELECT * FROM 'a'", &json!([headers]), &Value::Null).expect("within the limits");
}

#[test]
fn an_action_is_written_as_it_was_read() {
    for entry in [
        kinesis("s", "k"),
        json!({"kinesis": {"streamName": "s", "roleArn": "r"}}),
        json!({"republish": {"topic": "b", "roleArn": "r", "qos": 1}}),
        json!({"republish": {"topic": "b", "roleArn": "r", "qos": 0, "headers": {
            "contentType": "x", "messageExpiry": "1", "correlationData": "", "responseTopic": "a",
            "payloadFormatIndicator": "UTF8_DATA",
            "userProperties": [{"key": "k", "value": "v"}]}}}),
        json!({"lambda": {"functionArn": "f"}}),
    ] {
        let document = read("", &json!([entry]), &Value::Null).expect("a document");
        assert_eq!(document.actions[0].to_json(), entry);
    }
    let action = |entry: Value| {
        read("", &json!([entry]), &Value::Null)
            .expect("a document")
            .actions
            .remove(0)
    };
    let quoted = action(
        json!({"republish": {"topic": "b", "roleArn": {"Fn::GetAtt": ["R", "Arn"]}, "qos": "1"}}),
    );
    let Action::Republish(republish) = &quoted else {
        panic!("{quoted:?}");
    };
    assert_eq!(
        (republish.qos, &*republish.role_arn),
        (QoS::AtLeastOnce, r#"{"Fn::GetAtt":["R","Arn"]}"#)
    );
    let names = [
        kinesis("s", "k"),
        republish_entry(),
        json!({"dynamoDBv2": {}}),
    ];
    let names: Vec<_> = names
        .map(|entry| action(entry).failure_name().into_owned())
        .into();
    assert_eq!(
        names,
        ["KinesisAction", "RepublishAction", "DynamoDBv2Action"]
    );
}

fn republish_entry() -> Value {
    republish("b")
}

#[test]
fn a_value_that_is_missing_is_no_failure() {
    let rules = set(
        "SELECT a.b AS c FROM 'a'",
        &json!([kinesis("s", "k")]),
        &errors(),
    );
    let out = evaluate(&rules, "a", "no JSON");
    assert_eq!(out.records.len(), 1);
    assert!(out.failures.is_empty());
    // Its error action may still be asked for, when the record fails later.
    assert_eq!(out.error_targets, [(0, Arc::new(target("errors", "a")))]);
    assert_ne!(out.trace_id, 0);
}

#[test]
fn a_statement_that_fails_does_not_run_the_error_action() {
    for sql in [
        "SELECT VALUE nothing FROM 'a'",
        "SELECT * FROM 'a' WHERE nothing",
    ] {
        let out = evaluate(&set(sql, &json!([kinesis("s", "k")]), &errors()), "a", "{}");
        assert!(
            out.failures.is_empty() && out.error_targets.is_empty(),
            "{sql}"
        );
        assert_eq!(out.trace_id, 0);
    }
}

#[test]
fn a_limit_that_ends_the_rule_runs_the_error_action() {
    let elements = vec![1; 2000];
    let payload = json!({"l": elements, "m": [{"a": "a"}]}).to_string();
    let mut limits = RuleLimits::default();
    limits.evaluation.steps_max = 1000;
    let steps = set_within(
        limits,
        "SELECT (SELECT VALUE a FROM l) AS x FROM 'a'",
        &json!([kinesis("s", "k")]),
        &kinesis("errors", "${get((SELECT VALUE a FROM m), 0)}"),
    );
    let mut limits = RuleLimits::default();
    limits.evaluation.output_bytes_max = 100;
    let bytes = set_within(
        limits,
        "SELECT l FROM 'a'",
        &json!([kinesis("s", "k")]),
        &kinesis("errors", "${topic()}"),
    );
    for (rules, reason) in [
        (steps, "more evaluation steps than a message may take"),
        (bytes, "outgoing payload or text longer than the limit"),
    ] {
        let out = evaluate(&rules, "a", &payload);
        assert_eq!(out.outcomes, [(0, RuleOutcome::Error(ErrorKind::Limit))]);
        let (failure, at) = failure(&out);
        // The template of the error action has steps of its own.
        assert_eq!(*at, target("errors", "a"));
        assert_eq!(
            (&*failure.action, &*failure.resource),
            ("RuleEvaluation", "r")
        );
        assert_eq!(
            failure.message,
            format!(
                "Failed to evaluate the rule. The error received was {reason}. Message arrived on: a, Rule: r"
            )
        );
        assert_eq!(
            (failure.attempts, failure.ambiguous, &failure.code),
            (0, false, &None)
        );
    }
}

#[test]
fn an_action_that_fails_leaves_the_others_alone_and_tells_its_error_action() {
    let actions = json!([
        kinesis("${nothing}", "k"),
        kinesis("s", "${nothing}"),
        {"lambda": {"functionArn": "f"}},
        kinesis("s", "k"),
        kinesis("a stream", "k"),
    ]);
    let rules = set("SELECT * FROM 'a'", &actions, &errors());
    let out = evaluate(&rules, "$aws/rules/r/a", "{}");
    assert_eq!(out.records.len(), 1);
    let told: Vec<_> = out
        .failures
        .iter()
        .map(|ActionFailure { failure, .. }| {
            (
                &*failure.action,
                &*failure.resource,
                failure.code.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("KinesisAction", "", Some("bad_stream_name")),
            ("KinesisAction", "s", Some("bad_partition_key")),
            ("LambdaAction", "", None),
            ("KinesisAction", "a stream", Some("bad_stream_name")),
        ]
    );
    // The topic is the one that was published to; the error action's template sees what follows the rule's name.
    assert_eq!(
        out.failures[1].failure.message,
        "Failed to put record. The error received was partitionKey: partition key is empty; it needs 1 to 256 \
         characters. Message arrived on: $aws/rules/r/a, Action: kinesis, Stream: s"
    );
    assert_eq!(
        out.failures[2].failure.message,
        "action not supported by this broker. Message arrived on: $aws/rules/r/a, Action: lambda"
    );
    assert_eq!(out.error_targets, [(0, Arc::new(target("errors", "a")))]);
}

#[test]
fn without_an_error_action_failures_are_only_counted() {
    let actions = json!([kinesis("${nothing}", "k"), republish("${nothing}"), {"sns": {}}]);
    let rules = set("SELECT * FROM 'a'", &actions, &Value::Null);
    let mut entropy = SeededEntropy::new(1);
    let out = evaluate_with(&rules, "a", "{}", &mut entropy);
    assert_eq!(out.outcomes.len(), 4);
    assert!(out.failures.is_empty() && out.error_targets.is_empty());
    // No trace id was drawn for anybody.
    assert_eq!(entropy.uuid_bits(), SeededEntropy::new(1).uuid_bits());
}

#[test]
fn what_a_message_puts_out_is_bounded_with_what_it_republishes() {
    let limits = RuleLimits {
        output_bytes_per_message_max: 25,
        ..RuleLimits::default()
    };
    let actions = json!([
        republish("b"),
        kinesis("s", "k"),
        republish("c"),
        kinesis("s", "k")
    ]);
    let rules = set_within(limits, "SELECT * FROM 'a'", &actions, &errors());
    let out = evaluate(&rules, "a", "0123456789");
    assert_eq!((out.republished.len(), out.records.len()), (1, 1));
    let told: Vec<_> = out
        .failures
        .iter()
        .map(|failed| &*failed.failure.resource)
        .collect();
    assert_eq!(told, ["c", "s"]);
    assert!(
        out.failures[0]
            .failure
            .message
            .contains("longer than the limit")
    );
    assert_eq!(out.outcomes[2], (0, RuleOutcome::Error(ErrorKind::Limit)));
}

#[test]
fn an_error_action_sees_the_message_and_the_rule_s_variables() {
    let sql = "SET @d = concat(topic(), '-', t) SELECT 1 AS x FROM 'a'";
    let action = json!({"republish": {"topic": "errors/${@d}", "roleArn": "r", "qos": 1,
        "headers": {"contentType": "${t}"}}});
    let out = evaluate(&set(sql, &json!([]), &action), "a", r#"{"t": 7}"#);
    let [(0, target)] = &out.error_targets[..] else {
        panic!("{:?}", out.error_targets);
    };
    let expected = ErrorTarget::Republish {
        topic: "errors/a-7".to_owned(),
        qos: QoS::AtLeastOnce,
        properties: RepublishProperties {
            content_type: Some("7".to_owned()),
            ..RepublishProperties::default()
        },
    };
    assert_eq!(**target, expected);
}

#[test]
fn an_error_action_that_cannot_run_says_why() {
    for (action, name, beginning) in [
        (
            kinesis("${nothing}", "k"),
            "KinesisAction",
            "streamName: stream name \"\"",
        ),
        (
            kinesis("a stream", "k"),
            "KinesisAction",
            "streamName: stream name \"a stream\"",
        ),
        (
            kinesis("s", "${nothing}"),
            "KinesisAction",
            "partitionKey: partition key is empty",
        ),
        (
            republish("errors/${'#'}"),
            "RepublishAction",
            "topic: topic \"errors/#\"",
        ),
        (
            json!({"republish": {"topic": "e", "roleArn": "r", "headers": {"messageExpiry": "soon"}}}),
            "RepublishAction",
            "headers.messageExpiry: not a whole number",
        ),
        (
            json!({"sns": {"targetArn": "t"}}),
            "SnsAction",
            "action not supported by this broker",
        ),
    ] {
        let rules = set("SELECT * FROM 'a'", &json!([{"lambda": {}}]), &action);
        let out = evaluate(&rules, "a", "{}");
        let (failure, target) = failure(&out);
        assert_eq!(failure.action, "LambdaAction");
        let ErrorTarget::Unusable { action, reason } = target else {
            panic!("{target:?}");
        };
        assert_eq!(action, name);
        assert!(reason.starts_with(beginning), "{reason}");
    }
}

#[test]
fn an_error_action_has_few_steps_and_takes_none_of_the_rules() {
    let elements = vec![1; 2000];
    let payload = json!({"l": elements}).to_string();
    let greedy = kinesis("errors", "${(SELECT VALUE a FROM l)}");
    let rules = set("SELECT * FROM 'a'", &json!([kinesis("s", "k")]), &greedy);
    let out = evaluate(&rules, "a", &payload);
    assert_eq!(out.records.len(), 1);
    assert!(matches!(
        &*out.error_targets[0].1,
        ErrorTarget::Unusable { reason, .. } if reason.contains("more evaluation steps")
    ));
}

#[test]
fn a_key_that_an_error_action_leaves_out_is_drawn_for_each_message() {
    let action = json!({"kinesis": {"streamName": "errors", "roleArn": "r"}});
    let rules = set("SELECT * FROM 'a'", &json!([]), &action);
    let mut entropy = SeededEntropy::new(1);
    let mut keys = (0..2).map(|_| {
        let out = evaluate_with(&rules, "a", "{}", &mut entropy);
        match &*out.error_targets[0].1 {
            ErrorTarget::Kinesis { partition_key, .. } => partition_key.as_str().to_owned(),
            other => panic!("{other:?}"),
        }
    });
    let (first, second) = (keys.next(), keys.next());
    assert_eq!(first.as_ref().map(String::len), Some(36));
    assert_ne!(first, second);
}

#[test]
fn the_trace_id_is_the_one_that_the_rule_sees() {
    let sql = "SELECT traceid() AS t FROM 'a'";
    let rules = set(sql, &json!([kinesis("s", "k")]), &errors());
    let out = evaluate(&rules, "a", "{}");
    let data: Value = serde_json::from_slice(&out.records[0].data).expect("JSON");
    let seen = data["t"].as_str().expect("a text").replace('-', "");
    assert_eq!(seen, format!("{:032x}", out.trace_id));
}

#[test]
fn a_configuration_error_goes_to_the_error_action_where_there_is_one() {
    let with = |error_action: &Value, on_config_error| {
        let document = read("SELECT * FROM 'a'", &json!([]), error_action).expect("a document");
        let settings = RuleSettings {
            on_config_error,
            ..RuleSettings::default()
        };
        let rules = RuleSet::build(vec![(document, settings)], RuleLimits::default());
        rules.expect("a rule").rules()[0].on_config_error()
    };
    let (hold, error_action) = (OnConfigError::Hold, OnConfigError::ErrorAction);
    assert_eq!(with(&errors(), None), error_action);
    assert_eq!(with(&Value::Null, None), hold);
    assert_eq!(with(&errors(), Some(hold)), hold);
    assert_eq!(with(&Value::Null, Some(error_action)), error_action);
}

#[test]
fn only_an_error_action_that_never_runs_is_worth_a_warning() {
    let warnings = |error_action: &Value| {
        let rules = set("SELECT * FROM 'a'", &json!([republish("b")]), error_action);
        rules.rules()[0].warnings().to_vec()
    };
    assert_eq!(warnings(&errors()), []);
    assert_eq!(warnings(&republish("errors/${topic()}")), []);
    let kind = "sns".to_owned();
    assert_eq!(
        warnings(&json!({"sns": {}})),
        [RuleWarning::ErrorAction { kind }]
    );
    let [RuleWarning::AlwaysFails { field, .. }] = &warnings(&republish("$x"))[..] else {
        panic!("it always fails");
    };
    assert_eq!(field, "errorAction.republish.topic");
    // The place of a finding counts from the beginning of the field, its dollar signs included.
    let (_, text) = refused(
        "SELECT * FROM 'a'",
        &json!([republish("$$aws/${uper()}")]),
        &Value::Null,
    );
    assert!(text.contains("uper"), "{text}");
}

#[test]
fn a_rule_explains_the_templates_of_all_its_actions() {
    let action = json!({"republish": {"topic": "$$aws/events/${a}", "roleArn": "r",
        "headers": {"contentType": "${b}", "userProperties": [{"key": "k", "value": "${c}"}]}}});
    let rules = set(
        "SELECT * FROM 'a'",
        &json!([action]),
        &kinesis("errors", "${d}"),
    );
    let explained = rules.explain("r").expect("the rule");
    let fields: Vec<_> = explained
        .templates
        .iter()
        .map(|found| &*found.field)
        .collect();
    assert_eq!(
        fields,
        [
            "actions[0].republish.topic",
            "actions[0].republish.headers.contentType",
            "actions[0].republish.headers.userProperties[0].value",
            "errorAction.kinesis.partitionKey",
        ]
    );
}
