//! No text and no payload makes the language panic.

use forebay_core::{Origin, SeededEntropy};
use forebay_sql::{
    Context, Evaluation, Limits, Scratch, SelectStar, SqlVersion, Statement, Template,
};
use proptest::prelude::*;

fn version() -> impl Strategy<Value = SqlVersion> {
    prop::sample::select(&SqlVersion::ALL[..])
}

fn evaluate(statement: &Statement, template: &Template, topic: &str, payload: &[u8]) {
    let context = Context {
        topic,
        payload,
        client_id: Some("c"),
        timestamp_ms: 1,
        origin: &Origin::UNKNOWN,
    };
    let limits = Limits {
        steps_max: 1000,
        output_bytes_max: 1000,
    };
    let mut scratch = Scratch::default();
    let mut entropy = SeededEntropy::new(1);
    let mut evaluation = Evaluation::new(context, limits, &mut scratch, &mut entropy);
    let mut out = Vec::new();
    for star in [SelectStar::Verbatim, SelectStar::Compact] {
        if evaluation.select(statement, star, &mut out).is_ok() {
            assert!(out.len() <= limits.output_bytes_max);
            assert!(std::str::from_utf8(&out).is_ok());
            if !out.is_empty() {
                serde_json::from_slice::<serde::de::IgnoredAny>(&out)
                    .expect("what SELECT writes is JSON");
            }
        }
    }
    if evaluation.template(template, &mut out).is_ok() {
        assert!(std::str::from_utf8(&out).is_ok());
    }
}

/// Words of the language in no sensible order.
fn word_soup() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "SELECT",
        "VALUE",
        "value",
        "AS",
        "FROM",
        "WHERE",
        "AND",
        "OR",
        "NOT",
        "IN",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "SET",
        "@a",
        "EXISTS",
        "CAST",
        "NULL",
        "TRUE",
        "a",
        "b.c",
        "*",
        ".",
        ",",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ":",
        "+",
        "-",
        "/",
        "%",
        "=",
        "<>",
        "!=",
        "<",
        ">=",
        "1",
        "2.5E-3",
        "'a/b'",
        "\"x\"",
        "topic(",
        "clientid()",
        "timestamp()",
        "é",
        "'",
        "${",
        "#",
        ";",
    ];
    proptest::collection::vec(prop::sample::select(WORDS), 0..25)
        .prop_map(|words| format!("SELECT {}", words.join(" ")))
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(
        &[
            "a",
            "b",
            "a.b",
            "*.c",
            "l",
            "o",
            "missing",
            "1",
            "0",
            "2.5",
            "1E300",
            "1E-300",
            "'x'",
            "'12'",
            "'-1.5E3'",
            "''",
            "'true'",
            "TRUE",
            "NULL",
            "topic()",
            "topic(2)",
            "clientid()",
            "timestamp()",
            "topic('1')",
        ][..],
    )
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 4, |inner| {
        let operator = prop::sample::select(
            &[
                "+", "-", "*", "/", "%", "=", "<>", "<", ">=", "IN", "AND", "OR",
            ][..],
        );
        prop_oneof![
            (inner.clone(), operator, inner.clone())
                .prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            inner.clone().prop_map(|a| format!("(NOT {a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::vec(("[a-c]", inner.clone()), 0..4).prop_map(|members| {
                let members: Vec<_> = members
                    .into_iter()
                    .map(|(name, value)| format!("'{name}': {value}"))
                    .collect();
                format!("{{{}}}", members.join(", "))
            }),
            inner.clone().prop_map(|a| format!("topic({a})")),
            (function(), proptest::collection::vec(inner.clone(), 0..4))
                .prop_map(|(name, arguments)| format!("{name}({})", arguments.join(", "))),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(v, when, then)| format!("CASE {v} WHEN {when} THEN {then} ELSE a END")),
            (
                inner.clone(),
                prop::sample::select(&["String", "Int", "Double", "Bool"][..])
            )
                .prop_map(|(value, target)| format!("CAST({value} AS {target})")),
            (inner.clone(), inner.clone(), "[a-c]").prop_map(|(value, condition, alias)| {
                format!("(SELECT *, {value} AS b.c FROM l AS {alias} WHERE {condition})")
            }),
            (inner.clone(), inner).prop_map(|(value, source)| {
                format!("EXISTS (SELECT VALUE {value} FROM {source})")
            }),
        ]
    })
}

fn function() -> impl Strategy<Value = &'static str> {
    const NAMES: &str = "abs acos atan2 bitand bitnot bitor bitxor ceil cosh exp floor ln log mod power rand round sign \
        sqrt tan trunc chr concat endswith indexof length lower lpad ltrim numbytes replace rpad rtrim startswith \
        substring trim upper regexp_matches regexp_replace regexp_substr md2 md5 sha1 sha224 sha256 sha384 sha512 get \
        get_or_default isnull isundefined nanvl parse_time time_to_epoch newuuid traceid accountid principal sourceip \
        sql_version get_mqtt_property get_user_properties";
    let names: Vec<_> = NAMES.split(' ').collect();
    prop::sample::select(names)
}

fn item() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (expression(), "[a-c](\\.[a-c]){0,2}").prop_map(|(value, alias)| format!("{value} AS {alias}")),
        2 => expression(),
        1 => Just("*".to_owned()),
        1 => Just("* AS a.b".to_owned()),
        1 => Just("o.*".to_owned()),
    ]
}

/// Payloads that the expressions find something in.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let value = prop::sample::select(
        &[
            "1",
            "-0",
            "0.1",
            "10.0",
            "1e400",
            "1e-400",
            "123456789012345678901234567890123456789",
            "null",
            "true",
            "\"x\"",
            "\"12\"",
            "\"\\u00e9\\ud83d\\ude00\"",
            "[1, 2.50,\"x\"]",
            "{\"b\" : 1,\"c\":[ ]}",
            "{\"b\":1,\"b\":{\"c\":2}}",
            "[[1],{}]",
        ][..],
    );
    prop_oneof![
        6 => proptest::collection::vec((prop::sample::select(&["a", "b", "c", "l", "o", "\\u0061"][..]), value), 0..6).prop_map(|members| {
            let members: Vec<_> = members.into_iter().map(|(name, value)| format!(" \"{name}\" : {value}")).collect();
            format!("{{{} }}", members.join(",")).into_bytes()
        }),
        1 => Just(b"[1, {\"a\":2}]".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #[test]
    fn any_text(sql in "\\PC*", version in version()) {
        Statement::compile(&sql, version).ok();
        Template::compile(&sql, version).ok();
        Template::compile(&format!("x${{{sql}}}y"), version).ok();
    }

    #[test]
    fn any_order_of_words(sql in word_soup(), version in version(), payload in payload()) {
        let found = Statement::compile(&sql, version);
        let template = Template::compile("${a}", version).expect("valid");
        match found {
            Ok(statement) => evaluate(&statement, &template, "a/b", &payload),
            Err(diagnostics) => {
                prop_assert!(!diagnostics.is_empty());
                for diagnostic in diagnostics {
                    prop_assert!(sql.get(diagnostic.span.clone()).is_some(), "{:?}", diagnostic);
                }
            }
        }
    }

    #[test]
    fn valid_statements(
        items in proptest::collection::vec(item(), 1..5),
        condition in proptest::option::of(expression()),
        payload in payload(),
        version in version(),
    ) {
        let condition = condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
        let sql = format!("SELECT {} FROM 'a/#'{condition}", items.join(", "));
        // The first version refuses array and object literals.
        let Ok(statement) = Statement::compile(&sql, version) else {
            prop_assert!(version == SqlVersion::V2015, "{} was refused", sql);
            return Ok(());
        };
        let text = format!("{}-${{{}}}", "k", "a");
        evaluate(&statement, &Template::compile(&text, version).expect("valid"), "a/b/\u{7f}\"", &payload);
    }

    #[test]
    fn valid_expressions(value in expression(), payload in payload()) {
        let version = SqlVersion::V2016;
        let statement = Statement::compile(&format!("SELECT VALUE {value}"), version).expect("valid");
        let template = Template::compile(&format!("a${{{value}}}b"), version).expect("valid");
        evaluate(&statement, &template, "a/b", &payload);
    }
}
