//! Cases: what a statement or a template must make of one message, written as data.
//!
//! Two forms are read. A `.jsonl` file holds one case per line with the members `id`, `sql` or `template`, `sqlVersion`,
//! `topic`, `payload` and `expect`; `CASE_MEMBERS` and `EXPECT_MEMBERS` in the reader list them all. A `.json` file
//! holds one case of AWS's tool for validating IoT rules. What a file holds beyond that is reported and never ignored.
//!
//! ```
//! use forebay_rules::cases::CaseFile;
//!
//! let text = r#"{"id": "a-1", "sql": "SELECT t AS u FROM 'a'", "topic": "a", "payload": "{\"t\": 1}", "expect": {"text": "{\"u\":1}"}}"#;
//! let file = CaseFile::read_lines(text);
//! assert!(file.findings.is_empty());
//! assert!(file.cases[0].differences(0).is_empty());
//! ```

mod case;

mod judgement;
mod reader;
mod trial;
mod validation_tool;

use std::ops::Range;

pub use case::Case;
pub use judgement::Difference;

/// What a file of cases holds.
#[derive(Debug, Default)]
pub struct CaseFile {
    /// The cases that can be run, in the order of the file.
    pub cases: Vec<Case>,
    /// What is wrong with the file, in the order of the file.
    pub findings: Vec<Finding>,
}

/// Something in a file of cases that is no case, or that nobody reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its stable code.
    pub code: &'static str,
    /// True when the case cannot be run; false for a member that is not read.
    pub is_error: bool,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// The bytes of the file that it is about.
    pub span: Range<usize>,
    /// A remark to print beside the marked bytes.
    pub label: Option<String>,
}
