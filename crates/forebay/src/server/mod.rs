//! The server: builds the parts, starts them in order, and stops them in the opposite one.
//!
//! Start: budgets and rules are already judged, so the spool comes first, then sequencer and sender, then the admin
//! port, then the listeners, because they may open only when a publish can become durable. Stop: nothing new is taken,
//! what is under way is finished, what is owed stays in the spool, and every step is cut by the deadline.

mod admin;
mod drain;
mod facts;
mod failed_starts;
mod fatal;
mod lines;
mod messages;
mod rules;
mod run;
mod settings;
mod spool;
mod status;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use forebay_admin::{Heartbeat, MessageSlot, Readiness, RunningAdmin};
use forebay_broker::{Broker, BrokerParts, RunningBroker};
use forebay_core::{Clock, Entropy, Fs, SeededEntropy, SystemClock, Time};
use forebay_kinesis::{CredentialSource, SenderSetup, SenderThread};
use forebay_metrics::Registry;
use forebay_pipeline::{Intake, Pipeline, PipelineControl, SequencerThread, SinkPort};
use forebay_spool::DiskFs;

use crate::cli::{Exit, Failure, chain, needs_no_credentials};
use crate::config::Config;
use admin::Sources;
pub use drain::Stopped;
use failed_starts::{FailedStarts, Step};
pub(crate) use fatal::end_process_when_vital_threads_panic;
use messages::HttpMessages;
use rules::{ReadAgain, RuleStore};
pub(crate) use run::run;
use spool::Opened;
pub(crate) use spool::{report_of, status_of_directory};
use status::StatusSource;

/// What `/readyz` says.
#[derive(Debug, Default)]
struct Phase(AtomicU8);

impl Phase {
    const STARTING: u8 = 0;
    const READY: u8 = 1;
    const DRAINING: u8 = 2;

    fn enter(&self, phase: u8) {
        self.0.store(phase, Ordering::SeqCst);
    }

    fn is_draining(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::DRAINING
    }

    fn readiness(&self) -> Readiness {
        match self.0.load(Ordering::SeqCst) {
            Self::STARTING => Readiness::NotReady("starting"),
            Self::READY => Readiness::Ready,
            _ => Readiness::NotReady("draining"),
        }
    }
}

/// When a thread last took a turn.
#[derive(Debug, Clone, Default)]
struct Beat(Arc<AtomicU64>);

impl Beat {
    /// A callback for the thread.
    fn ticker(&self, clock: &Arc<dyn Clock>) -> impl Fn() + Send + Sync + 'static {
        let (beat, clock) = (self.clone(), Arc::clone(clock));
        beat.mark(clock.now());
        move || beat.mark(clock.now())
    }

    fn mark(&self, now: Time) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }

    fn heartbeat(&self, name: &str) -> Heartbeat {
        let beat = self.clone();
        Heartbeat::new(name, move || {
            Time::from_nanos(beat.0.load(Ordering::Relaxed))
        })
    }
}

/// A server that serves. Dropping it stops everything at once, without drain.
#[derive(Debug)]
pub struct Server {
    config: Config,
    phase: Arc<Phase>,
    clock: Arc<SystemClock>,
    control: PipelineControl,
    rules: Arc<RuleStore>,
    listeners: Vec<(String, SocketAddr)>,
    // Dropped in this order: the listeners first, what they depend on last.
    broker: RunningBroker,
    admin: Option<RunningAdmin>,
    sender: SenderThread,
    sequencer: SequencerThread,
}

impl Server {
    /// Starts everything. When it returns, clients are served.
    ///
    /// # Errors
    /// When the spool cannot be opened, an address cannot be bound or the operating system refuses a thread. What was
    /// started is stopped again.
    pub fn start(config: Config) -> Result<Self, Failure> {
        let starts = FailedStarts::forgotten(Arc::new(SystemClock::new()));
        Self::start_after(config, &starts, None)
    }

    /// The same, after starts that may have failed, and with a configuration that can be read again.
    fn start_after(
        config: Config,
        starts: &FailedStarts,
        read_again: Option<ReadAgain>,
    ) -> Result<Self, Failure> {
        match spool::test_disk()? {
            Some(disk) => Self::start_on(disk, config, starts, read_again),
            None => Self::start_on(DiskFs, config, starts, read_again),
        }
    }

    fn start_on<F: Fs>(
        fs: F,
        config: Config,
        starts: &FailedStarts,
        read_again: Option<ReadAgain>,
    ) -> Result<Self, Failure> {
        let system_clock = Arc::new(SystemClock::new());
        let clock: Arc<dyn Clock> = Arc::clone(&system_clock) as Arc<dyn Clock>;
        let registry = Registry::new();
        facts::register(&registry);
        let phase = Arc::new(Phase::default());
        let opened = spool::open(fs, &config, &*clock, &registry, starts)?;
        let recovery = opened.as_ref().map(spool::recovery_of);
        let contained = opened
            .as_ref()
            .map_or_else(Vec::new, |opened| opened.recovered.contained.clone());
        starts.enter(Step::Threads);
        let (sequencing, sending) = (Beat::default(), Beat::default());
        let Parts {
            intakes,
            sink,
            control,
            sequencer,
        } = Parts::start(&config, opened, &clock, &registry, &sequencing)?;
        if recovery.is_some() {
            spool::register(control.clone(), Arc::clone(&clock), &registry);
        }
        let sender = SenderThread::start(SenderSetup {
            port: sink,
            config: settings::kinesis(&config, credentials(&config)),
            registry: registry.clone(),
            clock: Arc::clone(&clock),
            tick: Box::new(sending.ticker(&clock)),
        })
        .map_err(|error| no_thread(&error))?;

        let status = StatusSource::new(
            &config,
            Arc::clone(&clock),
            Arc::clone(&phase),
            registry.clone(),
            control.clone(),
            sender.viewer(),
            recovery,
        );
        let rules = Arc::new(RuleStore::new(
            &config,
            control.clone(),
            registry.clone(),
            Arc::clone(&clock),
            read_again,
        )?);
        starts.enter(Step::Admin);
        let messages = MessageSlot::default();
        let admin = admin::start(&Sources {
            config: &config,
            clock: &clock,
            registry: &registry,
            phase: &phase,
            status: &status,
            rules: &rules,
            messages: &messages,
            sequencing: &sequencing,
            sending: &sending,
        })?;
        starts.enter(Step::Listeners);
        let broker = Broker::start(
            settings::broker(&config),
            BrokerParts {
                intakes,
                clock: Arc::clone(&clock),
                registry,
            },
        )
        .map_err(|error| not_started(&error))?;
        status.watch(broker.observer());
        messages.set(HttpMessages::new(&broker, &config));
        let names = config
            .listeners
            .iter()
            .map(|listener| listener.name.clone());
        let listeners = names.zip(broker.local_addrs()).collect();
        starts.serves(&contained);
        phase.enter(Phase::READY);
        Ok(Self {
            config,
            phase,
            clock: system_clock,
            control,
            rules,
            listeners,
            broker,
            admin,
            sender,
            sequencer,
        })
    }

    /// What keeps the rules and reads the configuration again.
    fn rules(&self) -> Arc<RuleStore> {
        Arc::clone(&self.rules)
    }

    /// Name and address of each listener, with the port that it got.
    pub fn listeners(&self) -> &[(String, SocketAddr)] {
        &self.listeners
    }

    /// The address of the admin port, unless it is off.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(RunningAdmin::address)
    }

    /// Whether it is known how long flushes of the spool's disk take; says so when that is hard to believe. Call it until
    /// it is true.
    fn has_measured_flushes(&self) -> bool {
        let Some(log) = self.control.log() else {
            return true;
        };
        if log.stat.flush_implausible {
            tracing::warn!(
                dir = %log.stat.dir.display(),
                median = ?log.stat.flush_median,
                "this device may not flush: what is acknowledged may not survive a power cut"
            );
        }
        log.stat.flush_median.is_some()
    }

    /// The thread that has ended although it must not, if there is one: what is acknowledged from then on could not be
    /// kept.
    fn broken(&self) -> Option<&'static str> {
        if self.sequencer.is_finished() {
            Some("sequencer")
        } else if self.sender.is_finished() {
            Some("sender")
        } else {
            None
        }
    }
}

/// The pipeline at work: its ends, and the thread between them.
struct Parts {
    intakes: Vec<Intake>,
    sink: SinkPort,
    control: PipelineControl,
    sequencer: SequencerThread,
}

impl Parts {
    /// Builds it, with the spool where there is one.
    fn start<F: Fs>(
        config: &Config,
        opened: Option<Opened<F>>,
        clock: &Arc<dyn Clock>,
        registry: &Registry,
        beat: &Beat,
    ) -> Result<Self, Failure> {
        let mut entropy = SeededEntropy::new(SeededEntropy::from_os().next_u64());
        let (told, rules) = (settings::pipeline(config), &config.rule_set);
        match opened {
            Some(opened) => {
                let log_clock = Arc::clone(clock);
                let pipeline = Pipeline::with_log(
                    told,
                    rules,
                    registry,
                    &mut entropy,
                    opened.spool,
                    log_clock,
                );
                Self::of(pipeline, clock, beat)
            }
            None => Self::of(
                Pipeline::<F>::new(told, rules, registry, &mut entropy),
                clock,
                beat,
            ),
        }
    }

    fn of<F: Fs>(
        pipeline: Pipeline<F>,
        clock: &Arc<dyn Clock>,
        beat: &Beat,
    ) -> Result<Self, Failure> {
        let Pipeline {
            mut intakes,
            sequencer,
            sink,
            control,
        } = pipeline;
        for intake in &mut intakes {
            intake.set_evaluation_clock(Arc::clone(clock));
        }
        let sequencer = SequencerThread::start(sequencer, Arc::clone(clock), beat.ticker(clock))
            .map_err(|error| no_thread(&error))?;
        Ok(Self {
            intakes,
            sink,
            control,
            sequencer,
        })
    }
}

/// Requests to an endpoint on this machine can be signed with anything; where the environment has no credentials, none
/// are looked for in the network.
fn credentials(config: &Config) -> CredentialSource {
    let any_signature = config.kinesis.profile.is_none()
        && config
            .kinesis
            .endpoint
            .as_deref()
            .is_some_and(needs_no_credentials);
    if any_signature {
        CredentialSource::Fixed {
            access_key_id: "local".to_owned(),
            secret_access_key: "local".to_owned(),
        }
    } else {
        CredentialSource::Chain
    }
}

fn not_started(error: &forebay_broker::StartError) -> Failure {
    use forebay_broker::StartError;
    let exit = match error {
        StartError::Bind { .. } => Exit::Unreachable,
        StartError::Thread(_) => Exit::InputOutput,
        StartError::NoListener | StartError::Workers { .. } | StartError::Anonymous { .. } => {
            Exit::Configuration
        }
    };
    Failure::new(exit, chain(error))
}

fn no_thread(error: &std::io::Error) -> Failure {
    Failure::new(Exit::InputOutput, format!("no thread: {error}"))
}
