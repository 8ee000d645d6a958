//! `validate`: everything that a start would judge, without starting, and what AWS says about the streams.

use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use forebay_core::StreamName;
use forebay_rules::Action;
use serde_json::json;

use super::args::ValidateArguments;
use super::exit::{Exit, Failure, Outcome};
use super::output;
use super::stream::{self, Service};
use crate::config::units::DisplaySize;
use crate::config::{self, Config, Inputs, Loaded, Machine};
use crate::diagnostics::{Code, Diagnostic, Report, as_json};

/// The code with which PutRecords answers a dry run that would have succeeded.
const DRY_RUN_PASSED: &str = "DryRunOperationException";

/// Runs the command.
pub(super) async fn run(arguments: &ValidateArguments) -> Outcome {
    let inputs = Inputs::of_process(arguments.file.clone(), arguments.set.clone());
    let Loaded { config, mut report } = config::load(&inputs, None, &Machine::detect());
    let mut facts = Vec::new();
    if let Some(config) = &config {
        facts.extend(summary(config));
        config::check_writable(config, &mut report);
        if !arguments.no_network {
            ask_network(config, &mut facts, &mut report).await;
        }
    }
    let valid = !report.has_errors();
    if arguments.json {
        output::json(&json!({
            "valid": valid,
            "errors": report.errors(),
            "warnings": report.warnings(),
            "facts": facts,
            "diagnostics": as_json(&report),
        }))?;
    } else {
        output::report(&report);
        for fact in &facts {
            output::line(fact)?;
        }
    }
    Ok(if !valid {
        Exit::Configuration
    } else if arguments.strict && report.warnings() > 0 {
        Exit::Failed
    } else {
        Exit::Done
    })
}

/// What would run.
fn summary(config: &Config) -> Vec<String> {
    let files: Vec<String> = config
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let mut facts = vec![if files.is_empty() {
        "configuration: defaults, no file".to_owned()
    } else {
        format!("configuration: {}", files.join(", "))
    }];
    for listener in &config.listeners {
        facts.push(format!(
            "listener {}: {}, ack = \"{}\"",
            listener.name, listener.bind, listener.ack
        ));
    }
    if config.needs_spool() {
        let limit = match config.spool.max_bytes {
            Some(bytes) => format!("up to {}", DisplaySize(bytes)),
            None => "sized when it is created".to_owned(),
        };
        facts.push(format!("spool: {}, {limit}", config.spool.dir.display()));
    }
    for rule in config.rule_set.rules() {
        let state = if rule.is_enabled() { "" } else { ", disabled" };
        facts.push(format!(
            "rule {}: {}{state}",
            rule.name(),
            rule.filter().unwrap_or("no FROM")
        ));
    }
    facts
}

/// Identity, streams and permission. What AWS refuses is a warning: it may be granted or created before the start.
async fn ask_network(config: &Config, facts: &mut Vec<String>, report: &mut Report) {
    let kinesis = &config.kinesis;
    let service = Service {
        endpoint: kinesis.endpoint.clone(),
        region: kinesis.region.clone(),
        profile: kinesis.profile.clone(),
    };
    let sdk = service.sdk_config().await;
    let own_endpoint = service.endpoint.is_some()
        || ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL"]
            .into_iter()
            .any(|name| std::env::var_os(name).is_some());
    match identity(&sdk, own_endpoint).await {
        Ok(identity) => facts.push(format!("identity: {identity}")),
        Err(failure) => {
            report.push(Diagnostic::warning(Code::Network, failure.message));
            return;
        }
    }
    let Some(region) = sdk.region() else {
        report.push(
            Diagnostic::warning(Code::Network, "no region is known")
                .help("set `kinesis.region` or AWS_REGION"),
        );
        return;
    };
    facts.push(format!("region: {region}"));
    let client = Client::new(&sdk);
    for stream in fixed_streams(config) {
        match check_stream(&client, &stream, own_endpoint).await {
            Ok(state) => facts.push(format!("stream {stream}: {state}")),
            Err(failure) => report.push(Diagnostic::warning(
                Code::Network,
                format!("stream {stream}: {}", failure.message),
            )),
        }
    }
}

/// Who AWS says we are. An endpoint of one's own knows no identities; there the key id has to do.
async fn identity(sdk: &SdkConfig, own_endpoint: bool) -> Result<String, Failure> {
    let credentials = stream::credentials(sdk).await?;
    if own_endpoint {
        return Ok(format!("access key {}", credentials.access_key_id()));
    }
    let answer = aws_sdk_sts::Client::new(sdk)
        .get_caller_identity()
        .send()
        .await
        .map_err(|error| stream::failure("GetCallerIdentity", error))?;
    Ok(answer.arn().unwrap_or("unknown").to_owned())
}

/// Names of streams that do not depend on a message.
fn fixed_streams(config: &Config) -> Vec<StreamName> {
    let mut streams: Vec<StreamName> = config
        .rule_set
        .rules()
        .iter()
        .filter(|rule| rule.is_enabled())
        .flat_map(|rule| rule.document().all_actions())
        .filter_map(|action| match action {
            Action::Kinesis(kinesis) => StreamName::new(&kinesis.stream_name).ok(),
            Action::Republish(_) | Action::Unsupported { .. } => None,
        })
        .collect();
    streams.sort();
    streams.dedup();
    streams
}

async fn check_stream(
    client: &Client,
    stream: &StreamName,
    own_endpoint: bool,
) -> Result<String, Failure> {
    let answer = client
        .describe_stream_summary()
        .stream_name(stream.as_str())
        .send()
        .await
        .map_err(|error| stream::failure("DescribeStreamSummary", error))?;
    let mut state = match answer.stream_description_summary() {
        Some(summary) => format!(
            "{}, {} open shards",
            summary.stream_status().as_str(),
            summary.open_shard_count()
        ),
        None => "described without content".to_owned(),
    };
    // Others than AWS may not know a dry run and would store the record.
    if !own_endpoint {
        state.push_str(dry_run(client, stream).await?);
    }
    Ok(state)
}

/// Whether PutRecords would be allowed, without storing anything.
async fn dry_run(client: &Client, stream: &StreamName) -> Result<&'static str, Failure> {
    let record = PutRecordsRequestEntry::builder()
        .data(Blob::new("{}"))
        .partition_key("forebay-validate")
        .build()
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let answer = client
        .put_records()
        .stream_name(stream.as_str())
        .records(record)
        .dry_run(true)
        .send()
        .await;
    match answer {
        Ok(_) => Ok(", PutRecords allowed"),
        Err(error) if error.code() == Some(DRY_RUN_PASSED) => Ok(", PutRecords allowed"),
        Err(error) => match error.code() {
            Some(code) if is_refusal(code) => Err(stream::failure("PutRecords", error)),
            // Whatever else a dry run answers says nothing about a real request.
            _ => Ok(""),
        },
    }
}

fn is_refusal(code: &str) -> bool {
    code.starts_with("KMS") || matches!(code, "AccessDeniedException" | "ResourceNotFoundException")
}
