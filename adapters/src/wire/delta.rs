//! What a chunk of a chat stream tells, for those who tell it in another form.

use serde_json::Value;

/// The first choice of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta<'a> {
    /// The choice itself.
    pub(super) choice: &'a Value,
    delta: &'a Value,
}

/// A piece of a call of a tool.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallPiece<'a> {
    /// Which call of the answer.
    pub(super) number: u64,
    /// Its id, in its first piece.
    pub(super) id: &'a str,
    /// Its name, in its first piece.
    pub(super) name: &'a str,
    /// More of its arguments.
    pub(super) arguments: &'a str,
}

/// What a chunk says of tokens.
pub(super) fn usage_of(chunk: &Value) -> Option<&Value> {
    chunk.get("usage").filter(|usage| usage.is_object())
}

// === impl Delta ===

impl<'a> Delta<'a> {
    /// `None` for a chunk without a choice.
    pub(super) fn of(chunk: &'a Value) -> Option<Self> {
        let choice = chunk.pointer("/choices/0")?;
        Some(Self { choice, delta: choice.get("delta").unwrap_or(&Value::Null) })
    }

    /// A text that is not empty.
    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        self.delta.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Pieces of calls, in order.
    pub(super) fn calls(self) -> impl Iterator<Item = CallPiece<'a>> {
        self.delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten().map(|call| {
            let part = |path: &str| call.pointer(path).and_then(Value::as_str).unwrap_or_default();
            CallPiece {
                number: call.get("index").and_then(Value::as_u64).unwrap_or(0),
                id: part("/id"),
                name: part("/function/name"),
                arguments: part("/function/arguments"),
            }
        })
    }
}
