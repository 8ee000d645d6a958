//! The configuration in the forms that the libraries take.

use forebay_broker::{
    BrokerConfig, BrokerLimits, ListenerConfig, MqttSettings, OnQueueFull, Version,
};
use forebay_core::topic::TopicLimits;
use forebay_kinesis::{BatchSettings, CredentialSource, KinesisConfig, RateLimit};
use forebay_pipeline::PipelineConfig;

use crate::config::{self, Config, Listener, ListenerLimits};

/// Sizes fit the address space of every platform this runs on; a larger one means "no bound".
fn usize_of(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// What the pipeline is told.
pub(super) fn pipeline(config: &Config) -> PipelineConfig {
    PipelineConfig {
        workers: usize::from(config.server.workers),
        ingest_bytes: config.memory.ingest,
        lanes_bytes: config.memory.lanes,
        refill_bytes: config.memory.refill,
        per_stream_share: config.memory.per_stream_share,
        on_full: config.memory.on_full,
        ordering: config.kinesis.ordering,
        record_deadline: config.kinesis.record_deadline,
        output_bytes_per_message: config.limits.output_bytes_per_message,
        max_streams: config.kinesis.max_streams as usize,
        stream_idle: config.kinesis.stream_idle,
        commit_max_delay: config.spool.commit_max_delay,
        on_spool_failure: config.spool.on_failure,
        spool_qos0: config.spool.qos0,
        rule_label_limit: config.metrics.rule_label_limit as usize,
    }
}

/// What the broker is told.
pub(super) fn broker(config: &Config) -> BrokerConfig {
    let (limits, mqtt) = (&config.limits, &config.mqtt);
    BrokerConfig {
        listeners: config.listeners.iter().map(listener).collect(),
        limits: BrokerLimits {
            connections: limits.connections as usize,
            connects_per_second_per_client: limits.connects_per_second_per_client,
            connects_burst_per_client: limits.connects_burst_per_client,
            inflight_to_client: limits.inflight_to_client,
            session_queue_messages: limits.session_queue_messages as usize,
            session_queue_bytes: usize_of(limits.session_queue_bytes),
            user_properties: limits.user_properties as usize,
            user_property_bytes: usize_of(limits.user_property_bytes),
            retained_messages: limits.retained_messages as usize,
            retained_bytes: usize_of(limits.retained_bytes),
            partial_packets_bytes: usize_of(config.memory.partial_packets),
        },
        mqtt: MqttSettings {
            allow_empty_client_id: mqtt.allow_empty_client_id,
            keep_alive_max: mqtt.keep_alive_max,
            keep_alive_min: mqtt.keep_alive_min,
            keep_alive_zero: mqtt.keep_alive_zero,
            stall_disconnect: mqtt.stall_disconnect,
            lenient_receive_maximum: mqtt.lenient_receive_maximum,
            lenient_ack_order: mqtt.lenient_ack_order,
            lenient_reserved_flags: mqtt.lenient_reserved_flags,
            on_queue_full: match mqtt.on_queue_full {
                config::OnQueueFull::DropNewest => OnQueueFull::DropNewest,
                config::OnQueueFull::DropOldest => OnQueueFull::DropOldest,
                config::OnQueueFull::Disconnect => OnQueueFull::Disconnect,
            },
        },
    }
}

fn listener(listener: &Listener) -> ListenerConfig {
    let mut versions = Vec::with_capacity(2);
    if listener.v3 {
        versions.push(Version::V311);
    }
    if listener.v5 {
        versions.push(Version::V5);
    }
    ListenerConfig {
        name: listener.name.clone(),
        bind: listener.bind,
        versions,
        // The configuration refuses what this would have to refuse: until authentication exists, every listener that
        // opens lets everybody in, because it is on loopback or because somebody said so.
        allow_anonymous: true,
        ack: listener.ack,
        max_connections: listener.max_connections.map(|max| max as usize),
        backlog: listener.backlog,
        limits: listener_limits(&listener.limits),
    }
}

fn listener_limits(limits: &ListenerLimits) -> forebay_broker::ListenerLimits {
    forebay_broker::ListenerLimits {
        topic: TopicLimits {
            bytes_max: limits.topic_bytes as usize,
            levels_max: limits.topic_levels as usize,
        },
        payload_bytes: usize_of(limits.payload_bytes),
        packet_bytes: usize_of(limits.packet_bytes),
        client_id_bytes: limits.client_id_bytes as usize,
        receive_maximum: limits.receive_maximum,
        subscriptions_per_client: limits.subscriptions_per_client as usize,
        filters_per_subscribe: limits.filters_per_subscribe as usize,
        connections_per_address: limits.connections_per_address.map(|max| max as usize),
        connects_per_second: limits.connects_per_second,
        connects_burst: limits.connects_burst,
        time_to_connect: limits.time_to_connect,
        packet_timeout: limits.packet_timeout,
        write_timeout: limits.write_timeout,
        unsent_bytes: usize_of(limits.unsent_bytes),
    }
}

/// What the sink is told. Its share of the memory budget bounds the requests in flight, and one stream's share of that
/// what a single lane takes over.
pub(super) fn kinesis(config: &Config, credentials: CredentialSource) -> KinesisConfig {
    let kinesis = &config.kinesis;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a size, both positive; bytes beyond 2^52 do not occur"
    )]
    let lane_bytes = (config.memory.lanes as f64 * config.memory.per_stream_share) as usize;
    KinesisConfig {
        region: kinesis.region.clone(),
        profile: kinesis.profile.clone(),
        endpoint: kinesis.endpoint.clone(),
        allow_plaintext: kinesis.allow_plaintext,
        credentials,
        batch: BatchSettings {
            linger: kinesis.linger,
            send_on_idle: kinesis.send_on_idle,
            records_per_request: kinesis.records_per_request as usize,
            bytes_per_request: usize_of(kinesis.bytes_per_request),
            bytes_per_lane_in_request: usize_of(kinesis.bytes_per_lane_in_request),
            rate_limit: match kinesis.rate_limit {
                Some(percent) => RateLimit::Percent(percent),
                None => RateLimit::Off,
            },
            inflight_per_lane: kinesis.inflight_per_lane,
            inflight_per_stream: kinesis.inflight_per_stream,
            lane_bytes,
        },
        inflight_requests: kinesis.inflight_requests,
        inflight_bytes: usize_of(config.memory.lanes),
        connect_timeout: kinesis.connect_timeout,
        attempt_timeout: kinesis.attempt_timeout,
        shard_label_limit: config.metrics.shard_label_limit as usize,
    }
}
