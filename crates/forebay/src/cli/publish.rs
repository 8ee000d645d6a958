//! `pub`: publishes messages and waits for their answers.

use std::io::{BufRead, Read};
use std::path::Path;

use bytes::Bytes;
use forebay_core::QoS;
use tokio::sync::mpsc;

use super::args::PubArguments;
use super::exit::{Exit, Failure, Outcome};
use super::mqtt_client::{self, Client, Happening, Happenings, WINDOW};
use super::output;

/// Lines of standard input that wait to be published.
const LINES: usize = 64;

/// Runs the command.
pub(super) async fn run(arguments: &PubArguments) -> Outcome {
    let qos = QoS::from_level(arguments.qos).unwrap_or_default();
    let mut payloads = payloads(arguments)?;
    let (client, mut happenings) = mqtt_client::connect(&arguments.client, "pub")?;
    expect_connected(&mut happenings).await?;
    let mut publisher = Publisher {
        arguments,
        qos,
        client,
        happenings,
        unfinished: 0,
        refused: 0,
    };
    while let Some(payload) = payloads.recv().await {
        publisher.publish(payload?).await?;
    }
    publisher.finish().await
}

/// The first happening of a connection says whether the broker took it.
pub(super) async fn expect_connected(happenings: &mut Happenings) -> Result<(), Failure> {
    match happenings.recv().await {
        Some(Ok(Happening::Connected)) => Ok(()),
        Some(Err(failure)) => Err(failure),
        other => Err(Failure::new(
            Exit::Unreachable,
            format!("the broker began with {other:?}"),
        )),
    }
}

struct Publisher<'a> {
    arguments: &'a PubArguments,
    qos: QoS,
    client: Client,
    happenings: Happenings,
    /// Published and not yet at their end.
    unfinished: usize,
    refused: u64,
}

impl Publisher<'_> {
    async fn publish(&mut self, payload: Bytes) -> Result<(), Failure> {
        while self.unfinished >= WINDOW {
            self.next().await?;
        }
        let (topic, retain) = (&self.arguments.topic, self.arguments.retain);
        self.client
            .publish(topic, self.qos, retain, payload)
            .await?;
        self.unfinished += 1;
        Ok(())
    }

    /// Waits for one happening. A publish of QoS 0 is at its end when it was written.
    async fn next(&mut self) -> Result<(), Failure> {
        let gone = || Failure::new(Exit::Unreachable, "the connection ended");
        let happening = self.happenings.recv().await.ok_or_else(gone)??;
        match happening {
            Happening::Sent if self.qos == QoS::AtMostOnce => self.unfinished -= 1,
            Happening::Finished { refused } => {
                self.unfinished = self.unfinished.saturating_sub(1);
                if let Some(reason) = refused {
                    self.refused += 1;
                    output::remark(&format!("refused by the broker: {reason}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn finish(mut self) -> Outcome {
        while self.unfinished > 0 {
            self.next().await?;
        }
        self.client.disconnect().await;
        // DISCONNECT is written before it is reported; an end before that is as good.
        while let Some(Ok(happening)) = self.happenings.recv().await {
            if matches!(happening, Happening::Disconnected) {
                break;
            }
        }
        Ok(if self.refused > 0 {
            Exit::Failed
        } else {
            Exit::Done
        })
    }
}

/// The payloads in order: one or several times the same, or a line each.
fn payloads(arguments: &PubArguments) -> Result<mpsc::Receiver<Result<Bytes, Failure>>, Failure> {
    let (sender, receiver) = mpsc::channel(LINES);
    let once = match (&arguments.message, &arguments.file) {
        (Some(text), _) => Some(Bytes::from(text.clone())),
        (None, Some(path)) => Some(read_file(path)?),
        (None, None) => None,
    };
    let count = arguments.count;
    // A thread of its own: reading standard input cannot be interrupted, and must not keep the runtime from ending.
    std::thread::spawn(move || match once {
        Some(payload) => {
            for _ in 0..count {
                if sender.blocking_send(Ok(payload.clone())).is_err() {
                    return;
                }
            }
        }
        None => read_lines(&sender),
    });
    Ok(receiver)
}

fn read_file(path: &Path) -> Result<Bytes, Failure> {
    let read = if path == Path::new("-") {
        let mut payload = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut payload)
            .map(|_| payload)
    } else {
        std::fs::read(path)
    };
    read.map(Bytes::from).map_err(|error| {
        Failure::new(
            Exit::InputOutput,
            format!("{} cannot be read: {error}", path.display()),
        )
    })
}

fn read_lines(sender: &mpsc::Sender<Result<Bytes, Failure>>) {
    let mut input = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = input.read_until(b'\n', &mut line);
        let next = match read {
            Ok(0) => return,
            Ok(_) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                Ok(Bytes::from(line))
            }
            Err(error) => Err(Failure::new(
                Exit::InputOutput,
                format!("standard input cannot be read: {error}"),
            )),
        };
        let failed = next.is_err();
        if sender.blocking_send(next).is_err() || failed {
            return;
        }
    }
}
