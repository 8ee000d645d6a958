//! The republish action, compiled: a topic, a quality of service and headers.

use forebay_core::QoS;

use crate::evaluated::RepublishProperties;
use crate::fields::{Fault, Fields, Value};
use crate::republish_headers::CompiledHeaders;
use crate::republish_topic::RepublishTopic;

/// The action, compiled.
#[derive(Debug)]
pub(crate) struct CompiledRepublish {
    pub(crate) kind: RepublishTopic,
    /// The topic, or the template of the text that `kind` makes one of.
    pub(crate) topic: Value<String>,
    pub(crate) qos: QoS,
    pub(crate) headers: Option<Box<CompiledHeaders>>,
}

impl CompiledRepublish {
    pub(crate) fn topic<'a>(&'a self, fields: &mut Fields<'_, 'a>) -> Result<String, Fault<'a>> {
        fields.value("topic", &self.topic, |text| self.kind.topic(text))
    }

    pub(crate) fn properties<'a>(
        &'a self,
        fields: &mut Fields<'_, 'a>,
    ) -> Result<RepublishProperties, Fault<'a>> {
        match &self.headers {
            Some(headers) => headers.properties(fields),
            None => Ok(RepublishProperties::default()),
        }
    }
}
