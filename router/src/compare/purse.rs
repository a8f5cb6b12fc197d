//! A cap on money that is held to the nano-dollar.
//!
//! **Promise.** What was paid and what is set aside never exceed the cap together: the most that an answer can cost is taken
//! before it is asked for, and put right when it has come.

use policies::NanoDollars;

/// Money for one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purse {
    cap: Option<NanoDollars>,
    spent: u64,
    held: u64,
}

// === impl Purse ===

impl Purse {
    /// A purse with this cap (`None`: none) from which so much has gone.
    pub fn new(cap: Option<NanoDollars>, spent: NanoDollars) -> Self {
        Self { cap, spent: spent.0, held: 0 }
    }

    /// Sets `most` aside; says whether the cap has it.
    pub fn take(&mut self, most: NanoDollars) -> bool {
        let after = self.spent.checked_add(self.held).and_then(|gone| gone.checked_add(most.0));
        let fits = after.is_some_and(|after| self.cap.is_none_or(|cap| after <= cap.0));
        if fits {
            self.held += most.0;
        }
        fits
    }

    /// Puts right what was set aside: `cost` of it was paid.
    pub fn settle(&mut self, most: NanoDollars, cost: NanoDollars) {
        self.held = self.held.saturating_sub(most.0);
        self.spent = self.spent.saturating_add(cost.0);
    }

    /// The same purse on another day.
    #[must_use]
    pub fn renewed(&self) -> Self {
        Self { cap: self.cap, spent: 0, held: 0 }
    }

    /// Changes the cap.
    pub fn set_cap(&mut self, cap: Option<NanoDollars>) {
        self.cap = cap;
    }

    /// What was paid.
    pub fn spent(&self) -> NanoDollars {
        NanoDollars(self.spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cap_is_held_to_the_nano_dollar() {
        let mut purse = Purse::new(Some(NanoDollars(100)), NanoDollars(40));
        assert!(purse.take(NanoDollars(60)) && !purse.take(NanoDollars(1)));
        purse.settle(NanoDollars(60), NanoDollars(59));
        assert!(purse.take(NanoDollars(1)) && !purse.take(NanoDollars(1)));
        assert!(!Purse::new(None, NanoDollars(u64::MAX)).take(NanoDollars(1)), "even without a cap nothing wraps");
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_the_cap_is_never_passed(cap in 0_u64..1_000, asks in prop::collection::vec((0_u64..200, 0.0..1.0), 0..50)) {
            let mut purse = Purse::new(Some(NanoDollars(cap)), NanoDollars::ZERO);
            let mut running = vec![];
            for (most, part) in asks {
                if purse.take(NanoDollars(most)) {
                    running.push((most, (most as f64 * part) as u64));
                }
                let held: u64 = running.iter().map(|(most, _)| most).sum();
                prop_assert!(purse.spent().0 + held <= cap);
                if running.len() > 3 {
                    let (most, cost) = running.remove(0);
                    purse.settle(NanoDollars(most), NanoDollars(cost));
                }
            }
        }
    }
}
