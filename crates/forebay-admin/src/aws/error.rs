//! Errors as AWS IoT's clients read them: the name in a header, the message in the body.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::json;

use crate::access::Caller;
use crate::rules::RuleFault;

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// One error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AwsError {
    pub(crate) status: StatusCode,
    /// The name in the service's model; empty where the model has none.
    pub(crate) name: &'static str,
    pub(crate) message: String,
    /// Name and ARN of a resource that is in the way.
    pub(crate) resource: Option<(String, String)>,
}

impl AwsError {
    pub(crate) fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            name,
            message: message.into(),
            resource: None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequestException", message)
    }

    pub(crate) fn resource_not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UnauthorizedException", message)
    }

    /// A caller that is known and may not do this.
    pub(crate) fn not_authorized(caller: &Caller, operation: &str) -> Self {
        Self::unauthorized(format!(
            "{} has the role {}, which may not call {operation}",
            caller.name, caller.role
        ))
    }

    /// The signature of the request, or that it has none.
    pub(crate) fn forbidden(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, name, message)
    }

    pub(crate) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLargeException",
            "the request body is over the limit",
        )
    }

    pub(crate) fn throttling(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "ThrottlingException",
            message,
        )
    }

    pub(crate) fn unknown_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "", "Not Found")
    }

    /// A known path with another method.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowedException",
            "Method Not Allowed",
        )
    }

    pub(crate) fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailableException",
            message,
        )
    }

    /// A fault of a rule as the operations on rules declare it. `name` is the rule's, `missing` the answer for a rule
    /// that is not there.
    pub(crate) fn of_rule(
        fault: RuleFault,
        (name, arn): (&str, String),
        missing: MissingRule,
    ) -> Self {
        match fault {
            RuleFault::Invalid(message) => Self::invalid(message),
            RuleFault::Sql(message) => {
                Self::new(StatusCode::BAD_REQUEST, "SqlParseException", message)
            }
            RuleFault::Exists => Self {
                resource: Some((name.to_owned(), arn)),
                ..Self::new(
                    StatusCode::CONFLICT,
                    "ResourceAlreadyExistsException",
                    format!("Rule '{name}' already exists"),
                )
            },
            RuleFault::Missing => missing.error(name),
            RuleFault::ReadOnly(message) => Self::new(
                StatusCode::CONFLICT,
                "ConflictingResourceUpdateException",
                message,
            ),
            RuleFault::Limit(message) => {
                Self::new(StatusCode::GONE, "LimitExceededException", message)
            }
            RuleFault::Storage(message) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalException",
                message,
            ),
        }
    }

    pub(crate) fn into_response(self) -> Response {
        let mut body = json!({ "message": self.message });
        if let Some((id, arn)) = self.resource {
            body["resourceId"] = id.into();
            body["resourceArn"] = arn.into();
        }
        let mut response = super::json(self.status, &body);
        if !self.name.is_empty() {
            let name = HeaderValue::from_static(self.name);
            response.headers_mut().insert(ERROR_TYPE, name);
        }
        response
    }
}

/// How a rule that does not exist is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingRule {
    /// As AWS does, which tells nobody what there is: 401 `UnauthorizedException`.
    #[default]
    Aws,
    /// 404 `ResourceNotFoundException`.
    NotFound,
}

impl MissingRule {
    fn error(self, name: &str) -> AwsError {
        match self {
            Self::Aws => {
                AwsError::unauthorized(format!("Access to topic rule '{name}' was denied"))
            }
            Self::NotFound => AwsError::resource_not_found(format!("Rule '{name}' does not exist")),
        }
    }
}
