//! Packets of a client as bytes. Nothing is checked: a test may say anything.

use super::{Connect, Properties, Publish, Version};

/// A variable byte integer.
pub fn varint(mut value: u32, out: &mut Vec<u8>) {
    loop {
        let low = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// CONNECT.
pub fn connect(connect: &Connect) -> Vec<u8> {
    let mut body = Vec::new();
    put_text("MQTT", &mut body);
    body.push(connect.version.level());
    body.push(connect_flags(connect));
    body.extend(connect.keep_alive.to_be_bytes());
    put_properties(connect.version, &connect.properties, &mut body);
    put_text(&connect.client_id, &mut body);
    if let Some(will) = &connect.will {
        put_properties(connect.version, &will.properties, &mut body);
        put_text(&will.topic, &mut body);
        put_binary(&will.payload, &mut body);
    }
    if let Some(name) = &connect.user_name {
        put_text(name, &mut body);
    }
    if let Some(password) = &connect.password {
        put_binary(password, &mut body);
    }
    packet(0x10, &body)
}

fn connect_flags(connect: &Connect) -> u8 {
    let mut flags = u8::from(connect.clean) << 1;
    if let Some(will) = &connect.will {
        flags |= 0x04 | (will.qos << 3) | (u8::from(will.retain) << 5);
    }
    flags |= u8::from(connect.password.is_some()) << 6;
    flags |= u8::from(connect.user_name.is_some()) << 7;
    flags
}

/// PUBLISH.
pub fn publish(version: Version, publish: &Publish) -> Vec<u8> {
    let mut body = Vec::with_capacity(publish.topic.len() + publish.payload.len() + 16);
    put_text(&publish.topic, &mut body);
    if publish.qos > 0 {
        body.extend(publish.id.to_be_bytes());
    }
    put_properties(version, &publish.properties, &mut body);
    body.extend(&publish.payload);
    let flags = (u8::from(publish.duplicate) << 3) | (publish.qos << 1) | u8::from(publish.retain);
    packet(0x30 | flags, &body)
}

/// PUBACK (`first` = 0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70) without a reason.
pub fn acknowledge(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

/// SUBSCRIBE; the byte of each filter is its QoS and, in 5.0, its options.
pub fn subscribe(
    version: Version,
    id: u16,
    filters: &[(&str, u8)],
    properties: &Properties,
) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    put_properties(version, properties, &mut body);
    for (filter, options) in filters {
        put_text(filter, &mut body);
        body.push(*options);
    }
    packet(0x82, &body)
}

/// UNSUBSCRIBE.
pub fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    put_properties(version, &Properties::default(), &mut body);
    for filter in filters {
        put_text(filter, &mut body);
    }
    packet(0xA2, &body)
}

/// PINGREQ.
pub fn ping() -> Vec<u8> {
    packet(0xC0, &[])
}

/// DISCONNECT; the reason is for 5.0 only.
pub fn disconnect(version: Version, reason: u8) -> Vec<u8> {
    match (version, reason) {
        (Version::V3, _) | (Version::V5, 0) => packet(0xE0, &[]),
        (Version::V5, reason) => packet(0xE0, &[reason]),
    }
}

/// Any packet, from its first byte and its body; the length between them is right.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(body.len() + 5);
    packet.push(first);
    let length = u32::try_from(body.len()).expect("a test sends less than 4 GiB");
    varint(length, &mut packet);
    packet.extend(body);
    packet
}

fn put_properties(version: Version, properties: &Properties, out: &mut Vec<u8>) {
    if version == Version::V5 {
        properties.encode(out);
    }
}

pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    put_binary(text.as_bytes(), out);
}

pub(super) fn put_binary(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(bytes.len()).expect("MQTT has no field over 64 KiB");
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}
