//! What a rule does, as data.

use forebay_core::AckMode;
use forebay_sql::{Environment, Explanation};

use crate::rule::Rule;

/// What a rule does: its statement and every text that is evaluated for each record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleExplanation {
    /// The statement.
    pub statement: Explanation,
    /// The templates, in the order of the document; texts without an expression are not among them.
    pub templates: Vec<ExplainedTemplate>,
    /// The acknowledgement that the rule asks for itself.
    pub ack: Option<AckMode>,
}

/// A field of a rule that is evaluated for each record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedTemplate {
    /// The member of the document, or the setting, that holds the text.
    pub field: String,
    /// The text.
    pub text: String,
    /// What it does.
    pub explanation: Explanation,
}

/// Explains a rule of a set. It was compiled before, so nothing in it is refused.
pub(crate) fn explain(rule: &Rule, environment: &Environment) -> Option<RuleExplanation> {
    let document = rule.document();
    let version = document.version;
    let star = rule.settings().select_star;
    let statement = Explanation::of_statement(&document.sql, version, star, environment).ok()?;
    let mut templates = Vec::new();
    for (field, text) in texts(rule) {
        let explanation =
            Explanation::of_template(text, version, environment, &statement.variables).ok()?;
        if text.contains("${") {
            let text = text.to_owned();
            templates.push(ExplainedTemplate {
                field,
                text,
                explanation,
            });
        }
    }
    Some(RuleExplanation {
        statement,
        templates,
        ack: rule.settings().ack,
    })
}

/// The texts of a rule that may be templates.
fn texts(rule: &Rule) -> impl Iterator<Item = (String, &str)> {
    let hash_key = rule.settings().explicit_hash_key.as_deref();
    let templates = rule.document().templates().into_iter();
    templates.chain(hash_key.map(|key| ("explicit_hash_key".to_owned(), key)))
}
