//! What most tests start from: a broker in front of an embedded stream.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay::{Builder, Forebay};
use forebay_tests::kinesis::{self, Record};
use forebay_tests::metrics::Metrics;
use forebay_tests::streams::StreamServer;
use forebay_tests::wait;
use tempfile::TempDir;

/// How long anything may take that should happen at once.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A running broker and the streams behind it. The broker goes first.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) forebay: Forebay,
    pub(crate) streams: StreamServer,
    _data: TempDir,
}

impl Bed {
    /// Serves streams, each written as `NAME:SHARDS`, without their rate limits, and starts a
    /// broker in front of them as `configure` wants it.
    pub(crate) fn start(
        streams: &[&str],
        configure: impl FnOnce(Builder) -> Result<Builder>,
    ) -> Result<Self> {
        let data = TempDir::with_prefix("forebay-test-data-")?;
        let mut arguments = vec!["--limits", "off"];
        for stream in streams {
            arguments.extend(["--stream", stream]);
        }
        let streams = StreamServer::embedded(data.path(), &arguments)?;
        let builder = Builder::new()?.endpoint(&streams.endpoint());
        Ok(Self {
            forebay: configure(builder)?.start()?,
            streams,
            _data: data,
        })
    }

    /// Everything in a stream.
    pub(crate) fn records(&self, stream: &str) -> Result<Vec<Record>> {
        kinesis::read_stream(&self.streams.endpoint(), stream)
    }

    /// Stops the broker, which must end well and must not have panicked anywhere.
    pub(crate) fn stop(self) -> Result<()> {
        stop(self.forebay)
    }
}

/// Stops a broker, which must end well and must not have panicked anywhere.
pub(crate) fn stop(forebay: Forebay) -> Result<()> {
    let finished = forebay.stop(LIMIT)?;
    ensure!(finished.code() == Some(0), "{finished:?}");
    ensure!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    Ok(())
}

/// Scrapes until `holds`, and returns what was scraped then.
pub(crate) fn until_metrics(
    forebay: &Forebay,
    what: &str,
    holds: impl Fn(&Metrics) -> bool,
) -> Result<Metrics> {
    let mut last = Metrics::default();
    let waited = wait::until(what, LIMIT, || {
        last = forebay.metrics()?;
        Ok(holds(&last).then(|| last.clone()))
    });
    waited.with_context(|| format!("{last:?}"))
}
