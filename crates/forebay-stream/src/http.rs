//! HTTP around the operations: heads, bodies, and the faults that strike a connection.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use forebay_core::{Entropy, SeededEntropy};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;

use crate::api::{self, ControlOperation, Operation, Outcome};
use crate::connection::{ResetSwitch, stopped};
use crate::error::ApiError;
use crate::faults::{DownMode, Ending};
use crate::service::Service;

const TARGET_HEADER: &str = "x-amz-target";
const SERVICE_TARGET: &str = "Kinesis_20131202.";
const CONTROL_TARGET: &str = "ForebayStream_20261101.";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// The largest body: 10 MiB in base64, with room for keys of which every character is escaped.
const BODY_MAX: usize = 20 << 20;

/// What the requests of all connections share.
#[derive(Debug)]
pub(crate) struct Http {
    service: Arc<Service>,
    /// Becomes true when the server stops.
    stopping: watch::Receiver<bool>,
    request_id_high: u64,
    requests: AtomicU64,
}

enum Call {
    Operation(Operation),
    Control(ControlOperation),
}

impl Http {
    pub(crate) fn new(service: Arc<Service>, stopping: watch::Receiver<bool>) -> Self {
        let request_id_high = SeededEntropy::from_os().next_u64();
        Self {
            service,
            stopping,
            request_id_high,
            requests: AtomicU64::new(0),
        }
    }

    /// Answers one request. Where a fault ends the connection instead, it presses `switch` and never returns.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        switch: &ResetSwitch,
    ) -> Result<Response<AnswerBody>, Infallible> {
        let (head, body) = request.into_parts();
        let call = parse_target(&head.method, &head.headers);
        if !matches!(call, Ok(Call::Control(_))) {
            self.head_faults(call.as_ref().ok(), switch).await;
        }
        let body = match read_body(body, &head.headers).await {
            Ok(body) => body,
            Err(BodyError::TooLarge) => return Ok(self.error(&too_large())),
            Err(BodyError::Broken) => reset(switch).await,
        };
        let outcome = match call {
            Err(error) => return Ok(self.error(&error)),
            Ok(Call::Control(operation)) => {
                let reply = operation.execute(&self.service, &body);
                Outcome {
                    reply,
                    ending: None,
                    delay: Duration::ZERO,
                }
            }
            Ok(Call::Operation(operation)) => {
                self.service.counters().requests.add(operation.name(), 1);
                let query = head.uri.query().unwrap_or_default();
                if let Err(error) = check_head(&head.headers, query) {
                    return Ok(self.error(&error));
                }
                api::execute(&self.service, operation, &body)
            }
        };
        drop(body);
        if !outcome.delay.is_zero() {
            tokio::time::sleep(outcome.delay).await;
        }
        Ok(self.end(outcome, switch).await)
    }

    /// The faults that strike before the body is read.
    async fn head_faults(&self, call: Option<&Call>, switch: &ResetSwitch) {
        let faults = self.service.faults();
        if !faults.is_active() {
            return;
        }
        let now = self.service.now();
        match faults.down(now) {
            Some((DownMode::Close, _)) => {
                self.service.counters().injected.add("SinkDown", 1);
                reset(switch).await;
            }
            Some((DownMode::Hang, _)) => {
                self.service.counters().injected.add("SinkDown", 1);
                hang(&self.service, self.stopping.clone()).await;
                reset(switch).await;
            }
            None => {}
        }
        let Some(Call::Operation(operation)) = call else {
            return;
        };
        if faults.at_head(operation.name(), now, &self.service.counters().injected) {
            reset(switch).await;
        }
    }

    /// Sends the answer, or does what a fault does instead.
    async fn end(&self, outcome: Outcome, switch: &ResetSwitch) -> Response<AnswerBody> {
        match outcome.ending {
            Some(Ending::Reset) => reset(switch).await,
            Some(Ending::Never) => {
                let mut changes = self.service.faults().changes();
                let mut stopping = self.stopping.clone();
                tokio::select! {
                    _ = changes.changed() => {}
                    () = stopped(&mut stopping) => {}
                }
                reset(switch).await
            }
            Some(Ending::Truncate) => match outcome.reply {
                Ok(body) => self.response(StatusCode::OK, AnswerBody::truncated(body)),
                Err(error) => self.error(&error),
            },
            Some(Ending::Refuse { .. }) | None => match outcome.reply {
                Ok(body) => self.response(StatusCode::OK, AnswerBody::whole(body)),
                Err(error) => self.error(&error),
            },
        }
    }

    fn error(&self, error: &ApiError) -> Response<AnswerBody> {
        self.service.counters().request_errors.add(&error.code, 1);
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
        self.response(status, AnswerBody::whole(error.body()))
    }

    fn response(&self, status: StatusCode, body: AnswerBody) -> Response<AnswerBody> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let high = self.request_id_high;
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{number:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            (high >> 4) & 0xfff,
            high & 0xfff
        );
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        let id = HeaderValue::try_from(id).expect("hexadecimal digits are a header value");
        headers.insert("x-amzn-requestid", id);
        response
    }
}

/// Waits until the server is in reach again or stops.
pub(crate) async fn hang(service: &Service, mut stopping: watch::Receiver<bool>) {
    loop {
        let mut changes = service.faults().changes();
        let Some((_, left)) = service.faults().down(service.now()) else {
            return;
        };
        // Without an end the wait is cut into pieces; the loop goes on after each.
        let left = left
            .unwrap_or(Duration::from_secs(60))
            .max(Duration::from_millis(1));
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep(left) => {}
            () = stopped(&mut stopping) => return,
        }
    }
}

/// Ends the connection. Does not return: the task that serves the connection drops this one.
async fn reset(switch: &ResetSwitch) -> ! {
    switch.press();
    std::future::pending::<Infallible>().await;
    unreachable!("a future that is always pending gives nothing")
}

fn too_large() -> ApiError {
    let message = format!("the body has more than {BODY_MAX} bytes");
    ApiError {
        status: 413,
        ..ApiError::new("RequestEntityTooLarge", message)
    }
}

fn parse_target(method: &Method, headers: &HeaderMap) -> Result<Call, ApiError> {
    let unknown = |status| ApiError {
        status,
        ..ApiError::new("UnknownOperationException", "")
    };
    let target = headers
        .get(TARGET_HEADER)
        .and_then(|target| target.to_str().ok());
    let Some(target) = target.filter(|_| method == Method::POST) else {
        let text = "Unable to determine service/operation name to be authorized";
        return Err(ApiError {
            status: 403,
            ..ApiError::new("AccessDeniedException", text)
        });
    };
    if let Some(name) = target.strip_prefix(CONTROL_TARGET) {
        return ControlOperation::parse(name)
            .map(Call::Control)
            .ok_or_else(|| unknown(400));
    }
    let name = target
        .strip_prefix(SERVICE_TARGET)
        .ok_or_else(|| unknown(400))?;
    Operation::parse(name)
        .map(Call::Operation)
        .ok_or_else(|| unknown(400))
}

/// Checks the content type and that the request is signed, not the signature.
fn check_head(headers: &HeaderMap, query: &str) -> Result<(), ApiError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let content_type = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    if content_type.trim() != CONTENT_TYPE {
        let text = format!("content type {content_type:?} is not {CONTENT_TYPE}");
        return Err(ApiError {
            status: 404,
            ..ApiError::new("UnknownOperationException", text)
        });
    }
    let Some(authorization) = headers.get(header::AUTHORIZATION) else {
        if query.contains("X-Amz-Signature=") {
            return Ok(());
        }
        let text = "Missing Authentication Token";
        return Err(ApiError::new("MissingAuthenticationTokenException", text));
    };
    let authorization = String::from_utf8_lossy(authorization.as_bytes());
    let mut text = String::new();
    for part in ["Credential", "Signature", "SignedHeaders"] {
        if !authorization.contains(&format!("{part}=")) {
            text.push_str(&format!(
                "Authorization header requires '{part}' parameter. "
            ));
        }
    }
    if !headers.contains_key("x-amz-date") && !headers.contains_key(header::DATE) {
        text.push_str(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
        );
    }
    if text.is_empty() {
        return Ok(());
    }
    Err(ApiError::new(
        "IncompleteSignatureException",
        text.trim_end(),
    ))
}

enum BodyError {
    TooLarge,
    Broken,
}

async fn read_body(mut body: Incoming, headers: &HeaderMap) -> Result<Bytes, BodyError> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced = announced
        .and_then(|value| value.parse().ok())
        .unwrap_or(0_usize);
    if announced > BODY_MAX {
        return Err(BodyError::TooLarge);
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > BODY_MAX {
            return Err(BodyError::TooLarge);
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(announced.max(first.len() + data.len()));
            rest.extend_from_slice(&first);
            first = Bytes::new();
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
}

/// The body of an answer: whole, or cut by a fault.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    data: Option<Bytes>,
    /// Bytes that were announced and will not be sent.
    withheld: u64,
    /// Whether what is sent had time to leave.
    flushed: bool,
}

impl AnswerBody {
    fn whole(body: Vec<u8>) -> Self {
        Self {
            data: Some(body.into()),
            withheld: 0,
            flushed: false,
        }
    }

    fn truncated(body: Vec<u8>) -> Self {
        let data = Bytes::from(body);
        let sent = data.len() / 2;
        // An answer without a body is cut by announcing one.
        let withheld = (data.len() - sent).max(1) as u64;
        Self {
            data: Some(data.slice(..sent)),
            withheld,
            flushed: false,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.withheld == 0 {
            return Poll::Ready(None);
        }
        // The connection writes out what it has when a body is not ready, so the half reaches the client.
        if !self.flushed {
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let text = "the answer is cut off on purpose";
        Poll::Ready(Some(Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            text,
        ))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.as_ref().is_none_or(Bytes::is_empty) && self.withheld == 0
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.data.as_ref().map_or(0, Bytes::len) as u64;
        SizeHint::with_exact(data + self.withheld)
    }
}
