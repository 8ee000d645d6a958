//! Rule sets: what is refused when one is made, and what messages become.

use bytes::Bytes;
use forebay_core::{AckMode, HashKey, Message, OnFull, Origin, SeededEntropy};
use forebay_rules::{
    Environment, ErrorKind, Evaluated, FoldedValue, IntDivision, OutputPath, RuleDocument,
    RuleError, RuleLimits, RuleOutcome, RuleSet, RuleSettings, RuleWarning, Scratch,
};
use serde_json::{Value, json};

fn document(name: &str, sql: &str, actions: &Value) -> RuleDocument {
    let text =
        json!({"sql": sql, "awsIotSqlVersion": "2016-03-23", "actions": actions}).to_string();
    RuleDocument::from_json(text.as_bytes(), Some(name)).expect("a document")
}

fn to(stream: &str, key: &str) -> Value {
    json!([{"kinesis": {"streamName": stream, "partitionKey": key, "roleArn": "r"}}])
}

fn with_defaults(documents: Vec<RuleDocument>) -> Vec<(RuleDocument, RuleSettings)> {
    documents
        .into_iter()
        .map(|document| (document, RuleSettings::default()))
        .collect()
}

fn set(documents: Vec<RuleDocument>) -> RuleSet {
    RuleSet::build(with_defaults(documents), RuleLimits::default()).expect("valid rules")
}

fn evaluate(rules: &RuleSet, topic: &str, payload: &[u8]) -> Evaluated {
    let payload = Bytes::copy_from_slice(payload);
    let message = Message {
        topic,
        payload: &payload,
        client_id: Some("c"),
        timestamp_ms: 1_700_000_000_123,
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

fn error(kind: ErrorKind) -> RuleOutcome {
    RuleOutcome::Error(kind)
}

#[test]
fn the_examples_of_the_developer_guide_run() {
    let rules = set(vec![
        document(
            "first",
            "SELECT * FROM 'some/topic'",
            &to("my_kinesis_stream", "${topic()}"),
        ),
        document(
            "second",
            "SELECT * FROM 'some_topic'",
            &to("${topic()}", "${timestamp()}"),
        ),
        document(
            "third",
            "SELECT * FROM 'some/topic'",
            &to("${topic()}", "${timestamp()}"),
        ),
    ]);
    let out = evaluate(&rules, "some/topic", b"{ \"a\": 1 }");
    assert_eq!(out.matched, 2);
    assert_eq!(out.records.len(), 1);
    let record = &out.records[0];
    assert_eq!(
        (&*record.stream, &*record.partition_key),
        ("my_kinesis_stream", "some/topic")
    );
    assert_eq!(&record.data[..], b"{ \"a\": 1 }");
    // A topic with a slash is no stream name: the example as it stands fails on every message.
    assert_eq!(
        out.outcomes,
        [
            (0, RuleOutcome::Selected),
            (2, RuleOutcome::Selected),
            (2, error(ErrorKind::Template))
        ]
    );
    let out = evaluate(&rules, "some_topic", b"x");
    let record = &out.records[0];
    assert_eq!(
        (&*record.stream, &*record.partition_key),
        ("some_topic", "1700000000123")
    );
}

#[test]
fn a_set_is_shared_by_threads_and_buffers_move_between_them() {
    fn is_shared<T: Send + Sync>() {}
    fn moves<T: Send>() {}
    is_shared::<RuleSet>();
    moves::<(Scratch, Evaluated)>();
}

#[test]
fn verbatim_data_is_the_message_s_own_memory() {
    let rules = set(vec![document("r", "SELECT * FROM 'a'", &to("s", "k"))]);
    let payload = Bytes::from(vec![7; 100]);
    let message = Message {
        topic: "a",
        payload: &payload,
        client_id: None,
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
    assert_eq!(out.records[0].data.as_ptr(), payload.as_ptr());
}

#[test]
fn basic_ingest_reaches_one_rule_by_its_name() {
    let mut disabled = document("off", "SELECT * FROM 'a'", &to("s", "k"));
    disabled.disabled = true;
    let rules = set(vec![
        document("all", "SELECT * FROM '#'", &to("s", "all")),
        document(
            "own",
            "SELECT topic() AS t, topic(1) AS u FROM 'never/matches'",
            &to("s", "own-${topic(2)}"),
        ),
        document("none", "SELECT *", &to("s", "${topic()}")),
        document("prefix", "SELECT * FROM '$aws/rules/#'", &to("s", "prefix")),
        disabled,
    ]);
    let out = evaluate(&rules, "$aws/rules/own/dt/7", b"{}");
    assert_eq!((out.matched, out.unknown_rule), (1, false));
    assert_eq!(&out.records[0].data[..], br#"{"t":"dt/7","u":"dt"}"#);
    assert_eq!(&*out.records[0].partition_key, "own-7");
    // Without a rest the topic is empty, which is no partition key.
    let out = evaluate(&rules, "$aws/rules/none", b"{}");
    assert_eq!(
        out.outcomes,
        [(2, RuleOutcome::Selected), (2, error(ErrorKind::Template))]
    );
    for topic in ["$aws/rules/missing/x", "$aws/rules/off", "$aws/rules/"] {
        let out = evaluate(&rules, topic, b"{}");
        assert_eq!(
            (out.matched, out.unknown_rule, out.records.len()),
            (0, true, 0),
            "{topic}"
        );
    }
    let out = evaluate(&rules, "a", b"{}");
    assert_eq!((out.matched, out.records.len()), (1, 1));
}

#[test]
fn a_bad_template_result_fails_its_action_only() {
    let long = "x".repeat(257);
    let actions = json!([
        {"kinesis": {"streamName": "${s}", "partitionKey": "a", "roleArn": "r"}},
        {"kinesis": {"streamName": "good", "partitionKey": "${k}", "roleArn": "r"}},
        {"lambda": {"functionArn": "f"}},
        {"kinesis": {"streamName": "good", "partitionKey": "b", "roleArn": "r"}},
    ]);
    let rules = set(vec![document("r", "SELECT * FROM 'a'", &actions)]);
    for (payload, records, failed) in [
        (
            json!({"s": "x", "k": "y"}),
            vec!["a", "y", "b"],
            vec![ErrorKind::Action],
        ),
        (
            json!({"s": "x y", "k": "y"}),
            vec!["y", "b"],
            vec![ErrorKind::Template, ErrorKind::Action],
        ),
        (
            json!({"s": "x", "k": long}),
            vec!["a", "b"],
            vec![ErrorKind::Template, ErrorKind::Action],
        ),
        (
            json!({"k": null}),
            vec!["b"],
            vec![ErrorKind::Template, ErrorKind::Template, ErrorKind::Action],
        ),
    ] {
        let out = evaluate(&rules, "a", payload.to_string().as_bytes());
        let keys: Vec<_> = out
            .records
            .iter()
            .map(|record| record.partition_key.as_str())
            .collect();
        assert_eq!(keys, records, "{payload}");
        let mut expected = vec![(0, RuleOutcome::Selected)];
        expected.extend(failed.into_iter().map(|kind| (0, error(kind))));
        assert_eq!(out.outcomes, expected, "{payload}");
    }
}

#[test]
fn keys_come_from_the_document_or_from_chance() {
    let actions = json!([{"kinesis": {"streamName": "s", "roleArn": "r"}}, {"kinesis": {"streamName": "s", "roleArn": "r"}}]);
    let rules = set(vec![document("r", "SELECT * FROM 'a'", &actions)]);
    let out = evaluate(&rules, "a", b"");
    let keys: Vec<_> = out
        .records
        .iter()
        .map(|record| record.partition_key.as_str())
        .collect();
    assert_eq!(keys[0].len(), 36);
    assert_ne!(keys[0], keys[1]);
    assert_eq!(
        out.records,
        evaluate(&rules, "a", b"").records,
        "the same entropy gives the same keys"
    );

    let settings = RuleSettings {
        explicit_hash_key: Some("${h}".to_owned()),
        ..RuleSettings::default()
    };
    let rules = vec![(document("r", "SELECT * FROM 'a'", &to("s", "k")), settings)];
    let rules = RuleSet::build(rules, RuleLimits::default()).expect("valid");
    let max = "340282366920938463463374607431768211455";
    let out = evaluate(&rules, "a", format!("{{\"h\":\"{max}\"}}").as_bytes());
    assert_eq!(
        out.records[0].explicit_hash_key,
        Some(HashKey::new(u128::MAX))
    );
    for payload in [
        "{}",
        "{\"h\":-1}",
        "{\"h\":1.5}",
        "{\"h\":\"01\"}",
        "{\"h\":\"340282366920938463463374607431768211456\"}",
    ] {
        let out = evaluate(&rules, "a", payload.as_bytes());
        assert_eq!(
            out.outcomes,
            [(0, RuleOutcome::Selected), (0, error(ErrorKind::Template))],
            "{payload}"
        );
    }
}

#[test]
fn outcomes_tell_what_happened() {
    let outcomes = |sql: &str, key: &str, payload: &[u8]| {
        let out = evaluate(&set(vec![document("r", sql, &to("s", key))]), "a", payload);
        let outcomes: Vec<_> = out
            .outcomes
            .into_iter()
            .map(|(_, outcome)| outcome)
            .collect();
        (outcomes, out.records.len())
    };
    let json = error(ErrorKind::Json);
    assert_eq!(
        outcomes("SELECT * FROM 'a' WHERE x > 1", "k", b"{\"x\":1}"),
        (vec![RuleOutcome::Filtered], 0)
    );
    assert_eq!(
        outcomes("SELECT VALUE x FROM 'a'", "k", b"{}"),
        (vec![error(ErrorKind::Eval)], 0)
    );
    assert_eq!(
        outcomes("SELECT * FROM 'a'", "k", b"no json"),
        (vec![RuleOutcome::Selected], 1)
    );
    assert_eq!(
        outcomes("SELECT x FROM 'a'", "k", b"no json"),
        (vec![RuleOutcome::Selected, json], 1)
    );
    assert_eq!(
        outcomes("SELECT * FROM 'a'", "k${x}", b"no json"),
        (vec![RuleOutcome::Selected, json], 1)
    );
    assert_eq!(
        outcomes("SELECT * FROM 'a' WHERE x = 1", "k", b"no json"),
        (vec![RuleOutcome::Filtered, json], 0)
    );
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(128), "]".repeat(128));
    let (found, _) = outcomes("SELECT x FROM 'a'", "k", deep.as_bytes());
    assert_eq!(found, [RuleOutcome::Selected, error(ErrorKind::Depth)]);
}

#[test]
fn limits_hold_for_the_message_as_a_whole() {
    let rules = |limits| {
        let rules = (0..5)
            .map(|n| document(&format!("r{n}"), "SELECT * FROM '#'", &to("s", "k")))
            .collect();
        RuleSet::build(with_defaults(rules), limits).expect("valid")
    };
    let limits = RuleLimits {
        rules_per_message_max: 3,
        ..RuleLimits::default()
    };
    let out = evaluate(&rules(limits), "a", b"x");
    assert_eq!((out.matched, out.cut, out.records.len()), (3, 2, 3));
    let limits = RuleLimits {
        output_bytes_per_message_max: 25,
        ..RuleLimits::default()
    };
    let out = evaluate(&rules(limits), "a", b"0123456789");
    assert_eq!(out.records.len(), 2);
    assert_eq!(
        out.outcomes
            .iter()
            .filter(|(_, outcome)| *outcome == error(ErrorKind::Limit))
            .count(),
        3
    );
    let mut limits = RuleLimits::default();
    limits.evaluation.output_bytes_max = 9;
    let out = evaluate(&rules(limits), "a", b"0123456789");
    assert_eq!((out.records.len(), out.outcomes.len()), (0, 5));
    assert!(
        out.outcomes
            .iter()
            .all(|(_, outcome)| *outcome == error(ErrorKind::Limit))
    );
}

#[test]
fn buffers_are_cleared_between_messages() {
    let rules = set(vec![
        document("r", "SELECT x, 'a' + x AS y FROM 'a'", &to("s", "${x}")),
        document("q", "SELECT *", &to("s", "k")),
    ]);
    let (mut scratch, mut out, mut entropy) = (
        Scratch::default(),
        Evaluated::default(),
        SeededEntropy::new(1),
    );
    let mut run = |topic: &str, payload: &'static str| {
        let payload = Bytes::from_static(payload.as_bytes());
        let message = Message {
            topic,
            payload: &payload,
            client_id: None,
            timestamp_ms: 0,
            origin: &Origin::UNKNOWN,
        };
        rules.evaluate(&message, &mut scratch, &mut entropy, &mut out);
        let data: Vec<_> = out
            .records
            .iter()
            .map(|record| String::from_utf8_lossy(&record.data).into_owned())
            .collect();
        (data, out.unknown_rule)
    };
    assert_eq!(
        run("a", r#"{"x":"long enough to be seen"}"#).0,
        [r#"{"x":"long enough to be seen","y":"along enough to be seen"}"#]
    );
    assert_eq!(run("$aws/rules/zzz", "{}"), (vec![], true));
    assert_eq!(
        run("a", r#"{"x":"s"}"#),
        (vec![r#"{"x":"s","y":"as"}"#.to_owned()], false)
    );
    assert_eq!(run("b", "{}"), (vec![], false));
}

#[test]
fn a_set_is_refused_as_a_whole_with_every_reason() {
    let settings = RuleSettings {
        ack: Some(AckMode::Stored),
        on_full: Some(OnFull::DropOldest),
        explicit_hash_key: Some("${".to_owned()),
        ..RuleSettings::default()
    };
    let rules = vec![
        (
            document("a", "SELECT uper(x) FROM 'a'", &to("s", "${1 +}")),
            RuleSettings::default(),
        ),
        (
            document(
                "b",
                "SELECT * FROM 'a'",
                &to("${aws_lambda('arn', *)}", "k"),
            ),
            settings,
        ),
        (
            document("b", "SELECT * FROM 'a'", &to("s", "k")),
            RuleSettings::default(),
        ),
    ];
    let errors = RuleSet::build(rules, RuleLimits::default()).expect_err("five reasons");
    let texts: Vec<_> = errors
        .iter()
        .map(|error| (error.code(), error.to_string()))
        .collect();
    let texts: Vec<_> = texts
        .iter()
        .map(|(code, text)| (*code, text.as_str()))
        .collect();
    assert_eq!(
        texts,
        [
            ("R014", "rule a: sql: unknown function `uper`"),
            (
                "R005",
                "rule a: actions[0].kinesis.partitionKey: expected an expression, found `}`"
            ),
            (
                "R122",
                "rule b: on_full = \"drop_oldest\" drops records, which ack = \"stored\" promises to keep"
            ),
            (
                "R016",
                "rule b: explicit_hash_key: `${` without its closing `}`"
            ),
            (
                "R015",
                "rule b: actions[0].kinesis.streamName: the function `aws_lambda` asks a service that Forebay has no source for"
            ),
            ("R120", "rule b is defined twice"),
        ]
    );
    let RuleError::Text {
        text, diagnostic, ..
    } = &errors[0]
    else {
        panic!("{:?}", errors[0])
    };
    assert_eq!(text.get(diagnostic.span.clone()), Some("uper"));
    let many = (0..3)
        .map(|n| document(&format!("r{n}"), "SELECT *", &json!([])))
        .collect();
    let limits = RuleLimits {
        rules_max: 2,
        ..RuleLimits::default()
    };
    let errors = RuleSet::build(with_defaults(many), limits).expect_err("too many");
    assert_eq!(errors[0].to_string(), "too many rules: 3 > 2");
}

#[test]
fn what_an_operator_should_know_is_a_warning() {
    let mut rule = document(
        "r",
        &format!("SELECT topic(1, 2) AS t FROM '{}a'", "x/".repeat(40)),
        &json!([
            {"sns": {"targetArn": "t", "roleArn": "r"}},
            {"kinesis": {"streamName": "arn:aws:kinesis:eu-west-1:123456789012:stream/s", "partitionKey": "", "roleArn": "r"}},
        ]),
    );
    rule.error_action = Some(rule.actions[0].clone());
    let rules = set(vec![rule]);
    let rule = rules.rule("r").expect("it is there");
    assert_eq!((rule.index(), rule.is_enabled()), (0, true));
    let warnings: Vec<_> = rule.warnings().iter().map(ToString::to_string).collect();
    let beginnings = [
        "sql: the function `topic` takes 0 to 1 arguments",
        "the filter \"x/x/",
        "actions[0]: action \"sns\" is not supported by this version of Forebay",
        "actions[1].kinesis.streamName: stream name \"arn:aws:kinesis",
        "actions[1].kinesis.partitionKey: partition key is empty",
        "errorAction: action \"sns\" is not supported by this version of Forebay",
    ];
    assert_eq!(warnings.len(), beginnings.len(), "{warnings:#?}");
    for (warning, beginning) in warnings.iter().zip(beginnings) {
        assert!(warning.starts_with(beginning), "{warning}");
    }
    assert!(matches!(
        rule.warnings()[2],
        RuleWarning::UnsupportedAction { .. }
    ));
}

#[test]
fn a_rule_explains_its_statement_and_its_templates() {
    let document = document(
        "r",
        "SET @k = topic(2) SELECT *, 7 / 2 AS q FROM 'a/+'",
        &to("fixed", "${@k}-${id}"),
    );
    let environment = Environment {
        int_division: IntDivision::Decimal,
        ..Environment::DEFAULT
    };
    let rules = RuleSet::build_in(
        with_defaults(vec![document]),
        RuleLimits::default(),
        environment,
    )
    .expect("valid");
    let explained = rules.explain("r").expect("the rule");
    assert_eq!(explained.statement.output, OutputPath::Splice);
    let folded = &explained.statement.folded[0].value;
    assert_eq!(*folded, FoldedValue::Scalar("3.5".to_owned()));
    let [key] = explained.templates.as_slice() else {
        panic!("{:?}", explained.templates);
    };
    assert_eq!(key.field, "actions[0].kinesis.partitionKey");
    assert_eq!(key.explanation.reads[0].path, ["id"]);
    assert_eq!(rules.explain("other"), None);
}
