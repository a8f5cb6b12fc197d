//! What is true of a request, read once and never guessed later.

use crate::candidate::Location;
use crate::detect::Findings;
use crate::ids::{KeyId, ModelName, SessionId};
use crate::mask::Masked;
use crate::residency::DataClass;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The endpoint that was called; its shape is the shape of answers and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
}

/// What the `model` field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// `auto`: Sluice chooses.
    Auto,
    /// A configured name.
    Pinned(ModelName),
}

/// What `x-sluice-route` or a rule narrows the choice to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteWish {
    /// Either side.
    #[default]
    Auto,
    /// Local only.
    Local,
    /// Hosted only.
    Hosted,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The virtual key; absent where no key is configured.
    pub key: Option<KeyId>,
    /// The key's name.
    pub key_name: Option<String>,
    /// The key's team.
    pub team: Option<String>,
    /// The key's user.
    pub user: Option<String>,
    /// Models the key may use; `None`: all.
    pub models: Option<Vec<ModelName>>,
    /// Where the key's requests may go; `None`: to both sides.
    pub routes: Option<Vec<Location>>,
    /// Classes of data the key may send, by name; `None`: all.
    pub classes: Option<Vec<String>>,
}

/// How many tokens a prompt has, before anybody tokenised it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TokenEstimate {
    /// A number it surely reaches (eight bytes a token). Where there are several inputs, each with a context of its own, the
    /// longest one alone.
    pub floor: u64,
    /// The likely number.
    pub likely: u64,
    /// A number it cannot exceed: one token a byte, plus the template's.
    pub ceiling: u64,
}

/// What the request cannot do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// It offers tools.
    pub tools: bool,
    /// It carries pictures.
    pub vision: bool,
    /// It carries or asks for audio.
    pub audio: bool,
    /// It carries files.
    pub files: bool,
    /// It wants an answer to a JSON schema.
    pub json_schema: bool,
    /// It wants log-probabilities.
    pub logprobs: bool,
    /// Number of choices (`n`).
    pub choices: u32,
}

/// What set the data class of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassedBy {
    /// Nothing asked for more than the default.
    #[default]
    Default,
    /// The client's header.
    Header,
    /// What was found in its content.
    Content,
    /// What could not be looked at.
    Unscanned,
    /// An earlier turn of its session.
    Session,
    /// A configured matcher: of its key, team, user, tag or system prompt.
    Matcher,
}

/// How a request came to its data class.
#[derive(Clone, Debug, Default)]
pub struct Classed {
    /// What set it.
    pub by: ClassedBy,
    /// The class that the client named, also where it was too low to count.
    pub named: Option<DataClass>,
    /// What was found in its content; `None`: nobody looked.
    pub findings: Option<Arc<Findings>>,
    /// What it is once it is masked; `None`: nothing in it can be.
    pub masked: Option<Masked>,
}

/// The facts of one request. Text is not among them: `decide()` cannot read a prompt.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The endpoint that was called.
    pub endpoint: Endpoint,
    /// Who asks.
    pub principal: Principal,
    /// What `model` asks for.
    pub choice: Choice,
    /// What the client narrows the choice to.
    pub wish: RouteWish,
    /// How sensitive the data is.
    pub class: DataClass,
    /// How it came to that class.
    pub classed: Classed,
    /// The session, if the client named one.
    pub session: Option<SessionId>,
    /// Labels for spend (`a=b`), sorted, no key twice.
    pub tags: Vec<(String, String)>,
    /// Size of the prompt in tokens.
    pub prompt: TokenEstimate,
    /// The most the client wants back, in tokens, if it said so.
    pub output_ceiling: Option<u64>,
    /// Whether it wants a stream.
    pub stream: bool,
    /// What it cannot do without.
    pub needs: Needs,
    /// Number of messages.
    pub messages: usize,
    /// An agent repeats a call of a tool that fails.
    pub tool_loop: bool,
}

// === impl Classed ===

impl Classed {
    /// Names of what was found and set this class: kinds and configured names, never content.
    pub fn found(&self, class: DataClass) -> Vec<&str> {
        let mut names: Vec<&str> = match (&self.by, &self.findings) {
            (ClassedBy::Content, Some(findings)) => {
                findings.found.iter().filter(|finding| finding.class == class).map(|finding| &*finding.name).collect()
            }
            _ => vec![],
        };
        names.dedup();
        names
    }
}

// === impl Choice ===

impl Choice {
    /// The pinned name, if one was given.
    pub fn pinned(&self) -> Option<&ModelName> {
        match self {
            Self::Auto => None,
            Self::Pinned(model) => Some(model),
        }
    }
}
