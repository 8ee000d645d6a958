//! The handle through which a program that runs the server sets faults.

use std::sync::Arc;

use super::{FaultError, FaultScript};
use crate::service::Service;

/// Sets and ends the faults of a running server. Cheap to clone; outlives the server without effect.
#[derive(Debug, Clone)]
pub struct FaultControl {
    service: Arc<Service>,
}

impl FaultControl {
    pub(crate) fn new(service: Arc<Service>) -> Self {
        Self { service }
    }

    /// Puts `script` in the place of the one in force. Its windows and request numbers begin now.
    ///
    /// # Errors
    /// When a rule is not possible; the script in force stays then.
    pub fn set(&self, script: FaultScript) -> Result<(), FaultError> {
        self.service.set_faults(script)
    }

    /// Ends all faults. Connections that hang or wait for an answer that never comes are reset.
    pub fn clear(&self) {
        self.service.faults().clear();
    }

    /// The script in force, empty when there is none.
    pub fn script(&self) -> FaultScript {
        self.service.faults().script()
    }
}
