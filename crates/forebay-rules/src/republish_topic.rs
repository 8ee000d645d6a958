//! The topic that a message is republished to (AWS IoT developer guide, "Republish"): a template with a rule of its own
//! for reserved topics, which begin with `$`. A `$$` at the beginning of the field stands for that `$`; in no other way
//! can a republished topic begin with one.

use forebay_core::topic::{TopicError, TopicLimits, validate_name};
use forebay_sql::{Diagnostic, EvalError, Evaluation, Template};

/// What the field begins with when it means a reserved topic.
const RESERVED: &str = "$$";
/// Topics by which messages name a rule: no target for a rule.
const BASIC_INGEST: &str = "$aws/rules/";

/// The field, compiled.
#[derive(Debug)]
pub(crate) struct RepublishTopic {
    is_reserved: bool,
    template: Template,
}

/// Why a message cannot be republished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RepublishTopicError {
    #[error(transparent)]
    Evaluation(#[from] EvalError),
    #[error("topic {0:?} begins with $, which only $$ at the beginning of the field stands for")]
    Dollar(String),
    #[error("topic {0:?} is no target of a rule")]
    BasicIngest(String),
    #[error("topic {topic:?}: {reason}")]
    Invalid { topic: String, reason: TopicError },
}

impl RepublishTopic {
    /// Compiles the field's text. `compile` makes the template, with the variables of the rule's statement.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub(crate) fn compile(
        text: &str,
        compile: impl FnOnce(&str) -> Result<Template, Vec<Diagnostic>>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let reserved = text.strip_prefix(RESERVED);
        let template = compile(reserved.unwrap_or(text)).map_err(|diagnostics| {
            let cut = reserved.map_or(0, |_| RESERVED.len());
            diagnostics
                .into_iter()
                .map(|d| d.shifted(cut))
                .collect::<Vec<_>>()
        })?;
        Ok(Self {
            is_reserved: reserved.is_some(),
            template,
        })
    }

    /// The topic for one message.
    ///
    /// # Errors
    /// When the text is no topic that a rule may publish to.
    pub(crate) fn topic<'a>(
        &'a self,
        evaluation: &mut Evaluation<'a>,
        limits: TopicLimits,
    ) -> Result<String, RepublishTopicError> {
        let mut text = Vec::new();
        evaluation.template(&self.template, &mut text)?;
        // A template writes whole UTF-8.
        let text = String::from_utf8_lossy(&text);
        let topic = if self.is_reserved {
            format!("${text}")
        } else if text.starts_with('$') {
            return Err(RepublishTopicError::Dollar(text.into_owned()));
        } else {
            text.into_owned()
        };
        if topic.starts_with(BASIC_INGEST) {
            return Err(RepublishTopicError::BasicIngest(topic));
        }
        match validate_name(&topic, limits) {
            Ok(()) => Ok(topic),
            Err(reason) => Err(RepublishTopicError::Invalid { topic, reason }),
        }
    }
}
