//! A client that writes and reads MQTT by the byte, so that it can be wrong on purpose.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One connection.
pub(crate) struct Client {
    socket: TcpStream,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Closed without a word.
    Closed,
    /// These bytes came before it was closed.
    Said(Vec<u8>),
}

impl Client {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self { socket }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends as far as the other side takes it.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    pub(crate) fn set_timeout(&self, timeout: Duration) {
        self.socket.set_read_timeout(Some(timeout)).unwrap();
    }

    /// Reads one packet.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        self.try_packet().expect("the connection was closed")
    }

    /// Reads one packet, `None` at the end of the stream.
    pub(crate) fn try_packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![0];
        match self.socket.read_exact(&mut packet) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                return None;
            }
            Err(error) => panic!("no packet: {error}"),
        }
        let mut len = 0;
        for shift in [0, 7, 14, 21] {
            let mut byte = [0];
            self.socket.read_exact(&mut byte).unwrap();
            packet.push(byte[0]);
            len |= usize::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let start = packet.len();
        packet.resize(start + len, 0);
        self.socket.read_exact(&mut packet[start..]).unwrap();
        Some(packet)
    }

    /// Asserts that nothing comes: a PINGREQ is answered next.
    pub(crate) fn assert_quiet(&mut self) {
        self.send(&[0xc0, 0]);
        assert_eq!(self.packet(), [0xd0, 0]);
    }

    /// Reads to the end of the stream.
    pub(crate) fn end(&mut self) -> End {
        let mut said = Vec::new();
        loop {
            match self.try_packet() {
                Some(packet) => said.extend(packet),
                None if said.is_empty() => return End::Closed,
                None => return End::Said(said),
            }
        }
    }

    /// Subscribes to one filter and expects it to be granted.
    pub(crate) fn subscribe(&mut self, id: u16, filter: &str, options: u8, v5: bool) {
        self.send(&subscribe(id, filter, options, v5));
        let expected = if v5 {
            vec![0x90, 4, (id >> 8) as u8, id as u8, 0, options & 3]
        } else {
            vec![0x90, 3, (id >> 8) as u8, id as u8, options & 3]
        };
        assert_eq!(self.packet(), expected);
    }

    /// Reads a PUBACK or PUBREC that refuses, with its reason string, and returns first byte, identifier and code.
    pub(crate) fn refusal(&mut self) -> (u8, u16, u8) {
        let packet = self.packet();
        let [
            first,
            length,
            high,
            low,
            code,
            properties,
            0x1f,
            0,
            text,
            ..,
        ] = packet[..]
        else {
            panic!("no refusal with a reason string: {packet:x?}");
        };
        let lengths = [length, properties, text].map(usize::from);
        assert_eq!(
            lengths,
            [packet.len() - 2, packet.len() - 6, packet.len() - 9]
        );
        assert!((10..=128).contains(&text), "{packet:x?}");
        (first, u16::from_be_bytes([high, low]), code)
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], flags: u8, id: u16, v5: bool) {
        self.send(&publish(topic, payload, flags, id, v5.then_some(&[])));
    }
}

/// A packet with this first byte and body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut len = body.len();
    loop {
        let low = (len & 0x7f) as u8;
        len >>= 7;
        if len == 0 {
            packet.push(low);
            break;
        }
        packet.push(low | 0x80);
    }
    packet.extend_from_slice(body);
    packet
}

/// A string with its length.
pub(crate) fn text(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

pub(crate) fn binary(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

pub(crate) fn connect_v3(id: &str, flags: u8, keep_alive: u16) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04".to_vec();
    body.push(flags);
    body.extend(keep_alive.to_be_bytes());
    body.extend(text(id));
    packet(0x10, &body)
}

/// `properties` without their length.
pub(crate) fn connect_v5(id: &str, flags: u8, keep_alive: u16, properties: &[u8]) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x05".to_vec();
    body.push(flags);
    body.extend(keep_alive.to_be_bytes());
    body.push(properties.len() as u8);
    body.extend(properties);
    body.extend(text(id));
    packet(0x10, &body)
}

/// `properties` without their length; `None` for MQTT 3.1.1.
pub(crate) fn publish(
    topic: &str,
    payload: &[u8],
    flags: u8,
    id: u16,
    properties: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = text(topic);
    if flags & 6 != 0 {
        body.extend(id.to_be_bytes());
    }
    if let Some(properties) = properties {
        assert!(properties.len() < 128);
        body.push(properties.len() as u8);
        body.extend(properties);
    }
    body.extend(payload);
    packet(0x30 | flags, &body)
}

pub(crate) fn subscribe(id: u16, filter: &str, options: u8, v5: bool) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if v5 {
        body.push(0);
    }
    body.extend(text(filter));
    body.push(options);
    packet(0x82, &body)
}
