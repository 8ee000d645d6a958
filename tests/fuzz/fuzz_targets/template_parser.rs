//! Any text as a substitution template: it compiles or is refused with findings that point into it, and what compiles
//! gives text within the limit.
#![no_main]

use forebay_core::{Origin, SeededEntropy};
use forebay_sql::{Context, EvalError, Evaluation, Limits, Scratch, SqlVersion, Template};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    steps_max: 5_000,
    output_bytes_max: 16 * 1024,
};

fuzz_target!(|text: &str| {
    for version in SqlVersion::ALL {
        let template = match Template::compile(text, version) {
            Ok(template) => template,
            Err(errors) => {
                for error in &errors {
                    assert!(text.get(error.span.clone()).is_some(), "{error:?}");
                }
                continue;
            }
        };
        let context = Context {
            topic: "dt/7/x",
            payload: br#"{"a":{"b":[1,"x",null,true]},"t":21.5}"#,
            client_id: Some("c"),
            timestamp_ms: 1_700_000_000_123,
            origin: &Origin::UNKNOWN,
        };
        let (mut scratch, mut entropy) = (Scratch::default(), SeededEntropy::new(1));
        let mut evaluation = Evaluation::new(context, LIMITS, &mut scratch, &mut entropy);
        let mut out = Vec::new();
        match evaluation.template(&template, &mut out) {
            Ok(()) => {
                assert!(out.len() <= LIMITS.output_bytes_max);
                let written = std::str::from_utf8(&out).expect("whole UTF-8");
                if let Some(literal) = template.literal() {
                    assert_eq!(literal, written);
                }
            }
            Err(error) => assert!(matches!(error, EvalError::Steps | EvalError::OutputBytes)),
        }
    }
});
