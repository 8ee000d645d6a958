//! Packets that a publisher sends (MQTT 3.1.1 and 5.0, chapter 3).

use forebay_core::QoS;

use super::Version;

/// A PINGREQ.
pub(crate) const PINGREQ: [u8; 2] = [0xc0, 0];

/// Appends a CONNECT that asks for a clean start and says nothing else.
pub(crate) fn push_connect(
    out: &mut Vec<u8>,
    version: Version,
    client_id: &str,
    keep_alive_seconds: u16,
) {
    const CLEAN_START: u8 = 0x02;
    let mut body = Vec::with_capacity(16 + client_id.len());
    push_string(&mut body, "MQTT");
    body.extend([version.level(), CLEAN_START]);
    body.extend(keep_alive_seconds.to_be_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    push_string(&mut body, client_id);
    out.push(0x10);
    push_length(out, body.len());
    out.extend(body);
}

/// Appends a PUBLISH without properties. `packet_id` is left out for QoS 0. Returns where, in the packet, the packet
/// identifier and the payload begin.
pub(crate) fn push_publish(
    out: &mut Vec<u8>,
    version: Version,
    qos: QoS,
    topic: &str,
    packet_id: u16,
    payload: &[u8],
) -> (usize, usize) {
    let start = out.len();
    let id_bytes = if qos == QoS::AtMostOnce { 0 } else { 2 };
    let property_bytes = usize::from(version == Version::V5);
    out.push(0x30 | (qos.level() << 1));
    push_length(
        out,
        2 + topic.len() + id_bytes + property_bytes + payload.len(),
    );
    push_string(out, topic);
    let id_at = out.len() - start;
    if id_bytes != 0 {
        out.extend(packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        out.push(0);
    }
    let payload_at = out.len() - start;
    out.extend(payload);
    (id_at, payload_at)
}

/// Appends a PUBREL.
pub(crate) fn push_pubrel(out: &mut Vec<u8>, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend([0x62, 2, high, low]);
}

/// Appends a DISCONNECT with the reason "normal".
pub(crate) fn push_disconnect(out: &mut Vec<u8>) {
    out.extend([0xe0, 0]);
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("topics and client ids are checked to be short");
    out.extend(length.to_be_bytes());
    out.extend(text.as_bytes());
}

fn push_length(out: &mut Vec<u8>, mut length: usize) {
    debug_assert!(length < 1 << 28, "the length field has four bytes");
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_the_bytes_of_the_specification() {
        let mut out = Vec::new();
        push_connect(&mut out, Version::V311, "ab", 60);
        assert_eq!(out, b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02ab");
        out.clear();
        push_connect(&mut out, Version::V5, "ab", 60);
        assert_eq!(out, b"\x10\x0f\0\x04MQTT\x05\x02\0\x3c\0\0\x02ab");
        out.clear();
        let at = push_publish(
            &mut out,
            Version::V311,
            QoS::AtLeastOnce,
            "t",
            0x0102,
            b"xy",
        );
        assert_eq!(
            (out.as_slice(), at),
            (&b"\x32\x07\0\x01t\x01\x02xy"[..], (5, 7))
        );
        out.clear();
        let at = push_publish(&mut out, Version::V5, QoS::AtMostOnce, "t", 1, b"xy");
        assert_eq!((out.as_slice(), at), (&b"\x30\x06\0\x01t\0xy"[..], (5, 6)));
    }

    #[test]
    fn lengths_take_one_to_four_bytes() {
        for (length, expected) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (16_384, &[0x80, 0x80, 1]),
            (268_435_455, &[0xff, 0xff, 0xff, 0x7f]),
        ] {
            let mut out = Vec::new();
            push_length(&mut out, length);
            assert_eq!(out, expected);
        }
    }
}
