//! Topic names and topic filters: what is valid, and what matches.
//!
//! Two readings of `#` exist. MQTT lets `a/#` match `a` (MQTT 3.1.1, 4.7.1.2); AWS IoT rules do not (AWS IoT developer
//! guide, topics). Callers say which with [`HashParent`].

/// Why a topic name or filter is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No character at all.
    #[error("empty")]
    Empty,
    /// More bytes than the limit.
    #[error("too long: {bytes} > {max} bytes")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More levels than the limit.
    #[error("too deep: {levels} > {max} levels")]
    TooDeep {
        /// Its levels.
        levels: usize,
        /// The limit.
        max: usize,
    },
    /// A wildcard in a topic name.
    #[error("a topic name cannot contain the wildcard {0:?}")]
    Wildcard(char),
    /// A wildcard that does not stand alone in its level, or a `#` that is not last.
    #[error("the wildcard {0:?} must stand alone in its level, and \"#\" must be the last level")]
    MisplacedWildcard(char),
    /// The null character.
    #[error("contains the null character")]
    Null,
}

impl TopicError {
    /// True when the text is well formed and only exceeds a configured limit.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::TooDeep { .. })
    }
}

/// Bounds of a topic name or filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLimits {
    /// UTF-8 bytes.
    pub bytes_max: usize,
    /// Levels, that is slashes plus one.
    pub levels_max: usize,
}

impl TopicLimits {
    fn check(&self, text: &str) -> Result<(), TopicError> {
        if text.len() > self.bytes_max {
            return Err(TopicError::TooLong {
                bytes: text.len(),
                max: self.bytes_max,
            });
        }
        let levels = level_count(text);
        if levels > self.levels_max {
            return Err(TopicError::TooDeep {
                levels,
                max: self.levels_max,
            });
        }
        Ok(())
    }
}

/// Number of levels: slashes plus one.
pub fn level_count(topic: &str) -> usize {
    topic.bytes().filter(|b| *b == b'/').count() + 1
}

/// Checks a topic name: at least one character, no wildcard, no null character, within `limits`
/// (MQTT 5.0, 3.3.2.1 and 4.7.3). The three levels of a Basic Ingest prefix are not counted.
///
/// # Errors
/// The first rule that it breaks.
pub fn validate_name(topic: &str, limits: TopicLimits) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if let Some(found) = topic.bytes().find(|b| matches!(b, 0 | b'+' | b'#')) {
        return Err(match found {
            0 => TopicError::Null,
            wildcard => TopicError::Wildcard(char::from(wildcard)),
        });
    }
    match basic_ingest(topic) {
        Some((_, rest)) => limits.check(rest),
        None => limits.check(topic),
    }
}

/// Checks a topic filter (MQTT 5.0, 4.7.1).
///
/// # Errors
/// The first rule that it breaks.
pub fn validate_filter(filter: &str, limits: TopicLimits) -> Result<(), TopicError> {
    if filter.is_empty() {
        return Err(TopicError::Empty);
    }
    if filter.bytes().any(|b| b == 0) {
        return Err(TopicError::Null);
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let misplaced = match level {
            "+" => None,
            "#" => levels.peek().map(|_| '#'),
            _ => level.chars().find(|c| matches!(c, '+' | '#')),
        };
        if let Some(wildcard) = misplaced {
            return Err(TopicError::MisplacedWildcard(wildcard));
        }
    }
    limits.check(filter)
}

/// Splits a Basic Ingest topic `$aws/rules/NAME` or `$aws/rules/NAME/REST` into name and rest
/// (AWS IoT developer guide, Basic Ingest). `None` for every other topic.
pub fn basic_ingest(topic: &str) -> Option<(&str, &str)> {
    let rest = topic.strip_prefix("$aws/rules/")?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

/// Whether `a/#` matches `a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashParent {
    /// It does: MQTT subscriptions.
    Matches,
    /// It does not: AWS IoT rules.
    Excluded,
}

/// Whether a valid filter matches a valid topic name. A wildcard in the first level never matches a topic that begins
/// with `$` (MQTT 5.0, 4.7.2). For one pair; a set of filters belongs into an index.
pub fn matches(filter: &str, topic: &str, parent: HashParent) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = topic.split('/');
    let mut filters = filter.split('/');
    loop {
        match (filters.next(), names.next()) {
            (Some("#"), Some(_)) => return true,
            (Some("#"), None) => return parent == HashParent::Matches,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(name)) if level == name => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TopicLimits = TopicLimits {
        bytes_max: 1024,
        levels_max: 32,
    };

    #[test]
    fn names_follow_the_standard_and_the_limits() {
        for topic in ["a", "/", "a//b", "é/x", "$aws/events/x", " "] {
            assert_eq!(validate_name(topic, LIMITS), Ok(()), "{topic:?}");
        }
        assert_eq!(validate_name("", LIMITS), Err(TopicError::Empty));
        assert_eq!(validate_name("a/+", LIMITS), Err(TopicError::Wildcard('+')));
        assert_eq!(validate_name("a\0", LIMITS), Err(TopicError::Null));
        let deep = "a/".repeat(32);
        assert_eq!(
            validate_name(&deep, LIMITS),
            Err(TopicError::TooDeep {
                levels: 33,
                max: 32
            })
        );
        assert!(validate_name(&"x".repeat(1025), LIMITS).is_err());
    }

    #[test]
    fn the_basic_ingest_prefix_is_not_counted() {
        let limits = TopicLimits {
            bytes_max: 3,
            levels_max: 2,
        };
        assert_eq!(
            validate_name("$aws/rules/long_rule_name/a/b", limits),
            Ok(())
        );
        assert!(validate_name("$aws/rules/r/a/b/c", limits).is_err());
        assert_eq!(basic_ingest("$aws/rules/r"), Some(("r", "")));
        assert_eq!(basic_ingest("$aws/rules/r/x/y"), Some(("r", "x/y")));
        assert_eq!(basic_ingest("aws/rules/r"), None);
    }

    #[test]
    fn wildcards_must_stand_alone_and_hash_last() {
        for filter in ["#", "+", "a/+/b", "+/+", "a/#", "/", "$SYS/#"] {
            assert_eq!(validate_filter(filter, LIMITS), Ok(()), "{filter:?}");
        }
        for filter in ["a/#/b", "a+/b", "a/b#", "#/", "++"] {
            assert!(matches!(
                validate_filter(filter, LIMITS),
                Err(TopicError::MisplacedWildcard(_))
            ));
        }
    }

    #[test]
    fn matching_follows_levels() {
        let mqtt = |filter, topic| matches(filter, topic, HashParent::Matches);
        assert!(mqtt("a/+/c", "a//c"));
        assert!(mqtt("a/#", "a"));
        assert!(!matches("a/#", "a", HashParent::Excluded));
        assert!(matches("sensor/#", "sensor/", HashParent::Excluded));
        assert!(mqtt("#", "a/b"));
        assert!(!mqtt("#", "$aws/x"));
        assert!(!mqtt("+/x", "$aws/x"));
        assert!(mqtt("$aws/#", "$aws/x"));
        assert!(!mqtt("a/+", "a"));
        assert!(!mqtt("a", "a/b"));
    }
}
