//! AWS IoT SQL: from the text of a rule's statement and its substitution templates to checked programs, and their
//! evaluation on messages.
//!
//! A [`Statement`] and its [`Template`]s are compiled once and shared by all threads. An [`Evaluation`] runs any number
//! of them on one message: the payload is parsed at most once, and only when a clause or a template reads it.
//!
//! ```
//! use forebay_core::{Origin, SeededEntropy};
//! use forebay_sql::{Context, Evaluation, Limits, Scratch, SelectStar, Selection, SqlVersion, Statement, Template};
//!
//! let version = SqlVersion::V2016;
//! let statement = Statement::compile("SELECT t * 2 AS double FROM 'dt/+' WHERE t > 20", version).expect("valid");
//! let key = Template::compile("key-${topic(2)}", version).expect("valid");
//!
//! let payload = br#"{"t": 21.5}"#;
//! let origin = &Origin::UNKNOWN;
//! let context = Context { topic: "dt/7", payload, client_id: None, timestamp_ms: 0, origin };
//! let (mut scratch, mut entropy) = (Scratch::default(), SeededEntropy::new(1));
//! let mut evaluation = Evaluation::new(context, Limits::default(), &mut scratch, &mut entropy);
//! let (mut output, mut text) = (Vec::new(), Vec::new());
//! assert_eq!(evaluation.select(&statement, SelectStar::Verbatim, &mut output), Ok(Selection::Written));
//! assert_eq!(evaluation.template(&key, &mut text), Ok(()));
//! assert_eq!((output.as_slice(), text.as_slice()), (br#"{"double":43}"#.as_slice(), b"key-7".as_slice()));
//! ```

mod compiler;
mod datetime;
mod diagnostic;
mod environment;
mod eval;
mod explanation;
mod folding;
mod functions;
mod json;
mod lexer;
mod number;
mod parser;
mod pattern;
mod program;
mod service_data;
mod span;
mod statement;
mod syntax;
mod template;
mod value;
mod version;
mod writer;

pub use diagnostic::{Code, Diagnostic};
pub use environment::{Environment, IntDivision};
pub use eval::{Context, EvalError, Evaluation, Limits, PayloadFault, Scratch, Selection};
pub use explanation::{
    Call, Conversion, Explanation, Folded, FoldedValue, OutputPath, PayloadUse, Read,
};
pub use json::JsonReader;
pub use service_data::{DataFault, DataRequest, DataSource, ServiceData};
pub use statement::{SelectStar, Statement};
pub use template::Template;
pub use value::ValueType;
pub use version::SqlVersion;
