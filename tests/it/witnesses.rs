//! Clients that are there while another one misbehaves, and must notice nothing of it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use forebay_tests::mqtt::{Client, Publish, Version};

/// A topic that no witness publishes to. A message on it, sent after a packet for which the
/// connection had to be closed, means that the broker went on interpreting.
pub(crate) const BEYOND: &str = "beyond/the/end";

/// How long the broker may take to serve a client after something bad happened to it. Well above
/// what it needs, well below any time-out that a blocked listener would wait for.
const PROMPT: Duration = Duration::from_secs(2);

/// One connected client of each protocol version.
#[derive(Debug)]
pub(crate) struct Witnesses {
    broker: SocketAddr,
    clients: Vec<Client>,
    round: u32,
}

impl Witnesses {
    /// Connects them, each subscribed to its own topic and to [`BEYOND`].
    pub(crate) fn connect(broker: SocketAddr) -> Result<Self> {
        let connect = |version| {
            let mut client = Client::simple(broker, version, &format!("witness-{version:?}"))?;
            client.set_limit(PROMPT);
            let codes = client.subscribe(&[(&topic(version), 1), (BEYOND, 0)])?;
            ensure!(codes == [1, 0], "SUBACK {codes:?}");
            Ok(client)
        };
        Ok(Self {
            broker,
            clients: Version::ALL
                .map(connect)
                .into_iter()
                .collect::<Result<_>>()?,
            round: 0,
        })
    }

    /// The clients that were there before publish, and receive exactly what they should; so do
    /// clients that connect only now.
    pub(crate) fn expect_service(&mut self) -> Result<()> {
        self.round += 1;
        let round = self.round;
        for client in &mut self.clients {
            let version = client.version();
            let before = format!("{version:?} {round} from before");
            serve(client, &topic(version), &before).context("a client from before")?;
            // Nothing may come first that nobody should have sent.
            expect_message(client, &topic(version), &before)?;

            let id = format!("newcomer-{version:?}-{round}");
            let mut newcomer = Client::simple(self.broker, version, &id).context("a newcomer")?;
            newcomer.set_limit(PROMPT);
            serve(&mut newcomer, &topic(version), &id).context("a newcomer")?;
            expect_message(client, &topic(version), &id)?;
            client.ping()?;
        }
        Ok(())
    }
}

fn topic(version: Version) -> String {
    format!("witness/{version:?}")
}

fn serve(client: &mut Client, topic: &str, payload: &str) -> Result<()> {
    let outcome = client.publish(Publish::new(topic, payload, 1))?;
    ensure!(outcome.reason == 0, "PUBACK {:#x}", outcome.reason);
    ensure!(outcome.took() < PROMPT, "PUBACK after {:?}", outcome.took());
    Ok(())
}

fn expect_message(client: &mut Client, topic: &str, payload: &str) -> Result<()> {
    let message = client.receive(PROMPT)?;
    ensure!(
        message.topic == topic && message.payload == payload.as_bytes(),
        "instead of {payload:?} on {topic}: {message:?}"
    );
    Ok(())
}
