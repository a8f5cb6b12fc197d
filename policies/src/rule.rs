//! Configured rules.

use crate::facts::{Facts, RouteWish};
use crate::ids::ModelName;
use crate::residency::Classes;

/// A configured rule: it narrows or pins, it never widens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The key's name or id.
    pub key: Option<String>,
    /// The key's team.
    pub team: Option<String>,
    /// A tag, `a=b`.
    pub tag: Option<(String, String)>,
    /// The data class by name.
    pub class: Option<String>,
    /// Whether tools are offered.
    pub tools: Option<bool>,
    /// What the `model` field says.
    pub model: Option<String>,
    /// Narrow to this side.
    pub route: RouteWish,
    /// Pin this model.
    pub pin: Option<ModelName>,
}

// === impl Rule ===

impl Rule {
    pub(crate) fn matches(&self, facts: &Facts, classes: &Classes) -> bool {
        let principal = &facts.principal;
        let said =
            |wanted: &Option<String>, is: Option<&str>| wanted.as_deref().is_none_or(|wanted| is == Some(wanted));
        let key = self.key.as_deref().is_none_or(|wanted| {
            principal.key_name.as_deref() == Some(wanted)
                || principal.key.as_ref().is_some_and(|id| id.as_str() == wanted)
        });
        let asked = facts.choice.pinned().map_or("auto", ModelName::as_str);
        key && said(&self.team, principal.team.as_deref())
            && said(&self.class, Some(classes.name(facts.class)))
            && said(&self.model, Some(asked))
            && self.tools.is_none_or(|wanted| wanted == facts.needs.tools)
            && self.tag.as_ref().is_none_or(|tag| facts.tags.contains(tag))
    }
}
