//! What savings are counted with: the cost of one's own machine, and sessions to compare with.

use super::providers::Findings;
use super::spec::{LocalCostSpec, SavingsSpec};
use policies::{LocalCost, LocalCostError, NanoDollars};

/// Reads `[local_cost]`: all of it, or nothing.
///
/// Half a cost is none: a machine whose energy alone is known would look cheaper than it is. Hardware that is written off
/// has a price, too, and it is typed as 0.
pub(super) fn read_local_cost(spec: &LocalCostSpec, found: &mut Findings) -> Option<LocalCost> {
    let LocalCostSpec { watts, usd_per_kwh, hardware_usd, hardware_years, hardware_busy } = *spec;
    let written_off = hardware_usd.is_some_and(|dollars| dollars.0 == NanoDollars::ZERO);
    let given = [
        ("watts", watts.is_some(), ""),
        ("usd_per_kwh", usd_per_kwh.is_some(), ""),
        ("hardware_usd", hardware_usd.is_some(), ": write \"0\" for hardware that is written off"),
        ("hardware_years", hardware_years.is_some() || written_off, ""),
    ];
    if hardware_busy.is_none() && given.iter().all(|(_, known, _)| !known) {
        return None;
    }
    let missing = given.iter().filter(|(_, known, _)| !known);
    let missing: Vec<String> = missing.map(|(key, _, hint)| format!("`local_cost.{key}` is missing{hint}")).collect();
    found.problems.extend(missing);
    let milliyears = hardware_years.map_or(1_000, |years| years.0);
    // A share is typed in percent; six digits of it count.
    let busy = hardware_busy.map_or(1_000_000, |share| (f64::from(share.0) * 1e6).round() as u64);
    match LocalCost::new(watts?.0, usd_per_kwh?.0, hardware_usd?.0, milliyears, busy) {
        Ok(cost) => Some(cost),
        Err(error) => {
            let key = match error {
                LocalCostError::Life => "hardware_years",
                LocalCostError::Busy => "hardware_busy",
            };
            found.problems.push(format!("`local_cost.{key}`: {error}"));
            None
        }
    }
}

/// Reads `[savings] holdout`: the share of sessions that always go hosted.
pub(super) fn read_holdout(spec: &SavingsSpec, local_cost: Option<LocalCost>, found: &mut Findings) -> f32 {
    let share = spec.holdout.map_or(0.0, |share| share.0);
    if share >= 1.0 {
        found.problems.push("`savings.holdout` is 100%: nobody would be left to compare with".into());
    }
    if share > 0.0 && local_cost.is_none() {
        let text = "`savings.holdout` without `[local_cost]`: savings are measured before what the local machine costs";
        found.warnings.push(text.into());
    }
    share
}

#[cfg(test)]
mod tests {
    use super::super::units::{Dollars, Share, Thousandths};
    use super::*;
    use std::time::Duration;

    fn whole() -> LocalCostSpec {
        LocalCostSpec {
            watts: Some(Thousandths(65_000)),
            usd_per_kwh: Some(Dollars(NanoDollars(300_000_000))),
            hardware_usd: Some(Dollars(NanoDollars(1_200_000_000_000))),
            hardware_years: Some(Thousandths(4_000)),
            hardware_busy: None,
        }
    }

    fn read(spec: LocalCostSpec) -> (Option<LocalCost>, Findings) {
        let mut found = Findings::default();
        (read_local_cost(&spec, &mut found), found)
    }

    #[test]
    fn a_machine_is_known_wholly_or_not_at_all() {
        let (cost, found) = read(LocalCostSpec::default());
        assert!(cost.is_none() && found.problems.is_empty(), "unknown is no mistake");
        let (cost, found) = read(whole());
        assert!(cost.is_some() && found.problems.is_empty(), "{found:?}");
        let (cost, found) = read(LocalCostSpec { hardware_usd: None, usd_per_kwh: None, ..whole() });
        assert!(cost.is_none());
        assert_eq!(found.problems.len(), 2, "{found:?}");
        assert!(found.problems[1].contains("written off"), "{found:?}");
        let (cost, found) = read(LocalCostSpec { hardware_busy: Some(Share(0.5)), ..LocalCostSpec::default() });
        assert!(cost.is_none() && found.problems.len() == 4, "{found:?}");
    }

    #[test]
    fn somebody_is_held_out_and_somebody_is_not() {
        let read = |share: Option<f32>, machine| {
            let mut found = Findings::default();
            let spec = SavingsSpec { holdout: share.map(Share), ..SavingsSpec::default() };
            (read_holdout(&spec, machine, &mut found), found.problems.len(), found.warnings.len())
        };
        let machine = read_local_cost(&whole(), &mut Findings::default());
        assert_eq!(read(None, None), (0.0, 0, 0), "off by default");
        assert_eq!(read(Some(0.05), machine), (0.05, 0, 0));
        assert_eq!(read(Some(0.05), None), (0.05, 0, 1));
        assert_eq!(read(Some(1.0), machine).1, 1);
    }

    #[test]
    fn written_off_hardware_needs_no_life_and_nonsense_is_named() {
        let paid = Some(Dollars(NanoDollars::ZERO));
        let (cost, found) = read(LocalCostSpec { hardware_usd: paid, hardware_years: None, ..whole() });
        assert!(found.problems.is_empty(), "{found:?}");
        // 65 W for an hour at 0.30 $/kWh.
        assert_eq!(cost.unwrap().of(Duration::from_secs(3_600)).unwrap().0, 19_500_000);
        let (_, found) = read(LocalCostSpec { hardware_years: Some(Thousandths(0)), ..whole() });
        assert!(found.problems[0].contains("hardware_years"), "{found:?}");
        let (_, found) = read(LocalCostSpec { hardware_busy: Some(Share(0.0)), ..whole() });
        assert!(found.problems[0].contains("hardware_busy"), "{found:?}");
    }
}
