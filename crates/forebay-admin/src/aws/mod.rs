//! The API of AWS IoT, so that its own tools work here: paths, errors and who may call what.
//!
//! A request is routed by its path exactly as it was received: a segment is decoded after it was cut out, once, so that
//! an encoded slash in a name is never taken for a separator.

mod control;
mod data;
mod error;
mod operation;
mod publish;
mod tagging;

use std::net::IpAddr;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use crate::access::Caller;
use crate::guard::Peer;
use crate::state::AdminState;
pub use control::bad_rule_name;
pub(crate) use error::AwsError;
pub use error::MissingRule;
pub(crate) use operation::{Operation, Service, is_aws_path, service_of};

/// Characters of a resource in the audit trail.
const OBJECT_CHARS_MAX: usize = 256;

/// A request with everything that was received of it.
pub(crate) struct AwsRequest {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    pub(crate) peer: IpAddr,
}

impl AwsRequest {
    /// Name and value of each pair of the query.
    fn query(&self) -> Result<Vec<(String, String)>, AwsError> {
        crate::percent::query_pairs(self.head.uri.query().unwrap_or_default())
            .map_err(|error| AwsError::invalid(format!("the query is {error}")))
    }

    /// A header as text; `None` when it is not there.
    fn header(&self, name: &str) -> Result<Option<&str>, AwsError> {
        let value = self.head.headers.get(name);
        value
            .map(|value| {
                value
                    .to_str()
                    .map_err(|_| AwsError::invalid(format!("the header {name} is not ASCII")))
            })
            .transpose()
    }
}

/// Answers a request whose path [`is_aws_path`].
pub(crate) async fn answer(state: &AdminState, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let peer = head
        .extensions
        .get::<Peer>()
        .map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip());
    let limit = usize::try_from(state.limits.body_bytes).unwrap_or(usize::MAX);
    let answered = match to_bytes(body, limit).await {
        Ok(body) => serve(state, AwsRequest { head, body, peer }).await,
        Err(_) => Err(AwsError::too_large()),
    };
    let mut response = match answered {
        Ok(None) => Response::new(Body::empty()),
        Ok(Some(body)) => json(StatusCode::OK, &body),
        Err(error) => error.into_response(),
    };
    let id = HeaderValue::from_str(&state.new_uuid()).expect("a UUID is ASCII");
    response.headers_mut().insert("x-amzn-requestid", id);
    response
}

/// Who is it, what is wanted, may they, do it: in this order. `None` is an empty body.
async fn serve(state: &AdminState, request: AwsRequest) -> Result<Option<Value>, AwsError> {
    let path = request.head.uri.path();
    let caller = state.access.authorize(
        &request.head,
        &request.body,
        service_of(path),
        state.wall_millis(),
    )?;
    let operation = Operation::route(&request.head.method, path)?;
    if caller.role < operation.role() {
        return Err(AwsError::not_authorized(&caller, operation.name()));
    }
    match operation {
        Operation::Control(operation) => {
            let wanted = operation.clone();
            let done = control::perform(state, &request, operation).await;
            audit(state, &caller, &request, &wanted, &done);
            done.map(|done| done.body)
        }
        Operation::Data(operation) => data::perform(state, &request, operation).await,
    }
}

/// Writes what was changed, and what was tried, into the audit trail.
fn audit(
    state: &AdminState,
    caller: &Caller,
    request: &AwsRequest,
    operation: &operation::Control,
    done: &Result<control::Done, AwsError>,
) {
    if !operation.changes() {
        return;
    }
    let change = done.as_ref().ok().and_then(|done| done.change.clone());
    state.audit.write(&crate::audit::Entry {
        time_ms: state.wall_millis(),
        caller: &caller.name,
        peer: request.peer,
        route: operation.name(),
        object: &object_of(request, operation),
        change: change.unwrap_or_default(),
        refused: done.as_ref().err().map(|error| error.name),
    });
}

/// What an operation is about: the rule in the path, or the resource in the body.
fn object_of(request: &AwsRequest, operation: &operation::Control) -> String {
    if !operation.object().is_empty() {
        return operation.object().to_owned();
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let arn = body["resourceArn"].as_str().unwrap_or_default();
    arn.chars().take(OBJECT_CHARS_MAX).collect()
}

/// A compact JSON answer.
fn json(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
