//! Regular expressions and times beside the JVM's, whose dialects they have: its answers to random questions are
//! recorded in `tests/jvm`, by `Answers.java` on OpenJDK 17. Questions about word boundaries beside letters that are not
//! ASCII, and about constructs that Forebay refuses, are not among them.

use forebay_core::{Origin, SeededEntropy};
use forebay_sql::{
    Context, EvalError, Evaluation, Limits, Scratch, SelectStar, Selection, SqlVersion, Statement,
};

fn unescaped(field: &str) -> String {
    let mut text = String::new();
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next().expect("an escape has two characters") {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                other => other,
            },
            other => other,
        });
    }
    text
}

/// What a function gives, as the JVM's answers are written.
fn answer(question: &[String]) -> String {
    let sql = match question[0].as_str() {
        "substr" => "SELECT VALUE regexp_substr(text, pattern) FROM 'a'",
        "replace" => "SELECT VALUE regexp_replace(text, pattern, by) FROM 'a'",
        "time" => "SELECT VALUE time_to_epoch(text, pattern) FROM 'a'",
        other => panic!("unknown question {other}"),
    };
    let statement = Statement::compile(sql, SqlVersion::V2016).expect("valid");
    let payload =
        serde_json::json!({"pattern": question[1], "text": question[2], "by": question.get(3)});
    let payload = payload.to_string();
    let context = Context {
        topic: "a",
        payload: payload.as_bytes(),
        client_id: None,
        timestamp_ms: 0,
        origin: &Origin::UNKNOWN,
    };
    let (mut scratch, mut entropy) = (Scratch::default(), SeededEntropy::new(1));
    let mut evaluation = Evaluation::new(context, Limits::default(), &mut scratch, &mut entropy);
    let mut out = Vec::new();
    match evaluation.select(&statement, SelectStar::Verbatim, &mut out) {
        Ok(Selection::Written) => match serde_json::from_slice(&out).expect("JSON") {
            serde_json::Value::String(text) => format!("={text}"),
            other => format!("={other}"),
        },
        Err(EvalError::Undefined) => "!".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn compare(recorded: &str) {
    let mut asked = 0;
    for line in recorded.lines() {
        let mut question: Vec<String> = line.split('\t').map(unescaped).collect();
        let expected = question.pop().expect("an answer");
        assert_eq!(answer(&question), expected, "{line}");
        asked += 1;
    }
    assert_eq!(asked, 600);
}

#[test]
fn regular_expressions_find_and_replace_what_the_jvm_does() {
    compare(include_str!("jvm/patterns.tsv"));
}

#[test]
fn times_are_read_as_the_jvm_reads_them() {
    compare(include_str!("jvm/times.tsv"));
}
