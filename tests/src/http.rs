//! A bare HTTP/1.1 client: one request on one connection, answered and closed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A status and a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// `GET path`.
///
/// # Errors
/// If there is no answer within 10 s, or it is not HTTP.
pub fn get(address: SocketAddr, path: &str) -> Result<Response> {
    get_from(address, path, &address.to_string())
}

/// `GET path` from a host of this name, as a browser would say that was led there.
///
/// # Errors
/// As [`get`].
pub fn get_from(address: SocketAddr, path: &str, host: &str) -> Result<Response> {
    request(address, host, "GET", path, &[], b"")
}

/// `POST path` with a body and headers of the caller's.
///
/// # Errors
/// As [`get`].
pub fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    request(address, &address.to_string(), "POST", path, headers, body)
}

/// Any method, with headers and a body of the caller's.
///
/// # Errors
/// As [`get`].
pub fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    request(address, &address.to_string(), method, path, headers, body)
}

fn request(
    address: SocketAddr,
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    let names_host = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("host");
    if !headers.iter().any(names_host) {
        head.push_str(&format!("Host: {host}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&String::from_utf8(answer).context("the answer is not UTF-8")?)
}

fn parse(answer: &str) -> Result<Response> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer has no end of headers")?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.context("the answer has no status")?.parse()?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut response = Response {
        status,
        headers,
        body: String::new(),
    };
    response.body = match response.header("transfer-encoding") {
        Some(coding) if coding.eq_ignore_ascii_case("chunked") => unchunked(body)?,
        _ => whole(body, response.header("content-length"))?,
    };
    Ok(response)
}

fn whole(body: &str, length: Option<&str>) -> Result<String> {
    if let Some(length) = length {
        let length: usize = length.parse()?;
        if body.len() != length {
            bail!("{} bytes of a body of {length}", body.len());
        }
    }
    Ok(body.to_owned())
}

fn unchunked(mut rest: &str) -> Result<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").context("a chunk without size")?;
        let size = usize::from_str_radix(size.trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        let (chunk, after) = after
            .split_at_checked(size)
            .context("a chunk is cut short")?;
        body.push_str(chunk);
        rest = after.strip_prefix("\r\n").context("a chunk without end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_known_length_is_read() {
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX-A:  b\r\n\r\nno";
        let response = parse(answer).unwrap();
        assert_eq!(response.status, 404);
        assert_eq!(response.body, "no");
        assert_eq!(response.header("x-a"), Some("b"));
    }

    #[test]
    fn chunks_are_joined() {
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                      4\r\nabcd\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(parse(answer).unwrap().body, "abcd0123456789");
    }

    #[test]
    fn answers_that_are_cut_short_are_errors() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1\r\n\r\n",
        ] {
            assert!(parse(answer).is_err(), "{answer:?}");
        }
    }
}
