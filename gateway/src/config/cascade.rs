//! The second look at local answers.

use super::defaults;
use super::providers::Findings;
use super::spec::{CascadeMode, CascadeSpec};
use router::CascadeConfig;

/// Reads `[router.cascade]`.
pub(super) fn read(spec: &CascadeSpec, found: &mut Findings) -> CascadeConfig {
    let mode = spec.mode.unwrap_or_default();
    let hold_tokens = spec.hold_tokens.unwrap_or(defaults::CASCADE_HOLD_TOKENS);
    if hold_tokens == 0 {
        found.problems.push("`router.cascade.hold_tokens` is 0: write `mode = \"off\"`".into());
    }
    if spec.hedge && mode != CascadeMode::On {
        let text = "`router.cascade.hedge` does nothing where no answer is escalated: it needs `mode = \"on\"`";
        found.warnings.push(text.into());
    }
    let samples = spec.samples.unwrap_or(1);
    if !(1..=2).contains(&samples) {
        found.problems.push(format!("`router.cascade.samples` is {samples}: an answer is drawn once (1) or twice (2)"));
    }
    CascadeConfig {
        width: match mode {
            CascadeMode::Off => 0.0,
            CascadeMode::On | CascadeMode::Observe => spec.width.map_or(defaults::CASCADE_WIDTH, |share| share.0),
        },
        observe: mode == CascadeMode::Observe,
        hold_tokens,
        hold: spec.hold.map_or(defaults::CASCADE_HOLD, |time| time.0),
        hedge: spec.hedge && mode == CascadeMode::On,
        samples,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (CascadeConfig, Findings) {
        let mut found = Findings::default();
        (read(&toml::from_str(text).unwrap(), &mut found), found)
    }

    #[test]
    fn an_answer_is_drawn_once_or_twice() {
        assert_eq!([told("").0.samples, told("samples = 1").0.samples, told("samples = 2").0.samples], [1, 1, 2]);
        for samples in [0, 3, 255] {
            let (_, found) = told(&format!("samples = {samples}"));
            assert!(found.problems[0].contains(&format!("`router.cascade.samples` is {samples}")), "{found:?}");
        }
    }

    #[test]
    fn hedging_is_asked_for_and_only_where_answers_are_escalated() {
        assert!(!told("").0.hedge && !told("mode = \"on\"").0.hedge);
        let (config, found) = told("hedge = true");
        assert!(config.hedge && found.problems.is_empty() && found.warnings.is_empty(), "{found:?}");
        for mode in ["observe", "off"] {
            let (config, found) = told(&format!("mode = \"{mode}\"\nhedge = true"));
            assert!(!config.hedge && found.problems.is_empty(), "{found:?}");
            assert!(found.warnings[0].contains("`router.cascade.hedge`"), "{found:?}");
        }
    }
}
