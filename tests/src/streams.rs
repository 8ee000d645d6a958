//! Kinesis-compatible servers to run against: the embedded one, kinesalite and MiniStack.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::process::{Finished, Process};
use crate::{forebay, foreign, http};

const START_LIMIT: Duration = Duration::from_secs(30);
/// A free port can be taken by somebody else before the server binds it.
const ATTEMPTS: usize = 3;

/// A running server.
#[derive(Debug)]
pub struct StreamServer {
    process: Process,
    address: SocketAddr,
}

impl StreamServer {
    /// `forebay stream serve` with the given further arguments, on a free port.
    ///
    /// # Errors
    /// If it does not start.
    pub fn embedded(data: &Path, arguments: &[&str]) -> Result<Self> {
        Self::embedded_at((Ipv4Addr::LOCALHOST, 0).into(), data, arguments)
    }

    /// As [`Self::embedded`], at an address of the caller's: to start it again where it was.
    ///
    /// # Errors
    /// If it does not start.
    pub fn embedded_at(address: SocketAddr, data: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = forebay::command(["stream", "serve", "--bind"])?;
        command.arg(address.to_string());
        command.arg("--data-dir").arg(data).args(arguments);
        let mut process = Process::spawn("forebay-stream", &mut command)?;
        // Its URL is the first thing it prints, once the streams of its arguments exist.
        let line =
            process.wait_for_line("its URL", START_LIMIT, |line| line.starts_with("http://"))?;
        let address = line.trim_start_matches("http://").trim_end_matches('/');
        let address = address.parse().with_context(|| line.clone())?;
        Ok(Self { process, address })
    }

    /// kinesalite, the server written in JavaScript.
    ///
    /// # Errors
    /// If it does not start.
    pub fn kinesalite() -> Result<Self> {
        let mut process = Process::spawn("kinesalite", &mut foreign::node("kinesalite.js")?)?;
        let line = process.wait_for_line("its port", START_LIMIT, |line| {
            line.starts_with("listening on ")
        })?;
        let port = line.rsplit(' ').next().unwrap_or_default();
        let port = port.parse().with_context(|| line.clone())?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        Ok(Self { process, address })
    }

    /// MiniStack, the emulator of AWS written in Python, with only its Kinesis.
    ///
    /// # Errors
    /// If it does not start.
    pub fn ministack() -> Result<Self> {
        on_free_port(|address| {
            let mut command = foreign::tool("ministack")?;
            command
                .env("BIND_HOST", address.ip().to_string())
                .env("GATEWAY_PORT", address.port().to_string())
                .env("SERVICES", "kinesis")
                .env("LOG_LEVEL", "WARNING");
            let mut process = Process::spawn("ministack", &mut command)?;
            process.wait_for_ok(address, "/_ministack/health", START_LIMIT)?;
            Ok(Self { process, address })
        })
    }

    /// The address it listens at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, as clients want it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a control call to the embedded server, such as `SetFaults` with a script of faults.
    ///
    /// # Errors
    /// If it refuses, or is another server.
    pub fn control(&self, operation: &str, body: &Value) -> Result<Value> {
        let target = format!("ForebayStream_20261101.{operation}");
        let headers = [
            ("X-Amz-Target", target.as_str()),
            ("Content-Type", "application/x-amz-json-1.1"),
        ];
        let answer = http::post(self.address, "/", &headers, body.to_string().as_bytes())?;
        ensure!(answer.status == 200, "{operation}: {answer:?}");
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// The process: memory, CPU time, output.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Errors
    /// If it has ended already, or does not end within `limit`.
    pub fn stop(self, limit: Duration) -> Result<Finished> {
        self.process.stop(limit)
    }
}

fn on_free_port(mut start: impl FnMut(SocketAddr) -> Result<StreamServer>) -> Result<StreamServer> {
    let mut attempt = || start(free_address()?);
    for _ in 1..ATTEMPTS {
        if let Ok(server) = attempt() {
            return Ok(server);
        }
    }
    attempt()
}

/// An address of loopback for a server that stops and comes back while others start. Its port is one that the
/// operating system gives to nobody who does not ask for it, so neither another server nor a client that connects in
/// vain can take it meanwhile.
///
/// # Errors
/// If no port is free.
pub fn lasting_address() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Below what Linux, macOS and IANA give to clients. Processes start at different places.
    const PORTS: std::ops::Range<u16> = 10_000..32_000;
    let count = PORTS.end - PORTS.start;
    let start = (std::process::id().wrapping_mul(97) % u32::from(count)) as u16;
    for _ in 0..count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + ((u32::from(start) + u32::from(step)) % u32::from(count)) as u16;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("none of the ports {PORTS:?} is free")
}

/// An address of loopback with a port that nobody uses now.
///
/// # Errors
/// If the operating system has none.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kinesis, process};

    const LIMIT: Duration = Duration::from_secs(60);

    /// Creates a stream, fills it with the AWS CLI, and reads it with boto3.
    fn check(server: StreamServer) {
        let endpoint = server.endpoint();
        kinesis::create_stream(&endpoint, "three", 3).unwrap();
        let shards = kinesis::shards(&endpoint, "three").unwrap();
        assert_eq!(shards.len(), 3);
        assert_eq!(shards[0].hash_first, 0);
        assert_eq!(shards[2].hash_last, u128::MAX);
        assert_eq!(kinesis::read_stream(&endpoint, "three").unwrap(), []);

        let mut put = foreign::tool("aws").unwrap();
        put.args(["kinesis", "put-record", "--endpoint-url", &endpoint]);
        put.args(["--stream-name", "three", "--partition-key", "key"]);
        put.args(["--data", "eHl6"]);
        process::run("aws", &mut put, LIMIT)
            .unwrap()
            .expect_success()
            .unwrap();
        let records = kinesis::read_until(&endpoint, "three", 1, LIMIT).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].partition_key, "key");
        assert!(shards.iter().any(|shard| shard.id == records[0].shard));

        kinesis::delete_stream(&endpoint, "three").unwrap();
        server.stop(LIMIT).unwrap();
    }

    #[test]
    fn lasting_addresses_differ_and_are_not_given_to_clients() {
        let [one, other] = [(); 2].map(|()| lasting_address().unwrap());
        assert_ne!(one, other);
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let range = range.unwrap_or_else(|_| "32768".to_owned());
        let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        assert!(one.port() < first && other.port() < first);
    }

    #[test]
    fn kinesalite_starts_and_its_records_come_back() {
        check(StreamServer::kinesalite().unwrap());
    }

    #[test]
    fn ministack_starts_and_its_records_come_back() {
        check(StreamServer::ministack().unwrap());
    }
}
