//! How the server ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::program::{Place, Server};

/// A server whose stream cannot be reached.
fn without_stream(place: &Place, ack: &str, deadline: &str) -> Server {
    let ack = format!("server.ack={ack}");
    let deadline = format!("shutdown.deadline={deadline}");
    place.server(&[
        "--kinesis-stream",
        "s",
        "--rule",
        "SELECT * FROM '#'",
        "--set",
        "kinesis.endpoint=http://127.0.0.1:1",
        "--set",
        &ack,
        "--set",
        &deadline,
    ])
}

fn status_line(admin: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(admin).unwrap();
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_server_without_work_ends_at_once() {
    let place = Place::new();
    let server = without_stream(&place, "stored", "1h");
    assert_eq!(status_line(server.admin, "/readyz"), "HTTP/1.1 200 OK");
    assert_eq!(status_line(server.admin, "/livez"), "HTTP/1.1 200 OK");
    assert_eq!(server.serving.stop(), 0);
}

#[test]
fn accepted_records_that_cannot_be_sent_are_a_loss() {
    let place = Place::new();
    let server = without_stream(&place, "accept", "1s");
    let words = [
        "pub",
        "-t",
        "a",
        "-m",
        "x",
        "-q",
        "1",
        "--broker",
        &server.broker,
    ];
    assert_eq!(place.run(&words).code, 0);
    assert_eq!(server.serving.stop(), 1);
}

#[test]
fn a_second_signal_shortens_the_wait() {
    let place = Place::new();
    let server = without_stream(&place, "accept", "1h");
    let words = [
        "pub",
        "-t",
        "a",
        "-m",
        "x",
        "-q",
        "1",
        "--broker",
        &server.broker,
    ];
    assert_eq!(place.run(&words).code, 0);
    server.serving.signal();
    while !server.serving.line().contains("\"message\":\"draining\"") {}
    assert_eq!(
        status_line(server.admin, "/readyz"),
        "HTTP/1.1 503 Service Unavailable"
    );
    assert_eq!(server.serving.stop(), 1);
}
