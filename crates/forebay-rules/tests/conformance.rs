//! The language's conformance cases (`tests/conformance/sql.jsonl`, `templates.jsonl`): every case must pass, none is
//! skipped. `forebay rule test --cases` runs the same cases through the same code.

use std::fs;
use std::path::Path;

use forebay_rules::cases::{Case, CaseFile};

/// Time of a message that says none.
const NOW_MS: i64 = 1_700_000_000_123;

fn read(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/conformance")
        .join(file);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = CaseFile::read_lines(&text);
    assert_eq!(file.findings, []);
    // A line that is dropped would otherwise go unnoticed.
    assert_eq!(file.cases.len(), text.lines().count());
    file.cases
}

fn run(cases: &[Case]) {
    let mut failed = Vec::new();
    for case in cases {
        for difference in case.differences(NOW_MS) {
            failed.push(format!("{}: {difference}", case.id()));
        }
    }
    assert!(
        failed.is_empty(),
        "{} differences\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn statements() {
    run(&read("sql.jsonl"));
}

#[test]
fn templates() {
    run(&read("templates.jsonl"));
}
