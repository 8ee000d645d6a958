//! What statements make of messages where the conformance cases do not look.

use forebay_core::{Origin, SeededEntropy};
use forebay_sql::{
    Context, EvalError, Evaluation, Limits, PayloadFault, Scratch, SelectStar, Selection,
    SqlVersion, Statement, Template,
};

const NEW: SqlVersion = SqlVersion::V2016;

struct Outcome {
    selection: Result<Selection, EvalError>,
    text: String,
    fault: Option<PayloadFault>,
}

fn run_with(sql: &str, payload: &[u8], star: SelectStar, limits: Limits) -> Outcome {
    let statement = Statement::compile(sql, NEW).expect(sql);
    let context = Context {
        topic: "a/b",
        payload,
        client_id: None,
        timestamp_ms: 7,
        origin: &Origin::UNKNOWN,
    };
    let mut scratch = Scratch::default();
    let mut entropy = SeededEntropy::new(1);
    let mut evaluation = Evaluation::new(context, limits, &mut scratch, &mut entropy);
    let mut out = b"left over".to_vec();
    let selection = evaluation.select(&statement, star, &mut out);
    let text = String::from_utf8(out).expect("output is UTF-8");
    Outcome {
        selection,
        text,
        fault: evaluation.take_payload_fault(),
    }
}

fn run(sql: &str, payload: &str) -> Outcome {
    run_with(
        sql,
        payload.as_bytes(),
        SelectStar::Verbatim,
        Limits::default(),
    )
}

fn output(sql: &str, payload: &str) -> String {
    let outcome = run(sql, payload);
    assert_eq!(outcome.selection, Ok(Selection::Written), "{sql}");
    outcome.text
}

#[test]
fn dotted_aliases_share_objects_and_later_items_win() {
    for (items, expected) in [
        ("1 AS a.x, 2 AS b, 3 AS a.y", r#"{"a":{"x":1,"y":3},"b":2}"#),
        ("1 AS a, 2 AS b, 3 AS a", r#"{"a":3,"b":2}"#),
        ("1 AS a, 2 AS a.x", r#"{"a":{"x":2}}"#),
        ("1 AS a.x, 2 AS a", r#"{"a":2}"#),
        ("1 AS a.x, 2 AS a, 3 AS a.y", r#"{"a":{"y":3}}"#),
        (
            "1 AS a.b.c, 2 AS a.b.d, 3 AS a.e",
            r#"{"a":{"b":{"c":1,"d":2},"e":3}}"#,
        ),
        ("1 AS a, missing AS a", r#"{"a":1}"#),
        ("missing AS a.b", "{}"),
        ("{'x': 1, 'y': missing}, 2 AS x", r#"{"x":2}"#),
        ("{'x': {'y': 1, 'y': 2}} AS o", r#"{"o":{"x":{"y":2}}}"#),
        ("o.*, 9 AS k", r#"{"k":9,"l":[1]}"#),
        ("9 AS k, o.*", r#"{"k":1,"l":[1]}"#),
        ("l.*, n.*", "{}"),
        (
            "*.o.k, 1 + 1, topic(1), (n), 'x'",
            r#"{"k":1,"_1":2,"topic":"a","n":4,"_4":"x"}"#,
        ),
        ("[1, missing, [n]] AS a", r#"{"a":[1,[4]]}"#),
        ("[] AS a, {} AS b", r#"{"a":[],"b":{}}"#),
    ] {
        let sql = format!("SELECT {items} FROM 'a/b'");
        assert_eq!(
            output(&sql, r#"{"o":{"k":1,"l":[ 1 ]},"l":[2],"n":4}"#),
            expected,
            "{items}"
        );
    }
}

#[test]
fn the_payload_is_spliced_when_no_name_repeats() {
    for (payload, expected) in [
        ("  {\"a\" : 1 } ", r#"{"a" : 1,"b":7}"#),
        ("{}", r#"{"b":7}"#),
        ("{\"a\":{\"b\":1}}", r#"{"a":{"b":1},"b":7}"#),
        ("{\"b\" : 1, \"c\" : 2}", r#"{"b":7,"c":2}"#),
        ("{\"a\" : 1, \"a\" : 2}", r#"{"a":2,"b":7}"#),
        ("[1, 2]", r#"{"b":7}"#),
        ("", r#"{"b":7}"#),
    ] {
        assert_eq!(
            output("SELECT *, timestamp() AS b FROM 'a/b'", payload),
            expected,
            "{payload}"
        );
    }
    for payload in ["80", "\"x\"", "{\"a\":", "\u{feff}{}"] {
        let outcome = run("SELECT *, 7 AS b FROM 'a/b'", payload);
        assert_eq!(outcome.selection, Ok(Selection::Payload), "{payload}");
    }
    assert_eq!(
        output(
            "SELECT 1 AS b, *, 2 AS c FROM 'a/b'",
            "{ \"a\": 1, \"b\": 2 }"
        ),
        r#"{"b":2,"a":1,"c":2}"#
    );
    assert_eq!(
        output("SELECT *, * FROM 'a/b'", "{ \"a\": 1 }"),
        r#"{"a":1}"#
    );
}

#[test]
fn compact_output_is_a_choice() {
    let compact = |sql, payload: &str| {
        run_with(
            sql,
            payload.as_bytes(),
            SelectStar::Compact,
            Limits::default(),
        )
    };
    assert_eq!(
        compact("SELECT * FROM 'a/b'", " { \"a\" : [ 1.0 ] } ").text,
        r#"{"a":[1.0]}"#
    );
    assert_eq!(
        compact("SELECT *, 1 AS b FROM 'a/b'", "{ \"a\" : 1 }").text,
        r#"{"a":1,"b":1}"#
    );
    let binary = compact("SELECT * FROM 'a/b'", "no json");
    assert_eq!(
        (binary.selection, binary.fault),
        (Ok(Selection::Payload), None)
    );
}

#[test]
fn a_payload_that_nobody_reads_is_no_fault() {
    let fault = |sql: &str, payload: &str| run(sql, payload).fault;
    assert_eq!(
        fault("SELECT * FROM 'a/b' WHERE topic(1) = 'a'", "no json"),
        None
    );
    assert_eq!(
        fault("SELECT * FROM 'a/b' WHERE x = 1", "no json"),
        Some(PayloadFault::NotJson)
    );
    assert_eq!(
        fault("SELECT x FROM 'a/b'", &"[".repeat(200)),
        Some(PayloadFault::TooDeep)
    );
    assert_eq!(fault("SELECT x FROM 'a/b'", ""), None);
    assert_eq!(fault("SELECT x FROM 'a/b'", "{}"), None);
}

#[test]
fn limits_end_a_statement() {
    let limits = |steps_max, output_bytes_max| Limits {
        steps_max,
        output_bytes_max,
    };
    let run = |sql, payload: &str, limits| {
        run_with(sql, payload.as_bytes(), SelectStar::Verbatim, limits).selection
    };
    let list = format!("{{\"l\":[{}]}}", vec!["1"; 500].join(","));
    assert_eq!(
        run("SELECT 2 IN l AS r FROM 'a/b'", &list, limits(1000, 1000)),
        Ok(Selection::Written)
    );
    assert_eq!(
        run("SELECT 2 IN l AS r FROM 'a/b'", &list, limits(500, 1000)),
        Err(EvalError::Steps)
    );
    let members: Vec<_> = (0..6400).map(|n| format!("\"m{n}\":1")).collect();
    let object = format!("{{{}}}", members.join(","));
    let sql = "SELECT m0 + m6399 + missing AS r FROM 'a/b'";
    assert_eq!(run(sql, &object, limits(304, 1000)), Ok(Selection::Written));
    assert_eq!(run(sql, &object, limits(300, 1000)), Err(EvalError::Steps));
    assert_eq!(
        run("SELECT * FROM 'a/b'", "0123456789", limits(10, 10)),
        Ok(Selection::Payload)
    );
    assert_eq!(
        run("SELECT * FROM 'a/b'", "01234567890", limits(10, 10)),
        Err(EvalError::OutputBytes)
    );
    assert_eq!(
        run(
            "SELECT s AS a, s AS b FROM 'a/b'",
            "{\"s\":\"12345\"}",
            limits(10, 15)
        ),
        Err(EvalError::OutputBytes)
    );
    let text = format!("{{\"s\":\"{}\"}}", "x".repeat(100));
    assert_eq!(
        run("SELECT s + s + s AS t FROM 'a/b'", &text, limits(100, 250)),
        Err(EvalError::OutputBytes)
    );
    // Strings that are compared and thrown away are bounded too.
    let many = vec!["s + 'x' = 'y'"; 50].join(" OR ");
    assert_eq!(
        run(
            &format!("SELECT {many} AS t FROM 'a/b'"),
            &text,
            limits(1000, 150)
        ),
        Err(EvalError::OutputBytes)
    );
}

#[test]
fn steps_are_shared_by_all_statements_of_a_message() {
    let statement =
        Statement::compile("SELECT timestamp() + 1 + 1 AS a FROM 'a/b'", NEW).expect("valid");
    let context = Context {
        topic: "a/b",
        payload: b"{}",
        client_id: None,
        timestamp_ms: 7,
        origin: &Origin::UNKNOWN,
    };
    let mut scratch = Scratch::default();
    let mut entropy = SeededEntropy::new(1);
    let mut evaluation = Evaluation::new(
        context,
        Limits {
            steps_max: 12,
            ..Limits::default()
        },
        &mut scratch,
        &mut entropy,
    );
    let mut out = Vec::new();
    let mut select = || evaluation.select(&statement, SelectStar::Verbatim, &mut out);
    assert_eq!(select(), Ok(Selection::Written));
    assert_eq!(select(), Ok(Selection::Written));
    assert_eq!(select(), Err(EvalError::Steps));
    assert_eq!(select(), Err(EvalError::Steps));
}

#[test]
fn joined_strings_hold_computed_text_and_copied_json() {
    for (expression, expected) in [
        ("'a' + 'b' + s + 1.50", r#""abx1.5""#),
        ("('a' + 'b') + ('c' + 'd')", r#""abcd""#),
        ("'a' + ('b' + s) = 'abx'", "true"),
        ("['p' + 'q', l] + '!'", r#""[\"pq\",[1.50,2]]!""#),
        ("{'k': 'v' + 'w'} + ''", r#""{\"k\":\"vw\"}""#),
        ("'n' + n", "null"),
        ("s + missing", "null"),
        ("'x' + d", r#""x2.5""#),
    ] {
        let sql = format!("SELECT {expression} AS r, 0 AS z FROM 'a/b'");
        let text = output(&sql, r#"{"s":"x","l":[ 1.50, 2 ],"n":null,"d":2.50}"#);
        let expected = if expected == "null" {
            "{\"z\":0}".to_owned()
        } else {
            format!("{{\"r\":{expected},\"z\":0}}")
        };
        assert_eq!(text, expected, "{expression}");
    }
}

#[test]
fn equality_looks_into_arrays_and_objects() {
    let payload = r#"{"a":[1,{"x":[2.0,"s"],"y":null}],"b":[1.0,{"y":null,"x":[2,"\u0073"]}],"d":{"x":1,"x":2},"e":{"x":2},"big":1e400}"#;
    for (condition, expected) in [
        ("a = b", "true"),
        ("a <> b", "false"),
        ("a = [1, {'x': [2, 's'], 'y': NULL}]", "true"),
        ("a = [1, {'x': [2, 's']}]", "false"),
        ("a = [1]", "false"),
        ("d = e", "true"),
        ("d = {'x': 1}", "false"),
        ("{'x': 2} IN [1, e]", "true"),
        ("a IN [b]", "true"),
        ("NULL IN [NULL]", "true"),
        ("1 IN 1", ""),
        ("missing IN a", ""),
        ("big = big", ""),
        ("big > 1", ""),
        ("e.x = 2 AND NOT e.x = 3", "true"),
        ("a = e", "false"),
    ] {
        let text = output(&format!("SELECT {condition} AS r FROM 'a/b'"), payload);
        let expected = if expected.is_empty() {
            "{}".to_owned()
        } else {
            format!("{{\"r\":{expected}}}")
        };
        assert_eq!(text, expected, "{condition}");
    }
    // Copied, a number beyond binary64 keeps its text.
    assert_eq!(output("SELECT big FROM 'a/b'", payload), r#"{"big":1e400}"#);
}

#[test]
fn one_evaluation_serves_rules_of_different_versions() {
    let context = Context {
        topic: "a/b",
        payload: br#"{"n":10.0}"#,
        client_id: Some("c"),
        timestamp_ms: 7,
        origin: &Origin::UNKNOWN,
    };
    let mut scratch = Scratch::default();
    let mut entropy = SeededEntropy::new(1);
    for _ in 0..3 {
        let templates = SqlVersion::ALL
            .map(|version| Template::compile("${n + 0} ${'x' + n}", version).expect("valid"));
        let mut evaluation =
            Evaluation::new(context, Limits::default(), &mut scratch, &mut entropy);
        let texts = templates.each_ref().map(|template| {
            let mut text = Vec::new();
            evaluation
                .template(template, &mut text)
                .expect("within limits");
            String::from_utf8(text).expect("UTF-8")
        });
        assert_eq!(texts, ["10.0 x10.0", "10 x10", "10 x10"]);
    }
}

#[test]
fn searches_that_are_given_up_use_the_steps_of_the_message_up() {
    let items = format!("[{}]", vec!["1"; 400].join(","));
    let payload = format!(r#"{{"l":{items},"t":"{}!"}}"#, "a".repeat(200));
    let sql =
        "SET @t = t SELECT (SELECT VALUE regexp_matches(@t, '(a|aa)+\\1$') FROM l) AS r FROM 'a'";
    assert_eq!(run(sql, &payload).selection, Err(EvalError::Steps));
    let one = "SELECT regexp_matches(t, '(a|aa)+\\1$') AS r FROM 'a'";
    assert_eq!(output(one, &payload), "{}");
}

#[test]
fn a_number_of_many_digits_costs_its_digits_each_time_that_a_query_reads_it() {
    let items = format!("[{}]", vec!["1"; 2000].join(","));
    let sql = "SET @n = n SELECT get((SELECT VALUE @n + x FROM l AS x), 0) > 1 AS r FROM 'a'";
    let payload = |digits| format!(r#"{{"l":{items},"n":{}}}"#, "9".repeat(digits));
    assert_eq!(output(sql, &payload(30)), r#"{"r":true}"#);
    assert_eq!(run(sql, &payload(100_000)).selection, Err(EvalError::Steps));
    let once = "SELECT n > 1 AS r FROM 'a'";
    assert_eq!(output(once, &payload(300)), r#"{"r":true}"#);
}

#[test]
fn an_element_behind_a_long_one_costs_the_way_there() {
    let items = format!("[{}]", vec!["1"; 2000].join(","));
    let payload = |long| format!(r#"{{"l":{items},"a":["{}",2]}}"#, "x".repeat(long));
    // White space makes it large enough for the tape, which does not keep the place of an element.
    let padded = |long| payload(long) + &" ".repeat(128 * 1024);
    let second = "SET @a = a SELECT get((SELECT VALUE get(@a, 1) FROM l), 0) AS r FROM 'a'";
    assert_eq!(output(second, &payload(120_000)), r#"{"r":2}"#);
    assert_eq!(output(second, &padded(5_000)), r#"{"r":2}"#);
    assert_eq!(
        run(second, &padded(120_000)).selection,
        Err(EvalError::Steps)
    );
    let first = "SET @a = a SELECT length(get(@a, 0)) AS r FROM 'a'";
    assert_eq!(output(first, &padded(120_000)), r#"{"r":120000}"#);
}
