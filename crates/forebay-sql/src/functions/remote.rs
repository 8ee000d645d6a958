//! Functions whose answer another service has. None of their sources is configured, so that rules that use them are
//! refused.

use super::{Body, Function};

const fn remote(name: &'static str, setting: Option<&'static str>) -> Function {
    Function {
        name,
        since_2016: false,
        takes_star: |_, _| true,
        is_pure: false,
        takes: &[],
        gives: None,
        prepare: None,
        body: Body::Remote(setting),
    }
}

pub(super) const FUNCTIONS: &[Function] = &[
    remote("aws_lambda", None),
    remote("get_dynamodb", None).since_2016(),
    remote("get_registry_data", Some("functions.registry_file")).since_2016(),
    remote("get_secret", Some("functions.secrets_file")),
    remote("get_thing_shadow", Some("functions.shadow_source")).since_2016(),
    remote("machinelearning_predict", None),
];

/// Why a function of another service is refused.
pub(crate) fn no_source(name: &str, setting: Option<&str>) -> String {
    match setting {
        Some(setting) => {
            format!(
                "the function `{name}` needs the setting {setting}, which this version of Forebay does not have"
            )
        }
        None => format!("the function `{name}` asks a service that Forebay has no source for"),
    }
}
