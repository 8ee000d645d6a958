//! What is a statement, under which version, and what is refused.

use forebay_sql::{Code, Template};

use crate::bed::{NEW, OLD, refusal, select};

#[test]
fn keywords_are_names_where_they_cannot_be_anything_else() {
    let payload =
        r#"{"value":1,"set":2,"exists":3,"cast":4,"end":{"from":5},"select":6,"Value":7}"#;
    for (sql, expected) in [
        ("SELECT value FROM 'a'", r#"{"value":1}"#),
        (
            "SELECT value, set, exists, cast FROM 'a'",
            r#"{"value":1,"set":2,"exists":3,"cast":4}"#,
        ),
        ("SELECT value AS v FROM 'a'", r#"{"v":1}"#),
        ("SELECT value + 1 AS v FROM 'a'", r#"{"v":2}"#),
        ("SELECT value - 1 AS v FROM 'a'", r#"{"v":0}"#),
        ("SELECT value / 1 AS v FROM 'a'", r#"{"v":1}"#),
        ("SELECT value % 2 AS v FROM 'a'", r#"{"v":1}"#),
        ("SELECT value = 1 AS v FROM 'a'", r#"{"v":true}"#),
        ("SELECT value <> 1 AS v FROM 'a'", r#"{"v":false}"#),
        ("SELECT value IN [1] AS v FROM 'a'", r#"{"v":true}"#),
        ("SELECT value > 0 AND true AS v FROM 'a'", r#"{"v":true}"#),
        ("SELECT value * 2 AS v FROM 'a'", r#"{"v":2}"#),
        ("SELECT VALUE value FROM 'a'", "1"),
        ("SELECT value set FROM 'a'", "2"),
        ("SELECT VALUE * FROM 'a' WHERE false", "none"),
        ("SELECT VALUE *.end.from FROM 'a'", "5"),
        ("SELECT value FROM 'a' WHERE value = 1", r#"{"value":1}"#),
        (
            "SELECT *.end.from, *.select AS select FROM 'a'",
            r#"{"from":5,"select":6}"#,
        ),
        ("select Value as end from 'a' where TRUE", r#"{"end":7}"#),
        ("SELECT (SELECT value FROM l) AS r FROM 'a'", "{}"),
    ] {
        assert_eq!(select(sql, NEW, payload), expected, "{sql}");
    }
    for word in [
        "SELECT",
        "from",
        "Where",
        "AND",
        "or",
        "NOT",
        "in",
        "AS",
        "case",
        "WHEN",
        "then",
        "else",
        "END",
        "undefined",
    ] {
        let sql = format!("SELECT 1 + {word} AS r FROM 'a'");
        assert!(
            matches!(
                refusal(&sql, NEW),
                Code::Reserved | Code::Unexpected | Code::End
            ),
            "{sql}"
        );
    }
}

#[test]
fn literals_are_as_the_guide_writes_them() {
    for (expression, expected) in [
        ("'it''s'", "\"it's\""),
        ("\"it's\"", "\"it's\""),
        ("'a\\n'", "\"a\\\\n\""),
        ("\"say \"\"x\"\"\"", "\"say \\\"x\\\"\""),
        ("'line\nbreak'", "\"line\\nbreak\""),
        ("-2.411E2", "-241.1"),
        ("1e3", "1000"),
        ("5E-1", "0.5"),
        ("[1, 2, ]", "[1,2]"),
        ("{'a': 1, }", "{\"a\":1}"),
        ("[]", "[]"),
        ("{}", "{}"),
        ("[1, missing, 2]", "[1,2]"),
        ("{\"a\": missing, 'b': NULL}", "{\"b\":null}"),
        ("{'a': 1, 'a': 2}", "{\"a\":2}"),
        ("Null", "null"),
        ("TRUE", "true"),
    ] {
        let sql = format!("SELECT {expression} AS r FROM 'a'");
        let expected = format!("{{\"r\":{expected}}}");
        assert_eq!(select(&sql, NEW, "{}"), expected, "{expression}");
    }
}

#[test]
fn what_is_no_statement_is_refused() {
    for (sql, code) in [
        ("", Code::End),
        ("SELECT", Code::End),
        ("SELECT * FROM a/b", Code::Unexpected),
        ("SELECT * FROM 'a';", Code::Character),
        ("SELECT * FROM 'a' -- c", Code::Unexpected),
        ("SELECT a[0] FROM 'a'", Code::Unexpected),
        ("SELECT a FROM 'a' WHERE a IS NULL", Code::Unexpected),
        ("SELECT a FROM 'a' WHERE a LIKE 'x'", Code::Unexpected),
        (
            "SELECT a FROM 'a' WHERE a BETWEEN 1 AND 2",
            Code::Unexpected,
        ),
        ("SELECT a FROM 'a' GROUP BY a", Code::Unexpected),
        ("SELECT a FROM 'a' ORDER BY a", Code::Unexpected),
        ("SELECT a FROM 'a', 'b'", Code::Unexpected),
        ("SELECT a FROM 'a' LIMIT 1", Code::Unexpected),
        ("SELECT VALUE a, b FROM 'a'", Code::ValueItems),
        ("SELECT a b FROM 'a'", Code::Unexpected),
        ("SELECT *.* FROM 'a'", Code::Star),
        ("SELECT upper(*) FROM 'a'", Code::Star),
        ("SELECT [*] AS l FROM 'a'", Code::Star),
        ("SELECT * + 1 FROM 'a'", Code::Star),
        ("SELECT 1 AS 1 FROM 'a'", Code::Unexpected),
        ("SELECT CASE WHEN a > 1 THEN 2 END FROM 'a'", Code::Reserved),
        ("SELECT CASE a END FROM 'a'", Code::Unexpected),
        ("SELECT EXISTS (a) FROM 'a'", Code::Unexpected),
        ("SELECT cast(a AS Float) FROM 'a'", Code::Unexpected),
        ("SELECT 1E+3 FROM 'a'", Code::Number),
        ("SELECT .5 FROM 'a'", Code::Unexpected),
        ("SELECT 1E1000 FROM 'a'", Code::Range),
        ("SELECT 2nd FROM 'a'", Code::Number),
        ("SELECT a-b.c# FROM 'a'", Code::Character),
        ("SELECT 'open FROM a", Code::UnclosedString),
        ("SELECT nope(a) FROM 'a'", Code::UnknownFunction),
        ("SELECT a FROM 'a/#/b'", Code::Filter),
        ("SELECT a FROM 'a+/b'", Code::Filter),
        ("SELECT a FROM ''", Code::Filter),
        ("SELECT a FROM 'a' WHERE", Code::End),
        ("SELECT @v FROM 'a'", Code::Variable),
        ("SET @a = @a SELECT 1 FROM 'a'", Code::Variable),
        ("SET @a = @b, @b = 1 SELECT 1 FROM 'a'", Code::Variable),
        ("SET @a = 1, @a = 2 SELECT 1 FROM 'a'", Code::Variable),
        ("SET a = 1 SELECT 1 FROM 'a'", Code::Unexpected),
        ("SELECT {a: 1} AS o FROM 'a'", Code::Unexpected),
        ("SELECT (SELECT a) AS q FROM 'a'", Code::Unexpected),
        ("SELECT get(a, 1,) FROM 'a'", Code::Unexpected),
    ] {
        assert_eq!(refusal(sql, NEW), code, "{sql}");
    }
}

#[test]
fn later_constructs_need_a_later_version() {
    for expression in [
        "[a]",
        "{'a': 1}",
        "(SELECT a FROM b)",
        "isNull(SELECT a FROM b)",
        "EXISTS (SELECT * FROM b)",
        "cast(a AS Decimal)",
        "cast(a AS Bool)",
        "cast(a AS BOOLEAN)",
        "encode(*, 'base64')",
        "decode(a, 'base64')",
        "parse_time('yyyy', 0)",
        "time_to_epoch(a, 'yyyy')",
        "length(a)",
        "numbytes(a)",
        "indexof(a, 'b')",
        "isUndefined(a)",
        "transform('enrichArray', a, b)",
        "get_or_default(a, 1)",
        "sourceip()",
    ] {
        let sql = format!("SELECT {expression} AS r FROM 'a'");
        assert_eq!(refusal(&sql, OLD), Code::Version, "{sql}");
        select(&sql, NEW, "{}");
    }
    for expression in [
        "a IN b",
        "isNull(a)",
        "cast(a AS Double)",
        "cast(a AS nvarchar)",
        "get_mqtt_property('content_type')",
        "get_user_properties()",
        "principal()",
        "regexp_matches(a, 'b')",
        "CASE a WHEN 1 THEN 2 END",
        "a.b.c",
        "nanvl(a, 1)",
    ] {
        select(
            &format!("SET @v = 1 SELECT {expression} AS r FROM 'a'"),
            OLD,
            "{}",
        );
    }
    select("SELECT a.* FROM 'a'", OLD, "{}");
    assert_eq!(refusal("SELECT {'a': 1} FROM 'a'", OLD), Code::Version);
}

#[test]
fn a_wrong_number_of_arguments_is_undefined_and_worth_a_warning() {
    use forebay_sql::Statement;
    for call in [
        "upper()",
        "upper(a, b)",
        "mod(1)",
        "topic(1, 2)",
        "newuuid(1)",
        "regexp_replace(a, 'b')",
        "substring(a)",
        "get_user_properties('a', 'b')",
    ] {
        let sql = format!("SELECT {call} AS r FROM 'a'");
        assert_eq!(select(&sql, NEW, r#"{"a":"x"}"#), "{}", "{sql}");
        let statement = Statement::compile(&sql, NEW).expect("valid");
        assert_eq!(statement.warnings()[0].code, Code::Arguments, "{sql}");
    }
}

#[test]
fn templates_are_refused_where_they_break() {
    for (text, code, at) in [
        ("a${", Code::Template, 1),
        ("a${b", Code::Template, 1),
        ("${}", Code::Unexpected, 2),
        ("x${a b}", Code::Unexpected, 5),
        ("${nope(a)}", Code::UnknownFunction, 2),
        ("${@v}", Code::Variable, 2),
        ("${a;}", Code::Character, 3),
        ("${*}", Code::Star, 2),
    ] {
        let errors = Template::compile(text, NEW).expect_err(text);
        assert_eq!((errors[0].code, errors[0].span.start), (code, at), "{text}");
    }
    assert_eq!(
        Template::compile("${length(a)}", OLD).expect_err("too new")[0].code,
        Code::Version
    );
}
