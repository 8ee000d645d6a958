//! AWS IoT SQL: from the text of a rule's statement and its substitution templates to checked programs, and their
//! evaluation on messages.

mod diagnostic;
mod evaluation;
mod statement;
mod template;
mod version;

pub use diagnostic::{Code, Diagnostic};
pub use evaluation::{Context, EvalError, Evaluation, Limits, PayloadFault, Scratch, Selection};
pub use statement::{SelectStar, Statement};
pub use template::Template;
pub use version::SqlVersion;
