//! A stream that lasts and a broker that dies: one data directory, one address, many processes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay::{self, Builder};
use forebay_tests::kinesis::{self, Record};
use forebay_tests::metrics::{self, Metrics};
use forebay_tests::mqtt::{Client, Publish, Version};
use forebay_tests::process::{Finished, Process};
use forebay_tests::streams::{StreamServer, lasting_address};
use forebay_tests::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::message::payload;

/// How long a start, a stop, or a call may take that nothing holds up.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// How long everything that is owed may take to arrive once nothing is in its way.
const DRAIN_LIMIT: Duration = Duration::from_secs(90);
/// The key of the message that must pass in the end.
const FRESH: &str = "fresh";
/// With this in its environment the program loses at a kill what it did not flush.
const LOSSY_DISK: &str = "FOREBAY_TEST_LOSSY_DISK";

/// The streams. Every message goes to each of them.
pub(crate) const STREAMS: [&str; 2] = ["plain", "strict"];
/// The one whose rule keeps the order of a key whatever happens.
pub(crate) const STRICT: &str = "strict";
const SHARDS: u32 = 3;
/// Lines of the brokers that are kept.
const DIARY_LINES: usize = 60;

/// The server of the streams.
#[derive(Debug)]
pub(crate) enum Service {
    /// The embedded one: it can be stopped and started, and injects faults.
    Embedded(StreamServer, TempDir),
    /// kinesalite, which splits and merges shards.
    Kinesalite(StreamServer),
}

/// How a site is built.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) ack: &'static str,
    /// Whether a kill is a power cut: the seed of its disk.
    pub(crate) lossy: Option<u64>,
    pub(crate) kinesalite: bool,
    /// Further settings.
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// Everything but the devices.
#[derive(Debug)]
pub(crate) struct Site {
    plan: Plan,
    builder: Builder,
    service: Option<Service>,
    broker: SocketAddr,
    life: Option<Life>,
    lives: u64,
    diary: VecDeque<String>,
}

/// A running broker.
#[derive(Debug)]
struct Life {
    process: Process,
    since: Instant,
    admin: Option<SocketAddr>,
}

/// Milliseconds since the epoch, as the stream stamps its records.
pub(crate) fn wall_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.unwrap_or_default().as_millis() as u64
}

// === impl Plan ===

impl Plan {
    /// A site with the embedded stream, an ordinary disk, and this acknowledgement mode.
    pub(crate) fn new(ack: &'static str) -> Self {
        Self {
            ack,
            lossy: None,
            kinesalite: false,
            settings: Vec::new(),
        }
    }

    /// Starts the stream, and nothing else.
    pub(crate) fn build(self) -> Result<Site> {
        let service = if self.kinesalite {
            Service::Kinesalite(StreamServer::kinesalite()?)
        } else {
            let data = TempDir::with_prefix("forebay-test-stream-")?;
            let server = embedded(lasting_address()?, &data)?;
            Service::Embedded(server, data)
        };
        let endpoint = service.server().endpoint();
        let broker = lasting_address()?;
        let mut builder = Builder::new()?
            .endpoint(&endpoint)
            .set("server.ack", &format!("{:?}", self.ack))
            .set(
                "listeners.default.bind",
                &format!("{:?}", broker.to_string()),
            )
            .set("kinesis.rate_limit", "\"off\"")
            .more_config(&format!("[rule.{STRICT}]\nordering = \"strict\""));
        for (key, value) in &self.settings {
            builder = builder.set(key, value);
        }
        for stream in STREAMS {
            if self.kinesalite {
                kinesis::create_stream(&endpoint, stream, SHARDS)?;
            }
            builder = builder.kinesis_rule(stream, "SELECT * FROM 'dt/#'", stream, "${key}")?;
        }
        Ok(Site {
            plan: self,
            builder,
            service: Some(service),
            broker,
            life: None,
            lives: 0,
            diary: VecDeque::new(),
        })
    }
}

fn embedded(address: SocketAddr, data: &TempDir) -> Result<StreamServer> {
    let streams = STREAMS.map(|stream| format!("--stream={stream}:{SHARDS}"));
    let mut arguments = vec!["--limits", "off"];
    arguments.extend(streams.iter().map(String::as_str));
    StreamServer::embedded_at(address, data.path(), &arguments)
}

// === impl Service ===

impl Service {
    fn server(&self) -> &StreamServer {
        match self {
            Self::Embedded(server, _) | Self::Kinesalite(server) => server,
        }
    }
}

// === impl Site ===

impl Site {
    /// Where the broker is, whenever there is one.
    pub(crate) fn broker(&self) -> SocketAddr {
        self.broker
    }

    /// What the brokers complained about lately, for a person who reads why a test failed.
    pub(crate) fn diary(&self) -> String {
        let lines: Vec<&str> = self.diary.iter().map(String::as_str).collect();
        format!("what the brokers said:\n{}", lines.join("\n"))
    }

    /// Starts a broker and does not wait for it.
    pub(crate) fn spawn(&mut self) -> Result<()> {
        ensure!(self.life.is_none(), "there is a broker already");
        let mut command = self.builder.command()?;
        if let Some(seed) = self.plan.lossy {
            command.env(LOSSY_DISK, (seed + self.lives).to_string());
        }
        self.lives += 1;
        self.life = Some(Life {
            process: Process::spawn("forebay", &mut command)?,
            since: Instant::now(),
            admin: None,
        });
        Ok(())
    }

    /// Waits until the broker says that it is ready, and returns how long that took.
    pub(crate) fn ready(&mut self) -> Result<Duration> {
        let life = self.life.as_mut().context("there is no broker")?;
        let lines = ["admin open", "ready"].map(|message| format!("\"message\":\"{message}\""));
        let [admin, ready] = &lines;
        life.process
            .wait_for_line("readiness", LIMIT, |line| line.contains(ready))?;
        let took = life.since.elapsed();
        let line = life
            .process
            .wait_for_line("its admin port", LIMIT, |line| line.contains(admin))?;
        let event: Value = serde_json::from_str(&line)?;
        let address = forebay::field(&event, "address").context("no address")?;
        life.admin = Some(address.parse()?);
        let confessed = life.process.stderr().contains(LOSSY_DISK);
        ensure!(
            confessed == self.plan.lossy.is_some(),
            "it says of its disk: lossy = {confessed}"
        );
        Ok(took)
    }

    /// Waits until the broker has run for so long. It must not end by itself.
    pub(crate) fn live(&mut self, age: Duration) -> Result<()> {
        let life = self.life.as_mut().context("there is no broker")?;
        let since = life.since;
        life.process.wait_until("its time", age + LIMIT, |_| {
            Ok((since.elapsed() >= age).then_some(()))
        })
    }

    pub(crate) fn is_running(&mut self) -> Result<bool> {
        let life = self.life.as_mut().context("there is no broker")?;
        life.process.is_running()
    }

    /// Ends the broker with SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<Finished> {
        let life = self.life.take().context("there is no broker")?;
        let finished = life.process.kill()?;
        self.ended(finished)
    }

    /// Ends the broker with SIGTERM.
    pub(crate) fn stop(&mut self, limit: Duration) -> Result<Finished> {
        let life = self.life.take().context("there is no broker")?;
        let finished = life.process.stop(limit)?;
        self.ended(finished)
    }

    /// However a broker ends, it does not panic before.
    fn ended(&mut self, finished: Finished) -> Result<Finished> {
        let complaints = finished.stderr.lines().filter(|line| {
            let levels = ["WARN", "ERROR"].map(|level| format!("\"level\":\"{level}\""));
            line.contains("recover") || levels.iter().any(|level| line.contains(level))
        });
        let life = self.lives;
        let entries = complaints.map(|line| format!("{life}: {line}"));
        self.diary.extend(entries);
        let excess = self.diary.len().saturating_sub(DIARY_LINES);
        self.diary.drain(..excess);
        ensure!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
        Ok(finished)
    }

    /// Whether a broker was seen to be ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.admin.is_some())
    }

    pub(crate) fn metrics(&self) -> Result<Metrics> {
        let admin = self.life.as_ref().and_then(|life| life.admin);
        metrics::scrape(admin.context("no broker is ready")?)
    }

    /// Scrapes until `holds`.
    pub(crate) fn until_metrics(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Metrics) -> bool,
    ) -> Result<()> {
        wait::until_true(what, limit, || Ok(holds(&self.metrics()?)))
    }

    /// Puts faults into force, by the names of the control call, in the place of those before. kinesalite has none.
    pub(crate) fn inject(&self, rules: &Value) -> Result<()> {
        self.heal()?;
        if let Some(Service::Embedded(server, _)) = &self.service {
            let script = json!({ "Seed": self.lives, "Rules": rules });
            server.control("SetFaults", &script)?;
        }
        Ok(())
    }

    /// Ends all faults, those too through which no call gets at first.
    pub(crate) fn heal(&self) -> Result<()> {
        if matches!(self.service, Some(Service::Kinesalite(_))) {
            return Ok(());
        }
        wait::until_true("a stream without faults", LIMIT, || {
            Ok(self.server()?.control("ClearFaults", &json!({})).is_ok())
        })
    }

    /// Stops the server of the streams and starts it again where it was.
    pub(crate) fn restart_service(&mut self) -> Result<()> {
        match self.service.take().context("there is no stream")? {
            Service::Embedded(server, data) => {
                let address = server.address();
                server.stop(LIMIT)?.expect_success()?;
                self.service = Some(Service::Embedded(embedded(address, &data)?, data));
            }
            kinesalite => self.service = Some(kinesalite),
        }
        Ok(())
    }

    /// Splits or merges a shard of each stream.
    pub(crate) fn reshard(&self, split: bool) -> Result<()> {
        let endpoint = self.server()?.endpoint();
        STREAMS.iter().try_for_each(|stream| match split {
            true => kinesis::split_shard(&endpoint, stream),
            false => kinesis::merge_shards(&endpoint, stream),
        })
    }

    /// Each of so many splits and merges has left its mark.
    pub(crate) fn expect_reshards(&self, count: usize) -> Result<()> {
        let endpoint = self.server()?.endpoint();
        for stream in STREAMS {
            let shards = kinesis::shards(&endpoint, stream)?.len();
            let least = SHARDS as usize + count;
            ensure!(shards >= least, "{shards} shards of {stream}, not {least}");
        }
        Ok(())
    }

    pub(crate) fn server(&self) -> Result<&StreamServer> {
        let service = self.service.as_ref().context("there is no stream")?;
        Ok(service.server())
    }

    /// Sends a message that nobody sent before through the ready broker, and waits until nothing is owed any more.
    /// Returns the key of the message.
    pub(crate) fn drain(&self) -> Result<String> {
        let key = format!("{FRESH}-{}", self.lives);
        let mut client = Client::simple(self.broker, Version::V5, "fresh")?;
        let outcome = client.publish(Publish::new("dt/fresh", payload(&key, 0), 1))?;
        ensure!(outcome.reason == 0, "refused: {outcome:?}");
        client.disconnect()?;
        self.until_metrics("the arrival of what is owed", DRAIN_LIMIT, |metrics| {
            metrics.sum("forebay_records_pending", &[]) == 0.0
                && metrics.sum("forebay_spool_unsettled_records", &[]) == 0.0
        })?;
        Ok(key)
    }

    /// Everything in a stream as another client of Kinesis sees it, shard by shard.
    pub(crate) fn records(&self, stream: &str) -> Result<Vec<Record>> {
        kinesis::read_stream(&self.server()?.endpoint(), stream)
    }
}
