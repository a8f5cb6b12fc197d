//! A finite list of targets to try.

use crate::ids::ModelName;
use std::collections::HashMap;

/// Up to so many names are looked for one by one, more by their hash.
pub(crate) const FEW: usize = 8;

/// The targets of one request in order: never empty, never one twice. There is no fallback graph, hence no cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(Vec<ModelName>);

// === impl Plan ===

impl Plan {
    /// Builds a plan; repeats after the first are dropped. `None` when there is nothing to try.
    pub fn new(targets: impl IntoIterator<Item = ModelName>) -> Option<Self> {
        Self::with_places(targets).map(|(plan, _)| plan)
    }

    /// The same, with the place of each that was given, from 0. Takes time in proportion to how many there are.
    pub(crate) fn with_places(targets: impl IntoIterator<Item = ModelName>) -> Option<(Self, Vec<usize>)> {
        let (mut plan, mut places) = (Vec::new(), Vec::new());
        let mut known: HashMap<ModelName, usize> = HashMap::new();
        for target in targets {
            if plan.len() == FEW && known.is_empty() {
                known.extend(plan.iter().cloned().zip(0..));
            }
            let found = if known.is_empty() {
                plan.iter().position(|earlier| *earlier == target)
            } else {
                known.get(&target).copied()
            };
            let place = found.unwrap_or_else(|| {
                if !known.is_empty() {
                    known.insert(target.clone(), plan.len());
                }
                plan.push(target);
                plan.len() - 1
            });
            places.push(place);
        }
        if plan.is_empty() { None } else { Some((Self(plan), places)) }
    }

    /// The target to try first.
    pub fn first(&self) -> &ModelName {
        &self.0[0]
    }

    /// All targets, in the order to try them.
    pub fn targets(&self) -> &[ModelName] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plan_is_finite_in_order_and_names_nobody_twice() {
        let names = |text: &'static str| text.split(' ').map(ModelName::from);
        let plan = Plan::new(names("a b a c b a")).unwrap();
        assert_eq!(plan.targets(), names("a b c").collect::<Vec<_>>());
        assert_eq!(plan.first().as_str(), "a");
        assert_eq!(Plan::new([]), None);
    }

    proptest! {
        #[test]
        fn many_names_are_told_apart_as_few_are(numbers in proptest::collection::vec(0_u8..40, 1..120)) {
            let names: Vec<ModelName> = numbers.iter().map(|number| format!("m{number}").into()).collect();
            let mut plain: Vec<ModelName> = vec![];
            let places: Vec<usize> = names.iter().map(|name| {
                plain.iter().position(|known| known == name).unwrap_or_else(|| {
                    plain.push(name.clone());
                    plain.len() - 1
                })
            }).collect();
            prop_assert_eq!(Plan::with_places(names), Some((Plan(plain), places)));
        }
    }
}
