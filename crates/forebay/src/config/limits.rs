//! `[limits]`: a profile, and keys that win over it; some of them again per listener.

use std::time::Duration;

use forebay_core::limits::{
    EXPRESSION_DEPTH_MAX, JSON_DEPTH_MAX, RECORD_BYTES_MAX, RULE_ACTIONS_MAX,
};

use super::memory::Memory;
use super::raw::RawTable;
use super::section::Section;
use crate::diagnostics::{Code, Diagnostic, Report};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// The largest packet that MQTT's length field allows (MQTT 5.0, 1.5.5).
const MQTT_PACKET_BYTES_MAX: u64 = 268_435_455;
/// What a packet has besides its payload: topic and properties.
const PACKET_OVERHEAD: u64 = 64 * KIB;
/// Descriptors kept for the sender, the admin port and files.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Which column of defaults is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Forebay's own.
    Default,
    /// AWS IoT Core's quotas.
    Aws,
}

/// The limits that a listener may set for itself. The documented default is followed by that of the `aws` profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerLimits {
    /// `topic_bytes`: 1 024; 256.
    pub topic_bytes: u32,
    /// `topic_levels`: 32; 8.
    pub topic_levels: u32,
    /// `payload_bytes`: 1 MiB; 128 KiB.
    pub payload_bytes: u64,
    /// `packet_bytes`: payload and 64 KiB.
    pub packet_bytes: u64,
    /// `client_id_bytes`: 256; 128.
    pub client_id_bytes: u32,
    /// `receive_maximum`: QoS 1 and 2 publishes without answer that a client may have, 256; 100.
    pub receive_maximum: u16,
    /// `subscriptions_per_client`: 1 000; 50.
    pub subscriptions_per_client: u32,
    /// `filters_per_subscribe`: 64; 8.
    pub filters_per_subscribe: u32,
    /// `connections_per_address`: none.
    pub connections_per_address: Option<u32>,
    /// `connects_per_second`: 1 000; 500.
    pub connects_per_second: u32,
    /// `connects_burst`: 2 000; 500.
    pub connects_burst: u32,
    /// `time_to_connect`: from accept to CONNECT, 10 s.
    pub time_to_connect: Duration,
    /// `packet_timeout`: for a packet that has begun, then at least 1 KiB/s; 10 s.
    pub packet_timeout: Duration,
    /// `write_timeout`: without progress, 30 s.
    pub write_timeout: Duration,
    /// `unsent_bytes`: waiting for a client that does not read, 256 KiB.
    pub unsent_bytes: u64,
}

/// `[limits]`. The documented default is followed by that of the `aws` profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `profile`. Default `default`.
    pub profile: Profile,
    /// What listeners inherit.
    pub listener: ListenerLimits,
    /// `inflight_to_client`: 64; 100.
    pub inflight_to_client: u16,
    /// `session_queue_messages`: 1 000.
    pub session_queue_messages: u32,
    /// `session_queue_bytes`: 1 MiB.
    pub session_queue_bytes: u64,
    /// `user_properties`: 100.
    pub user_properties: u32,
    /// `user_property_bytes`: 8 KiB.
    pub user_property_bytes: u64,
    /// `retained_messages`: 100 000; 500 000.
    pub retained_messages: u32,
    /// `retained_bytes`: 256 MiB.
    pub retained_bytes: u64,
    /// `connections`: the smaller of 80 % of the descriptors and what `memory.limit` leaves.
    pub connections: u32,
    /// `connects_per_second_per_client`: 1.
    pub connects_per_second_per_client: u32,
    /// `connects_burst_per_client`: 5; 1.
    pub connects_burst_per_client: u32,
    /// `evaluation_steps`: per message, all rules together, 100 000.
    pub evaluation_steps: u32,
    /// `output_bytes`: per record, 1 MiB.
    pub output_bytes: u64,
    /// `output_bytes_per_message`: 16 MiB, at most one stream's share of `memory.ingest`.
    pub output_bytes_per_message: u64,
    /// `rules`: 10 000; 1 000.
    pub rules: u32,
    /// `actions_per_rule`: 10.
    pub actions_per_rule: u32,
    /// `tags_per_rule`: 50.
    pub tags_per_rule: u32,
    /// `rule_document_bytes`: 128 KiB.
    pub rule_document_bytes: u64,
}

/// The limits with the number of connections that was asked for.
pub(super) struct ReadLimits {
    pub limits: Limits,
    /// `connections`, when it is written.
    pub connections: Option<u64>,
}

/// Takes the profile first: other sections have defaults that depend on it.
pub(super) fn read_profile(section: &mut Section<'_>) -> Profile {
    match section.word("profile", &["default", "aws"]) {
        Some(written) if written.value == "aws" => Profile::Aws,
        _ => Profile::Default,
    }
}

impl Limits {
    pub(super) fn read(
        section: &mut Section<'_>,
        profile: Profile,
        memory: &Memory,
        descriptors: u64,
    ) -> ReadLimits {
        let aws = profile == Profile::Aws;
        let any = 1..=u32::MAX;
        // The parsers are built for these depths: the keys can be written, and no other value.
        for (key, fixed) in [
            ("json_depth", constant(JSON_DEPTH_MAX)),
            ("expression_depth", constant(EXPRESSION_DEPTH_MAX)),
        ] {
            section.integer_u32(key, fixed..=fixed);
        }
        let listener = ListenerLimits::defaults(profile).overridden(section);
        let connections = section.integer("connections", 1..=u64::from(u32::MAX));
        let sockets = descriptors.saturating_sub(DESCRIPTORS_RESERVED);
        let usable = sockets / 5 * 4;
        if let Some(written) = connections
            .as_ref()
            .filter(|written| written.value > sockets)
        {
            section.report().push(
                Diagnostic::warning(
                    Code::Budget,
                    format!("`limits.connections` is more than the process may have: {sockets}"),
                )
                .at(&written.origin)
                .help("raise the limit of open files (ulimit -n, LimitNOFILE)"),
            );
        }
        let default_connections = usable.min(memory.connections_that_fit()).max(1);
        let connections = connections.map(|written| written.value);
        let limits = Self {
            profile,
            listener,
            inflight_to_client: integer_u16(section, "inflight_to_client").unwrap_or(if aws {
                100
            } else {
                64
            }),
            session_queue_messages: section
                .integer_u32("session_queue_messages", any.clone())
                .unwrap_or(1000),
            session_queue_bytes: section
                .size("session_queue_bytes", KIB..=u64::MAX)
                .map_or(MIB, |written| written.value),
            user_properties: section
                .integer_u32("user_properties", 0..=65_535)
                .unwrap_or(100),
            user_property_bytes: section
                .size("user_property_bytes", 0..=MQTT_PACKET_BYTES_MAX)
                .map_or(8 * KIB, |written| written.value),
            retained_messages: section
                .integer_u32("retained_messages", 0..=u32::MAX)
                .unwrap_or(if aws { 500_000 } else { 100_000 }),
            retained_bytes: section
                .size("retained_bytes", 0..=u64::MAX)
                .map_or(256 * MIB, |written| written.value),
            connections: u32::try_from(connections.unwrap_or(default_connections))
                .unwrap_or(u32::MAX),
            connects_per_second_per_client: section
                .integer_u32("connects_per_second_per_client", any.clone())
                .unwrap_or(1),
            connects_burst_per_client: section
                .integer_u32("connects_burst_per_client", any.clone())
                .unwrap_or(if aws { 1 } else { 5 }),
            evaluation_steps: section
                .integer_u32("evaluation_steps", any.clone())
                .unwrap_or(100_000),
            output_bytes: section
                .size("output_bytes", 1..=RECORD_BYTES_MAX as u64)
                .map_or(MIB, |written| written.value),
            output_bytes_per_message: read_output_per_message(section, memory),
            rules: section
                .integer_u32("rules", 1..=1_000_000)
                .unwrap_or(if aws { 1000 } else { 10_000 }),
            actions_per_rule: section
                .integer_u32("actions_per_rule", 1..=constant(RULE_ACTIONS_MAX))
                .unwrap_or(constant(RULE_ACTIONS_MAX)),
            tags_per_rule: section.integer_u32("tags_per_rule", 1..=50).unwrap_or(50),
            rule_document_bytes: section
                .size("rule_document_bytes", KIB..=MIB)
                .map_or(128 * KIB, |written| written.value),
        };
        ReadLimits {
            limits,
            connections,
        }
    }
}

impl ListenerLimits {
    /// The column of a profile.
    fn defaults(profile: Profile) -> Self {
        let aws = profile == Profile::Aws;
        let payload_bytes = if aws { 128 * KIB } else { MIB };
        Self {
            topic_bytes: if aws { 256 } else { 1024 },
            topic_levels: if aws { 8 } else { 32 },
            payload_bytes,
            packet_bytes: payload_bytes + PACKET_OVERHEAD,
            client_id_bytes: if aws { 128 } else { 256 },
            receive_maximum: if aws { 100 } else { 256 },
            subscriptions_per_client: if aws { 50 } else { 1000 },
            filters_per_subscribe: if aws { 8 } else { 64 },
            connections_per_address: None,
            connects_per_second: if aws { 500 } else { 1000 },
            connects_burst: if aws { 500 } else { 2000 },
            time_to_connect: Duration::from_secs(10),
            packet_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            unsent_bytes: 256 * KIB,
        }
    }

    /// These limits with what a section says instead.
    fn overridden(self, section: &mut Section<'_>) -> Self {
        let any = 1..=u32::MAX;
        let times = Duration::from_secs(1)..=Duration::from_secs(3600);
        let strings = 1..=65_535;
        let payload = section.size("payload_bytes", 1..=MQTT_PACKET_BYTES_MAX - PACKET_OVERHEAD);
        let payload_bytes = payload.map_or(self.payload_bytes, |written| written.value);
        // Without a word about packets they follow the payload, also where only the payload is set.
        let inherited_packet = if payload_bytes == self.payload_bytes {
            self.packet_bytes
        } else {
            payload_bytes + PACKET_OVERHEAD
        };
        let mut seconds = |key, inherited: Duration| {
            section
                .duration(key, times.clone())
                .map_or(inherited, |written| written.value)
        };
        let time_to_connect = seconds("time_to_connect", self.time_to_connect);
        let packet_timeout = seconds("packet_timeout", self.packet_timeout);
        let write_timeout = seconds("write_timeout", self.write_timeout);
        let mut integer =
            |key, range, inherited: u32| section.integer_u32(key, range).unwrap_or(inherited);
        Self {
            topic_bytes: integer("topic_bytes", strings.clone(), self.topic_bytes),
            topic_levels: integer("topic_levels", strings.clone(), self.topic_levels),
            client_id_bytes: integer("client_id_bytes", 23..=65_535, self.client_id_bytes),
            subscriptions_per_client: integer(
                "subscriptions_per_client",
                any.clone(),
                self.subscriptions_per_client,
            ),
            filters_per_subscribe: integer(
                "filters_per_subscribe",
                any.clone(),
                self.filters_per_subscribe,
            ),
            connects_per_second: integer(
                "connects_per_second",
                any.clone(),
                self.connects_per_second,
            ),
            connects_burst: integer("connects_burst", any.clone(), self.connects_burst),
            connections_per_address: section
                .integer_u32("connections_per_address", any)
                .or(self.connections_per_address),
            payload_bytes,
            packet_bytes: section
                .size("packet_bytes", PACKET_OVERHEAD..=MQTT_PACKET_BYTES_MAX)
                .map_or(inherited_packet, |written| written.value),
            receive_maximum: integer_u16(section, "receive_maximum")
                .unwrap_or(self.receive_maximum),
            time_to_connect,
            packet_timeout,
            write_timeout,
            unsent_bytes: section
                .size("unsent_bytes", KIB..=u64::MAX)
                .map_or(self.unsent_bytes, |written| written.value),
        }
    }

    /// The limits of one listener: `[listeners.NAME.limits]` over these.
    pub(super) fn of_listener(&self, path: String, table: RawTable, report: &mut Report) -> Self {
        let mut section = Section::new(path, table, report);
        let limits = self.clone().overridden(&mut section);
        section.finish();
        limits
    }
}

/// 16 MiB, or one stream's share of the ingest budget where that is less: more could never be admitted.
fn read_output_per_message(section: &mut Section<'_>, memory: &Memory) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a size, both positive; bytes beyond 2^52 do not occur"
    )]
    let share = ((memory.ingest as f64 * memory.per_stream_share) as u64).max(1);
    section
        .size("output_bytes_per_message", 1..=share)
        .map_or(share.min(16 * MIB), |written| written.value)
}

fn integer_u16(section: &mut Section<'_>, key: &'static str) -> Option<u16> {
    let value = section.integer_u32(key, 1..=65_535)?;
    u16::try_from(value).ok()
}

/// A small constant of the domain types as the type of a limit.
fn constant(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
