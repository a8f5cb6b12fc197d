//! Configured classes: whose requests, or which, have at least a class whatever they contain.

use crate::facts::Principal;
use regex::{Regex, RegexBuilder};

/// Compiled size of an expression; one that becomes larger is refused.
const PATTERN_BYTES: usize = 1 << 20;

/// Requests that have at least a class. What is left out matches everybody; all that is said has to match.
#[derive(Clone, Debug)]
pub struct ClassMatcher {
    /// The class, by name.
    pub class: String,
    /// The key's name or id.
    pub key: Option<String>,
    /// The key's team.
    pub team: Option<String>,
    /// The key's user.
    pub user: Option<String>,
    /// A tag, `a=b`.
    pub tag: Option<(String, String)>,
    /// Found in a system or developer message. Linear in the text (the crate `regex` does not backtrack).
    pub system: Option<Regex>,
}

// === impl ClassMatcher ===

impl ClassMatcher {
    /// An expression for [`ClassMatcher::system`].
    ///
    /// # Errors
    /// It is none, or becomes too large.
    pub fn pattern(text: &str) -> Result<Regex, String> {
        RegexBuilder::new(text).size_limit(PATTERN_BYTES).build().map_err(|error| error.to_string())
    }

    /// Whether a request is meant; `system` are the texts of its system and developer messages.
    pub fn takes<'a>(
        &self,
        who: &Principal,
        tags: &[(String, String)],
        mut system: impl Iterator<Item = &'a str>,
    ) -> bool {
        let same =
            |wanted: &Option<String>, is: Option<&str>| wanted.as_deref().is_none_or(|wanted| is == Some(wanted));
        let key = self.key.as_deref().is_none_or(|wanted| {
            who.key_name.as_deref() == Some(wanted) || who.key.as_ref().is_some_and(|id| id.as_str() == wanted)
        });
        key && same(&self.team, who.team.as_deref())
            && same(&self.user, who.user.as_deref())
            && self.tag.as_ref().is_none_or(|tag| tags.contains(tag))
            && self.system.as_ref().is_none_or(|wanted| system.any(|text| wanted.is_match(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_said_has_to_match() {
        let matcher = ClassMatcher {
            class: "restricted".into(),
            key: None,
            team: Some("hr".into()),
            user: None,
            tag: Some(("job".into(), "payroll".into())),
            system: Some(ClassMatcher::pattern("(?i)personnel file").unwrap()),
        };
        let hr = Principal { team: Some("hr".into()), ..Principal::default() };
        let tags = [("job".to_owned(), "payroll".to_owned())];
        assert!(matcher.takes(&hr, &tags, ["You read a Personnel File."].into_iter()));
        assert!(!matcher.takes(&hr, &tags, ["You read mail."].into_iter()));
        assert!(!matcher.takes(&hr, &[], ["personnel file"].into_iter()));
        assert!(!matcher.takes(&Principal::default(), &tags, ["personnel file"].into_iter()));
    }
}
