//! Any statement on any payload. The input is the text of a statement, a NUL, and the payload.
//!
//! What a statement gives is JSON within the limit, the payload itself, or an error that it may give; and it is the same
//! with buffers that another message has used, and through the other one of the two JSON readers.
#![no_main]

use forebay_core::{Origin, SeededEntropy};
use forebay_sql::{
    Context, EvalError, Evaluation, Limits, Scratch, SelectStar, Selection, SqlVersion, Statement,
};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;

const LIMITS: Limits = Limits {
    steps_max: 5_000,
    output_bytes_max: 16 * 1024,
};

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == 0) else {
        return;
    };
    let (sql, payload) = (&input[..end], &input[end + 1..]);
    let Ok(sql) = std::str::from_utf8(sql) else {
        return;
    };
    let mut scratch = Scratch::default();
    for version in SqlVersion::ALL {
        let Ok(statement) = Statement::compile(sql, version) else {
            continue;
        };
        for star in [SelectStar::Verbatim, SelectStar::Compact] {
            let fresh = select(&statement, star, payload, &mut Scratch::default());
            let reused = select(&statement, star, payload, &mut scratch);
            assert_eq!(fresh, reused);
            judge(&fresh, payload);
            if star == SelectStar::Compact && !sql.to_ascii_lowercase().contains("encode") {
                compare_readers(&statement, &fresh, payload);
            }
        }
    }
});

type Selected = (Result<Selection, EvalError>, Vec<u8>);

fn select(
    statement: &Statement,
    star: SelectStar,
    payload: &[u8],
    scratch: &mut Scratch,
) -> Selected {
    let context = Context {
        topic: "dt/7/x",
        payload,
        client_id: Some("c"),
        timestamp_ms: 1_700_000_000_123,
        origin: &Origin::UNKNOWN,
    };
    let mut entropy = SeededEntropy::new(1);
    let mut evaluation = Evaluation::new(context, LIMITS, scratch, &mut entropy);
    let mut out = Vec::new();
    let selection = evaluation.select(statement, star, &mut out);
    (selection, out)
}

/// White space behind a payload makes it long enough for the tape, and changes nothing.
fn compare_readers(statement: &Statement, short: &Selected, payload: &[u8]) {
    let padded = [payload, &[b' '; 128 * 1024]].concat();
    let long = select(
        statement,
        SelectStar::Compact,
        &padded,
        &mut Scratch::default(),
    );
    // What the readers cost differs a little.
    if (&short.0, &long.0) == (&Ok(Selection::Written), &Ok(Selection::Written)) {
        assert_eq!(short.1, long.1);
    }
}

fn judge((selection, out): &Selected, payload: &[u8]) {
    match selection {
        Ok(Selection::Written) => {
            assert!(out.len() <= LIMITS.output_bytes_max);
            let text = std::str::from_utf8(out).expect("whole UTF-8");
            // serde_json bounds the depth where Forebay bounds the payload's depth and the statement's.
            let mut reader = serde_json::Deserializer::from_str(text);
            reader.disable_recursion_limit();
            let read = serde::de::IgnoredAny::deserialize(&mut reader);
            assert!(read.is_ok() && reader.end().is_ok(), "no JSON: {text}");
        }
        Ok(Selection::Payload) => assert!(payload.len() <= LIMITS.output_bytes_max),
        Ok(Selection::Filtered) | Err(_) => {}
    }
}
