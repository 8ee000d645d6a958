//! Why a connection or a packet is refused, and what the client of each protocol version sees of it.
//!
//! One enum and one column per version, so that an answer is never made up at the place where a problem is found.
//! MQTT 3.1.1 has no way to explain itself after the CONNACK: it closes (MQTT 3.1.1, 4.8). MQTT 5.0 sends a reason
//! code first (MQTT 5.0, 4.13).

use rumqttd::protocol::ConnectReturnCode;

/// The two protocol versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol level 5.
    V5,
}

impl Version {
    /// The name in configuration files, logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }
}

/// Why a connection ends or is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// The frame cannot be parsed.
    Malformed,
    /// The frame parses, but must not be sent like this or at this moment.
    ProtocolError,
    /// A protocol level that the listener does not speak, to be answered in the form of MQTT 3.1.1.
    UnsupportedLevel,
    /// The same, answered in the form of MQTT 5.0.
    UnsupportedLevelV5,
    /// The client id is missing or too long.
    ClientId,
    /// The request is well formed and not allowed.
    NotAuthorised,
    /// The server is on its way down and takes nobody in.
    Draining,
    /// An authentication method was asked for.
    AuthMethod,
    /// A bound of the server is reached: connections, memory, user properties.
    Quota,
    /// This client id connects too often.
    ConnectRate,
    /// A newer connection uses the client id.
    TakenOver,
    /// Nothing came for one and a half times the keep alive.
    KeepAlive,
    /// The server stops.
    Shutdown,
    /// The packet or its payload is larger than the limit.
    TooLarge,
    /// More publishes are open than Receive Maximum allows.
    ReceiveMaximum,
    /// A topic alias was used although none is allowed.
    TopicAlias,
    /// A topic name that is not accepted.
    TopicInvalid,
    /// The first packet did not come in time.
    ConnectTimeout,
    /// A started packet did not come to its end in time.
    PacketTimeout,
    /// The client does not read what it is sent.
    SlowConsumer,
    /// The server could not read the connection for longer than it may.
    Stalled,
    /// End of stream or a socket error.
    ConnectionLost,
    /// DISCONNECT with reason 0x00: the will is dropped.
    ClientDisconnect,
    /// DISCONNECT with reason 0x04: the will is published.
    ClientDisconnectWithWill,
    /// A fault of the server itself.
    ServerError,
}

impl Cause {
    /// Every cause, for tables and for metric labels that must exist before they are hit.
    pub(crate) const ALL: [Cause; 25] = [
        Self::Malformed,
        Self::ProtocolError,
        Self::UnsupportedLevel,
        Self::UnsupportedLevelV5,
        Self::ClientId,
        Self::NotAuthorised,
        Self::Draining,
        Self::AuthMethod,
        Self::Quota,
        Self::ConnectRate,
        Self::TakenOver,
        Self::KeepAlive,
        Self::Shutdown,
        Self::TooLarge,
        Self::ReceiveMaximum,
        Self::TopicAlias,
        Self::TopicInvalid,
        Self::ConnectTimeout,
        Self::PacketTimeout,
        Self::SlowConsumer,
        Self::Stalled,
        Self::ConnectionLost,
        Self::ClientDisconnect,
        Self::ClientDisconnectWithWill,
        Self::ServerError,
    ];

    /// The CONNACK that refuses a connection, `None` where the socket is closed without one.
    pub(crate) fn connack(self, version: Version) -> Option<ConnectReturnCode> {
        match version {
            Version::V311 => self.connack_v311(),
            Version::V5 => self.connack_v5(),
        }
    }

    fn connack_v311(self) -> Option<ConnectReturnCode> {
        match self {
            Self::UnsupportedLevel => Some(ConnectReturnCode::RefusedProtocolVersion),
            Self::ClientId => Some(ConnectReturnCode::ClientIdentifierNotValid),
            Self::NotAuthorised => Some(ConnectReturnCode::NotAuthorized),
            Self::Draining | Self::Quota | Self::ConnectRate | Self::Shutdown => {
                Some(ConnectReturnCode::ServiceUnavailable)
            }
            _ => None,
        }
    }

    fn connack_v5(self) -> Option<ConnectReturnCode> {
        Some(match self {
            Self::Malformed => ConnectReturnCode::MalformedPacket,
            Self::ProtocolError | Self::ReceiveMaximum | Self::TopicAlias => {
                ConnectReturnCode::ProtocolError
            }
            // A still newer connection came while this one waited for its client id.
            Self::TakenOver => ConnectReturnCode::ServerBusy,
            Self::UnsupportedLevelV5 => ConnectReturnCode::UnsupportedProtocolVersion,
            Self::ClientId => ConnectReturnCode::ClientIdentifierNotValid,
            Self::NotAuthorised => ConnectReturnCode::NotAuthorized,
            Self::Draining | Self::Shutdown => ConnectReturnCode::ServerUnavailable,
            Self::AuthMethod => ConnectReturnCode::BadAuthenticationMethod,
            Self::Quota | Self::Stalled => ConnectReturnCode::QuotaExceeded,
            Self::ConnectRate => ConnectReturnCode::ConnectionRateExceeded,
            Self::TooLarge => ConnectReturnCode::PacketTooLarge,
            Self::TopicInvalid => ConnectReturnCode::TopicNameInvalid,
            Self::ServerError => ConnectReturnCode::UnspecifiedError,
            Self::UnsupportedLevel
            | Self::KeepAlive
            | Self::ConnectTimeout
            | Self::PacketTimeout
            | Self::SlowConsumer
            | Self::ConnectionLost
            | Self::ClientDisconnect
            | Self::ClientDisconnectWithWill => return None,
        })
    }

    /// The reason code of the DISCONNECT that an MQTT 5.0 client gets after its CONNACK, `None` where none is sent.
    pub(crate) fn disconnect(self) -> Option<u8> {
        Some(match self {
            Self::Malformed => 0x81,
            Self::ProtocolError | Self::AuthMethod => 0x82,
            Self::NotAuthorised => 0x87,
            Self::Draining => 0x89,
            Self::Shutdown => 0x8b,
            Self::KeepAlive => 0x8d,
            Self::TakenOver => 0x8e,
            Self::TopicInvalid => 0x90,
            Self::ReceiveMaximum => 0x93,
            Self::TopicAlias => 0x94,
            Self::TooLarge => 0x95,
            Self::Quota | Self::Stalled | Self::SlowConsumer => 0x97,
            Self::ConnectRate => 0x9f,
            Self::PacketTimeout | Self::ServerError => 0x80,
            Self::UnsupportedLevel
            | Self::UnsupportedLevelV5
            | Self::ClientId
            | Self::ConnectTimeout
            | Self::ConnectionLost
            | Self::ClientDisconnect
            | Self::ClientDisconnectWithWill => return None,
        })
    }

    /// Whether the will of the connection is published. A stop of the server is not the client's death.
    pub(crate) fn publishes_will(self) -> bool {
        !matches!(self, Self::ClientDisconnect | Self::Shutdown)
    }

    /// The `result` label of `connects_total` for a connection that was not accepted.
    pub(crate) fn connect_result(self) -> &'static str {
        match self {
            Self::NotAuthorised => "not_authorised",
            Self::UnsupportedLevel | Self::UnsupportedLevelV5 => "protocol_version",
            Self::ClientId | Self::TakenOver => "client_id",
            Self::Quota => "quota",
            Self::Draining | Self::Shutdown => "authorizer_unavailable",
            Self::ConnectRate => "rate",
            Self::AuthMethod => "bad_credentials",
            Self::ConnectTimeout | Self::PacketTimeout | Self::ConnectionLost => "timeout",
            _ => "malformed",
        }
    }

    /// The `reason` label of `disconnects_total`: AWS IoT's names of lifecycle events in lower case.
    pub(crate) fn disconnect_reason(self) -> &'static str {
        match self {
            Self::ClientDisconnect | Self::ClientDisconnectWithWill => {
                "client_initiated_disconnect"
            }
            Self::TakenOver => "duplicate_clientid",
            Self::KeepAlive => "mqtt_keep_alive_timeout",
            Self::ConnectionLost => "connection_lost",
            Self::NotAuthorised => "forbidden_access",
            Self::ServerError => "server_error",
            Self::Shutdown | Self::Draining | Self::SlowConsumer | Self::Stalled => {
                "server_initiated_disconnect"
            }
            _ => "client_error",
        }
    }

    /// The `kind` label of `protocol_errors_total`, `None` for what is no error of the protocol.
    pub(crate) fn protocol_error_kind(self) -> Option<&'static str> {
        Some(match self {
            Self::Malformed => "malformed",
            Self::ProtocolError => "protocol",
            Self::TooLarge => "oversize",
            Self::ReceiveMaximum => "receive_max",
            Self::TopicAlias => "topic_alias",
            Self::TopicInvalid => "bad_topic",
            Self::ConnectTimeout | Self::PacketTimeout => "slow_client",
            _ => return None,
        })
    }

    /// A short text for logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed packet",
            Self::ProtocolError => "protocol error",
            Self::UnsupportedLevel | Self::UnsupportedLevelV5 => "unsupported protocol level",
            Self::ClientId => "client id not acceptable",
            Self::NotAuthorised => "not authorised",
            Self::Draining => "server is draining",
            Self::AuthMethod => "authentication method not supported",
            Self::Quota => "quota exceeded",
            Self::ConnectRate => "client id connects too often",
            Self::TakenOver => "taken over by a newer connection",
            Self::KeepAlive => "keep alive timeout",
            Self::Shutdown => "server shutting down",
            Self::TooLarge => "packet too large",
            Self::ReceiveMaximum => "receive maximum exceeded",
            Self::TopicAlias => "topic alias not allowed",
            Self::TopicInvalid => "topic not accepted",
            Self::ConnectTimeout => "no CONNECT in time",
            Self::PacketTimeout => "packet not complete in time",
            Self::SlowConsumer => "client does not read",
            Self::Stalled => "stalled for too long",
            Self::ConnectionLost => "connection lost",
            Self::ClientDisconnect | Self::ClientDisconnectWithWill => "client disconnected",
            Self::ServerError => "server error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_cause_once_and_labels_are_words() {
        for (index, cause) in Cause::ALL.iter().enumerate() {
            assert!(!Cause::ALL[..index].contains(cause), "{cause:?} twice");
            for label in [cause.connect_result(), cause.disconnect_reason()] {
                assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            }
            assert!(!cause.as_str().is_empty());
        }
    }

    #[test]
    fn refusals_have_one_column_per_version() {
        use ConnectReturnCode as Code;
        let cases = [
            (Cause::Malformed, None, Some(Code::MalformedPacket)),
            (Cause::ProtocolError, None, Some(Code::ProtocolError)),
            (
                Cause::UnsupportedLevel,
                Some(Code::RefusedProtocolVersion),
                None,
            ),
            (
                Cause::UnsupportedLevelV5,
                None,
                Some(Code::UnsupportedProtocolVersion),
            ),
            (
                Cause::ClientId,
                Some(Code::ClientIdentifierNotValid),
                Some(Code::ClientIdentifierNotValid),
            ),
            (
                Cause::NotAuthorised,
                Some(Code::NotAuthorized),
                Some(Code::NotAuthorized),
            ),
            (
                Cause::Draining,
                Some(Code::ServiceUnavailable),
                Some(Code::ServerUnavailable),
            ),
            (Cause::AuthMethod, None, Some(Code::BadAuthenticationMethod)),
            (
                Cause::Quota,
                Some(Code::ServiceUnavailable),
                Some(Code::QuotaExceeded),
            ),
            (
                Cause::ConnectRate,
                Some(Code::ServiceUnavailable),
                Some(Code::ConnectionRateExceeded),
            ),
        ];
        for (cause, v311, v5) in cases {
            assert_eq!(cause.connack(Version::V311), v311, "{cause:?}");
            assert_eq!(cause.connack(Version::V5), v5, "{cause:?}");
        }
    }

    #[test]
    fn only_a_clean_disconnect_and_a_stop_keep_the_will_back() {
        for cause in Cause::ALL {
            let kept_back = matches!(cause, Cause::ClientDisconnect | Cause::Shutdown);
            assert_eq!(cause.publishes_will(), !kept_back, "{cause:?}");
        }
    }
}
