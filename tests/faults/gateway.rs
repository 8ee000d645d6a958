//! An HTTP intermediary between the program and the stream. It writes down which records each
//! PutRecords request carried and what was answered, and can answer in the stream's place as
//! intermediaries do.
//!
//! An answer that the stream cuts short or never gives reaches the program the same way.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forebay_tests::oracle::Numbered;
use serde_json::Value;

/// What became of a PutRecords request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The program got no whole answer, or has not got it yet.
    Lost,
    /// The request was refused with this status.
    Refused(u16),
    /// One entry per record: `None` for stored, else the error code.
    Answered(Vec<Option<String>>),
}

/// A PutRecords request, in the order of arrival.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) records: Vec<Numbered>,
    pub(crate) outcome: Outcome,
}

/// What the gateway does with one PutRecords request instead of passing it on and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interference {
    /// Answers itself, with this status and a page for people. The stream sees nothing.
    Page(u16),
    /// Passes the request on, and the answer back without its last entry.
    OneEntryLess,
}

/// The intermediary. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stream: SocketAddr,
    exchanges: Mutex<Vec<Exchange>>,
    /// What happens to the next PutRecords requests, the last one first.
    interferences: Mutex<Vec<Interference>>,
    closing: AtomicBool,
}

/// A request or an answer as it came.
struct Message {
    /// Head and body.
    bytes: Vec<u8>,
    head_length: usize,
    /// Whether the sender closed the connection before the end.
    cut: bool,
}

// === impl Exchange ===

impl Exchange {
    /// The refused records.
    pub(crate) fn refused(&self) -> Vec<&Numbered> {
        let Outcome::Answered(codes) = &self.outcome else {
            return Vec::new();
        };
        let records = self.records.iter().enumerate();
        records
            .filter(|(place, _)| codes[*place].is_some())
            .map(|(_, record)| record)
            .collect()
    }

    /// The refused records that a newer one of their key overtook: it was stored by this request.
    pub(crate) fn overtaken(&self) -> Vec<&Numbered> {
        let Outcome::Answered(codes) = &self.outcome else {
            return Vec::new();
        };
        let stored = |key: &str, newer_than: u64| {
            let mut records = self.records.iter().enumerate();
            records.any(|(place, record)| {
                codes[place].is_none() && record.0 == key && record.1 > newer_than
            })
        };
        let refused = self.refused().into_iter();
        refused
            .filter(|(key, number)| stored(key, *number))
            .collect()
    }
}

// === impl Gateway ===

impl Gateway {
    /// Starts one in front of a stream.
    pub(crate) fn start(stream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            stream,
            exchanges: Mutex::default(),
            interferences: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.closing.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // A connection that ends in the middle of something is what this is for.
                thread::spawn(move || shared.serve(&client).unwrap_or_default());
            }
        });
        Ok(Self {
            address,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Its URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All PutRecords requests so far.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.shared.exchanges().clone()
    }

    /// Interferes with the next PutRecords requests, one by one.
    pub(crate) fn interfere(&self, interferences: &[Interference]) {
        let mut coming = lock(&self.shared.interferences);
        *coming = interferences.iter().rev().copied().collect();
    }

    /// How many of the interferences are still to come.
    pub(crate) fn to_come(&self) -> usize {
        lock(&self.shared.interferences).len()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // The acceptor sees that it is over when it has accepted once more.
        if TcpStream::connect(self.address).is_ok()
            && let Some(acceptor) = self.acceptor.take()
        {
            drop(acceptor.join());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Shared ===

impl Shared {
    fn exchanges(&self) -> MutexGuard<'_, Vec<Exchange>> {
        lock(&self.exchanges)
    }

    /// Serves one connection of the program with one of its own to the stream.
    fn serve(&self, client: &TcpStream) -> Result<()> {
        client.set_nodelay(true)?;
        let stream = TcpStream::connect(self.stream)?;
        stream.set_nodelay(true)?;
        let ended = self.relay(client, &stream);
        // Neither side may wait for the other.
        for socket in [client, &stream] {
            socket.shutdown(Shutdown::Both).unwrap_or_default();
        }
        ended
    }

    fn relay(&self, mut client: &TcpStream, mut stream: &TcpStream) -> Result<()> {
        while let Some(request) = Message::read(client)? {
            ensure!(!request.cut, "the program went away");
            let put = request.is_put_records();
            let interference = if put {
                lock(&self.interferences).pop()
            } else {
                None
            };
            let exchange = if put {
                Some(self.begin(&request)?)
            } else {
                None
            };
            if let Some(Interference::Page(status)) = interference {
                client.write_all(&page(status))?;
                self.end(exchange, Outcome::Refused(status));
                continue;
            }
            stream.write_all(&request.bytes)?;
            let Some(mut answer) = Message::read(stream)? else {
                bail!("no answer");
            };
            if interference == Some(Interference::OneEntryLess) {
                answer = answer.without_last_entry()?;
            }
            // Written down first: the program may act upon the answer at once.
            if let Some(outcome) = answer.outcome()? {
                self.end(exchange, outcome);
            }
            client.write_all(&answer.bytes)?;
            ensure!(!answer.cut, "the answer was cut");
        }
        Ok(())
    }

    /// Writes a request down and returns its place.
    fn begin(&self, request: &Message) -> Result<usize> {
        let body: Value = serde_json::from_slice(request.body())?;
        let records = body["Records"].as_array().context("Records")?;
        let exchange = Exchange {
            records: records.iter().map(numbered).collect::<Result<_>>()?,
            outcome: Outcome::Lost,
        };
        let mut exchanges = self.exchanges();
        exchanges.push(exchange);
        Ok(exchanges.len() - 1)
    }

    fn end(&self, exchange: Option<usize>, outcome: Outcome) {
        if let Some(place) = exchange {
            self.exchanges()[place].outcome = outcome;
        }
    }
}

/// Key and number of an entry of a request.
fn numbered(entry: &Value) -> Result<Numbered> {
    let data = STANDARD.decode(entry["Data"].as_str().context("Data")?)?;
    let payload: Value = serde_json::from_slice(&data)?;
    let key = payload["key"].as_str().context("key")?;
    ensure!(entry["PartitionKey"].as_str() == Some(key), "{entry}");
    Ok((
        key.to_owned(),
        payload["number"].as_u64().context("number")?,
    ))
}

fn page(status: u16) -> Vec<u8> {
    let body = "<html><body><h1>The server is busy</h1></body></html>";
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Busy\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n"
    );
    (head + body).into_bytes()
}

// === impl Message ===

impl Message {
    /// Reads one message; `None` when the connection ends before it begins.
    fn read(mut from: &TcpStream) -> Result<Option<Self>> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 64 * 1024];
        let mut head_length = None;
        loop {
            if let Some(head_length) = head_length
                && bytes.len() >= head_length + content_length(&bytes[..head_length])?
            {
                return Ok(Some(Self {
                    bytes,
                    head_length,
                    cut: false,
                }));
            }
            let read = match from.read(&mut chunk) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(error.into()),
            };
            bytes.extend(&chunk[..read]);
            head_length = head_length.or_else(|| end_of_head(&bytes));
            if read == 0 {
                let cut = head_length.map(|head_length| Self {
                    bytes,
                    head_length,
                    cut: true,
                });
                return Ok(cut);
            }
        }
    }

    fn head(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.head_length]).into_owned()
    }

    fn body(&self) -> &[u8] {
        &self.bytes[self.head_length..]
    }

    fn is_put_records(&self) -> bool {
        self.head().contains("Kinesis_20131202.PutRecords\r\n")
    }

    /// What an answer says; `None` for one that is not whole.
    fn outcome(&self) -> Result<Option<Outcome>> {
        if self.cut {
            return Ok(None);
        }
        let head = self.head();
        let status = head.split(' ').nth(1).context("status")?.parse()?;
        if status != 200 {
            return Ok(Some(Outcome::Refused(status)));
        }
        let body: Value = serde_json::from_slice(self.body())?;
        let Some(records) = body["Records"].as_array() else {
            return Ok(None);
        };
        let code = |record: &Value| record["ErrorCode"].as_str().map(str::to_owned);
        Ok(Some(Outcome::Answered(records.iter().map(code).collect())))
    }

    fn without_last_entry(&self) -> Result<Self> {
        let mut body: Value = serde_json::from_slice(self.body())?;
        body["Records"].as_array_mut().context("Records")?.pop();
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Ok(Self {
            head_length: head.len(),
            bytes: (head + &body).into_bytes(),
            cut: false,
        })
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// The length of the body. Both sides always say it.
fn content_length(head: &[u8]) -> Result<usize> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length:"));
    Ok(length.context("no Content-Length")?.trim().parse()?)
}
