//! The topic that a message is republished to (AWS IoT developer guide, "Republish"): a template with a rule of its own
//! for reserved topics, which begin with `$`. A `$$` at the beginning of the field stands for that `$`; in no other way
//! can a republished topic begin with one.

use forebay_core::topic::{TopicError, TopicLimits, validate_name};

use crate::fields::clipped;

/// What the field begins with when it means a reserved topic.
const RESERVED: &str = "$$";
/// Topics by which messages name a rule: no target for a rule.
const BASIC_INGEST: &str = "$aws/rules/";
/// Bytes of a topic that messages about it show.
const SHOWN_BYTES: usize = 256;

/// How the text of the field becomes a topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RepublishTopic {
    is_reserved: bool,
    limits: TopicLimits,
}

/// Why a message cannot be republished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RepublishTopicError {
    #[error("topic {0:?} begins with $, which only $$ at the beginning of the field stands for")]
    Dollar(String),
    #[error("topic {0:?} is no target of a rule")]
    NoTarget(String),
    #[error("topic {topic:?}: {reason}")]
    Invalid { topic: String, reason: TopicError },
}

impl RepublishTopicError {
    /// The topic, as far as messages show it.
    pub(crate) fn topic(&self) -> &str {
        match self {
            Self::Dollar(topic) | Self::NoTarget(topic) | Self::Invalid { topic, .. } => topic,
        }
    }
}

impl RepublishTopic {
    /// What kind of topic the field's text means, and the byte at which its template begins.
    pub(crate) fn of_field(text: &str, limits: TopicLimits) -> (Self, usize) {
        let is_reserved = text.starts_with(RESERVED);
        let topic = Self {
            is_reserved,
            limits,
        };
        (topic, if is_reserved { RESERVED.len() } else { 0 })
    }

    /// True for a field whose messages would all name rules.
    pub(crate) fn is_basic_ingest(text: &str) -> bool {
        let topic = text.strip_prefix('$').unwrap_or_default();
        topic.starts_with(BASIC_INGEST)
    }

    /// The topic that the text of the template means.
    pub(crate) fn topic(self, text: &str) -> Result<String, RepublishTopicError> {
        let shown = |topic: &str| clipped(topic, SHOWN_BYTES).to_owned();
        let topic = if self.is_reserved {
            format!("${text}")
        } else if text.starts_with('$') {
            return Err(RepublishTopicError::Dollar(shown(text)));
        } else {
            text.to_owned()
        };
        if topic.starts_with(BASIC_INGEST) || is_of_jobs(&topic) {
            return Err(RepublishTopicError::NoTarget(shown(&topic)));
        }
        match validate_name(&topic, self.limits) {
            Ok(()) => Ok(topic),
            Err(reason) => {
                let topic = shown(&topic);
                Err(RepublishTopicError::Invalid { topic, reason })
            }
        }
    }
}

/// True for the topics of AWS IoT Jobs, `$aws/things/THING/jobs/...`.
fn is_of_jobs(topic: &str) -> bool {
    let thing_and_rest = topic.strip_prefix("$aws/things/");
    thing_and_rest
        .and_then(|topic| topic.split('/').nth(1))
        .is_some_and(|level| level == "jobs")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TopicLimits = TopicLimits {
        bytes_max: 20,
        levels_max: 5,
    };

    fn of(field: &str) -> Result<String, RepublishTopicError> {
        let (topic, cut) = RepublishTopic::of_field(field, LIMITS);
        topic.topic(field.get(cut..).expect("a character boundary"))
    }

    #[test]
    fn a_reserved_topic_is_written_with_two_dollar_signs() {
        assert_eq!(of("$$aws/events/x").as_deref(), Ok("$aws/events/x"));
        assert_eq!(of("a/b").as_deref(), Ok("a/b"));
        assert!(matches!(
            of("$aws/events/x"),
            Err(RepublishTopicError::Dollar(_))
        ));
    }

    #[test]
    fn rules_and_jobs_are_no_targets() {
        for field in [
            "$$aws/rules/r",
            "$$aws/rules/r/x",
            "$$aws/things/t/jobs/start",
        ] {
            assert!(matches!(of(field), Err(RepublishTopicError::NoTarget(_))));
        }
        assert!(RepublishTopic::is_basic_ingest("$$aws/rules/${topic()}"));
        assert!(!RepublishTopic::is_basic_ingest("$aws/rules/r"));
        assert!(of("$$aws/things/jobs/x").is_ok());
    }

    #[test]
    fn what_is_no_topic_name_is_refused() {
        for field in ["", "a/+", "a/#", "a\0", "a/b/c/d/e/f", &"x".repeat(21)] {
            assert!(matches!(
                of(field),
                Err(RepublishTopicError::Invalid { .. })
            ));
        }
        let long = of(&"x".repeat(5000)).unwrap_err().to_string();
        assert!(long.len() < 400, "{long}");
    }
}
