//! Judging what came of a case.

use forebay_core::PartitionKey;

use super::case::{Case, Expect};

use super::trial::Ending;
use crate::json_text::{self, Json};

/// One way in which a result is not what the case expects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}{path}: {got} instead of {expected}")]
pub struct Difference {
    /// The member of `expect` that does not hold, or `outcome` when something else happened altogether.
    pub what: &'static str,
    /// Where in a JSON value, such as `.a[2]`; empty for the whole.
    pub path: String,
    /// What the case expects.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// Names for a refusal of the rule in `expect.error`; any other text is the code of a diagnostic.
const REFUSALS: [&str; 2] = ["sqlParse", "SqlParseException"];
/// Code of what Forebay cannot evaluate: a refusal that is not about the text of the statement.
const NOT_EVALUATED: &str = "R015";

pub(super) fn differences(case: &Case, ending: Ending) -> Vec<Difference> {
    let expect = &case.expect;
    let other = |got: String| {
        vec![Difference {
            what: "outcome",
            path: String::new(),
            expected: expect.outcome(),
            got,
        }]
    };
    match ending {
        Ending::Refused(reasons) => match &expect.error {
            Some(error) if is_expected_refusal(error, &reasons) => Vec::new(),
            _ => {
                let reasons = reasons
                    .iter()
                    .map(|(code, reason)| format!("[{code}] {reason}"));
                let reasons: Vec<_> = reasons.collect();
                other(format!("refused: {}", reasons.join("; ")))
            }
        },
        Ending::NoAction(_) if expect.no_match == Some(true) => Vec::new(),
        Ending::NoAction(reason) => other(format!("no action: {reason}")),
        Ending::ActionFailed(_) if expect.action_fails == Some(true) => Vec::new(),
        Ending::ActionFailed(reason) => other(format!("the action fails: {reason}")),
        Ending::Output(output) if expect.is_output() => outputs(case, &output),
        Ending::Output(output) => other(format!("the output {}", shown(&output))),
        Ending::Text(text) if expect.action_fails == Some(true) => {
            // Without a field of its own a template stands where the partition key stands.
            if PartitionKey::new(&text).is_err() {
                Vec::new()
            } else {
                other(format!("the text {text:?}"))
            }
        }
        Ending::Text(text) => match &expect.string {
            Some(string) if *string == text => Vec::new(),
            Some(string) => vec![Difference {
                what: "string",
                path: String::new(),
                expected: string.clone(),
                got: text,
            }],
            None => other(format!("the text {text:?}")),
        },
    }
}

fn is_expected_refusal(error: &str, reasons: &[(&'static str, String)]) -> bool {
    reasons
        .iter()
        .any(|(code, _)| *code == error || (REFUSALS.contains(&error) && *code != NOT_EVALUATED))
}

fn outputs(case: &Case, output: &[u8]) -> Vec<Difference> {
    let expect = &case.expect;
    let mut differences = Vec::new();
    let mut add = |what, path: String, expected: String, got: String| {
        differences.push(Difference {
            what,
            path,
            expected,
            got,
        });
    };
    if let Some(text) = &expect.text
        && text.as_bytes() != output
    {
        add("text", String::new(), text.clone(), shown(output));
    }
    if let Some(bytes) = &expect.base64
        && bytes != output
    {
        let encode = |bytes: &[u8]| base64_simd::STANDARD.encode_to_string(bytes);
        add("base64", String::new(), encode(bytes), encode(output));
    }
    if let Some(expected) = &expect.json {
        let got = std::str::from_utf8(output).ok();
        match got.and_then(|text| Json::parse(text).ok()) {
            None => add("json", String::new(), expected.to_string(), shown(output)),
            Some(got) => {
                if let Some((path, expected, got)) =
                    json_text::difference(expected, &got, case.tolerance)
                {
                    add("json", path, expected, got);
                }
            }
        }
    }
    differences
}

/// Bytes as text, or as base64 where they are none.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("base64:{}", base64_simd::STANDARD.encode_to_string(bytes)),
    }
}

impl Expect {
    /// True when an outgoing payload is expected.
    fn is_output(&self) -> bool {
        let matches = self.no_match != Some(true);
        let nothing_else =
            self.error.is_none() && self.string.is_none() && self.action_fails != Some(true);
        matches && nothing_else
    }

    /// What is expected to happen, in words.
    fn outcome(&self) -> String {
        if let Some(error) = &self.error {
            format!("a refusal: {error}")
        } else if self.no_match == Some(true) {
            "no action".to_owned()
        } else if self.action_fails == Some(true) {
            "a failing action".to_owned()
        } else if let Some(string) = &self.string {
            format!("the text {string:?}")
        } else if let Some(text) = &self.text {
            format!("the output {text}")
        } else if let Some(json) = &self.json {
            format!("the output {json}")
        } else if let Some(bytes) = &self.base64 {
            format!("the output {}", shown(bytes))
        } else {
            "an output".to_owned()
        }
    }
}
