//! Regular expressions, times, hashes and base64 beside the JVM's: its answers to random questions are
//! recorded in `tests/jvm`, by `Answers.java` on OpenJDK 17. Questions about word boundaries beside letters that are not
//! ASCII, and about constructs that Forebay refuses, are not among them. `WrittenTimes.java` asks Joda-Time 2.10, about zones
//! and years in which its tz database and Forebay's agree, and not about zones by aliases, which it replaces.

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
        "write" => "SELECT VALUE parse_time(pattern, text, by) FROM 'a'",
        "hash" => match question[1].as_str() {
            "MD2" => "SELECT VALUE md2(text) FROM 'a'",
            "MD5" => "SELECT VALUE md5(text) FROM 'a'",
            "SHA-1" => "SELECT VALUE sha1(text) FROM 'a'",
            "SHA-224" => "SELECT VALUE sha224(text) FROM 'a'",
            "SHA-256" => "SELECT VALUE sha256(text) FROM 'a'",
            "SHA-384" => "SELECT VALUE sha384(text) FROM 'a'",
            _ => "SELECT VALUE sha512(text) FROM 'a'",
        },
        "encode" => "SELECT VALUE encode(text, 'base64') FROM 'a'",
        "decode" => "SELECT VALUE decode(text, 'base64') FROM 'a'",
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
            // What is not base64 decodes to Null.
            serde_json::Value::Null => "!".to_owned(),
            other => format!("={other}"),
        },
        Err(EvalError::Undefined) => "!".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn compare(recorded: &str, questions: usize) {
    let mut asked = 0;
    for line in recorded.lines() {
        let mut question: Vec<String> = line.split('\t').map(unescaped).collect();
        let expected = question.pop().expect("an answer");
        assert_eq!(answer(&question), expected, "{line}");
        asked += 1;
    }
    assert_eq!(asked, questions);
}

#[test]
fn regular_expressions_find_and_replace_what_the_jvm_does() {
    compare(include_str!("jvm/patterns.tsv"), 600);
}

#[test]
fn times_are_read_as_the_jvm_reads_them() {
    compare(include_str!("jvm/times.tsv"), 600);
}

#[test]
fn times_are_written_as_joda_time_writes_them() {
    compare(include_str!("jvm/written_times.tsv"), 600);
}

#[test]
fn hashes_and_base64_are_those_of_the_jvm() {
    compare(include_str!("jvm/hashes.tsv"), 182);
}
