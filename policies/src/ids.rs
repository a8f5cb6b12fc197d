//! Names that do not unify with each other.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<$name> for Arc<str> {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A model as the configuration names it (`[models.NAME]`), not as its provider does.
    ModelName
}
name! {
    /// A provider as the configuration names it (`[providers.NAME]`).
    ProviderName
}
name! {
    /// The id of a virtual key; never the key.
    KeyId
}
name! {
    /// What ties the turns of a conversation together.
    SessionId
}
name! {
    /// One request of a client; all its attempts share it.
    RequestId
}

impl RequestId {
    /// Makes a fresh id from a UUID (version 7 sorts by time).
    pub fn from_uuid(id: uuid::Uuid) -> Self {
        Self(id.to_string().into())
    }
}
