//! The admin listener: what it is told, and what its routes answer from.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use forebay_admin::{
    Access, AdminConfig, AdminServer, AdminState, Heartbeat, MessageSlot, Readiness, RuleApi,
    RunningAdmin, StartError, Tokens,
};
use forebay_core::Clock;
use forebay_metrics::Registry;

use super::rules::RuleStore;
use super::status::StatusSource;
use super::{Beat, Phase, token};
use crate::cli::{Exit, Failure, chain};
use crate::config::{self, Config};

/// The region of ARNs where the configuration names none and neither does the environment.
const REGION: &str = "us-east-1";

/// What the routes answer from.
pub(super) struct Sources<'a> {
    pub(super) config: &'a Config,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) registry: &'a Registry,
    pub(super) phase: &'a Arc<Phase>,
    pub(super) status: &'a Arc<StatusSource>,
    pub(super) rules: &'a Arc<RuleStore>,
    pub(super) messages: &'a MessageSlot,
    pub(super) sequencing: &'a Beat,
    pub(super) sending: &'a Beat,
}

/// Opens the listener unless it is off.
///
/// # Errors
/// When it cannot be opened, or a file that it needs cannot be made.
pub(super) fn start(sources: &Sources<'_>) -> Result<Option<RunningAdmin>, Failure> {
    let admin = &sources.config.admin;
    let Some(bind) = admin.bind else {
        return Ok(None);
    };
    let access = Access::new(admin.access_keys.clone(), tokens(admin)?);
    let config = AdminConfig {
        hosts: admin.hosts.clone(),
        access,
        insecure: admin.insecure,
        ..AdminConfig::new(bind)
    };
    let mut state = state(sources);
    if let Some(path) = &admin.audit_file {
        state = state.with_audit(audit(path)?);
    }
    AdminServer::start(config, state)
        .map(Some)
        .map_err(|error| {
            let exit = match error {
                StartError::Bind { .. } => Exit::Unreachable,
                StartError::NotLoopback { .. } => Exit::Configuration,
                StartError::Thread(_) => Exit::InputOutput,
            };
            Failure::new(exit, chain(&error))
        })
}

fn state(sources: &Sources<'_>) -> AdminState {
    let &Sources {
        config,
        clock,
        registry,
        phase,
        status,
        rules,
        messages,
        sequencing,
        sending,
    } = sources;
    let (asked, shown, watched) = (Arc::clone(phase), Arc::clone(status), Arc::clone(status));
    let writing = Arc::clone(status);
    let mut state = AdminState::new(
        registry.clone(),
        Arc::clone(clock),
        move || match asked.readiness() {
            Readiness::Ready if writing.must_stall() => Readiness::NotReady("spool"),
            readiness => readiness,
        },
        move || shown.status(),
    )
    .with_heartbeat(sequencing.heartbeat("sequencer"))
    .with_heartbeat(sending.heartbeat("sender"))
    .with_heartbeat(Heartbeat::new("ingest", move || watched.last_ingest_tick()))
    .with_rules(RuleApi {
        rules: Arc::clone(rules) as _,
        region: region(config),
        account: config.rules.account_id.clone(),
        missing: config.admin.missing_rule,
    })
    .with_messages(messages.clone());
    if let Some(verifier) = status.verifier() {
        state = state.with_verifier(verifier);
    }
    state
}

/// The region that the rules' ARNs name.
fn region(config: &Config) -> String {
    let of_environment = || {
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|region| !region.is_empty()))
    };
    let configured = config.kinesis.region.clone().or_else(of_environment);
    configured.unwrap_or_else(|| REGION.to_owned())
}

/// The tokens, of which there is one after the first start. Where it cannot be made and nobody asked for it, what needs
/// a token is closed.
fn tokens(admin: &config::Admin) -> Result<Option<Tokens>, Failure> {
    if let Some(tokens) = &admin.tokens {
        return Ok(Some(tokens.clone()));
    }
    let path = &admin.token_file;
    match token::make(path) {
        Ok(tokens) => {
            tracing::info!(file = %path.display(), "admin token made");
            Ok(Some(tokens))
        }
        Err(error) if admin.token_file_is_named => Err(Failure::new(
            Exit::InputOutput,
            format!(
                "the admin token cannot be made: {}: {error}",
                path.display()
            ),
        )),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "no admin token: what needs one is closed");
            Ok(None)
        }
    }
}

/// The audit trail, which only grows.
fn audit(path: &Path) -> Result<File, Failure> {
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path);
    opened.map_err(|error| {
        let message = format!(
            "the audit file cannot be written: {}: {error}",
            path.display()
        );
        Failure::new(Exit::InputOutput, message)
    })
}
