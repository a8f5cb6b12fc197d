//! What was saved, as finance believes it, and as it is usually told.
//!
//! **Promise.** The measured figure compares sessions that were drawn to go hosted with those that were not, and comes with
//! an interval or not at all: where it cannot be given the verdict says why, and no number stands in for it. It is net
//! of everything that the ledger knows of a session: rejected drafts, fallbacks, hedges, shadow copies, judges, and what the
//! local machine cost for answers and judgements.
//!
//! **The weaker figure** prices the tokens of local answers at the hosted model. It needs no holdout, and assumes
//! what it should show: that the hosted model would have written as much and been asked as often.
//!
//! **What it does not do.** It does not say how good the answers were.

mod estimate;

pub use estimate::{CONFIDENCE, Estimate, Session, adjusted, plain};

use crate::ledger::{GroupBy, Ledger, LedgerError, SessionRow, SpendRow};
use policies::NanoDollars;
use serde::Serialize;
use std::collections::BTreeMap;

/// Fewer held-out sessions give no number: below it the mean of costs with a heavy tail is a matter of chance.
pub const LEAST_SESSIONS: u64 = 100;

const METHOD: &str = "difference of mean cost per session between the arms, times treatment sessions; Welch's t interval, \
    the holdout's variance not below that of the treatment's sessions at the hosted price";
const ADJUSTED: &str = "the same after a regression on the estimated input tokens of a session's first request (CUPED, with the \
    holdout's own slope; HC3)";
const REPRICING: &str = "the weaker figure: it assumes that the hosted model would have written as many tokens and been asked as \
    often";

/// The answer of `/api/savings`.
#[derive(Clone, Debug, Serialize)]
pub struct Savings {
    /// Not before (RFC 3339); null: since the ledger began.
    pub since: Option<String>,
    /// Before (RFC 3339); null: up to now.
    pub until: Option<String>,
    /// Measured against the holdout.
    pub measured: Measured,
    /// Local answers at the hosted price.
    pub repriced: Repriced,
}

/// Why there is a measured figure, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There is one.
    Measured,
    /// No session of the span was in an arm.
    Off,
    /// Too few sessions.
    TooFewSessions,
    /// The share that is held out changed within the span: sessions changed their arm.
    ShareChanged,
    /// A model without a price answered.
    Unpriced,
}

/// The comparison of the arms.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Whether there is a figure.
    pub verdict: Verdict,
    /// One sentence.
    pub message: String,
    /// The share of sessions that is held out.
    pub holdout_share: Option<f64>,
    /// What was saved; null without a figure. Negative: it cost more.
    pub savings_usd: Option<String>,
    /// The interval of it.
    pub interval_usd: Option<Interval>,
    /// Its confidence.
    pub confidence: f64,
    /// How it was computed.
    pub method: &'static str,
    /// The same with less chance in it.
    pub adjusted: Option<Adjusted>,
    /// Routed as usual.
    pub treatment: Arm,
    /// Always hosted.
    pub holdout: Arm,
    /// In neither arm: a constraint, the client or a rule left only one side from the start.
    pub excluded: Arm,
    /// Those sessions, by what excluded them.
    pub excluded_by: BTreeMap<String, u64>,
}

/// An interval.
#[derive(Clone, Debug, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: String,
    /// Its upper end.
    pub high: String,
}

/// The adjusted figure.
#[derive(Clone, Debug, Serialize)]
pub struct Adjusted {
    /// What was saved.
    pub savings_usd: String,
    /// The interval of it.
    pub interval_usd: Interval,
    /// How much of the variance the adjustment took away; negative: it added some.
    pub variance_reduction: f64,
    /// How it was computed.
    pub method: &'static str,
}

/// An arm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Arm {
    /// Sessions.
    pub sessions: u64,
    /// Requests.
    pub requests: u64,
    /// What was spent on them.
    pub cost_usd: NanoDollars,
    /// What the local machine cost for their answers; `None` where it is known of none.
    pub local_cost_usd: Option<NanoDollars>,
    /// Local attempts of which it is not known.
    pub local_cost_unknown: u64,
    /// What the local machine cost for judging them; `None` where it is known of none.
    pub judging_usd: Option<NanoDollars>,
    /// Attempts whose model has no price.
    pub unpriced_requests: u64,
    /// All of it, as far as it is known, for a session.
    pub mean_usd: Option<NanoDollars>,
}

/// Local answers at the hosted price.
#[derive(Clone, Debug, Serialize)]
pub struct Repriced {
    /// Baseline, less what was spent, less the local machine where it is known.
    pub savings_usd: String,
    /// What the same tokens would have cost.
    pub baseline_usd: NanoDollars,
    /// What was spent.
    pub cost_usd: NanoDollars,
    /// What the local machine cost.
    pub local_cost_usd: Option<NanoDollars>,
    /// Local attempts of which it is not known.
    pub local_cost_unknown: u64,
    /// Attempts whose model has no price.
    pub unpriced_requests: u64,
    /// What it assumes.
    pub note: &'static str,
}

// === impl Ledger: savings ===

impl Ledger {
    /// What was saved in a time span.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn savings(&self, since_us: i64, until_us: i64) -> Result<Savings, LedgerError> {
        let rows = self.sessions(since_us, until_us)?;
        let spent = self.spend(GroupBy::Route, since_us, until_us)?.total;
        let moment = |us: i64| jiff::Timestamp::from_microsecond(us).ok().map(|at| at.to_string());
        let (since, until) = (Some(since_us).filter(|us| *us > 0), Some(until_us).filter(|us| *us < i64::MAX));
        Ok(Savings::of(&rows, &spent, (since.and_then(moment), until.and_then(moment))))
    }
}

// === impl Savings ===

impl Savings {
    /// Tells savings from the sessions of a span and all that was spent in it.
    pub fn of(rows: &[SessionRow], spent: &SpendRow, (since, until): (Option<String>, Option<String>)) -> Self {
        Self { since, until, measured: Measured::of(rows), repriced: Repriced::of(spent) }
    }
}

// === impl Measured ===

impl Measured {
    fn of(rows: &[SessionRow]) -> Self {
        let arm = |name: &'static str| rows.iter().filter(move |row| row.arm == name);
        let (treatment, holdout) = (Arm::of(arm("treatment")), Arm::of(arm("holdout")));
        let mut excluded_by = BTreeMap::new();
        for row in arm("excluded") {
            *excluded_by.entry(row.why.clone().unwrap_or_default()).or_default() += 1;
        }
        let least = rows.iter().map(|row| row.shares.0).min_by(f64::total_cmp);
        let most = rows.iter().map(|row| row.shares.1).max_by(f64::total_cmp);
        let unpriced = treatment.unpriced_requests + holdout.unpriced_requests;
        let fewest = holdout.sessions.min(treatment.sessions);
        let (mut verdict, mut message) = match (least, most) {
            (None, _) | (_, None) => {
                (Verdict::Off, "no session of this span was in an arm: set `[savings] holdout`, e.g. \"5%\"".into())
            }
            (Some(least), Some(most)) if least != most => (
                Verdict::ShareChanged,
                "the share that is held out changed within this span: choose a span within one share".into(),
            ),
            (Some(_), Some(_)) if unpriced > 0 => {
                (Verdict::Unpriced, format!("{unpriced} attempts went to models without a price: nothing can be told"))
            }
            (Some(_), Some(_)) if fewest < LEAST_SESSIONS => (
                Verdict::TooFewSessions,
                format!(
                    "{} sessions were held out and {} were not: at least {LEAST_SESSIONS} of each are needed for a number",
                    holdout.sessions, treatment.sessions
                ),
            ),
            (Some(_), Some(_)) => (Verdict::Measured, String::new()),
        };
        let mut estimates = (None, None);
        if verdict == Verdict::Measured {
            let sessions = |name: &'static str| arm(name).map(session).collect::<Vec<_>>();
            let (treated, held) = (sessions("treatment"), sessions("holdout"));
            estimates = (plain(&treated, &held), adjusted(&treated, &held));
            match estimates.0 {
                Some(found) => message = told(&found, treatment.local_cost_unknown + holdout.local_cost_unknown),
                // Two of each are enough for it.
                None => (verdict, message) = (Verdict::TooFewSessions, "there are too few sessions".into()),
            }
        }
        let (plain, adjusted) = estimates;
        Self {
            verdict,
            message,
            // A share is typed as 32 bits, and shown as it was typed.
            holdout_share: least.filter(|_| least == most).map(|share| (share * 1e4).round() / 1e4),
            savings_usd: plain.map(|found| dollars(found.saving)),
            interval_usd: plain.as_ref().map(Interval::of),
            confidence: CONFIDENCE,
            method: METHOD,
            adjusted: adjusted.zip(plain).map(|(found, plain)| Adjusted {
                savings_usd: dollars(found.saving),
                interval_usd: Interval::of(&found),
                variance_reduction: reduction(&found, &plain),
                method: ADJUSTED,
            }),
            treatment,
            holdout,
            excluded: Arm::of(arm("excluded")),
            excluded_by,
        }
    }
}

/// A session with everything that it cost.
fn session(row: &SessionRow) -> Session {
    Session {
        cost: (row.cost.0 + row.local_cost.0 + row.judging.unwrap_or_default().0) as f64,
        baseline: row.baseline.map(|amount| amount.0 as f64),
        known: row.prompt_tokens as f64,
    }
}

fn told(found: &Estimate, unknown: u64) -> String {
    let before = match unknown {
        0 => String::new(),
        _ => format!("; it is before what {unknown} local attempts cost, which is not known without `[local_cost]`"),
    };
    let chance = if found.low <= 0.0 && found.high >= 0.0 {
        "it may be chance: the interval holds 0"
    } else {
        "it is not chance"
    };
    format!("measured against the holdout; {chance}{before}")
}

fn reduction(found: &Estimate, plain: &Estimate) -> f64 {
    let ratio = if plain.width() > 0.0 { (found.width() / plain.width()).powi(2) } else { 1.0 };
    ((1.0 - ratio) * 1e3).round() / 1e3
}

// === impl Interval ===

impl Interval {
    fn of(found: &Estimate) -> Self {
        Self { low: dollars(found.low), high: dollars(found.high) }
    }
}

// === impl Arm ===

impl Arm {
    fn of<'a>(rows: impl Iterator<Item = &'a SessionRow>) -> Self {
        let (mut arm, mut known, mut local) = (Self::default(), 0, 0);
        for row in rows {
            arm.sessions += 1;
            arm.requests += row.requests;
            arm.cost_usd.0 += row.cost.0;
            if let Some(judging) = row.judging {
                arm.judging_usd.get_or_insert_default().0 += judging.0;
            }
            arm.local_cost_unknown += row.local_unknown;
            arm.unpriced_requests += row.unpriced;
            known += row.local_known;
            local += row.local_cost.0;
        }
        arm.local_cost_usd = (known > 0).then_some(NanoDollars(local));
        let all = arm.cost_usd.0 + local + arm.judging_usd.unwrap_or_default().0;
        arm.mean_usd = all.checked_div(arm.sessions).map(NanoDollars);
        arm
    }
}

// === impl Repriced ===

impl Repriced {
    fn of(spent: &SpendRow) -> Self {
        let signed = |amount: NanoDollars| i128::from(amount.0);
        let local = spent.local_cost_usd.unwrap_or_default();
        Self {
            savings_usd: text(signed(spent.baseline_usd) - signed(spent.cost_usd) - signed(local)),
            baseline_usd: spent.baseline_usd,
            cost_usd: spent.cost_usd,
            local_cost_usd: spent.local_cost_usd,
            local_cost_unknown: spent.local_cost_unknown,
            unpriced_requests: spent.unpriced_requests,
            note: REPRICING,
        }
    }
}

/// Estimated nano-dollars as dollars.
fn dollars(nanos: f64) -> String {
    // An estimate of more than 10²⁹ dollars is none.
    text(nanos.round() as i128)
}

/// Dollars as a decimal text, with a sign where there is less than nothing.
pub(crate) fn text(nanos: i128) -> String {
    let size = u64::try_from(nanos.unsigned_abs()).unwrap_or(u64::MAX);
    format!("{}{}", if nanos < 0 { "-" } else { "" }, NanoDollars(size))
}

#[cfg(test)]
mod tests;
