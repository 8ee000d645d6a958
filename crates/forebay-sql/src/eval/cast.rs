//! `cast` (AWS IoT developer guide, function cast).

use super::{EvalError, Evaluation};
use crate::number::{Decimal, Number, Rounding};
use crate::program::CastTarget;
use crate::value::Value;

impl<'a> Evaluation<'a> {
    pub(super) fn cast(
        &mut self,
        value: Value<'a>,
        target: CastTarget,
    ) -> Result<Value<'a>, EvalError> {
        let value = self.read(value);
        if target == CastTarget::Text {
            return self.text_value(value);
        }
        if target == CastTarget::Bool {
            let truth = match value {
                Value::Number(number) => Some(!Number::from(number).is_zero()),
                other => self.boolean(other),
            };
            return Ok(truth.map_or(Value::Undefined, Value::Bool));
        }
        let number = match value {
            Value::Bool(value) => Some(Number::Decimal(if value {
                Decimal::ONE
            } else {
                Decimal::ZERO
            })),
            other => self.number(other),
        };
        Ok(number
            .and_then(|number| self.cast_number(number, target))
            .into())
    }

    fn cast_number(&self, number: Number, target: CastTarget) -> Option<Number> {
        match (number, target) {
            (_, CastTarget::Int) => Some(number.to_integer(Rounding::Floor)),
            // The same number, as Decimal where the version tells the two apart.
            (Number::Int(_), _) => Some(Number::from_decimal(number.decimal(), self.version)),
            (_, CastTarget::Double) => Number::from_f64(number.to_f64(), self.version),
            (Number::Decimal(value), _) => Some(Number::from_decimal(value, self.version)),
        }
    }
}
