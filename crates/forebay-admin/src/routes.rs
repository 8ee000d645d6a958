//! The routes and the form of their answers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::json;

use crate::guard::{Guard, guard};
use crate::state::{AdminState, Readiness};

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// All routes behind the guard.
pub(crate) fn router(state: AdminState, checks: Guard) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/statusz", get(statusz))
        .route("/api/v1/spool/stat", get(spool_stat))
        .route(
            "/api/v1/spool/verify",
            get(spool_verification).post(verify_spool),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::new(checks), guard))
        .with_state(Arc::new(state))
}

/// A refusal. The text is ours alone: nothing of the request is repeated in it.
pub(crate) fn refusal(status: StatusCode, code: &'static str, message: &'static str) -> Response {
    json_answer(
        status,
        &json!({ "error": { "code": code, "message": message } }),
    )
}

async fn metrics(State(state): State<Arc<AdminState>>) -> Response {
    answer(StatusCode::OK, PROMETHEUS_TEXT, state.registry.render())
}

async fn livez(State(state): State<Arc<AdminState>>) -> Response {
    let late = state.late_threads();
    if late.is_empty() {
        json_answer(StatusCode::OK, &json!({ "status": "ok" }))
    } else {
        json_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "status": "stalled", "threads": late }),
        )
    }
}

async fn readyz(State(state): State<Arc<AdminState>>) -> Response {
    match (state.readiness)() {
        Readiness::Ready => json_answer(StatusCode::OK, &json!({ "status": "ok" })),
        Readiness::NotReady(reason) => json_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "status": "not_ready", "reason": reason }),
        ),
    }
}

async fn statusz(State(state): State<Arc<AdminState>>) -> Response {
    json_answer(StatusCode::OK, &(state.status)())
}

async fn spool_stat(State(state): State<Arc<AdminState>>) -> Response {
    match (state.status)().spool {
        Some(spool) => json_answer(StatusCode::OK, &spool),
        None => no_spool(),
    }
}

/// Begins to read the spool. What it finds is fetched from the same path: reading may take longer than a connection
/// lives.
async fn verify_spool(State(state): State<Arc<AdminState>>) -> Response {
    match &state.verifier {
        Some(verifier) => json_answer(StatusCode::ACCEPTED, &verifier.begin()),
        None => no_spool(),
    }
}

async fn spool_verification(State(state): State<Arc<AdminState>>) -> Response {
    match &state.verifier {
        Some(verifier) => json_answer(StatusCode::OK, &verifier.status()),
        None => no_spool(),
    }
}

fn no_spool() -> Response {
    refusal(
        StatusCode::NOT_FOUND,
        "no_spool",
        "this process keeps nothing in a spool",
    )
}

async fn not_found() -> Response {
    refusal(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is /metrics, /livez, /readyz, /statusz and /api/v1/spool",
    )
}

async fn method_not_allowed() -> Response {
    only_reads()
}

/// The answer to any other method where there is something to read only.
pub(crate) fn only_reads() -> Response {
    let mut response = refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "only GET and HEAD are answered here",
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// A JSON answer, indented because people read it with curl.
fn json_answer(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(mut text) => {
            text.push('\n');
            answer(status, JSON, text)
        }
        Err(error) => {
            tracing::error!(%error, "admin answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn answer(status: StatusCode, content_type: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
