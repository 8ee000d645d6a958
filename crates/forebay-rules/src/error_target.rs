//! Where the document of a failure goes: the fields of a rule's error action, evaluated when the message came, because
//! an action may fail after a restart, when only what was written down is left. Hence the encoded form.

use bytes::{BufMut, Bytes, BytesMut};
use forebay_core::limits::MQTT_STRING_BYTES_MAX;
use forebay_core::topic::{TopicLimits, validate_name};
use forebay_core::{PartitionKey, QoS, StreamName};

use crate::evaluated::RepublishProperties;
use crate::fields::clipped;

/// First byte of the encoded form. Another one means another form.
const VERSION: u8 = 1;
const KINESIS: u8 = 0;
const REPUBLISH: u8 = 1;
const UNUSABLE: u8 = 2;
/// Bytes of the action's name and of the reason in [`ErrorTarget::Unusable`].
const REASON_BYTES_MAX: usize = 1024;
/// Bytes that an encoded form can have: a topic and three texts of a packet, the user properties and the small rest.
const ENCODED_BYTES_MAX: usize = 5 * MQTT_STRING_BYTES_MAX;
/// The topic was within the broker's limits when it was written down; what limits hold now is the broker's concern.
const TOPIC_LIMITS: TopicLimits = TopicLimits {
    bytes_max: MQTT_STRING_BYTES_MAX,
    levels_max: usize::MAX,
};

/// The evaluated fields of an error action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorTarget {
    /// A record for a stream. The rule's `explicit_hash_key` is about its own records and does not count here.
    Kinesis {
        /// The stream.
        stream: StreamName,
        /// The partition key.
        partition_key: PartitionKey,
    },
    /// A message.
    Republish {
        /// Its topic, a valid topic name.
        topic: String,
        /// Its quality of service, 0 or 1.
        qos: QoS,
        /// Its properties.
        properties: RepublishProperties,
    },
    /// Nothing: the error action itself fails.
    Unusable {
        /// The action's name in error documents.
        action: String,
        /// Why, in words.
        reason: String,
    },
}

impl ErrorTarget {
    /// The target that is none; both texts are cut to 1 024 bytes.
    pub(crate) fn unusable(action: &str, reason: &str) -> Self {
        Self::Unusable {
            action: clipped(action, REASON_BYTES_MAX).to_owned(),
            reason: clipped(reason, REASON_BYTES_MAX).to_owned(),
        }
    }

    /// The form that is kept on disk.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        out.put_u8(VERSION);
        match self {
            Self::Kinesis {
                stream,
                partition_key,
            } => {
                out.put_u8(KINESIS);
                put_bytes(&mut out, stream.as_str().as_bytes());
                put_bytes(&mut out, partition_key.as_str().as_bytes());
            }
            Self::Republish {
                topic,
                qos,
                properties,
            } => {
                out.put_u8(REPUBLISH);
                put_bytes(&mut out, topic.as_bytes());
                out.put_u8(qos.level());
                put_properties(&mut out, properties);
            }
            Self::Unusable { action, reason } => {
                out.put_u8(UNUSABLE);
                put_bytes(&mut out, action.as_bytes());
                put_bytes(&mut out, reason.as_bytes());
            }
        }
        out.freeze()
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
    pub fn decode(encoded: &[u8]) -> Option<Self> {
        if encoded.len() > ENCODED_BYTES_MAX {
            return None;
        }
        let mut reader = Reader { left: encoded };
        if reader.byte()? != VERSION {
            return None;
        }
        let target = match reader.byte()? {
            KINESIS => Self::Kinesis {
                stream: StreamName::new(reader.text()?).ok()?,
                partition_key: PartitionKey::new(reader.text()?).ok()?,
            },
            REPUBLISH => {
                let topic = reader.text()?;
                validate_name(topic, TOPIC_LIMITS).ok()?;
                Self::Republish {
                    topic: topic.to_owned(),
                    qos: QoS::from_level(reader.byte()?).filter(|qos| *qos != QoS::ExactlyOnce)?,
                    properties: reader.properties()?,
                }
            }
            UNUSABLE => Self::Unusable {
                action: reader.text()?.to_owned(),
                reason: reader.text()?.to_owned(),
            },
            _ => return None,
        };
        reader.left.is_empty().then_some(target)
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("evaluated fields are bounded far below 4 GiB");
    out.put_u32_le(len);
    out.put_slice(bytes);
}

/// One byte says whether there is something.
fn put_option<T>(out: &mut BytesMut, value: Option<T>, put: impl FnOnce(&mut BytesMut, T)) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn put_properties(out: &mut BytesMut, properties: &RepublishProperties) {
    let RepublishProperties {
        payload_format_indicator,
        content_type,
        response_topic,
        correlation_data,
        message_expiry,
        user_properties,
    } = properties;
    put_option(out, *payload_format_indicator, |out, value| {
        out.put_u8(value)
    });
    for text in [content_type, response_topic] {
        put_option(out, text.as_ref(), |out, text| {
            put_bytes(out, text.as_bytes())
        });
    }
    put_option(out, correlation_data.as_ref(), |out, data| {
        put_bytes(out, data)
    });
    put_option(out, *message_expiry, |out, value| out.put_u32_le(value));
    let count = u32::try_from(user_properties.len()).expect("an action lists at most 100");
    out.put_u32_le(count);
    for (name, value) in user_properties {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

/// Takes values from the front; `None` as soon as something is missing.
struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.left.split_at_checked(len)?;
        self.left = left;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(usize::try_from(len).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// `None`: broken. `Some(None)`: there is nothing.
    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => Some(Some(read(self)?)),
            _ => None,
        }
    }

    fn properties(&mut self) -> Option<RepublishProperties> {
        let indicator = |reader: &mut Self| reader.byte().filter(|value| *value <= 1);
        let text = |reader: &mut Self| reader.text().map(str::to_owned);
        Some(RepublishProperties {
            payload_format_indicator: self.option(indicator)?,
            content_type: self.option(text)?,
            response_topic: self.option(text)?,
            correlation_data: self.option(|reader| reader.bytes().map(Bytes::copy_from_slice))?,
            message_expiry: self.option(Self::u32)?,
            user_properties: self.user_properties()?,
        })
    }

    fn user_properties(&mut self) -> Option<Vec<(String, String)>> {
        let count = self.u32()?;
        // Not reserved beforehand: the count is only what the bytes say.
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((self.text()?.to_owned(), self.text()?.to_owned()));
        }
        Some(pairs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn targets() -> Vec<ErrorTarget> {
        let republish = |properties| ErrorTarget::Republish {
            topic: "errors/é".to_owned(),
            qos: QoS::AtLeastOnce,
            properties,
        };
        vec![
            ErrorTarget::Kinesis {
                stream: StreamName::new("errors").expect("a name"),
                partition_key: PartitionKey::new("😀").expect("a key"),
            },
            republish(RepublishProperties::default()),
            republish(RepublishProperties {
                payload_format_indicator: Some(1),
                content_type: Some(String::new()),
                response_topic: Some("a/b".to_owned()),
                correlation_data: Some(Bytes::from_static(&[0, 255])),
                message_expiry: Some(604_800),
                user_properties: vec![("k".to_owned(), "v".to_owned()); 2],
            }),
            ErrorTarget::unusable("SnsAction", &"é".repeat(2000)),
        ]
    }

    #[test]
    fn what_was_written_is_read() {
        for target in targets() {
            assert_eq!(ErrorTarget::decode(&target.encode()), Some(target));
        }
    }

    #[test]
    fn a_part_or_more_than_the_whole_is_refused() {
        for target in targets() {
            let encoded = target.encode();
            for len in 0..encoded.len() {
                assert_eq!(
                    ErrorTarget::decode(&encoded[..len]),
                    None,
                    "{len} {target:?}"
                );
            }
            let longer = [&encoded[..], &[0]].concat();
            assert_eq!(ErrorTarget::decode(&longer), None);
        }
    }

    #[test]
    fn a_target_that_no_action_has_is_refused() {
        let mut encoded = targets()[1].encode().to_vec();
        let qos = encoded.iter().rposition(|byte| *byte == 1).expect("QoS 1");
        encoded[qos] = 2;
        assert_eq!(ErrorTarget::decode(&encoded), None);
        assert_eq!(ErrorTarget::decode(&vec![1; ENCODED_BYTES_MAX + 1]), None);
        assert_eq!(ErrorTarget::decode(&[2, 0]), None);
        assert_eq!(ErrorTarget::decode(&[1, 3]), None);
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        let ErrorTarget::Unusable { reason, .. } = &targets()[3] else {
            panic!("the last one is unusable");
        };
        assert_eq!(reason.len(), REASON_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64), kind in 0u8..3) {
            let bytes = [&[VERSION, kind], &bytes[..]].concat();
            if let Some(target) = ErrorTarget::decode(&bytes) {
                prop_assert_eq!(target.encode(), bytes);
            }
        }

        #[test]
        fn a_flipped_byte_does_no_harm(which in 0usize..4, place in any::<prop::sample::Index>(), bits in 1u8..) {
            let mut encoded = targets()[which].encode().to_vec();
            let place = place.index(encoded.len());
            encoded[place] ^= bits;
            if let Some(target) = ErrorTarget::decode(&encoded) {
                prop_assert_eq!(target.encode(), encoded);
            }
        }
    }
}
