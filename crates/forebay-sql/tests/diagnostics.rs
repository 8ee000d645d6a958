//! What is refused, with which code, where, and with what advice.

use forebay_sql::{Code, Diagnostic, SqlVersion, Statement, Template};

const OLD: SqlVersion = SqlVersion::V2015;
const NEW: SqlVersion = SqlVersion::V2016;

fn refused(sql: &str, version: SqlVersion) -> Vec<Diagnostic> {
    let diagnostics = Statement::compile(sql, version).expect_err(sql);
    for diagnostic in &diagnostics {
        assert!(
            sql.get(diagnostic.span.clone()).is_some(),
            "{sql}: {diagnostic:?} points outside the text"
        );
        let message = &diagnostic.message;
        assert!(!message.ends_with('.'), "{message}");
    }
    diagnostics
}

/// The code and the marked text of the only diagnostic.
fn one(sql: &str, version: SqlVersion) -> (&'static str, &str) {
    let diagnostics = refused(sql, version);
    assert_eq!(diagnostics.len(), 1, "{sql}: {diagnostics:?}");
    (
        diagnostics[0].code.as_str(),
        sql.get(diagnostics[0].span.clone())
            .expect("within the text"),
    )
}

#[test]
fn syntax_errors_have_a_code_and_a_place() {
    for (sql, code, marked) in [
        ("", "R006", ""),
        ("SELECT", "R006", ""),
        ("SELEC * FROM 'a'", "R005", "SELEC"),
        ("SELECT * FRM 'a'", "R005", "FRM"),
        ("SELECT a b FROM 'a'", "R005", "b"),
        ("SELECT a FROM 'a' WHRE b = 1", "R005", "WHRE"),
        ("SELECT * FROM topic/#", "R005", "topic"),
        ("SELECT * FROM 'a';", "R001", ";"),
        ("SELECT * FROM 'a' -- all", "R005", "-"),
        ("SELECT a # b FROM 'a'", "R001", "#"),
        ("SELECT 'a FROM x", "R002", "'a FROM x"),
        ("SELECT 1. FROM 'a'", "R003", "1."),
        ("SELECT 1E+3 FROM 'a'", "R003", "1E"),
        ("SELECT 1st FROM 'a'", "R003", "1st"),
        ("SELECT @ FROM 'a'", "R004", "@"),
        ("SELECT end FROM 'a'", "R007", "end"),
        ("SELECT undefined FROM 'a'", "R007", "undefined"),
        ("SELECT a + FROM 'a'", "R007", "FROM"),
        ("SELECT a[0] FROM 'a'", "R005", "["),
        ("SELECT * FROM 'a' ORDER BY b", "R005", "ORDER"),
        ("SELECT * FROM 'a/#/b'", "R009", "'a/#/b'"),
        ("SELECT * FROM ''", "R009", "''"),
        ("SELECT * + 1 FROM 'a'", "R010", "*"),
        ("SELECT 1 + * FROM 'a'", "R010", "*"),
        ("SELECT *.* FROM 'a'", "R010", "*.*"),
        ("SELECT topic(*) FROM 'a'", "R010", "*"),
        ("SELECT VALUE a, b FROM 'a'", "R012", "SELECT VALUE a,"),
        ("SELECT 1E1000 AS n FROM 'a'", "R013", "1E1000"),
        ("SELECT (a FROM 'a'", "R005", "FROM"),
        ("SELECT CASE WHEN a = 1 THEN 2 END FROM 'a'", "R007", "WHEN"),
    ] {
        assert_eq!(one(sql, NEW), (code, marked), "{sql}");
    }
}

#[test]
fn typing_errors_get_a_suggestion() {
    for (sql, label) in [
        ("SELEC * FROM 'a'", "did you mean `SELECT`?"),
        ("SELECT * FRM 'a'", "did you mean `FROM`?"),
        ("SELECT a, b FORM 'a'", "did you mean `FROM`?"),
        ("SELECT * FROM 'a' WHER b = 1", "did you mean `WHERE`?"),
        ("SELECT uper(a) FROM 'a'", "did you mean `upper`?"),
        (
            "SELECT is_undefined(a) FROM 'a'",
            "did you mean `isundefined`?",
        ),
    ] {
        let diagnostics = refused(sql, NEW);
        assert_eq!(
            diagnostics[0].label.as_deref(),
            Some(label),
            "{sql}: {diagnostics:?}"
        );
    }
    let comment = refused("SELECT * FROM 'a' /* all */", NEW);
    assert_eq!(
        comment[0].help.as_deref(),
        Some("AWS IoT SQL has no comments")
    );
}

#[test]
fn one_look_shows_the_errors_of_all_items() {
    let sql = "SELECT end, uper(a), b +, lpad(1, c FROM 'a/#/b'";
    let codes = |sql| {
        refused(sql, NEW)
            .iter()
            .map(|found| found.code.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(sql), ["R007", "R005", "R005"]);
    assert_eq!(
        codes("SELECT uper(a), get_secret(b, 'SecretString', 'r'), nope(c) FROM 'a/#/b'"),
        ["R014", "R015", "R014", "R009"]
    );
}

#[test]
fn functions_of_other_services_are_refused_by_name_and_setting() {
    for (sql, message) in [
        (
            "SELECT aws_lambda('arn', *) AS l FROM 'a'",
            "the function `aws_lambda` asks a service that Forebay has no source for",
        ),
        (
            "SELECT get_thing_shadow('t', 'r') AS s FROM 'a'",
            "the function `get_thing_shadow` needs the setting functions.shadow_source, which names its data",
        ),
        (
            "SELECT decode(*, 'proto', 'b', 'k', 'p', 't') AS s FROM 'a'",
            "the function `decode` needs the setting functions.protobuf_descriptors, which names its data",
        ),
    ] {
        let diagnostics = refused(sql, NEW);
        assert_eq!(diagnostics[0].code, Code::Unsupported, "{sql}");
        assert_eq!(diagnostics[0].message, message, "{sql}");
    }
}

#[test]
fn variables_are_assigned_once_before_they_are_used_and_are_few() {
    let many = |count: usize| {
        let set: Vec<_> = (0..count).map(|n| format!("@v{n} = {n}")).collect();
        format!("SET {} SELECT @v0 AS a FROM 'a'", set.join(", "))
    };
    assert!(Statement::compile(&many(10), OLD).is_ok());
    for (sql, marked) in [
        (many(11).as_str(), "@v10"),
        ("SELECT @x AS a FROM 'a'", "@x"),
        ("SET @x = @x SELECT a FROM 'a'", "@x"),
        ("SET @x = @y, @y = 1 SELECT a FROM 'a'", "@y"),
        ("SET @x = 1, @x = 2 SELECT a FROM 'a'", "@x"),
    ] {
        assert_eq!(one(sql, NEW), ("R004", marked), "{sql}");
    }
}

#[test]
fn default_values_and_aliases_have_their_limits() {
    let sql = "SELECT get_or_default(a, get_secret('i', 'SecretString', 'r')) AS b FROM 'a'";
    assert_eq!(refused(sql, NEW)[0].code, Code::Unexpected);
    let alias = ["x"; 70].join(".");
    let sql = format!("SELECT a AS {alias} FROM 'a'");
    assert_eq!(one(&sql, NEW), ("R008", "x"));
}

#[test]
fn the_first_version_has_fewer_constructs() {
    for (sql, marked) in [
        ("SELECT [a] AS b FROM 'a'", "[a]"),
        ("SELECT {'a': b} FROM 'a'", "{'a': b}"),
        (
            "SELECT (SELECT a FROM b) AS c FROM 'a'",
            "(SELECT a FROM b)",
        ),
        ("SELECT length(a) FROM 'a'", "length"),
    ] {
        assert_eq!(one(sql, OLD), ("R011", marked), "{sql}");
    }
    assert!(Statement::compile("SELECT a IN b AS c FROM 'a'", OLD).is_ok());
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        format!(
            "SELECT {}a{} AS b FROM 'a'",
            "(".repeat(depth),
            ")".repeat(depth)
        )
    };
    assert!(Statement::compile(&nested(64), NEW).is_ok());
    for depth in [65, 100_000] {
        assert_eq!(refused(&nested(depth), NEW)[0].code, Code::Depth);
    }
    for prefix in ["- ", "NOT ", "[", "{'a':", "topic(", "CASE "] {
        let sql = format!("SELECT {}", prefix.repeat(50_000));
        assert_eq!(refused(&sql, NEW)[0].code, Code::Depth, "{prefix}");
    }
    // A chain of operators is no nesting.
    let chain = format!(
        "SELECT a FROM 'a' WHERE a = 0{}",
        " OR a = 1".repeat(20_000)
    );
    assert!(Statement::compile(&chain, NEW).is_ok());
}

#[test]
fn a_wrong_number_of_arguments_is_only_a_warning() {
    let statement = Statement::compile("SELECT topic(1, 2) AS t, timestamp(1) AS u FROM 'a'", NEW)
        .expect("valid");
    let warnings: Vec<_> = statement
        .warnings()
        .iter()
        .map(|warning| warning.message.as_str())
        .collect();
    assert_eq!(
        warnings,
        [
            "the function `topic` takes 0 to 1 arguments, not 2: the call is Undefined",
            "the function `timestamp` takes 0 arguments, not 1: the call is Undefined",
        ]
    );
}

#[test]
fn templates_are_scanned_with_the_expression_in_mind() {
    let literal = |text| {
        Template::compile(text, NEW)
            .expect(text)
            .literal()
            .map(str::to_owned)
    };
    for text in ["", "plain", "$", "$$", "a}b{c", "100 $ }", "@{x}"] {
        assert_eq!(literal(text).as_deref(), Some(text));
    }
    assert_eq!(literal("${topic()}"), None);
    assert!(Template::compile("a${ '}' + topic() }b${x.y}", NEW).is_ok());
    for (text, code, marked) in [
        ("a${topic()", "R016", "${topic()"),
        ("a${", "R016", "${"),
        ("${}", "R005", "}"),
        ("x${a b}", "R005", "b"),
        ("${uper(a)}", "R014", "uper"),
        ("${'a}", "R002", "'a}"),
        ("${get_thing_shadow(a, 'r')}", "R015", "get_thing_shadow"),
    ] {
        let diagnostics = Template::compile(text, NEW).expect_err(text);
        let found = (
            diagnostics[0].code.as_str(),
            text.get(diagnostics[0].span.clone()).expect("within"),
        );
        assert_eq!(found, (code, marked), "{text}");
    }
}
