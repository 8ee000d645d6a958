//! Against a server that follows a script byte by byte.

use std::net::{Ipv4Addr, TcpListener};
use std::thread::{self, JoinHandle};

use super::*;

const SHORT: Duration = Duration::from_millis(50);

/// A server of one connection that reads an exact request, and no more, before each answer.
fn serve(script: Vec<(Vec<u8>, Vec<u8>)>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for (wanted, answer) in script {
            let mut got = vec![0; wanted.len()];
            stream.read_exact(&mut got).unwrap();
            assert_eq!(got, wanted);
            stream.set_nonblocking(true).unwrap();
            let more = stream.peek(&mut [0]).map_err(|error| error.kind());
            assert_eq!(more, Err(ErrorKind::WouldBlock));
            stream.set_nonblocking(false).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    (address, server)
}

fn hello() -> (Vec<u8>, Vec<u8>) {
    let connect = connect(&Connect::new(Version::V3, "me"));
    (connect, vec![0x20, 2, 0, 0])
}

fn published(id: u8, qos: u8) -> Vec<u8> {
    vec![0x30 | qos << 1, 6, 0, 1, b't', 0, id, b'p']
}

#[test]
fn connect_is_encoded_as_the_specification_draws_it() {
    let mut wanted = Connect::new(Version::V5, "me");
    wanted.keep_alive = 10;
    wanted.user_name = Some("u".to_owned());
    let bytes = [
        0x10, 18, 0, 4, b'M', b'Q', b'T', b'T', 5, 0x82, 0, 10, 0, 0, 2, b'm', b'e', 0, 1, b'u',
    ];
    assert_eq!(connect(&wanted), bytes);
}

#[test]
fn a_window_keeps_further_messages_back() {
    let first_two = [published(1, 1), published(2, 1)].concat();
    let (address, server) = serve(vec![
        hello(),
        (first_two, vec![0x40, 2, 0, 1]),
        (published(3, 1), vec![0x40, 2, 0, 2, 0x40, 2, 0, 3]),
    ]);
    let mut client = Client::simple(address, Version::V3, "me").unwrap();
    let messages = (0..3).map(|_| Publish::new("t", "p", 1));
    assert_eq!(client.publish_all(messages, 2).unwrap().len(), 3);
    server.join().unwrap();
}

#[test]
fn an_acknowledgement_out_of_turn_is_an_error() {
    let both = [published(1, 1), published(2, 1)].concat();
    let (address, server) = serve(vec![hello(), (both, vec![0x40, 2, 0, 2])]);
    let mut client = Client::simple(address, Version::V3, "me").unwrap();
    let messages = (0..2).map(|_| Publish::new("t", "p", 1));
    let error = client.publish_all(messages, 2).unwrap_err();
    assert!(error.to_string().contains("message 1 before"), "{error}");
    server.join().unwrap();
}

#[test]
fn qos_2_takes_both_of_its_steps() {
    let (address, server) = serve(vec![
        hello(),
        (published(1, 2), vec![0x50, 2, 0, 1]),
        (vec![0x62, 2, 0, 1], vec![0x70, 2, 0, 1]),
    ]);
    let mut client = Client::simple(address, Version::V3, "me").unwrap();
    let outcome = client.publish(Publish::new("t", "p", 2)).unwrap();
    assert_eq!(outcome.reason, 0);
    server.join().unwrap();
}

#[test]
fn messages_that_come_before_an_acknowledgement_are_kept_and_acknowledged() {
    let incoming = [published(7, 1), published(9, 2), vec![0xD0, 0]].concat();
    let acknowledged = vec![0x40, 2, 0, 7, 0x50, 2, 0, 9];
    let (address, server) = serve(vec![
        hello(),
        (ping(), incoming),
        (
            acknowledged,
            [published(9, 2), vec![0x62, 2, 0, 9]].concat(),
        ),
        (vec![0x50, 2, 0, 9, 0x70, 2, 0, 9], Vec::new()),
    ]);
    let mut client = Client::simple(address, Version::V3, "me").unwrap();
    client.ping().unwrap();
    assert_eq!(client.receive(SHORT).unwrap().qos, 1);
    assert_eq!(client.receive(SHORT).unwrap().qos, 2);
    // The repeated message is answered but not received again.
    let error = client.try_receive(LIMIT).unwrap_err().to_string();
    assert!(error.contains("closed"), "{error}");
    server.join().unwrap();
}

#[test]
fn refusals_silence_and_ends_are_told_apart() {
    let (address, server) = serve(vec![(hello().0, vec![0x20, 2, 0, 5])]);
    let wanted = Connect::new(Version::V3, "me");
    let (mut client, connack) = Client::try_connect(address, &wanted).unwrap();
    assert_eq!(connack.code, 5);
    server.join().unwrap();
    assert_eq!(client.read(LIMIT).unwrap(), Received::Closed);

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = Client::open(address, Version::V3).unwrap();
    assert_eq!(client.read(SHORT).unwrap(), Received::Nothing);
    assert!(client.read_to_close(SHORT).is_err());
}
