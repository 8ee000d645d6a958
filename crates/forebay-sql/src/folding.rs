//! Constant folding: what no message can change is evaluated once, when a statement is compiled.

use forebay_core::{Origin, SeededEntropy};

use crate::SqlVersion;
use crate::eval::{Context, Evaluation, Limits, Scratch};
use crate::program::Node;
use crate::value::Value;

/// Bounds of one folding. What exceeds them is left for the messages, where it fails as the limits there say.
const LIMITS: Limits = Limits {
    steps_max: 10_000,
    output_bytes_max: 4096,
};

/// True for a node whose value is known without a message and costs nothing to read.
pub(crate) fn is_constant(node: &Node) -> bool {
    matches!(
        node,
        Node::Undefined
            | Node::Null
            | Node::Bool(_)
            | Node::Number(_)
            | Node::Text(_)
            | Node::Pattern(_)
            | Node::Time(_)
    )
}

/// The value of a node whose operands are all constant; `None` when it is an array or an object, or exceeds a limit.
pub(crate) fn fold(node: &Node, version: SqlVersion) -> Option<Node> {
    let context = Context {
        topic: "",
        payload: b"",
        client_id: None,
        timestamp_ms: 0,
        origin: &Origin::UNKNOWN,
    };
    let mut scratch = Scratch::default();
    let mut entropy = SeededEntropy::new(0);
    let mut evaluation = Evaluation::new(context, LIMITS, &mut scratch, &mut entropy);
    let value = evaluation.constant(node, version).ok()?;
    Some(match value {
        Value::Undefined => Node::Undefined,
        Value::Null => Node::Null,
        Value::Bool(value) => Node::Bool(value),
        Value::Number(number) => Node::Number(number.into()),
        Value::Text(text) => {
            let text = std::str::from_utf8(evaluation.bytes(text)).ok()?;
            Node::Text(text.into())
        }
        Value::Payload(_) | Value::Array(_) | Value::Object(_) => return None,
    })
}
