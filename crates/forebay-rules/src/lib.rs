//! Rules: documents in AWS IoT's form, the compiled rule set with its topic index, and what a message becomes.
//!
//! ```
//! use bytes::Bytes;
//! use forebay_core::{Message, Origin, SeededEntropy};
//! use forebay_rules::{Evaluated, RuleDocument, RuleLimits, RuleSet, RuleSettings, Scratch};
//!
//! let document = RuleDocument::from_json(
//!     br#"{"sql": "SELECT * FROM 'dt/#'", "actions": [{"kinesis": {
//!         "streamName": "telemetry", "partitionKey": "${topic()}", "roleArn": "arn:aws:iam::123456789012:role/r"}}]}"#,
//!     Some("telemetry"),
//! )?;
//! let rules = RuleSet::build(vec![(document, RuleSettings::default())], RuleLimits::default())
//!     .expect("the rule is valid");
//! let payload = Bytes::from_static(b"{\"t\": 21.5}");
//! let message = Message { topic: "dt/7", payload: &payload, client_id: Some("d7"), timestamp_ms: 0, origin: &Origin::UNKNOWN };
//! let (mut scratch, mut out) = (Scratch::default(), Evaluated::default());
//! rules.evaluate(&message, &mut scratch, &mut SeededEntropy::new(1), &mut out);
//! assert_eq!(out.records[0].data, payload);
//! assert_eq!(&*out.records[0].partition_key, "dt/7");
//! # Ok::<(), forebay_rules::DocumentError>(())
//! ```

mod action;
pub mod cases;
mod document;
mod document_place;
mod error_action;
mod error_document;
mod error_target;
mod evaluated;
mod explanation;
mod failure;
mod fields;
mod function_data;
pub mod import;
mod json_text;
mod republish;
mod republish_headers;
mod republish_topic;
mod rule;
mod rule_compiler;
mod rule_set;
mod settings;
mod topic_index;

pub use action::{Action, KinesisAction, RepublishAction, RepublishHeaders};
pub use document::{DocumentError, RuleDocument};
pub use error_document::{ErrorDocumentContext, error_document};
pub use error_target::ErrorTarget;
pub use evaluated::{
    ErrorKind, Evaluated, OutputRecord, RepublishProperties, Republished, RepublishedMessage,
    RuleOutcome, Scratch,
};
pub use explanation::{ExplainedTemplate, RuleExplanation};
pub use failure::{ActionFailure, Failure};
pub use forebay_sql::{
    Call, Conversion, Diagnostic, Environment, Explanation, Folded, FoldedValue, IntDivision,
    JsonReader, OutputPath, PayloadUse, Read, SelectStar, SqlVersion, ValueType,
};
pub use function_data::{FunctionData, FunctionDataError};
pub use rule::{Rule, RuleError, RuleWarning};
pub use rule_set::RuleSet;
pub use settings::{RuleLimits, RuleSettings};
