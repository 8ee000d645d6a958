//! Label values of counters that have a reason.

/// An enum whose values are labels of one counter.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            pub(super) const LABELS: &[&str] = &[$($label,)+];
        }
    };
}

labels! {
    /// Why a publish from a client was refused.
    Rejected {
        NotAuthorised => "not_authorised",
        BadTopic => "bad_topic",
        TooLarge => "too_large",
        Quota => "quota",
        Alias => "alias",
        Overload => "overload",
    }
}

labels! {
    /// Why a message was not delivered to a subscriber. None of them is recovered elsewhere.
    Dropped {
        /// The queue of its session had no room. Growing means a subscriber that is too slow: alert on its rate.
        QueueFull => "queue_full",
        /// Its expiry interval passed before it could be sent.
        Expired => "expired",
        /// The subscriber announced a smaller Maximum Packet Size.
        TooLargeForClient => "too_large_for_client",
        /// The session ended with messages in its queue.
        Slow => "slow",
    }
}

labels! {
    /// Limits that were hit, by configuration key.
    Limit {
        Topic => "topic_bytes",
        TopicLevels => "topic_levels",
        Payload => "payload_bytes",
        Packet => "packet_bytes",
        ClientId => "client_id_bytes",
        ReceiveMaximum => "receive_maximum",
        Subscriptions => "subscriptions_per_client",
        Filters => "filters_per_subscribe",
        UserProperties => "user_properties",
        RetainedMessages => "retained_messages",
        Spool => "spool",
        Connections => "connections",
        ConnectsPerSecond => "connects_per_second",
        ConnectsPerClient => "connects_per_second_per_client",
        TimeToConnect => "time_to_connect",
        PacketTimeout => "packet_timeout",
        WriteTimeout => "write_timeout",
        UnsentBytes => "unsent_bytes",
        SessionQueue => "session_queue_messages",
        PartialPackets => "partial_packets",
    }
}
