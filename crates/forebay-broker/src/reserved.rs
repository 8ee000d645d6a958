//! Topics that begin with `$`: what clients may publish and subscribe to while no policy can allow more
//! (AWS IoT developer guide, reserved topics).

/// Whether a client may publish to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishRight {
    /// An ordinary topic.
    Allowed,
    /// Exactly one rule gets the message, and nobody else.
    BasicIngest,
    /// A reserved tree.
    NotAuthorised,
    /// No topic to publish to.
    Invalid,
}

/// Judges a valid topic name.
pub(crate) fn publish_right(topic: &str, retain: bool) -> PublishRight {
    if !topic.starts_with('$') {
        return PublishRight::Allowed;
    }
    let root = topic.split('/').next().unwrap_or(topic);
    match root {
        "$aws" if forebay_core::topic::basic_ingest(topic).is_some() && !retain => {
            PublishRight::BasicIngest
        }
        "$aws" | "$SYS" => PublishRight::NotAuthorised,
        _ => PublishRight::Invalid,
    }
}

/// Whether a client may subscribe to a valid filter.
pub(crate) fn may_subscribe(filter: &str) -> bool {
    const REFUSED: [&str; 3] = ["rules", "certificates", "provisioning-templates"];
    let mut levels = filter.split('/');
    !(levels.next() == Some("$aws") && levels.next().is_some_and(|level| REFUSED.contains(&level)))
}

/// True for `$share` and everything below it.
pub(crate) fn is_shared(filter: &str) -> bool {
    filter.split('/').next() == Some("$share")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ordinary_topics_and_basic_ingest_take_publishes() {
        for (topic, retain, right) in [
            ("a/b", true, PublishRight::Allowed),
            ("a/$SYS", false, PublishRight::Allowed),
            ("$aws/rules/r", false, PublishRight::BasicIngest),
            ("$aws/rules/r/a/b", false, PublishRight::BasicIngest),
            ("$aws/rules/r", true, PublishRight::NotAuthorised),
            (
                "$aws/things/x/shadow/update",
                false,
                PublishRight::NotAuthorised,
            ),
            (
                "$aws/events/presence/connected/c",
                false,
                PublishRight::NotAuthorised,
            ),
            ("$SYS/broker", false, PublishRight::NotAuthorised),
            ("$share/g/a", false, PublishRight::Invalid),
            ("$other", false, PublishRight::Invalid),
        ] {
            assert_eq!(publish_right(topic, retain), right, "{topic}");
        }
    }

    #[test]
    fn reserved_trees_without_messages_for_clients_are_refused() {
        for (filter, allowed) in [
            ("#", true),
            ("$aws/events/#", true),
            ("$aws/things/+/shadow/#", true),
            ("$SYS/#", true),
            ("$other/#", true),
            ("$aws/rules/#", false),
            ("$aws/rules", false),
            ("$aws/certificates/create/json", false),
            ("$aws/provisioning-templates/#", false),
        ] {
            assert_eq!(may_subscribe(filter), allowed, "{filter}");
        }
        assert!(is_shared("$share/g/a") && is_shared("$share") && !is_shared("$shared/a"));
    }
}
