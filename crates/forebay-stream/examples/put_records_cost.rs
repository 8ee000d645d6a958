//! Measures the CPU time of the server per record of PutRecords.
//!
//! `cargo run --release -p forebay-stream --example put_records_cost -- [SECONDS] [RECORDS] [BYTES] [SHARDS] [disk|memory]`
//!
//! The server runs in this process on threads of its own, all named `stream-server`; a client thread sends prepared
//! HTTP/1.1 requests, one after the other, and reads the answers. The cost is the CPU time that the kernel has booked
//! on the server's threads (user and system, from `/proc/self/task/*/schedstat`, nanoseconds on the CPU), divided by
//! the records, so nothing of the client has to be subtracted.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use forebay_core::{Clock, Entropy, SeededEntropy, SystemClock};
use forebay_stream::{ServerConfig, StreamServer};

const THREADS: &str = "stream-server";

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| {
        args.get(at)
            .map_or(Ok(default), |text| text.parse::<usize>())
    };
    let (seconds, records, bytes, shards) = (
        number(0, 5)?,
        number(1, 500)?,
        number(2, 256)?,
        number(3, 16)?,
    );
    let directory = tempfile::tempdir()?;
    let on_disk = args.get(4).is_none_or(|place| place == "disk");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(THREADS)
        .enable_all()
        .build()?;
    let config = ServerConfig {
        bind: "127.0.0.1:0".parse()?,
        data_dir: on_disk.then(|| directory.path().to_owned()),
        limits: false,
        ..ServerConfig::default()
    };
    // Started from a task, so that nothing of the server runs on this thread.
    let server = runtime.block_on(runtime.spawn(StreamServer::start(config)))??;
    server.create_stream("cost", u32::try_from(shards)?)?;
    let request = request(records, bytes);
    let mut client = TcpStream::connect(server.local_addr())?;
    client.set_nodelay(true)?;
    let clock = SystemClock::new();
    exchange_for(&mut client, &request, &clock, Duration::from_millis(500))?;
    let before = cpu_nanos()?;
    let start = clock.now();
    let requests = exchange_for(
        &mut client,
        &request,
        &clock,
        Duration::from_secs(seconds as u64),
    )?;
    let wall = clock.now() - start;
    let cpu = cpu_nanos()? - before;
    let total = requests * records as u64;
    writeln!(
        std::io::stdout(),
        "{requests} requests of {records} x {bytes} B to {shards} shards, {}: {:.3} us CPU of the server per \
         record, {:.0} records/s",
        if on_disk { "on disk" } else { "in memory" },
        cpu as f64 / 1e3 / total as f64,
        total as f64 / wall.as_secs_f64(),
    )?;
    drop(client);
    runtime.block_on(server.shutdown());
    Ok(())
}

/// A request with keys and data that differ from record to record.
fn request(records: usize, bytes: usize) -> Vec<u8> {
    let mut entropy = SeededEntropy::new(1);
    let mut body = String::from("{\"StreamName\":\"cost\",\"Records\":[");
    for index in 0..records {
        let data: Vec<u8> = (0..bytes)
            .map(|_| entropy.next_u64().to_le_bytes()[0])
            .collect();
        let data = base64::prelude::BASE64_STANDARD.encode(data);
        let comma = if index > 0 { "," } else { "" };
        let key = entropy.below(1000);
        write!(
            body,
            "{comma}{{\"Data\":\"{data}\",\"PartitionKey\":\"device-{key}\"}}"
        )
        .expect("writing to a string does not fail");
    }
    body.push_str("]}");
    let mut request = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: Kinesis_20131202.PutRecords\r\n\
         content-type: application/x-amz-json-1.1\r\nx-amz-date: 20261101T000000Z\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b, Signature=c\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body.as_bytes());
    request
}

fn exchange_for(
    client: &mut TcpStream,
    request: &[u8],
    clock: &SystemClock,
    time: Duration,
) -> Result<u64, Error> {
    let end = clock.now() + time;
    let mut answer = vec![0; 1 << 20];
    let mut requests = 0;
    while clock.now() < end {
        client.write_all(request)?;
        read_answer(client, &mut answer)?;
        requests += 1;
    }
    Ok(requests)
}

fn read_answer(client: &mut TcpStream, buffer: &mut [u8]) -> Result<(), Error> {
    let mut filled = 0;
    loop {
        let read = client.read(&mut buffer[filled..])?;
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        filled += read;
        let Some(head) = buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head])?.to_ascii_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.ok_or("no length")?.trim().parse()?;
        if filled >= head + 4 + length {
            let ok = text.starts_with("http/1.1 200")
                && buffer[head + 4..].starts_with(b"{\"FailedRecordCount\":0,");
            return if ok { Ok(()) } else { Err(text.into()) };
        }
    }
}

/// CPU time of the server's threads in nanoseconds.
fn cpu_nanos() -> Result<u64, Error> {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if std::fs::read_to_string(path.join("comm"))?.trim() == THREADS {
            let stat = std::fs::read_to_string(path.join("schedstat"))?;
            total += stat.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
    }
    Ok(total)
}
