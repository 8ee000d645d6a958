//! What can be typed: commands, options and their defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use forebay_bench::{BrokerUrl, Version};

use super::rule::RuleCommand;
use super::spool::SpoolCommand;
use crate::config::units::{parse_duration, parse_size};

/// MQTT broker that runs AWS IoT rules and streams what they select into Amazon Kinesis Data Streams.
#[derive(Debug, Parser)]
#[command(
    name = "forebay",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Without a command the server runs.
    #[command(flatten)]
    pub run: RunArguments,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server
    Run(RunArguments),
    /// Run everything in one process: server, a stream of its own and simulated devices
    Demo(DemoArguments),
    /// Check configuration and rules without starting anything
    Validate(ValidateArguments),
    /// Work with rules
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Publish messages
    Pub(PubArguments),
    /// Subscribe to topic filters and print what comes
    Sub(SubArguments),
    /// Serve, list, describe and read streams
    #[command(subcommand)]
    Stream(StreamCommand),
    /// Look into the spool: what was acknowledged and is not in Kinesis yet
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Make a running server read its configuration and rules again
    Reload(ReloadArguments),
    /// Measure a broker
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// A running server.
#[derive(Debug, Default, Args)]
pub(super) struct AdminArguments {
    /// Its admin port [default: $FOREBAY_ADMIN, then http://127.0.0.1:9464]
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// File of its token [default: $FOREBAY_TOKEN_FILE, then data/admin-token]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ReloadArguments {
    #[command(flatten)]
    pub process: AdminArguments,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Default, Args)]
pub(super) struct RunArguments {
    /// Configuration file [default: $FOREBAY_CONFIG, ./forebay.toml, /etc/forebay/forebay.toml]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key, above file and environment, as in --set kinesis.linger=20ms
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Stream of a rule without any file
    #[arg(long, value_name = "STREAM", requires = "rule")]
    pub kinesis_stream: Option<String>,
    /// Statement of that rule, as in "SELECT * FROM 'dt/#'"
    #[arg(long, value_name = "SQL", requires = "kinesis_stream")]
    pub rule: Option<String>,
    /// Partition key of that rule, a template [default: ${topic()}]
    #[arg(long, value_name = "TEMPLATE", requires = "rule")]
    pub partition_key: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// How long; until Ctrl-C when not given
    #[arg(long, value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Simulated devices, each a connection of its own
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// Messages per second of each device
    #[arg(long, default_value_t = 10.0)]
    pub rate: f64,
    /// Shards of the stream
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub shards: u32,
    /// Throw away so many stored records, to see that the check notices
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub inject_loss: u64,
    /// Set one key of the server's configuration
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ValidateArguments {
    /// Configuration file [default: as for run]
    pub file: Option<PathBuf>,
    /// Set one key, above file and environment
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Fail on warnings
    #[arg(long)]
    pub strict: bool,
    /// Do not ask AWS for identity, streams and permissions
    #[arg(long)]
    pub no_network: bool,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}

/// How `pub` and `sub` reach a broker.
#[derive(Debug, Args)]
pub(super) struct ClientArguments {
    /// The broker
    #[arg(long, default_value = "mqtt://127.0.0.1:1883", value_name = "URL")]
    pub broker: BrokerUrl,
    /// Client id [default: made up]
    #[arg(short = 'i', long = "id", value_name = "ID")]
    pub id: Option<String>,
    /// Version of MQTT: 3.1.1 or 5
    #[arg(
        short = 'V',
        long = "mqtt-version",
        default_value = "5",
        value_name = "VERSION"
    )]
    pub version: Version,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub(super) struct PubArguments {
    /// Topic
    #[arg(short = 't', long)]
    pub topic: String,
    /// The payload
    #[arg(short = 'm', long, group = "source", value_name = "TEXT")]
    pub message: Option<String>,
    /// File with the payload, - for standard input
    #[arg(short = 'f', long, group = "source", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// One message per line of standard input
    #[arg(short = 'l', long, group = "source")]
    pub lines: bool,
    /// Quality of service
    #[arg(short = 'q', long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Retain the message
    #[arg(short = 'r', long)]
    pub retain: bool,
    /// Send it so many times
    #[arg(short = 'n', long, default_value_t = 1, conflicts_with = "lines", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    #[command(flatten)]
    pub client: ClientArguments,
}

#[derive(Debug, Args)]
pub(super) struct SubArguments {
    /// Topic filter; several may be given
    #[arg(short = 't', long, required = true, value_name = "FILTER")]
    pub topic: Vec<String>,
    /// Quality of service
    #[arg(short = 'q', long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// End after so many messages
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after so long; exit code 1 when -n is not reached by then
    #[arg(short = 'W', long = "timeout", value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Print the topic before the payload
    #[arg(short = 'v', long)]
    pub verbose: bool,
    /// Print one JSON object per message
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub client: ClientArguments,
}

/// How the `stream` commands reach a service.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ServiceArguments {
    /// Endpoint URL [default: that of the AWS SDK]
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Region [default: that of the AWS SDK]
    #[arg(long)]
    pub region: Option<String>,
    /// Profile of the AWS configuration files
    #[arg(long)]
    pub profile: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum StreamCommand {
    /// Serve the embedded Kinesis-compatible streams: for tests and demonstrations, not for production
    Serve(ServeArguments),
    /// List streams
    List(ListArguments),
    /// Describe one stream and its shards
    Describe(DescribeArguments),
    /// Print the records of a stream
    Tail(TailArguments),
}

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:4567")]
    pub bind: SocketAddr,
    /// Where the records are kept [default: data/stream]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Create a stream that does not exist yet; several may be given
    #[arg(long, value_name = "NAME:SHARDS", value_parser = parse_stream)]
    pub stream: Vec<(String, u32)>,
    /// The service's limits per shard
    #[arg(long, default_value = "on", value_parser = ["on", "off"])]
    pub limits: String,
    /// How long records are kept
    #[arg(long, default_value = "1d", value_parser = parse_duration)]
    pub retention: Duration,
    /// How much is kept
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    pub retention_bytes: u64,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    pub service: ServiceArguments,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DescribeArguments {
    /// The stream
    pub name: String,
    #[command(flatten)]
    pub service: ServiceArguments,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct TailArguments {
    /// The stream
    pub name: String,
    /// Where to begin: latest, trim_horizon, or a time as in 2026-01-31T12:00:00Z
    #[arg(long, default_value = "latest", value_name = "POSITION")]
    pub from: String,
    /// Only this shard
    #[arg(long, value_name = "ID")]
    pub shard: Option<String>,
    /// End after so many records
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print the data only
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Print one JSON object per record
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub service: ServiceArguments,
}

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Closed loop: every connection keeps a window of messages in flight
    Quick(QuickArguments),
}

#[derive(Debug, Args)]
pub(super) struct QuickArguments {
    /// The broker
    #[arg(long, default_value = "mqtt://127.0.0.1:1883", value_name = "URL")]
    pub broker: BrokerUrl,
    /// Connections
    #[arg(long, default_value_t = 50)]
    pub connections: usize,
    /// Messages in flight per connection
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub window: u16,
    /// Size of a payload
    #[arg(long, default_value = "256B", value_parser = parse_size)]
    pub size: u64,
    /// Keys, dealt to the connections in turn
    #[arg(long, default_value_t = 1000)]
    pub keys: usize,
    /// Quality of service
    #[arg(short = 'q', long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Version of MQTT: 3.1.1 or 5
    #[arg(
        short = 'V',
        long = "mqtt-version",
        default_value = "5",
        value_name = "VERSION"
    )]
    pub version: Version,
    /// How long to measure
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub duration: Duration,
    /// Process id of the broker, to measure its CPU time per message
    #[arg(long)]
    pub pid: Option<u32>,
    /// Stream that the broker's rule fills, read back to find what was lost, duplicated or reordered
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub stream: Option<String>,
    /// Endpoint of that stream
    #[arg(long, value_name = "URL", requires = "stream")]
    pub endpoint: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// `NAME:SHARDS`.
fn parse_stream(text: &str) -> Result<(String, u32), String> {
    let wrong = || format!("{text:?} is not NAME:SHARDS");
    let (name, shards) = text.rsplit_once(':').ok_or_else(wrong)?;
    let shards: u32 = shards.parse().map_err(|_| wrong())?;
    if shards == 0 {
        return Err(format!("{text:?}: a stream has at least one shard"));
    }
    let name = forebay_core::StreamName::new(name).map_err(|error| error.to_string())?;
    Ok((name.as_str().to_owned(), shards))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn run_is_what_happens_without_a_command() {
        let parse = |words: &[&str]| Arguments::try_parse_from(words);
        let bare = parse(&["forebay", "-c", "x.toml", "--set", "a.b=1", "--set", "c=2"]).unwrap();
        assert!(bare.command.is_none());
        assert_eq!(bare.run.set, ["a.b=1", "c=2"]);
        assert!(matches!(
            parse(&[
                "forebay",
                "run",
                "--kinesis-stream",
                "s",
                "--rule",
                "SELECT * FROM 'a'"
            ])
            .unwrap()
            .command,
            Some(Command::Run(_))
        ));
        assert!(parse(&["forebay", "run", "--kinesis-stream", "s"]).is_err());
        assert!(parse(&["forebay", "pub", "-t", "a"]).is_err());
        assert!(parse(&["forebay", "pub", "-t", "a", "-m", "x", "-l"]).is_err());
        assert!(parse(&["forebay", "pub", "-t", "a", "-m", "x", "-q", "3"]).is_err());
        assert!(parse(&["forebay", "stream", "serve", "--stream", "a:0"]).is_err());
        assert!(parse(&["forebay", "stream", "serve", "--stream", "a b:1"]).is_err());
        assert!(parse(&["forebay", "stream", "tail", "a", "--raw", "--json"]).is_err());
        assert!(parse(&["forebay", "bench", "quick", "--stream", "s"]).is_err());
    }
}
