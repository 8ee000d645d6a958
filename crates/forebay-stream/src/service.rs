//! What every request needs: the streams, the clock, limits, faults and counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use forebay_core::{Clock, Time};

use crate::api::{self, Operation};
use crate::error::{ApiError, ServerError};
use crate::faults::{FaultError, FaultScript, Faults, Plan, Target};
use crate::limits::{Bucket, LimitSettings};
use crate::registry::{Registry, Retention};
use crate::server::ServerConfig;
use crate::stats::{Counters, Stats};
use crate::stream::Stream;

/// Open shards of all streams together, the largest default quota of an account.
pub(crate) const SHARDS_MAX: u32 = 20_000;

/// The state of the server. All calls are short and do not wait for the network.
#[derive(Debug)]
pub(crate) struct Service {
    region: String,
    account: String,
    creating_ms: u64,
    clock: Arc<dyn ClockDebug>,
    registry: Registry,
    faults: Faults,
    limits: LimitSettings,
    calls: Mutex<[Bucket; Operation::COUNT]>,
    counters: Counters,
    /// The latest creation time given: a stream made again never has that of its predecessor.
    last_created_ms: AtomicU64,
}

/// A clock that can be printed, so that what holds one can be.
pub(crate) trait ClockDebug: Clock + std::fmt::Debug {}

impl<C: Clock + std::fmt::Debug> ClockDebug for C {}

impl Service {
    pub(crate) fn open(
        config: &ServerConfig,
        clock: Arc<dyn ClockDebug>,
    ) -> Result<Self, ServerError> {
        let retention = Retention {
            age: config.retention,
            bytes: config.retention_bytes,
        };
        let registry = Registry::open(config.data_dir.clone(), &retention)?;
        let created = registry
            .all()
            .iter()
            .map(|stream| stream.meta().created_ms)
            .max();
        Ok(Self {
            region: config.region.clone(),
            account: config.account.clone(),
            creating_ms: u64::try_from(config.creating.as_millis()).unwrap_or(u64::MAX),
            clock,
            registry,
            faults: Faults::new(),
            limits: LimitSettings::new(config.limits),
            calls: Mutex::new([Bucket::default(); Operation::COUNT]),
            counters: Counters::default(),
            last_created_ms: AtomicU64::new(created.unwrap_or(0)),
        })
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Wall clock time in milliseconds since the epoch.
    pub(crate) fn wall_ms(&self) -> u64 {
        u64::try_from(self.clock.wall_millis()).unwrap_or(0)
    }

    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(crate) fn limits(&self) -> &LimitSettings {
        &self.limits
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn set_faults(&self, script: FaultScript) -> Result<(), FaultError> {
        self.faults
            .set(script, self.now(), |name| Operation::parse(name).is_some())
    }

    /// What becomes of a request with this target.
    pub(crate) fn plan(&self, target: &Target<'_>) -> Plan {
        if self.faults.is_active() {
            self.faults
                .plan(target, self.now(), &self.counters.injected)
        } else {
            Plan::default()
        }
    }

    /// The ARN of the stream `name`.
    pub(crate) fn arn(&self, name: &str) -> String {
        format!(
            "arn:aws:kinesis:{}:{}:stream/{name}",
            self.region, self.account
        )
    }

    /// The stream `name`, whatever its state.
    pub(crate) fn stream(&self, name: &str) -> Result<Arc<Stream>, ApiError> {
        self.registry
            .get(name)
            .ok_or_else(|| ApiError::stream_not_found(name, &self.account))
    }

    /// The stream `name` if it takes and gives records: while it is being created it does not.
    pub(crate) fn active_stream(&self, name: &str) -> Result<Arc<Stream>, ApiError> {
        let stream = self.stream(name)?;
        if self.is_active(&stream) {
            Ok(stream)
        } else {
            Err(ApiError::stream_not_found(name, &self.account))
        }
    }

    pub(crate) fn is_active(&self, stream: &Stream) -> bool {
        // The creation time can lie a little ahead of the clock, see `creation_time`.
        self.creating_ms == 0
            || self.wall_ms() >= stream.meta().created_ms.saturating_add(self.creating_ms)
    }

    /// A creation time that no stream has.
    pub(crate) fn creation_time(&self) -> u64 {
        let now = self.wall_ms();
        let newer = |last: u64| Some(now.max(last + 1));
        let last = self
            .last_created_ms
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, newer);
        now.max(last.unwrap_or_else(|last| last) + 1)
    }

    /// Refuses a call of the control plane that comes too often.
    pub(crate) fn admit_call(&self, operation: Operation) -> Result<(), ApiError> {
        let Some(rate) = operation
            .calls_per_second()
            .filter(|_| self.limits.enabled())
        else {
            return Ok(());
        };
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls[operation as usize].admit(self.now(), rate) {
            Ok(())
        } else {
            let text = format!(
                "Rate exceeded for {} under account {}.",
                operation.name(),
                self.account
            );
            Err(ApiError::new("LimitExceededException", text))
        }
    }

    /// Creates an evenly split stream with the service's default settings.
    pub(crate) fn create_stream(&self, name: &str, shards: u32) -> Result<(), ServerError> {
        let stream = api::NewStream::provisioned(name, shards);
        Ok(stream.create(self)?)
    }

    pub(crate) fn stats(&self) -> Stats {
        let counters = &self.counters;
        Stats {
            requests: counters.requests.snapshot(),
            request_errors: counters.request_errors.snapshot(),
            records_stored: counters.records_stored.load(Ordering::Relaxed),
            bytes_stored: counters.bytes_stored.load(Ordering::Relaxed),
            records_refused: counters.records_refused.snapshot(),
            injected: counters.injected.snapshot(),
            retained_bytes: self.registry.retained_bytes(),
            connections: counters.connections.load(Ordering::Relaxed),
            streams: self
                .registry
                .all()
                .iter()
                .map(|stream| stream.stats())
                .collect(),
        }
    }
}
