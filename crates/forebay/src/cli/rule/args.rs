//! What can be typed behind `forebay rule`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RuleCommand {
    /// Evaluate a statement or a rule document on one message, or run files of cases
    Test(TestArguments),
    /// Check rule documents
    Validate(ValidateArguments),
    /// Show what a rule reads, converts and evaluates beforehand, and measure what a message costs
    Explain(ExplainArguments),
    /// List the rules of a configuration, of a directory or of a running server
    List(ListArguments),
    /// Show in what two rules, or two sets of rules, differ
    Diff(DiffArguments),
    /// Take over rules from AWS IoT, CloudFormation or Terraform
    Import(ImportArguments),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct TestArguments {
    /// The statement
    #[arg(long, conflicts_with = "rule", required_unless_present_any = ["rule", "cases"])]
    pub sql: Option<String>,
    /// Its dialect: 2015-10-08, 2016-03-23 or beta [default: 2016-03-23, as in the AWS console]
    #[arg(long, value_name = "VERSION", requires = "sql")]
    pub sql_version: Option<String>,
    /// A rule document, in place of --sql
    #[arg(long, value_name = "FILE")]
    pub rule: Option<PathBuf>,
    /// Topic of the message
    #[arg(long, required_unless_present = "cases")]
    pub topic: Option<String>,
    /// File with the payload, - for standard input
    #[arg(long, value_name = "FILE|-", required_unless_present = "cases")]
    pub payload: Option<PathBuf>,
    /// Client id of the publisher
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// Time of the message, milliseconds since 1970 [default: now]
    #[arg(long, value_name = "MS")]
    pub now: Option<i64>,
    /// Stream, a template [default: that of the document, else "stream"]
    #[arg(long, value_name = "TEMPLATE")]
    pub stream: Option<String>,
    /// Partition key, a template [default: that of the document, else ${topic()}]
    #[arg(long, value_name = "TEMPLATE")]
    pub partition_key: Option<String>,
    /// Explicit hash key, a template
    #[arg(long, value_name = "TEMPLATE")]
    pub explicit_hash_key: Option<String>,
    /// Shards of the stream, evenly split, to see which one takes the record
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub shards: Option<u32>,
    /// Cases to run: a file with one per line, a document of AWS's validation tool, or a directory of either
    #[arg(
        long,
        value_name = "FILE.jsonl|FILE.json|DIR",
        conflicts_with_all = ["sql", "rule", "topic", "payload", "client_id", "stream", "partition_key", "explicit_hash_key", "shards"]
    )]
    pub cases: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ValidateArguments {
    /// Rule documents in any of AWS's forms, - for standard input; a directory stands for its *.json
    #[arg(required = true, value_name = "FILE|-")]
    pub files: Vec<PathBuf>,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}

/// Where the settings come from that AWS's documents have no place for.
#[derive(Debug, Args)]
pub(in crate::cli) struct ConfigArguments {
    /// Configuration file [default: as for run]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key, above file and environment
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArguments {
    /// Rule document in any of AWS's forms, - for standard input
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// Payload to measure with [default: one made up from the members that the rule reads]
    #[arg(long, value_name = "FILE|-")]
    pub payload: Option<PathBuf>,
    /// Topic to measure with [default: one made up from the rule's filter]
    #[arg(long)]
    pub topic: Option<String>,
    #[command(flatten)]
    pub config: ConfigArguments,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArguments {
    /// Directory of rule documents, in place of the configuration
    #[arg(value_name = "DIR", conflicts_with_all = ["config", "set", "admin", "token_file"])]
    pub directory: Option<PathBuf>,
    /// Running server, in place of the configuration: its admin port
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "set"])]
    pub admin: Option<String>,
    /// File of its token [default: $FOREBAY_TOKEN_FILE, then data/admin-token]
    #[arg(long, value_name = "FILE", requires = "admin")]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArguments,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DiffArguments {
    /// Rule document, directory of documents, or configuration file (*.toml) with its rules and their settings
    pub a: PathBuf,
    /// What to compare it with
    pub b: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArguments {
    /// What `aws iot get-topic-rule` or `terraform show -json` prints, a CloudFormation template (JSON or YAML), or a rule
    /// document; - for standard input. What `aws iot list-topic-rules` prints gives only the table
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// Directory to put the rules into [default: that of the configuration]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "set"])]
    pub dir: Option<PathBuf>,
    /// Say what would be done and write nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub config: ConfigArguments,
    /// Print the table as JSON
    #[arg(long)]
    pub json: bool,
}
