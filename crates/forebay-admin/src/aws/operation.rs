//! Which operation a method and a path stand for, and who may call it.

use axum::http::Method;

use super::AwsError;
use crate::access::Role;
use crate::percent;

/// Which of the two services a path belongs to; requests are signed for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Rules and tags.
    Control,
    /// Messages.
    Data,
}

impl Service {
    /// The names that a signature may have been made for.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Control => &["iot"],
            Self::Data => &["iotdata", "iotdevicegateway"],
        }
    }
}

/// First segments of the paths, and whose they are.
const ROOTS: [(&str, Service); 12] = [
    ("rules", Service::Control),
    ("tags", Service::Control),
    ("untag", Service::Control),
    ("endpoint", Service::Control),
    ("destinations", Service::Control),
    ("confirmdestination", Service::Control),
    ("v2LoggingOptions", Service::Control),
    ("policies", Service::Control),
    ("topics", Service::Data),
    ("retainedMessage", Service::Data),
    ("connections", Service::Data),
    ("things", Service::Data),
];

fn root_of(path: &str) -> Option<Service> {
    let first = path.strip_prefix('/')?.split('/').next()?;
    let found = ROOTS.iter().find(|(root, _)| *root == first);
    found.map(|(_, service)| *service)
}

/// Whether a path, as it was received, is one of AWS IoT's.
pub(crate) fn is_aws_path(path: &str) -> bool {
    root_of(path).is_some()
}

/// Whose path it is.
pub(crate) fn service_of(path: &str) -> Service {
    root_of(path).unwrap_or(Service::Control)
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Control(Control),
    Data(Data),
}

/// Operations on rules. Names are as they were sent, decoded and not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    Create(String),
    Replace(String),
    Get(String),
    List,
    Delete(String),
    Enable(String),
    Disable(String),
    Tag,
    Untag,
    ListTags,
    DescribeEndpoint,
    /// Destinations of HTTP actions, which Forebay does not carry out.
    Destinations,
}

/// Operations on messages, with the topic where the path holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    Publish(String),
    GetRetained(String),
    ListRetained,
}

impl Operation {
    /// Finds the operation.
    pub(crate) fn route(method: &Method, path: &str) -> Result<Self, AwsError> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (root, rest) = match path.split_once('/') {
            Some((root, rest)) => (root, Some(rest)),
            None => (path, None),
        };
        match (root, rest) {
            ("rules", None) => only(method, Method::GET, Control::List),
            ("rules", Some(rest)) => rule(method, rest).map(Self::Control),
            ("tags", None) => match *method {
                Method::POST => Ok(Self::Control(Control::Tag)),
                _ => only(method, Method::GET, Control::ListTags),
            },
            ("untag", None) => only(method, Method::POST, Control::Untag),
            ("endpoint", None) => only(method, Method::GET, Control::DescribeEndpoint),
            ("destinations", _) | ("confirmdestination", Some(_)) => {
                Ok(Self::Control(Control::Destinations))
            }
            ("topics", Some(topic)) => match *method {
                Method::POST => Ok(Self::Data(Data::Publish(decoded(topic)?))),
                _ => Err(AwsError::method_not_allowed()),
            },
            ("retainedMessage", topic) => match (method, topic) {
                (&Method::GET, Some(topic)) => Ok(Self::Data(Data::GetRetained(decoded(topic)?))),
                (&Method::GET, None) => Ok(Self::Data(Data::ListRetained)),
                _ => Err(AwsError::method_not_allowed()),
            },
            _ => Err(AwsError::unknown_path()),
        }
    }

    /// The name in AWS IoT's model.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Control(operation) => operation.name(),
            Self::Data(Data::Publish(_)) => "Publish",
            Self::Data(Data::GetRetained(_)) => "GetRetainedMessage",
            Self::Data(Data::ListRetained) => "ListRetainedMessages",
        }
    }

    /// The least role that may call it.
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Control(operation) if operation.changes() => Role::Admin,
            Self::Data(Data::Publish(_)) => Role::Operate,
            Self::Control(_) | Self::Data(_) => Role::Read,
        }
    }
}

impl Control {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "CreateTopicRule",
            Self::Replace(_) => "ReplaceTopicRule",
            Self::Get(_) => "GetTopicRule",
            Self::List => "ListTopicRules",
            Self::Delete(_) => "DeleteTopicRule",
            Self::Enable(_) => "EnableTopicRule",
            Self::Disable(_) => "DisableTopicRule",
            Self::Tag => "TagResource",
            Self::Untag => "UntagResource",
            Self::ListTags => "ListTagsForResource",
            Self::DescribeEndpoint => "DescribeEndpoint",
            Self::Destinations => "TopicRuleDestination",
        }
    }

    /// Whether it changes anything that is kept.
    pub(crate) fn changes(&self) -> bool {
        match self {
            Self::Create(_)
            | Self::Replace(_)
            | Self::Delete(_)
            | Self::Enable(_)
            | Self::Disable(_)
            | Self::Tag
            | Self::Untag => true,
            Self::Get(_)
            | Self::List
            | Self::ListTags
            | Self::DescribeEndpoint
            | Self::Destinations => false,
        }
    }

    /// The rule that the path names; empty where the body does.
    pub(crate) fn object(&self) -> &str {
        match self {
            Self::Create(name)
            | Self::Replace(name)
            | Self::Get(name)
            | Self::Delete(name)
            | Self::Enable(name)
            | Self::Disable(name) => name,
            _ => "",
        }
    }
}

fn only(method: &Method, allowed: Method, operation: Control) -> Result<Operation, AwsError> {
    if *method == allowed {
        Ok(Operation::Control(operation))
    } else {
        Err(AwsError::method_not_allowed())
    }
}

/// `{name}`, `{name}/enable` and `{name}/disable`.
fn rule(method: &Method, rest: &str) -> Result<Control, AwsError> {
    let (name, verb) = match rest.split_once('/') {
        Some((name, verb)) => (decoded(name)?, Some(verb)),
        None => (decoded(rest)?, None),
    };
    let operation = match (method.as_str(), verb) {
        ("POST", None) => Control::Create(name),
        ("PATCH", None) => Control::Replace(name),
        ("GET", None) => Control::Get(name),
        ("DELETE", None) => Control::Delete(name),
        ("POST", Some("enable")) => Control::Enable(name),
        ("POST", Some("disable")) => Control::Disable(name),
        (_, None | Some("enable" | "disable")) => return Err(AwsError::method_not_allowed()),
        (_, Some(_)) => return Err(AwsError::unknown_path()),
    };
    Ok(operation)
}

fn decoded(segment: &str) -> Result<String, AwsError> {
    percent::decode(segment).map_err(|error| AwsError::invalid(format!("the path is {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(method: Method, path: &str) -> Control {
        match Operation::route(&method, path).unwrap() {
            Operation::Control(operation) => operation,
            Operation::Data(operation) => panic!("{operation:?}"),
        }
    }

    #[test]
    fn every_operation_has_its_route() {
        let r = || "r".to_owned();
        for (method, path, operation) in [
            (Method::POST, "/rules/r", Control::Create(r())),
            (Method::PATCH, "/rules/r", Control::Replace(r())),
            (Method::GET, "/rules/r", Control::Get(r())),
            (Method::GET, "/rules", Control::List),
            (Method::DELETE, "/rules/r", Control::Delete(r())),
            (Method::POST, "/rules/r/enable", Control::Enable(r())),
            (Method::POST, "/rules/r/disable", Control::Disable(r())),
            (Method::POST, "/tags", Control::Tag),
            (Method::POST, "/untag", Control::Untag),
            (Method::GET, "/tags", Control::ListTags),
            (Method::GET, "/endpoint", Control::DescribeEndpoint),
            (Method::POST, "/destinations", Control::Destinations),
        ] {
            assert!(is_aws_path(path));
            assert_eq!(control(method, path), operation);
        }
    }

    #[test]
    fn a_name_is_decoded_after_it_was_cut_out() {
        assert_eq!(
            control(Method::POST, "/rules/a%2Fenable"),
            Control::Create("a/enable".to_owned())
        );
        assert_eq!(
            control(Method::GET, "/rules/a%252F%2B+%20%C3%A9"),
            Control::Get("a%2F++ é".to_owned())
        );
        for (path, topic) in [
            ("/topics/a%2Fb", "a/b"),
            ("/topics/a/b", "a/b"),
            ("/topics//a%252F+%20%C3%A9", "/a%2F+ é"),
            ("/topics/", ""),
        ] {
            let publish = Operation::Data(Data::Publish(topic.to_owned()));
            assert_eq!(Operation::route(&Method::POST, path), Ok(publish));
        }
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let status = |method: Method, path: &str| {
            Operation::route(&method, path).unwrap_err().status.as_u16()
        };
        assert_eq!(status(Method::PUT, "/rules/r"), 405);
        assert_eq!(status(Method::GET, "/rules/r/enable"), 405);
        assert_eq!(status(Method::POST, "/rules"), 405);
        assert_eq!(status(Method::OPTIONS, "/topics/a"), 405);
        assert_eq!(status(Method::POST, "/rules/r/explode"), 404);
        assert_eq!(status(Method::POST, "/rules/r/enable/x"), 404);
        assert_eq!(status(Method::GET, "/topics"), 404);
        assert_eq!(status(Method::GET, "/policies/p"), 404);
        assert_eq!(status(Method::GET, "/rules/%C3"), 400);
        for path in ["/", "/metrics", "/rulesx", "rules", "/api/v1/rules"] {
            assert!(!is_aws_path(path), "{path}");
        }
    }
}
