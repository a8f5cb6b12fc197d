//! A finite list of targets to try.

use crate::ids::ModelName;

/// The targets of one request in order: never empty, never one twice. There is no fallback graph, hence no cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(Vec<ModelName>);

// === impl Plan ===

impl Plan {
    /// Builds a plan; repeats after the first are dropped. `None` when there is nothing to try.
    pub fn new(targets: impl IntoIterator<Item = ModelName>) -> Option<Self> {
        let mut plan = Vec::new();
        for target in targets {
            if !plan.contains(&target) {
                plan.push(target);
            }
        }
        if plan.is_empty() { None } else { Some(Self(plan)) }
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

    #[test]
    fn a_plan_is_finite_in_order_and_names_nobody_twice() {
        let names = |text: &'static str| text.split(' ').map(ModelName::from);
        let plan = Plan::new(names("a b a c b a")).unwrap();
        assert_eq!(plan.targets(), names("a b c").collect::<Vec<_>>());
        assert_eq!(plan.first().as_str(), "a");
        assert_eq!(Plan::new([]), None);
    }
}
