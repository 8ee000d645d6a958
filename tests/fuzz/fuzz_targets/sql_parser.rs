//! Any text as a statement: it compiles or is refused with findings that point into it, and what compiles is explained.
#![no_main]

use forebay_sql::{Diagnostic, Environment, Explanation, SelectStar, SqlVersion, Statement};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|sql: &str| {
    for version in SqlVersion::ALL {
        let environment = Environment::DEFAULT;
        let explained = Explanation::of_statement(sql, version, SelectStar::Verbatim, &environment);
        match Statement::compile(sql, version) {
            Ok(statement) => {
                check(sql, statement.warnings());
                let explained = explained.expect("what compiles is explained");
                for read in &explained.reads {
                    assert!(sql.get(read.span.clone()).is_some(), "{read:?}");
                }
                for folded in &explained.folded {
                    assert!(sql.get(folded.span.clone()).is_some(), "{folded:?}");
                }
            }
            Err(errors) => {
                assert!(!errors.is_empty() && explained.is_err());
                check(sql, &errors);
            }
        }
    }
});

/// Spans lie in the text, on character boundaries.
fn check(text: &str, findings: &[Diagnostic]) {
    for finding in findings {
        assert!(text.get(finding.span.clone()).is_some(), "{finding:?}");
        assert!(!finding.message.is_empty());
    }
}
