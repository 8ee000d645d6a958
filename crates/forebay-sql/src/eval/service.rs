//! Questions to the data of other services.

use super::{EvalError, Evaluation};
use crate::service_data::{DataFault, DataRequest};

impl<'a> Evaluation<'a> {
    /// The answer to a request, kept until the message's end.
    ///
    /// # Errors
    /// When there is none, which ends the statement unless a default value stands in for it.
    pub(crate) fn ask(
        &mut self,
        function: &'static str,
        request: &DataRequest<'_>,
    ) -> Result<&'a str, EvalError> {
        self.step(1)?;
        let data = self.environment.data.as_ref();
        let answer = match data {
            Some(data) => data.answer(request),
            None => Err(DataFault::Missing),
        };
        let answer = answer.map_err(|fault| EvalError::Function(function, fault))?;
        self.store(&answer)
    }

    /// True for the first question to the registry in a statement and its templates.
    pub(crate) fn take_registry_call(&mut self) -> bool {
        !std::mem::replace(&mut self.registry_asked, true)
    }
}
