//! The SDK's errors as ours.

use std::time::Duration;

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::display::DisplayErrorContext;
use compact_str::CompactString;

use super::call::CallState;
use crate::classify::{CallError, CallFailure};

/// Longest error text that is kept.
const MESSAGE_BYTES_MAX: usize = 512;

/// What an error of the SDK says about a call that came as far as `state` says.
pub(super) fn call_error<E>(error: SdkError<E, HttpResponse>, state: &CallState) -> CallError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match &error {
        SdkError::ServiceError(context) => {
            let raw = context.raw();
            let code = context.err().code().unwrap_or_default();
            service_error(code, context.err().message().unwrap_or_default(), raw)
        }
        // Not an answer of the service, but of something in between, when the status says so.
        SdkError::ResponseError(context) if context.raw().status().as_u16() >= 300 => {
            service_error("", &text(&error), context.raw())
        }
        SdkError::ResponseError(_) => local(CallFailure::Unclear, "UnreadableAnswer", &error),
        SdkError::DispatchFailure(failure) if failure.is_user() => {
            local(CallFailure::Construction, "Construction", &error)
        }
        _ => local(reached(state), code_of(state), &error),
    }
}

/// No answer in time.
pub(super) fn timeout(after: Duration, state: &CallState) -> CallError {
    let code = if state.started() {
        "Timeout"
    } else {
        code_of(state)
    };
    CallError::local(reached(state), code, format!("no answer within {after:?}"))
}

fn reached(state: &CallState) -> CallFailure {
    match (state.dispatched(), state.started()) {
        (false, _) => CallFailure::Construction,
        (true, false) => CallFailure::NotSent,
        (true, true) => CallFailure::Unclear,
    }
}

fn code_of(state: &CallState) -> &'static str {
    match reached(state) {
        CallFailure::Construction => "Construction",
        CallFailure::NotSent => "Connect",
        CallFailure::Unclear | CallFailure::Service(_) => "Transport",
    }
}

fn local<E>(failure: CallFailure, code: &str, error: &SdkError<E, HttpResponse>) -> CallError
where
    E: std::error::Error + Send + Sync + 'static,
{
    CallError::local(failure, code, text(error))
}

fn text<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: std::error::Error + Send + Sync + 'static,
{
    cut(&DisplayErrorContext(error).to_string())
}

fn service_error(code: &str, message: &str, raw: &HttpResponse) -> CallError {
    let status = raw.status().as_u16();
    let retry_after = raw.headers().get("x-amz-retry-after");
    let code = if code.is_empty() {
        CompactString::from(format!("HTTP{status}"))
    } else {
        code.into()
    };
    CallError {
        failure: CallFailure::Service(status),
        code,
        message: cut(message),
        request_id: raw
            .headers()
            .get("x-amzn-requestid")
            .map(CompactString::from),
        retry_after: retry_after
            .and_then(|text| text.parse().ok())
            .map(Duration::from_millis),
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
