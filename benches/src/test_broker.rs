//! A broker for tests: takes publishes, answers as scripted, remembers what it took.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the broker does with publish number `n` of all connections, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Takes it and answers.
    Acknowledge,
    /// Answers with reason 0x97.
    Refuse,
    /// Takes it and closes the connection without an answer.
    Hang,
}

/// One publish that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

type Script = Arc<dyn Fn(usize) -> Deed + Send + Sync>;

/// A listening broker. Its threads end with the process.
#[derive(Clone)]
pub(crate) struct TestBroker {
    pub(crate) address: SocketAddr,
    pub(crate) taken: Arc<Mutex<Vec<Taken>>>,
}

impl TestBroker {
    pub(crate) fn start(script: impl Fn(usize) -> Deed + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = Self {
            address: listener.local_addr().unwrap(),
            taken: Arc::default(),
        };
        let accepting = broker.clone();
        let script: Script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (broker, script) = (accepting.clone(), Arc::clone(&script));
                // A connection that breaks is the client's business in these tests.
                std::thread::spawn(move || broker.serve(stream?, &script));
            }
        });
        broker
    }

    fn serve(&self, mut stream: TcpStream, script: &Script) -> io::Result<()> {
        let mut v5 = false;
        loop {
            let (first, body) = read_packet(&mut stream)?;
            match first >> 4 {
                1 => {
                    v5 = body[6] == 5;
                    stream.write_all(if v5 {
                        b"\x20\x03\0\0\0"
                    } else {
                        b"\x20\x02\0\0"
                    })?;
                }
                3 => {
                    let deed = self.publish(first, &body, v5, script);
                    let id_at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                    let id = [body[id_at], body[id_at + 1]];
                    match (deed, first & 0x06) {
                        (Deed::Hang, _) => return Ok(()),
                        (_, 0) => {}
                        (Deed::Refuse, qos) => {
                            let kind = if qos == 2 { 0x40 } else { 0x50 };
                            stream.write_all(&[kind, 3, id[0], id[1], 0x97])?;
                        }
                        (Deed::Acknowledge, qos) => {
                            let kind = if qos == 2 { 0x40 } else { 0x50 };
                            stream.write_all(&[kind, 2, id[0], id[1]])?;
                        }
                    }
                }
                6 => stream.write_all(&[0x70, 2, body[0], body[1]])?,
                12 => stream.write_all(&[0xd0, 0])?,
                _ => return Ok(()),
            }
        }
    }

    fn publish(&self, first: u8, body: &[u8], v5: bool, script: &Script) -> Deed {
        let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let id_bytes = if first & 0x06 == 0 { 0 } else { 2 };
        let payload_at = topic_end + id_bytes + usize::from(v5);
        let mut taken = self.taken.lock().unwrap();
        let deed = script(taken.len() + 1);
        taken.push(Taken {
            topic: String::from_utf8(body[2..topic_end].to_vec()).unwrap(),
            payload: body[payload_at..].to_vec(),
        });
        deed
    }
}

fn read_packet(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let first = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((first, body))
}
