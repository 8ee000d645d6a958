//! Functions of other services on data in memory, and rules without such data.

use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{Message, Origin, SeededEntropy};
use forebay_rules::{
    Environment, ErrorKind, Evaluated, FunctionData, FunctionDataError, RuleDocument, RuleError,
    RuleLimits, RuleOutcome, RuleSet, RuleSettings, Scratch,
};
use serde_json::json;

/// Bytes of a field of a protobuf message: a number or a text.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

fn text(field: u8, value: &[u8]) -> Vec<u8> {
    let len = u8::try_from(value.len()).expect("short");
    [&[field << 3 | 2, len], value].concat()
}

/// A set with one file, `person.proto`, of the package `p`, which declares `Person { string full_name = 1; int64 n = 2; }`.
fn descriptors() -> Vec<u8> {
    let field = |name: &[u8], place, kind| {
        [
            text(1, name),
            number(3, place),
            number(4, 1),
            number(5, kind),
        ]
        .concat()
    };
    let message = [
        text(1, b"Person"),
        text(2, &field(b"full_name", 1, 9)),
        text(2, &field(b"n", 2, 3)),
    ];
    let file = [
        text(1, b"person.proto"),
        text(2, b"p"),
        text(4, &message.concat()),
        text(12, b"proto3"),
    ];
    text(1, &file.concat())
}

fn person() -> Vec<u8> {
    [text(1, b"Ada"), number(2, 7)].concat()
}

fn data() -> FunctionData {
    let mut data = FunctionData::default();
    data.read_registry(
        br#"{"pump": {"DescribeThing": {"thingName": "pump", "version": 3},
                      "ListThingGroupsForThing": {"thingGroups": [{"groupName": "g"}]}}}"#,
    )
    .expect("a registry");
    data.read_secrets(
        br#"{"db": {"SecretString": "{\"user\":\"u\",\"pass\":\"123\"}"}, "pin": {"SecretString": "0042"},
             "key": {"SecretBinary": "AQI="}}"#,
    )
    .expect("secrets");
    data.read_shadows(
        br#"{"pump": {"classic": {"state": {"on": true}}, "named": {"n": {"version": 2}}}}"#,
    )
    .expect("shadows");
    data.read_descriptors(None, &descriptors())
        .expect("descriptors");
    data
}

fn build(sql: &str, key: &str, data: Option<FunctionData>) -> Result<RuleSet, Vec<RuleError>> {
    let document = json!({
        "sql": sql, "awsIotSqlVersion": "2016-03-23",
        "actions": [{"kinesis": {"streamName": "s", "partitionKey": key, "roleArn": "r"}}],
    });
    let document = RuleDocument::from_json(document.to_string().as_bytes(), Some("r"));
    let documents = vec![(document.expect("a document"), RuleSettings::default())];
    let environment = Environment {
        data: data.map(|data| Arc::new(data) as _),
        ..Environment::DEFAULT
    };
    RuleSet::build_in(documents, RuleLimits::default(), environment)
}

fn run(rules: &RuleSet, payload: Vec<u8>) -> Evaluated {
    let payload = Bytes::from(payload);
    let message = Message {
        topic: "a/pump",
        payload: &payload,
        client_id: Some("c"),
        timestamp_ms: 0,
        origin: &Origin::UNKNOWN,
    };
    let mut out = Evaluated::default();
    rules.evaluate(
        &message,
        &mut Scratch::default(),
        &mut SeededEntropy::new(1),
        &mut out,
    );
    out
}

/// The outgoing payload, or nothing when the rule ended without an action.
fn select(expression: &str, payload: Vec<u8>) -> Option<String> {
    let sql = format!("SELECT VALUE {expression} FROM 'a/+'");
    let rules = build(&sql, "k", Some(data())).expect(expression);
    let out = run(&rules, payload);
    match out.records.first() {
        Some(record) => Some(String::from_utf8(record.data.to_vec()).expect("UTF-8")),
        None => {
            let ended = [(0, RuleOutcome::Error(ErrorKind::Eval))];
            assert_eq!(out.outcomes, ended, "{expression}");
            None
        }
    }
}

#[test]
fn answers_come_from_the_data() {
    for (expression, expected) in [
        (
            "get_registry_data('DescribeThing', topic(2), 'arn')",
            Some(r#"{"thingName":"pump","version":3}"#),
        ),
        (
            "get(get_registry_data('ListThingGroupsForThing', 'pump', 'arn').thingGroups, 0).groupName",
            Some(r#""g""#),
        ),
        ("get_registry_data('DescribeThing', 'other', 'arn')", None),
        ("get_registry_data('DescribeThing', missing, 'arn')", None),
        ("get_registry_data('Describe', 'pump', 'arn')", None),
        (
            "[get_registry_data('DescribeThing', 'pump', 'a'), get_registry_data('DescribeThing', 'pump', 'a')]",
            None,
        ),
        (
            "get_secret('db', 'SecretString', 'pass', 'arn')",
            Some(r#""123""#),
        ),
        (
            "get_secret('db', 'SecretString', 'arn')",
            Some(r#"{"user":"u","pass":"123"}"#),
        ),
        (
            "get_secret('pin', 'SecretString', 'arn')",
            Some(r#""0042""#),
        ),
        (
            "get_secret('key', 'SecretBinary', 'arn')",
            Some(r#""AQI=""#),
        ),
        ("get_secret('key', 'SecretBinary', 'user', 'arn')", None),
        ("get_secret('pin', 'SecretString', 'user', 'arn')", None),
        ("get_secret('db', 'SecretString', 'other', 'arn')", None),
        ("get_secret('db', 'SecretBinary', 'arn')", None),
        ("get_thing_shadow('pump', 'arn').state.on", Some("true")),
        ("get_thing_shadow('pump', 'n', 'arn').version", Some("2")),
        ("get_thing_shadow('pump', 'other', 'arn')", None),
        (
            "get_or_default(get_thing_shadow('none', 'arn'), 5)",
            Some("5"),
        ),
        (
            "[1, get_or_default([2, get_thing_shadow('none', 'arn')], (SELECT VALUE v FROM [3] AS v)), 4]",
            Some("[1,[3],4]"),
        ),
        (
            "get_or_default((SELECT VALUE get_secret(x, 'SecretString', 'a') FROM ['pin', 'none'] AS x), t)",
            Some("1"),
        ),
    ] {
        let found = select(expression, br#"{"t":1}"#.to_vec());
        assert_eq!(found.as_deref(), expected, "{expression}");
    }
}

#[test]
fn protobuf_is_decoded_by_its_descriptor() {
    for (expression, payload, expected) in [
        (
            "decode(*, 'proto', 'b', 'k', 'person', 'Person')",
            person(),
            Some(r#"{"full_name":"Ada","n":7}"#),
        ),
        (
            "decode(m, 'proto', 'b', 'k', 'person', 'p.Person').n + 1",
            br#"{"m":"CgNBZGEQBw=="}"#.to_vec(),
            Some("8"),
        ),
        (
            "decode(*, 'proto', 'b', 'k', 'person', 'Other')",
            person(),
            None,
        ),
        (
            "decode(*, 'proto', 'b', 'k', 'other', 'Person')",
            person(),
            None,
        ),
        (
            "decode(*, 'proto', 'b', 'k', 'person', 'Person')",
            vec![0xff],
            None,
        ),
        (
            "decode(m, 'proto', 'b', 'k', 'person', 'Person')",
            br#"{"m":"?"}"#.to_vec(),
            None,
        ),
    ] {
        let found = select(expression, payload);
        assert_eq!(found.as_deref(), expected, "{expression}");
    }
}

#[test]
fn a_template_that_finds_no_answer_fails_its_action() {
    let key = "${get_thing_shadow(topic(2), 'arn').state.on}";
    let rules = build("SELECT * FROM 'a/+'", key, Some(data())).expect("valid");
    assert_eq!(
        &*run(&rules, b"{}".to_vec()).records[0].partition_key,
        "true"
    );
    let key = "${get_thing_shadow('none', 'arn')}";
    let rules = build("SELECT * FROM 'a/+'", key, Some(data())).expect("valid");
    let out = run(&rules, b"{}".to_vec());
    assert!(out.records.is_empty());
    assert!(
        out.outcomes
            .contains(&(0, RuleOutcome::Error(ErrorKind::Template)))
    );
    // The statement and its templates ask the registry once together.
    let twice = build(
        "SELECT VALUE get_registry_data('DescribeThing', 'pump', 'a') FROM 'a/+'",
        "${get_registry_data('DescribeThing', 'pump', 'a').version}",
        Some(data()),
    );
    let out = run(&twice.expect("valid"), b"{}".to_vec());
    assert!(
        out.outcomes
            .contains(&(0, RuleOutcome::Error(ErrorKind::Template)))
    );
}

#[test]
fn without_its_data_a_rule_is_refused_by_function_and_setting() {
    let refusal = |sql: &str, key: &str| match build(sql, key, Some(FunctionData::default())) {
        Ok(_) => panic!("{sql} was accepted"),
        Err(errors) => errors[0].to_string(),
    };
    for (call, setting) in [
        (
            "get_registry_data('DescribeThing', 'p', 'r')",
            "functions.registry_file",
        ),
        (
            "get_secret('p', 'SecretString', 'r')",
            "functions.secrets_file",
        ),
        ("get_thing_shadow('p', 'r')", "functions.shadow_source"),
        (
            "decode(*, 'proto', 'b', 'k', 'f', 'T')",
            "functions.protobuf_descriptors",
        ),
        ("aws_lambda('arn', *)", "no source"),
        ("get_dynamodb('t', 'k', 'v', 'r')", "no source"),
        ("machinelearning_predict('m', 'r', *)", "no source"),
    ] {
        let function = call.split('(').next().expect("a name");
        let told = refusal(&format!("SELECT VALUE {call} FROM 'a'"), "k");
        assert!(told.contains(setting) && told.contains(function), "{told}");
    }
    let told = refusal("SELECT * FROM 'a'", "${get_thing_shadow('p', 'r')}");
    assert!(told.contains("functions.shadow_source"), "{told}");
}

#[test]
fn what_is_forbidden_is_refused_with_data_too() {
    let decode = "decode(*, 'proto', 'b', 'k', 'person', 'Person')";
    for (sql, key) in [
        (
            format!("SELECT {decode} AS a, {decode} AS b, {decode} AS c FROM 'a'"),
            "k".to_owned(),
        ),
        ("SELECT * FROM 'a'".to_owned(), format!("${{{decode}.n}}")),
        (
            format!("SELECT get_or_default(a, {decode}) AS a FROM 'a'"),
            "k".to_owned(),
        ),
        (
            "SELECT get_or_default(a, get_thing_shadow('p', 'r')) AS a FROM 'a'".to_owned(),
            "k".to_owned(),
        ),
        (
            "SELECT decode(*, 'base64') AS a FROM 'a'".to_owned(),
            "k".to_owned(),
        ),
        (
            "SELECT encode('a', *) AS a FROM 'a'".to_owned(),
            "k".to_owned(),
        ),
    ] {
        assert!(build(&sql, &key, Some(data())).is_err(), "{sql} {key}");
    }
}

#[test]
fn files_of_another_shape_are_refused_by_the_member() {
    let mut data = FunctionData::default();
    let at = |error: FunctionDataError| match error {
        FunctionDataError::Shape { at, .. } => at,
        other => other.to_string(),
    };
    assert_eq!(at(data.read_registry(br#"{"t": 1}"#).unwrap_err()), "t");
    assert_eq!(
        at(data
            .read_registry(br#"{"t": {"DescribeThing": []}}"#)
            .unwrap_err()),
        "t.DescribeThing"
    );
    assert_eq!(
        at(data
            .read_secrets(br#"{"s": {"SecretString": 1}}"#)
            .unwrap_err()),
        "s.SecretString"
    );
    assert_eq!(
        at(data
            .read_shadows(br#"{"t": {"named": {"n": 1}}}"#)
            .unwrap_err()),
        "t.named.n"
    );
    assert!(matches!(
        data.read_shadows(b"{"),
        Err(FunctionDataError::Json(_))
    ));
    assert!(matches!(
        data.read_descriptors(None, b"\xff"),
        Err(FunctionDataError::Descriptors(_))
    ));
    assert!(matches!(
        data.read_descriptors(None, &[0; 40_000]),
        Err(FunctionDataError::TooLarge { bytes: 40_000 })
    ));
}
