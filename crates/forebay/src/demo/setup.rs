//! What the demo needs before it can begin: a place for data, free ports, a configuration with a rule.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use forebay_stream::{RunningServer, ServerConfig, ServerError, StreamServer};
use serde_json::json;
use tempfile::TempDir;

use super::{DemoOptions, STREAM};
use crate::cli::{Exit, Failure, remark, show_report};
use crate::config::units::DisplayDuration;
use crate::config::{self, Config, Inputs, Loaded, Machine};
use crate::server::Server;

/// Where the devices publish.
pub(super) const TOPIC: &str = "dt/{key}/telemetry";
/// The ports that a server of one's own would have.
const MQTT_PORT: u16 = 1883;
const ADMIN_PORT: u16 = 9464;
const STREAM_PORT: u16 = 4567;
/// Between the look at a port and the bind somebody else, such as another demo, can take it.
const BIND_ATTEMPTS: usize = 3;

/// A temporary directory with everything in it; it is removed at the end.
pub(super) struct Setup {
    directory: TempDir,
}

impl Setup {
    /// Makes the directory and the rule, a document as `aws iot create-topic-rule` takes it.
    pub(super) fn prepare(_options: &DemoOptions) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(
                Exit::InputOutput,
                format!("no temporary directory: {error}"),
            )
        };
        let directory = TempDir::with_prefix("forebay-demo-").map_err(failed)?;
        let rules = directory.path().join("rules.d");
        std::fs::create_dir(&rules).map_err(failed)?;
        let rule = json!({
            "sql": "SELECT *, timestamp() AS received FROM 'dt/+/telemetry'",
            "awsIotSqlVersion": "2016-03-23",
            "description": "Everything that the demo's devices measure, in order per device",
            "actions": [{ "kinesis": {
                "streamName": STREAM,
                "partitionKey": "${device}",
                "roleArn": "arn:aws:iam::000000000000:role/ignored",
            }}],
        });
        std::fs::write(rules.join("telemetry.json"), format!("{rule:#}\n")).map_err(failed)?;
        Ok(Self { directory })
    }

    /// Starts the embedded stream with its one stream.
    pub(super) async fn start_stream(&self, shards: u32) -> Result<RunningServer, Failure> {
        let failed = |error: ServerError| {
            Failure::new(Exit::InputOutput, format!("embedded stream: {error}"))
        };
        let mut attempts = BIND_ATTEMPTS;
        let server = loop {
            attempts -= 1;
            let config = ServerConfig {
                bind: free_address("stream", STREAM_PORT),
                data_dir: Some(self.directory.path().join("stream")),
                ..ServerConfig::default()
            };
            match StreamServer::start(config).await {
                Err(ServerError::Bind { .. }) if attempts > 0 => {}
                outcome => break outcome.map_err(failed)?,
            }
        };
        server.create_stream(STREAM, shards).map_err(failed)?;
        Ok(server)
    }

    /// Starts the server with `config`, and where a port was taken meanwhile, with a new one.
    pub(super) fn start_server(
        &self,
        mut config: Config,
        endpoint: &str,
        set: &[String],
    ) -> Result<Server, Failure> {
        for _ in 1..BIND_ATTEMPTS {
            match Server::start(config) {
                Err(failure) if failure.exit == Exit::Unreachable => {}
                outcome => return outcome,
            }
            config = self.config(endpoint, set)?;
        }
        Server::start(config)
    }

    /// The server's configuration: a file like anybody's, with the settings of the command line above it. The spool is
    /// small and may be in memory, because everything goes with the demo.
    pub(super) fn config(&self, endpoint: &str, set: &[String]) -> Result<Config, Failure> {
        let (mqtt, admin) = (
            free_address("MQTT", MQTT_PORT),
            free_address("admin", ADMIN_PORT),
        );
        let text = format!(
            "[server]\nname = \"demo\"\ndata_dir = \"data\"\n\n\
             [listeners.default]\nbind = \"{mqtt}\"\n\n\
             [admin]\nbind = \"{admin}\"\n\n\
             [kinesis]\nregion = \"us-east-1\"\nendpoint = \"{endpoint}\"\n\n\
             [spool]\nsegment = \"16MiB\"\nmax_bytes = \"256MiB\"\nreserve = 0\nallow_volatile = true\n\n\
             [rules]\ndir = \"rules.d\"\n\n\
             [log]\nlevel = \"warn\"\n"
        );
        let file = self.directory.path().join("forebay.toml");
        std::fs::write(&file, text).map_err(|error| {
            Failure::new(Exit::InputOutput, format!("{}: {error}", file.display()))
        })?;
        let inputs = Inputs {
            file: Some(file),
            set: set.to_vec(),
            ..Inputs::default()
        };
        let Loaded { config, report } = config::load(&inputs, None, &Machine::detect());
        show_report(&report);
        config.ok_or_else(|| Failure::silent(Exit::Configuration))
    }

    /// Says what runs where.
    pub(super) fn announce(&self, server: &Server, endpoint: &str, options: &DemoOptions) {
        let mut lines = Vec::new();
        for (name, address) in server.listeners() {
            lines.push(format!("MQTT      mqtt://{address} (listener {name})"));
        }
        if let Some(admin) = server.admin() {
            let token = self.path().join("data/admin-token");
            lines.push(format!(
                "admin     http://{admin}/metrics, and /statusz with the token in {}",
                token.display()
            ));
        }
        lines.push(format!(
            "spool     {}, removed at the end",
            self.path().join("data/spool").display()
        ));
        let rule = self.path().join("rules.d/telemetry.json");
        lines.push(format!(
            "stream    {endpoint}, {STREAM} with {} shards",
            options.shards
        ));
        lines.push(format!("rule      {}", rule.display()));
        lines.push(format!(
            "devices   {} with {} messages/s each",
            options.devices, options.rate
        ));
        lines.push(format!(
            "try       forebay stream tail {STREAM} --endpoint {endpoint}"
        ));
        lines.push(match options.duration {
            Some(duration) => format!("ends      after {}", DisplayDuration(duration)),
            None => "ends      with Ctrl-C".to_owned(),
        });
        remark(&lines.join("\n"));
    }

    fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

/// The usual port of loopback, or a free one when it is taken; which one, is said.
fn free_address(what: &str, port: u16) -> SocketAddr {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if TcpListener::bind(usual).is_ok() {
        return usual;
    }
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    match free {
        Ok(free) => {
            remark(&format!(
                "{what} port {port} is taken, using {}",
                free.port()
            ));
            free
        }
        // Whoever binds it will say what is wrong.
        Err(_) => usual,
    }
}
