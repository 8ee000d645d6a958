//! Other people's clients among the devices.

use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use forebay_tests::foreign;
use forebay_tests::process::Process;
use serde_json::Value;

use crate::device::Delivery;

const LIMIT: Duration = Duration::from_secs(120);

/// Four clients of paho-mqtt at work.
#[derive(Debug)]
pub(crate) struct Paho {
    process: Process,
}

impl Paho {
    /// Starts them.
    pub(crate) fn start(broker: SocketAddr) -> Result<Self> {
        let mut command = foreign::python("paho_publisher.py")?;
        command.args([broker.ip().to_string(), broker.port().to_string()]);
        Ok(Self {
            process: Process::spawn("paho", &mut command)?,
        })
    }

    /// Whether they all have ended, because something was wrong.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(!self.process.is_running()?)
    }

    /// What they said last.
    pub(crate) fn tail(&self) -> String {
        self.process.tail()
    }

    /// Tells them to publish nothing new.
    pub(crate) fn stop(&self) -> Result<()> {
        File::create(self.process.folder().join("stop")).map(drop)?;
        Ok(())
    }

    /// Waits until everything is answered.
    pub(crate) fn finish(self) -> Result<Delivery> {
        self.stop()?;
        let finished = self.process.wait(LIMIT)?.expect_success()?;
        let mut delivery = Delivery::default();
        for line in finished.stdout.lines() {
            let line: Value = serde_json::from_str(line)?;
            let key = line["key"].as_str().context("no key")?.to_owned();
            if let Some(published) = line["published"].as_u64() {
                delivery.published.insert(key, published);
            } else {
                let number = line["number"].as_u64().context("no number")?;
                let repeats = line["repeats"].as_u64().context("no repeats")?;
                delivery.repeats.insert((key, number), repeats);
            }
        }
        Ok(delivery)
    }
}
