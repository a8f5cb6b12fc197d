//! Whose money a budget limits.

use crate::ledger::SpendScope;
use policies::{ModelName, Principal};
use std::fmt;

/// Whose money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    Org,
    /// A team's.
    Team(String),
    /// A key's, by name or id.
    Key(String),
    /// A user's.
    User(String),
    /// A tag's.
    Tag(String, String),
    /// A model's.
    Model(ModelName),
}

// === impl Scope ===

impl Scope {
    /// Reads `org`, `team:NAME`, `key:NAME`, `user:NAME`, `tag:K=V` or `model:NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "org" {
            return Some(Self::Org);
        }
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty())?;
        Some(match kind {
            "team" => Self::Team(name.into()),
            "key" => Self::Key(name.into()),
            "user" => Self::User(name.into()),
            "model" => Self::Model(name.into()),
            "tag" => {
                let (key, value) = name.split_once('=')?;
                Self::Tag(key.into(), value.into())
            }
            _ => return None,
        })
    }

    pub(super) fn covers(&self, principal: &Principal, tags: &[(String, String)]) -> bool {
        match self {
            Self::Org | Self::Model(_) => true,
            Self::Team(team) => principal.team.as_ref() == Some(team),
            Self::User(user) => principal.user.as_ref() == Some(user),
            Self::Key(key) => {
                principal.key_name.as_ref() == Some(key) || principal.key.as_ref().is_some_and(|id| id.as_str() == key)
            }
            Self::Tag(key, value) => tags.iter().any(|(name, tag)| name == key && tag == value),
        }
    }

    /// The one model it counts.
    pub(super) fn only_model(&self) -> Option<&ModelName> {
        match self {
            Self::Model(model) => Some(model),
            Self::Org | Self::Team(_) | Self::Key(_) | Self::User(_) | Self::Tag(..) => None,
        }
    }

    /// As the ledger looks it up; lines have a key's id, not its name.
    pub(super) fn on_ledger(&self, key_id: Option<&str>) -> SpendScope {
        match self {
            Self::Org => SpendScope::Everything,
            Self::Team(team) => SpendScope::Team(team.clone()),
            Self::Key(key) => SpendScope::Key(key_id.unwrap_or(key).to_owned()),
            Self::User(user) => SpendScope::User(user.clone()),
            Self::Tag(key, value) => SpendScope::Tag(key.clone(), value.clone()),
            Self::Model(model) => SpendScope::Model(model.as_str().to_owned()),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Org => f.write_str("org"),
            Self::Team(name) => write!(f, "team:{name}"),
            Self::Key(name) => write!(f, "key:{name}"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Tag(key, value) => write!(f, "tag:{key}={value}"),
            Self::Model(name) => write!(f, "model:{name}"),
        }
    }
}
