//! Error actions: what a record carries for the case that it fails for good, and who answers for it after that.
//!
//! A rule's error action gets one document per action that failed (AWS IoT developer guide, "Error handling (error
//! action)"). What the document and the error action's own fields need is taken down when the message is evaluated and
//! travels with the record, also through the log. When the record fails at the service, the sink hands it to an ingest
//! worker, which admits the document like a publish. Until that is safe, the record that failed is not settled: in the
//! log it stays owed, and a publisher that waits for it goes on waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use forebay_core::Ticket;
use forebay_rules::{ErrorTarget, Failure};
use forebay_spool::ErrorContext;

use crate::settlement::FailureReason;
use crate::shared::{Finished, SettledLog, Shared};
use crate::{Record, Stream};

/// Bytes of error documents that may be on their way besides what the ingest budget allows, so that records which fail
/// never wait for the room that they hold themselves.
pub(crate) const RESERVED_BYTES: u64 = 1024 * 1024;

/// What an [`ErrorContext`] is charged besides its texts.
const CONTEXT_OVERHEAD_BYTES: usize = 128;

/// Flag in the first byte of a context's fields: configuration errors fail the record at once.
const TAKES_CONFIGURATION_ERRORS: u8 = 1;
/// Flag beside it: the record is the document of an error action.
const IS_DOCUMENT: u8 = 2;

/// What a record has to do with error actions.
#[derive(Debug, Default)]
pub struct ErrorRole {
    /// What is to happen when the record fails for good; `None`: nothing but counting.
    pub(crate) context: Option<Arc<ErrorContext>>,
    /// The failed record that this one answers for, with others that the error action produced.
    pub(crate) handover: Option<Arc<Handover>>,
}

impl ErrorRole {
    /// The role of a record whose rule has no error action and still does not wait for a stream that has to be mended.
    pub fn giving_up() -> Box<Self> {
        Self::read_back(giving_up(""))
    }

    /// The role of the document of an error action.
    pub(crate) fn document(rule: &str) -> Box<Self> {
        Self::read_back(Arc::new(ErrorContext {
            fields: fields(rule, IS_DOCUMENT, None),
            ..ErrorContext::default()
        }))
    }

    /// The role of a record that goes with this context, or that came back from the log with it.
    pub(crate) fn read_back(context: Arc<ErrorContext>) -> Box<Self> {
        Box::new(Self {
            context: Some(context),
            ..Self::default()
        })
    }

    /// It is the document of an error action.
    pub(crate) fn is_document(&self) -> bool {
        self.has(IS_DOCUMENT)
    }

    pub(crate) fn takes_configuration_errors(&self) -> bool {
        self.has(TAKES_CONFIGURATION_ERRORS)
    }

    fn has(&self, flag: u8) -> bool {
        let fields = self.context.as_ref().map(|context| &context.fields);
        fields
            .and_then(|fields| fields.first())
            .is_some_and(|flags| flags & flag != 0)
    }

    /// Bytes that a record is charged for it.
    pub(crate) fn charge(&self) -> u32 {
        self.context.as_deref().map_or(0, context_bytes)
    }
}

/// Bytes that a record is charged for what its error action needs.
pub(crate) fn context_bytes(context: &ErrorContext) -> u32 {
    let payload = context.payload.as_ref().map_or(0, Bytes::len);
    let texts = context.topic.len() + context.client_id.len() + context.source_ip.len();
    let bytes = CONTEXT_OVERHEAD_BYTES + texts + context.fields.len() + payload;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The fields of a context: a byte of flags, the rule's name with its length before it, and the evaluated fields of the
/// error action where the rule has one. The name is there because the rule may be gone when they are read back.
fn fields(rule: &str, flags: u8, target: Option<&ErrorTarget>) -> Bytes {
    let target = target.map(ErrorTarget::encode).unwrap_or_default();
    let mut fields = BytesMut::with_capacity(2 + rule.len() + target.len());
    fields.put_u8(flags);
    fields.put_u8(u8::try_from(rule.len()).expect("names of rules have at most 128 bytes"));
    fields.put_slice(rule.as_bytes());
    fields.put_slice(&target);
    fields.freeze()
}

/// The context of a rule without an error action whose records do not wait for a stream that has to be mended.
pub(crate) fn giving_up(rule: &str) -> Arc<ErrorContext> {
    Arc::new(ErrorContext {
        fields: fields(rule, TAKES_CONFIGURATION_ERRORS, None),
        ..ErrorContext::default()
    })
}

/// The fields of a context of a rule with an error action.
pub(crate) fn watched_fields(
    rule: &str,
    takes_configuration_errors: bool,
    target: &ErrorTarget,
) -> Bytes {
    let flags = if takes_configuration_errors {
        TAKES_CONFIGURATION_ERRORS
    } else {
        0
    };
    fields(rule, flags, Some(target))
}

/// The name of the rule and the encoded fields of its error action.
fn parts(context: &ErrorContext) -> Option<(&str, &[u8])> {
    let (_, rest) = context.fields.split_first()?;
    let (len, rest) = rest.split_first()?;
    let (name, target) = rest.split_at_checked(usize::from(*len))?;
    Some((std::str::from_utf8(name).ok()?, target))
}

/// The rule that a context belongs to; empty when its fields make no sense.
pub(crate) fn rule_name(context: &ErrorContext) -> &str {
    parts(context).map_or("", |(name, _)| name)
}

/// True when the rule has an error action.
pub(crate) fn has_target(context: &ErrorContext) -> bool {
    parts(context).is_some_and(|(_, target)| !target.is_empty())
}

/// The error action of a context: `None` when the rule has none, or when its fields make no sense.
pub(crate) fn target(context: &ErrorContext) -> Option<ErrorTarget> {
    let (_, target) = parts(context)?;
    ErrorTarget::decode(target)
}

/// How a record failed at the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFailure {
    /// Why it failed.
    pub reason: FailureReason,
    /// Error code of the service, or the reason's name.
    pub code: String,
    /// What the service said; may be empty.
    pub message: String,
    /// The HTTP status, where the whole request was refused.
    pub status: Option<u16>,
    /// Requests that carried it.
    pub attempts: u32,
    /// An attempt ended without a known outcome: it may be stored.
    pub ambiguous: bool,
}

impl RecordFailure {
    /// As the error document tells it.
    pub(crate) fn describe(&self, context: &ErrorContext, stream: &Stream, key: &str) -> Failure {
        let said = if self.message.is_empty() {
            self.reason.explanation()
        } else {
            &self.message
        };
        let status = self
            .status
            .map(|status| format!("Status Code: {status}; "))
            .unwrap_or_default();
        let stream = stream.name().as_str();
        Failure {
            action: "KinesisAction".into(),
            resource: stream.to_owned(),
            message: format!(
                "Failed to put record. The error received was {said} (Service: AmazonKinesis; {status}Error Code: {code}). \
                 Message arrived on: {topic}, Action: kinesis, Stream: {stream}, Partition key: {key}",
                code = self.code,
                topic = context.topic,
            ),
            code: Some(self.code.clone()),
            attempts: self.attempts,
            ambiguous: self.ambiguous,
        }
    }
}

impl From<FailureReason> for RecordFailure {
    /// A failure that the service had no part in.
    fn from(reason: FailureReason) -> Self {
        Self {
            reason,
            code: reason.as_str().to_owned(),
            message: String::new(),
            status: None,
            attempts: 0,
            ambiguous: false,
        }
    }
}

/// A record that failed for good and whose rule has an error action, on its way to the worker that runs it.
#[derive(Debug)]
pub(crate) struct FailedRecord {
    pub(crate) record: Record,
    pub(crate) context: Arc<ErrorContext>,
    pub(crate) stream: Arc<Stream>,
    pub(crate) failure: RecordFailure,
}

/// Stands for a record that failed until everything that its error action produced is safe: whoever lets the last
/// reference go [finishes](finish) it.
#[derive(Debug)]
pub(crate) struct Handover {
    /// Its place in the log.
    pub(crate) logged: Option<SettledLog>,
    /// The publish that waits for it.
    pub(crate) ticket: Option<Ticket>,
    /// The record that it answered for in turn.
    pub(crate) before: Option<Arc<Handover>>,
    /// Bytes of the reserve that are held for it.
    pub(crate) reserved: u64,
    /// Part of what the error action produced failed.
    pub(crate) has_failed: AtomicBool,
}

/// One of the records that answer for another has come to its end, or is safe.
pub(crate) fn finish(shared: &Shared, handover: Arc<Handover>, failed: bool) {
    let mut next = Some((handover, failed));
    while let Some((handover, failed)) = next.take() {
        if failed {
            handover.has_failed.store(true, Ordering::SeqCst);
        }
        let Some(handover) = Arc::into_inner(handover) else {
            return;
        };
        let failed = handover.has_failed.into_inner();
        shared.error_reserve.release(handover.reserved);
        for worker in &shared.workers {
            if worker.error_waits.swap(false, Ordering::SeqCst) {
                worker.wake.wake();
            }
        }
        if let Some(settled) = handover.logged {
            shared.settled.push(vec![settled]);
            shared.sequencer_wake.wake();
        }
        if let Some(ticket) = handover.ticket
            && let Some(worker) = shared.workers.get(usize::from(ticket.worker))
        {
            worker.finished.push(vec![Finished {
                connection: ticket.connection,
                generation: ticket.generation,
                slot: ticket.slot,
                failed,
            }]);
            worker.wake.wake();
        }
        next = handover.before.map(|before| (before, failed));
    }
}
