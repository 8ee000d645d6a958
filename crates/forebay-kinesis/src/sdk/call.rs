//! One PutRecords call through the SDK, with our own body and our own reading of the answer.
//!
//! The SDK resolves the endpoint, signs, sends and decodes errors. Before it signs, its body is replaced by ours;
//! before it reads an answer with status 200, its reader is.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
    BeforeTransmitInterceptorContextRef, Error, Output,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::answer;
use crate::api::PutRecordsAnswer;

/// What a call shares with the machinery that carries it out.
#[derive(Debug, Default)]
pub(super) struct CallState {
    /// The request was signed and handed to the transport. An error before that is one of the settings: endpoint,
    /// region, credentials.
    dispatched: AtomicBool,
    /// The transport has asked for the body: from then on the service may have it.
    started: AtomicBool,
    answer: Mutex<Option<PutRecordsAnswer>>,
}

impl CallState {
    /// True when the last attempt was handed to the transport.
    pub(super) fn dispatched(&self) -> bool {
        self.dispatched.load(Ordering::Acquire)
    }

    /// True when the service may have the body.
    pub(super) fn started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    pub(super) fn take_answer(&self) -> Option<PutRecordsAnswer> {
        self.answer
            .lock()
            .expect("no panic while the answer is locked")
            .take()
    }
}

/// Notices how far a call comes.
#[derive(Debug)]
pub(super) struct CallWatch(pub(super) Arc<CallState>);

#[dyn_dispatch_hint]
impl Intercept for CallWatch {
    fn name(&self) -> &'static str {
        "CallWatch"
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.dispatched.store(false, Ordering::Release);
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.dispatched.store(true, Ordering::Release);
        Ok(())
    }
}

/// Puts the body in and takes the answer out.
#[derive(Debug)]
pub(super) struct PutRecordsCall {
    pub(super) body: Bytes,
    pub(super) state: Arc<CallState>,
}

#[dyn_dispatch_hint]
impl Intercept for PutRecordsCall {
    fn name(&self) -> &'static str {
        "PutRecordsCall"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        request
            .headers_mut()
            .insert("content-length", self.body.len().to_string());
        *request.body_mut() = SdkBody::from(self.body.clone());
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = std::mem::replace(context.request_mut().body_mut(), SdkBody::taken());
        let watched = WatchedBody {
            body,
            state: Arc::clone(&self.state),
        };
        *context.request_mut().body_mut() = SdkBody::from_body_1_x(watched);
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Errors are left to the SDK.
        if context.response().status().is_success() {
            let reader = AnswerReader {
                state: Arc::clone(&self.state),
            };
            cfg.interceptor_state()
                .store_put(SharedResponseDeserializer::new(reader));
        }
        Ok(())
    }
}

/// Notices when the transport begins to take the body. A connection that cannot be made never does.
struct WatchedBody {
    body: SdkBody,
    state: Arc<CallState>,
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.state.started.store(true, Ordering::Release);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}

/// Reads answers with status 200.
#[derive(Debug)]
struct AnswerReader {
    state: Arc<CallState>,
}

impl DeserializeResponse for AnswerReader {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _cfg: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        let bytes = response.body().bytes().unwrap_or_default();
        let answer = answer::read(bytes).map_err(OrchestratorError::other)?;
        *self
            .state
            .answer
            .lock()
            .expect("no panic while the answer is locked") = Some(answer);
        let output = PutRecordsOutput::builder()
            .set_records(Some(Vec::new()))
            .build();
        output.map(Output::erase).map_err(OrchestratorError::other)
    }
}
