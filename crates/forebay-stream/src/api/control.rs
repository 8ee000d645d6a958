//! The control call: `X-Amz-Target: ForebayStream_20261101.<Operation>` with a JSON body, without signature.

use serde::Deserialize;
use serde_json::json;

use super::read;
use crate::error::ApiError;
use crate::faults::{FaultEffect, FaultError, FaultScript};
use crate::service::Service;

/// The operations of the control call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlOperation {
    /// Takes a [`FaultScript`] and puts it in force.
    SetFaults,
    /// Ends all faults.
    ClearFaults,
    /// Gives the counters.
    GetStats,
    /// Switches the rate limits: `{"Enabled": true, "RecordsPerSecond": 500, "BytesPerSecond": 1048576}`, the rates
    /// per shard being optional.
    SetLimits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Limits {
    enabled: bool,
    records_per_second: Option<u32>,
    bytes_per_second: Option<u32>,
}

impl ControlOperation {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "SetFaults" => Some(Self::SetFaults),
            "ClearFaults" => Some(Self::ClearFaults),
            "GetStats" => Some(Self::GetStats),
            "SetLimits" => Some(Self::SetLimits),
            _ => None,
        }
    }

    /// Carries out the call.
    pub(crate) fn execute(self, service: &Service, body: &[u8]) -> Result<Vec<u8>, ApiError> {
        match self {
            Self::SetFaults => {
                let script: FaultScript = read(body)?;
                set_faults(service, script)
                    .map_err(|e| ApiError::invalid_argument(e.to_string()))?;
            }
            Self::ClearFaults => service.faults().clear(),
            Self::SetLimits => {
                let limits: Limits = read(body)?;
                let (records, bytes) = (limits.records_per_second, limits.bytes_per_second);
                service.limits().set(limits.enabled, records, bytes);
            }
            Self::GetStats => return Ok(json!(service.stats()).to_string().into_bytes()),
        }
        Ok(b"{}".to_vec())
    }
}

fn set_faults(service: &Service, script: FaultScript) -> Result<(), FaultError> {
    for (rule, content) in script.rules.iter().enumerate() {
        let down = matches!(content.effect, FaultEffect::SinkDown { .. });
        if down && content.duration_millis.is_none() {
            return Err(FaultError::Endless { rule });
        }
    }
    service.set_faults(script)
}
