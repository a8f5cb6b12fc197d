//! Which data may go where.
//!
//! **Promise.** A candidate is permitted for a class only when the class is known, the candidate's location is among
//! those of the class and, for a hosted one, its region is known and permitted. Everything else is refused: an unknown
//! class, an unknown region, a location nobody named.

use crate::candidate::Location;
use crate::ids::ProviderName;
use crate::permit::Sink;
use serde::Serialize;

/// A data class: its place in [`Classes`], so that comparing two is comparing how sensitive they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct DataClass(usize);

/// Where the data of one class may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassRule {
    /// The class's name.
    pub name: String,
    /// Locations it may go to.
    pub locations: Vec<Location>,
    /// Regions a hosted provider must be in; `None`: any known region.
    pub regions: Option<Vec<String>>,
    /// Hosted providers by name; `None`: any.
    pub providers: Option<Vec<ProviderName>>,
    /// Where its content may end up besides.
    pub sinks: Vec<Sink>,
}

/// All classes, the least sensitive first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes(Vec<ClassRule>);

/// Why classes do not make sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResidencyError {
    /// No class by that name.
    #[error("unknown data class `{0}`")]
    UnknownClass(String),
    /// Two classes share a name.
    #[error("data class `{0}` is listed twice")]
    Repeated(String),
}

// === impl ClassRule ===

impl ClassRule {
    /// Where content of a class ends up if nothing else is said: anywhere, unless it may not leave the house.
    pub fn usual_sinks(locations: &[Location]) -> Vec<Sink> {
        if locations.contains(&Location::Hosted) { Sink::ALL.to_vec() } else { Sink::INSIDE.to_vec() }
    }
}

// === impl Classes ===

impl Classes {
    /// Builds the table from rules, the least sensitive first.
    pub fn new(rules: Vec<ClassRule>) -> Result<Self, ResidencyError> {
        for (at, rule) in rules.iter().enumerate() {
            if rules[..at].iter().any(|earlier| earlier.name == rule.name) {
                return Err(ResidencyError::Repeated(rule.name.clone()));
            }
        }
        Ok(Self(rules))
    }

    /// `public < internal < confidential < restricted`; the first three go to any known region, the last stays local.
    pub fn standard() -> Self {
        let anywhere = vec![Location::Local, Location::Hosted];
        let rule = |name: &str, locations: &[Location]| ClassRule {
            name: name.into(),
            locations: locations.to_vec(),
            regions: None,
            providers: None,
            sinks: ClassRule::usual_sinks(locations),
        };
        Self(vec![
            rule("public", &anywhere),
            rule("internal", &anywhere),
            rule("confidential", &anywhere),
            rule("restricted", &[Location::Local]),
        ])
    }

    /// The class of that name.
    pub fn named(&self, name: &str) -> Result<DataClass, ResidencyError> {
        self.0
            .iter()
            .position(|rule| rule.name == name)
            .map(DataClass)
            .ok_or_else(|| ResidencyError::UnknownClass(name.into()))
    }

    /// The most sensitive one.
    pub fn highest(&self) -> DataClass {
        DataClass(self.0.len().saturating_sub(1))
    }

    /// The name of a class.
    pub fn name(&self, class: DataClass) -> &str {
        self.0.get(class.0).map_or("unknown", |rule| rule.name.as_str())
    }

    pub(crate) fn rule(&self, class: DataClass) -> Option<&ClassRule> {
        self.0.get(class.0)
    }

    /// All rules, the least sensitive first.
    pub fn rules(&self) -> &[ClassRule] {
        &self.0
    }

    /// Says whether data of `class` may go to that provider; the error is the rule that forbids it, without the data.
    pub fn permits(
        &self,
        class: DataClass,
        provider: &ProviderName,
        location: Location,
        region: Option<&str>,
    ) -> Result<(), String> {
        let Some(rule) = self.0.get(class.0) else {
            return Err("the data class is unknown".into());
        };
        if !rule.locations.contains(&location) {
            return Err(format!("data class `{}` may not go to a {location} provider", rule.name));
        }
        match location {
            Location::Local => Ok(()),
            Location::Hosted => {
                let Some(region) = region else {
                    return Err(format!("the region of provider `{provider}` is not known"));
                };
                if rule.regions.as_ref().is_some_and(|regions| !regions.iter().any(|known| known == region)) {
                    return Err(format!("data class `{}` may not go to region `{region}`", rule.name));
                }
                if rule.providers.as_ref().is_some_and(|providers| !providers.contains(provider)) {
                    return Err(format!("data class `{}` may not go to provider `{provider}`", rule.name));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(class: &str, location: Location, region: Option<&str>, permitted: bool) {
        let mut rules = Classes::standard().0;
        rules[2].regions = Some(vec!["eu".into()]);
        let classes = Classes::new(rules).unwrap();
        let class = classes.named(class).unwrap();
        let verdict = classes.permits(class, &"p".into(), location, region);
        assert_eq!(verdict.is_ok(), permitted, "{verdict:?}");
    }

    #[test]
    fn a_class_goes_only_where_its_rule_says_and_unknown_means_refused() {
        check("public", Location::Hosted, Some("us"), true);
        check("public", Location::Hosted, None, false);
        check("confidential", Location::Hosted, Some("eu"), true);
        check("confidential", Location::Hosted, Some("us"), false);
        check("confidential", Location::Hosted, None, false);
        check("restricted", Location::Hosted, Some("eu"), false);
        check("restricted", Location::Local, None, true);
        assert!(Classes::standard().named("secret").is_err());
    }

    #[test]
    fn classes_are_ordered_by_sensitivity() {
        let classes = Classes::standard();
        assert!(classes.named("restricted").unwrap() > classes.named("public").unwrap());
    }
}
