//! Which tokio runtime serves a broker's connections for less CPU time: one current-thread runtime per core, each with
//! a SO_REUSEPORT listener of its own, or one multi-thread runtime?
//!
//! ```text
//! cargo run --release -p forebay-bench --example runtime_flavours [CONNECTIONS [WINDOW [SECONDS]]]
//! ```
//!
//! Measured in November 2026 on two shared cores (AMD EPYC, kernel 6.18), three rounds of three seconds each, CPU time
//! per message of the broker: with 200 connections and a window of 50 it is 0.13 to 0.14 us against 0.12 to 0.15 us,
//! with a window of 10 it is 0.53 against 0.50 to 0.51 us, with a window of 1 it is 4.7 to 5.1 against 4.6 to 4.7 us,
//! with 1 000 connections and a window of 10 it is 0.55 to 0.60 against 0.54 to 0.56 us. What the flavours cost is the
//! same within the spread: the system calls decide, not the scheduler. So the choice is free, and the current-thread
//! one lets a worker own its connections' state without locks.
//!
//! The program starts itself once per flavour and round as a broker that only acknowledges, puts the closed loop of
//! `bench quick` on it, and prints the CPU time per message of the broker's process.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use forebay_bench::quick::{self, QuickConfig};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

const FLAVOURS: [&str; 2] = ["current-thread", "multi-thread"];
const ROUNDS: usize = 3;
const BACKLOG: i32 = 1024;
const READ_BYTES: usize = 16 * 1024;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", flavour] => Ok(serve(flavour)?),
        [] => compare(200, 50, 5),
        [connections] => compare(connections.parse()?, 50, 5),
        [connections, window] => compare(connections.parse()?, window.parse()?, 5),
        [connections, window, seconds, ..] => {
            compare(connections.parse()?, window.parse()?, seconds.parse()?)
        }
    }
}

// === the comparison ===

fn compare(connections: usize, window: u16, seconds: u64) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", forebay_bench::Environment::here())?;
    writeln!(
        out,
        "{connections} connections, window {window}, QoS 1, 256 B, {seconds} s per round"
    )?;
    writeln!(
        out,
        "{:<16}{:>6}{:>14}{:>14}{:>14}{:>12}{:>12}",
        "flavour", "round", "us/message", "generator us", "messages/s", "p50 ms", "p99 ms"
    )?;
    for round in 1..=ROUNDS {
        for flavour in FLAVOURS {
            let (mut broker, address) = spawn(flavour)?;
            let mut config = QuickConfig::new(address.into());
            config.connections = connections;
            config.window = window;
            config.keys = config.keys.max(connections);
            config.warmup = Duration::from_secs(1);
            config.duration = Duration::from_secs(seconds);
            config.pid = Some(broker.id());
            let report = quick::run(&config, &mut |_| {});
            broker.kill()?;
            broker.wait()?;
            let report = report?;
            let cost = report
                .broker_process
                .map_or(f64::NAN, |it| it.micros_per_message);
            let (p50, p99) = report
                .latency
                .map_or((0.0, 0.0), |it| (it.p50_ms, it.p99_ms));
            let rate = report.messages_per_second;
            let own = report.generator_micros_per_message.unwrap_or(f64::NAN);
            writeln!(
                out,
                "{flavour:<16}{round:>6}{cost:>14.3}{own:>14.3}{rate:>14.0}{p50:>12.3}{p99:>12.3}"
            )?;
        }
    }
    Ok(())
}

fn spawn(flavour: &str) -> Result<(Child, SocketAddr), Failure> {
    let mut broker = Command::new(std::env::current_exe()?)
        .args(["serve", flavour])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = broker.stdout.take().ok_or("the broker has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok((broker, line.trim().parse()?))
}

// === the broker ===

fn serve(flavour: &str) -> io::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let first = listener("127.0.0.1:0".parse().expect("this is an address"))?;
    let address = first.local_addr()?;
    writeln!(io::stdout(), "{address}")?;
    if flavour == "multi-thread" {
        let runtime = Builder::new_multi_thread().enable_io().build()?;
        return runtime.block_on(accept(first));
    }
    let mut workers = Vec::new();
    for core in 0..cores {
        let own = if core == 0 {
            first.try_clone()?
        } else {
            listener(address)?
        };
        workers.push(std::thread::spawn(move || {
            Builder::new_current_thread()
                .enable_io()
                .build()?
                .block_on(accept(own))
        }));
    }
    drop(first);
    for worker in workers {
        worker
            .join()
            .map_err(|_| io::Error::other("a worker panicked"))??;
    }
    Ok(())
}

fn listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn accept(listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A connection ends when its client does; the broker is killed in the end.
        tokio::spawn(acknowledge(stream));
    }
}

async fn acknowledge(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut answers) = (vec![0; READ_BYTES], Vec::new());
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let taken = answer(&buffer[..filled], &mut answers);
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
        if !answers.is_empty() {
            stream.write_all(&answers).await?;
            answers.clear();
        }
    }
}

/// Answers every complete packet; returns the bytes that these take.
fn answer(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let mut at = 0;
    while let Some((header, length)) = frame(&bytes[at..])
        && let Some(body) = bytes.get(at + header..at + header + length)
    {
        match bytes[at] {
            0x10 => out.extend(b"\x20\x03\0\0\0"),
            0x32 => {
                let id_at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                out.extend([0x40, 2, body[id_at], body[id_at + 1]]);
            }
            _ => {}
        }
        at += header + length;
    }
    at
}

fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((index + 2, length));
        }
    }
    None
}
