//! Evaluates expressions and statements for the tables of the other modules.

use forebay_core::{Origin, SeededEntropy};
use forebay_sql::{
    Code, Context, EvalError, Evaluation, Limits, Scratch, SelectStar, Selection, SqlVersion,
    Statement, Template,
};

pub(crate) const OLD: SqlVersion = SqlVersion::V2015;
pub(crate) const NEW: SqlVersion = SqlVersion::V2016;

/// What most tables read: one member of each type.
pub(crate) const TYPES: &str = r#"{"i":7,"d":2.50,"s":"abc","n":"12.5","t":"TRUE","b":true,"z":null,"a":[1,"x",null,{"k":2}],
    "o":{"k":1,"l":{"m":[10,20]}},"e":"","big":1e400}"#;

fn context(payload: &[u8]) -> Context<'_> {
    Context {
        topic: "a/b/c",
        payload,
        client_id: Some("client"),
        timestamp_ms: 1_700_000_000_123,
        origin: &Origin::UNKNOWN,
    }
}

/// What a statement gives: its bytes as text, `none` when WHERE is not true, `undefined` when SELECT VALUE is.
pub(crate) fn select_bytes(sql: &str, version: SqlVersion, payload: &[u8]) -> String {
    let statement = Statement::compile(sql, version)
        .unwrap_or_else(|errors| panic!("{sql} under {version}: {errors:?}"));
    let (mut scratch, mut entropy) = (Scratch::default(), SeededEntropy::new(1));
    let mut evaluation = Evaluation::new(
        context(payload),
        Limits::default(),
        &mut scratch,
        &mut entropy,
    );
    let mut out = Vec::new();
    let bytes = match evaluation.select(&statement, SelectStar::Verbatim, &mut out) {
        Ok(Selection::Written) => out,
        Ok(Selection::Payload) => payload.to_vec(),
        Ok(Selection::Filtered) => b"none".to_vec(),
        Err(EvalError::Undefined) => b"undefined".to_vec(),
        Err(error) => error.to_string().into_bytes(),
    };
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn select(sql: &str, version: SqlVersion, payload: &str) -> String {
    select_bytes(sql, version, payload.as_bytes())
}

/// The JSON of an expression's value, or `undefined`.
pub(crate) fn value(expression: &str, version: SqlVersion) -> String {
    let text = select(
        &format!("SELECT {expression} AS r FROM 'a/#'"),
        version,
        TYPES,
    );
    let inner = text
        .strip_prefix("{\"r\":")
        .and_then(|rest| rest.strip_suffix('}'));
    inner.map_or_else(
        || {
            if text == "{}" {
                "undefined".to_owned()
            } else {
                text.clone()
            }
        },
        str::to_owned,
    )
}

/// Checks a table of expressions and their values under 2016-03-23.
pub(crate) fn check(table: &[(&str, &str)]) {
    for (expression, expected) in table {
        assert_eq!(value(expression, NEW), *expected, "{expression}");
    }
}

/// The text of a template.
pub(crate) fn template(text: &str, version: SqlVersion, payload: &[u8]) -> String {
    let template = Template::compile(text, version)
        .unwrap_or_else(|errors| panic!("{text} under {version}: {errors:?}"));
    let (mut scratch, mut entropy) = (Scratch::default(), SeededEntropy::new(1));
    let mut evaluation = Evaluation::new(
        context(payload),
        Limits::default(),
        &mut scratch,
        &mut entropy,
    );
    let mut out = Vec::new();
    evaluation.template(&template, &mut out).expect(text);
    String::from_utf8(out).expect("whole UTF-8")
}

/// The code of the first finding about a statement that is refused.
pub(crate) fn refusal(sql: &str, version: SqlVersion) -> Code {
    match Statement::compile(sql, version) {
        Ok(_) => panic!("{sql} was accepted under {version}"),
        Err(errors) => errors[0].code,
    }
}
