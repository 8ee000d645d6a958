use super::{Conversion, Explanation, FoldedValue, OutputPath, PayloadUse};
use crate::environment::{Environment, IntDivision};
use crate::value::ValueType;
use crate::{SelectStar, SqlVersion};

fn explain(sql: &str) -> Explanation {
    Explanation::of_statement(
        sql,
        SqlVersion::V2016,
        SelectStar::Verbatim,
        &Environment::DEFAULT,
    )
    .expect(sql)
}

fn paths(explanation: &Explanation) -> Vec<String> {
    let path = |read: &super::Read| {
        let element = if read.of_element { "[]." } else { "" };
        format!("{element}{}", read.path.join("."))
    };
    explanation.reads.iter().map(path).collect()
}

/// The texts of the operands that are converted.
fn converted<'t>(sql: &'t str, explanation: &Explanation) -> Vec<(&'t str, ValueType)> {
    let text = |one: &Conversion| (sql.get(one.span.clone()).unwrap(), one.to);
    explanation.conversions.iter().map(text).collect()
}

#[test]
fn the_way_of_the_output_follows_from_the_projection() {
    use OutputPath::{Splice, Value, Verbatim, Written};
    use PayloadUse::{Bytes, Parsed, Unread};
    for (sql, output, payload) in [
        ("SELECT * FROM 'a'", Verbatim, Unread),
        ("SELECT * FROM 'a' WHERE topic(1) = 'a'", Verbatim, Unread),
        ("SELECT * FROM 'a' WHERE t > 1", Verbatim, Parsed),
        ("SELECT *, topic() AS t FROM 'a'", Splice, Parsed),
        ("SELECT topic() AS t, * FROM 'a'", Written, Parsed),
        ("SELECT a, b.c FROM 'a'", Written, Parsed),
        ("SELECT timestamp() AS t FROM 'a'", Written, Unread),
        ("SELECT VALUE a FROM 'a'", Value, Parsed),
        ("SELECT VALUE encode(*, 'base64') FROM 'a'", Value, Bytes),
    ] {
        let explanation = explain(sql);
        assert_eq!(
            (explanation.output, explanation.payload),
            (output, payload),
            "{sql}"
        );
    }
    let compact = Explanation::of_statement(
        "SELECT * FROM 'a'",
        SqlVersion::V2016,
        SelectStar::Compact,
        &Environment::DEFAULT,
    )
    .unwrap();
    assert_eq!((compact.output, compact.payload), (Written, Parsed));
}

#[test]
fn reads_and_calls_stand_in_the_order_of_the_text() {
    let sql = "SET @v = b.c SELECT a, @v, (SELECT x, s.y FROM list AS s WHERE z = 1) AS l FROM 'a' WHERE a > TOPIC(2)";
    let explanation = explain(sql);
    assert_eq!(
        paths(&explanation),
        ["b.c", "a", "list", "[].x", "[].y", "[].z"]
    );
    assert_eq!(explanation.variables, ["@v"]);
    let [call] = explanation.calls.as_slice() else {
        panic!("{:?}", explanation.calls);
    };
    assert_eq!((call.function, call.asks_message), ("topic", true));
}

#[test]
fn conversions_name_what_may_have_another_type() {
    use ValueType::{Boolean, Number, String};
    let sql = "SELECT upper(5) AS u, 'n' + n AS s, a + b AS c FROM 'x' WHERE t > 50 AND isNull(k) AND flag";
    assert_eq!(
        converted(sql, &explain(sql)),
        [
            ("5", String),
            ("n", String),
            ("t", Number),
            ("flag", Boolean)
        ]
    );
    let sql = "SELECT a FROM 'x' WHERE a = '5'";
    assert_eq!(
        converted(sql, &explain(sql)),
        [],
        "equality converts nothing"
    );
}

#[test]
fn what_no_message_changes_is_folded() {
    let sql = "SELECT 60 * 60 * -1 AS s, upper('a' + 1) AS u, regexp_matches(t, '^a+$') AS m, 1 / 0 AS n, rand() AS r FROM 'x'";
    let folded: Vec<_> = explain(sql)
        .folded
        .into_iter()
        .map(|part| (sql.get(part.span).unwrap().to_owned(), part.value))
        .collect();
    assert_eq!(
        folded,
        [
            (
                "60 * 60 * -1".to_owned(),
                FoldedValue::Scalar("-3600".to_owned())
            ),
            (
                "upper('a' + 1)".to_owned(),
                FoldedValue::String("A1".to_owned())
            ),
            (
                "'^a+$'".to_owned(),
                FoldedValue::Pattern { backtracks: true }
            ),
            ("1 / 0".to_owned(), FoldedValue::Undefined),
        ]
    );
}

#[test]
fn folding_divides_as_the_environment_says() {
    let environment = Environment {
        int_division: IntDivision::Decimal,
        ..Environment::DEFAULT
    };
    let sql = "SELECT 7 / 2 AS q FROM 'x'";
    let explanation =
        Explanation::of_statement(sql, SqlVersion::V2015, SelectStar::Verbatim, &environment)
            .unwrap();
    assert_eq!(
        explanation.folded[0].value,
        FoldedValue::Scalar("3.5".to_owned())
    );
}

#[test]
fn templates_are_explained_with_the_variables_of_their_statement() {
    let variables = ["@v".to_owned()];
    let text = "k-${@v}-${a.b}-${1 + 1}";
    let explain = |variables: &[String]| {
        Explanation::of_template(text, SqlVersion::V2016, &Environment::DEFAULT, variables)
    };
    let explanation = explain(&variables).unwrap();
    assert_eq!(explanation.output, OutputPath::Text);
    assert_eq!(paths(&explanation), ["a.b"]);
    assert_eq!(explanation.folded.len(), 1);
    assert!(explain(&[]).is_err());
}
