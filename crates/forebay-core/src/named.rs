//! Enums whose values have names in configuration files and metric labels.

/// Gives a type with `ALL` and `as_str` its text form both ways.
macro_rules! text_by_name {
    ($type:ty) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                Self::ALL
                    .into_iter()
                    .find(|value| value.as_str() == text)
                    .ok_or(())
            }
        }
    };
}

pub(crate) use text_by_name;
