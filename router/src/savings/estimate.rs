//! The statistics of savings: pure functions over sessions.
//!
//! **What is estimated.** What the sessions of the treatment would have cost more, had all of them gone hosted: the
//! difference of the mean costs of a session between the arms, times the number of treatment sessions. Sessions are drawn,
//! not requests, so a session is one observation, however many requests it has.
//!
//! **Plain.** Welch, B. L., "The generalization of 'Student's' problem when several different population variances are
//! involved", Biometrika 34 (1947), with the degrees of freedom of Satterthwaite (1946).
//!
//! **Adjusted.** A regression on something that was known before anybody was treated takes out of the comparison what it
//! explains: Deng, Xu, Kohavi, Walker, "Improving the sensitivity of online controlled experiments by utilizing
//! pre-experiment data" (CUPED), WSDM 2013; with a slope of the holdout's own, after Lin, "Agnostic notes on regression
//! adjustments to experimental data", Annals of Applied Statistics 7 (2013). Its variance is the sandwich HC3 of MacKinnon
//! and White, Journal of Econometrics 29 (1985).
//!
//! **The floor.** Costs have a heavy tail, and a small holdout usually lacks the tail: its mean and its variance are too
//! small together, and an interval made of them misses too often. The treatment has many more sessions, and each has
//! a price at the hosted model, too: a holdout's variance is not taken to be smaller than theirs. It can only widen an
//! interval.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Confidence of every interval.
pub const CONFIDENCE: f64 = 0.95;

/// A session, amounts in nano-dollars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Session {
    /// What it cost, all in all.
    pub cost: f64,
    /// What it would have cost at the hosted price, as far as its tokens tell.
    pub baseline: Option<f64>,
    /// What was known beforehand: input tokens of its first request.
    pub known: f64,
}

/// A saving in nano-dollars with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The likeliest.
    pub saving: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

/// Mean and variance of a sample; the variance of fewer than two is 0.
struct Sample {
    count: f64,
    mean: f64,
    variance: f64,
}

/// A line fitted to a sample.
struct Line {
    slope: f64,
    /// Mean of what is known.
    middle: f64,
    /// Sum of squares around it.
    spread: f64,
}

// === impl Sample ===

impl Sample {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / count.max(1.0);
        let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
        Self { count, mean, variance: if count < 2.0 { 0.0 } else { squares / (count - 1.0) } }
    }
}

// === impl Line ===

impl Line {
    /// Least squares; `None` where nothing varies.
    fn through(points: impl Iterator<Item = (f64, f64)> + Clone) -> Option<Self> {
        let known = Sample::of(points.clone().map(|(known, _)| known));
        let height = Sample::of(points.clone().map(|(_, height)| height));
        let spread = known.variance * (known.count - 1.0);
        let together: f64 = points.map(|(at, height_at)| (at - known.mean) * (height_at - height.mean)).sum();
        (spread > 0.0).then(|| Self { slope: together / spread, middle: known.mean, spread })
    }
}

// === impl Estimate ===

impl Estimate {
    fn new(mean: f64, error: f64, freedom: f64, sessions: f64) -> Option<Self> {
        let quantile = StudentsT::new(0.0, 1.0, freedom.max(1.0)).ok()?.inverse_cdf(f64::midpoint(CONFIDENCE, 1.0));
        let half = quantile * error;
        let [saving, low, high] = [mean, mean - half, mean + half].map(|per_session| per_session * sessions);
        Some(Self { saving, low, high })
    }

    /// The width of the interval.
    pub fn width(&self) -> f64 {
        self.high - self.low
    }
}

/// The difference of the means; `None` with fewer than two sessions in an arm.
pub fn plain(treatment: &[Session], holdout: &[Session]) -> Option<Estimate> {
    if treatment.len() < 2 || holdout.len() < 2 {
        return None;
    }
    let treated = Sample::of(treatment.iter().map(|session| session.cost));
    let held = Sample::of(holdout.iter().map(|session| session.cost));
    let floor = Sample::of(treatment.iter().filter_map(|session| session.baseline)).variance;
    let (of_held, of_treated) = (held.variance.max(floor) / held.count, treated.variance / treated.count);
    let all = of_held + of_treated;
    let freedom = if all > 0.0 {
        all.powi(2) / (of_held.powi(2) / (held.count - 1.0) + of_treated.powi(2) / (treated.count - 1.0))
    } else {
        held.count - 1.0
    };
    Estimate::new(held.mean - treated.mean, all.sqrt(), freedom, treated.count)
}

/// The same, with the holdout moved along its own line to where the treatment is; `None` where there is no line.
pub fn adjusted(treatment: &[Session], holdout: &[Session]) -> Option<Estimate> {
    if treatment.len() < 3 || holdout.len() < 3 {
        return None;
    }
    let line = Line::through(holdout.iter().map(|session| (session.known, session.cost)))?;
    let held = Sample::of(holdout.iter().map(|session| session.cost));
    let known = Sample::of(treatment.iter().map(|session| session.known)).mean;
    let treated = Sample::of(treatment.iter().map(|session| session.cost));
    let away = known - line.middle;
    let mut of_held = 0.0;
    for session in holdout {
        let aside = session.known - line.middle;
        let left = session.cost - held.mean - line.slope * aside;
        let leverage = 1.0 / held.count + aside.powi(2) / line.spread;
        let weight = 1.0 / held.count + aside * away / line.spread;
        // A session that is a line of its own says nothing of what is left beside it.
        let alone = 1.0 - leverage;
        if alone < 1e-9 {
            return None;
        }
        of_held += (weight * left / alone).powi(2);
    }
    let priced = treatment.iter().filter_map(|session| Some((session.known, session.baseline?)));
    if let Some(theirs) = Line::through(priced.clone()) {
        let left = Sample::of(priced.map(|(known, baseline)| baseline - theirs.slope * known));
        let stretch = 1.0 + held.count * away.powi(2) / line.spread;
        of_held = of_held.max(left.variance / held.count * stretch);
    }
    // What varies on the treatment's side once the line's part is taken out of it.
    let rest = Sample::of(treatment.iter().map(|session| line.slope * session.known - session.cost));
    let error = (of_held + rest.variance / rest.count).sqrt();
    let mean = held.mean + line.slope * away - treated.mean;
    Estimate::new(mean, error, held.count - 2.0, treated.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(cost: f64, known: f64) -> Session {
        Session { cost, baseline: None, known }
    }

    #[test]
    fn a_textbook_comparison_comes_out() {
        // Holdout 3, 5, 7; treatment 1, 2, 3, 2: means 5 and 2, errors 4/3 and 1/6, freedom 2.5, t = 3.5748...
        let holdout = [3.0, 5.0, 7.0].map(|cost| session(cost, 1.0));
        let treatment = [1.0, 2.0, 3.0, 2.0].map(|cost| session(cost, 1.0));
        let found = plain(&treatment, &holdout).unwrap();
        let (all, freedom) = (4.0 / 3.0 + 1.0 / 6.0, 2.25 / (16.0 / 18.0 + 1.0 / 108.0));
        let half = StudentsT::new(0.0, 1.0, freedom).unwrap().inverse_cdf(0.975) * f64::sqrt(all) * 4.0;
        assert!((found.saving - 12.0).abs() < 1e-9 && (found.high - 12.0 - half).abs() < 1e-9, "{found:?}");
        assert!((found.saving - found.low - half).abs() < 1e-9);
    }

    #[test]
    fn what_was_known_beforehand_takes_chance_out_of_the_comparison() {
        // Cost is ten times what was known, the treatment saves three; the holdout happened to ask for more.
        let holdout = [10.0, 20.0, 30.0, 40.0].map(|known| session(10.0 * known, known));
        let treatment = [5.0, 10.0, 15.0, 20.0].map(|known| session(10.0 * known - 3.0, known));
        let found = adjusted(&treatment, &holdout).unwrap();
        assert!((found.saving - 12.0).abs() < 1e-6 && found.width() < 1e-3, "{found:?}");
        assert!(plain(&treatment, &holdout).unwrap().width() > 100.0);
    }

    #[test]
    fn a_holdout_that_lacks_the_tail_is_not_believed_to_be_even() {
        let holdout = vec![session(1.0, 1.0); 50];
        let even = vec![session(0.5, 1.0); 500];
        assert_eq!(plain(&even, &holdout).unwrap().width(), 0.0);
        let mut priced: Vec<Session> = even.iter().map(|one| Session { baseline: Some(1.0), ..*one }).collect();
        priced[0].baseline = Some(100.0);
        assert!(plain(&priced, &holdout).unwrap().width() > 0.0);
    }

    #[test]
    fn too_little_is_no_estimate() {
        let one = [session(1.0, 1.0)];
        let many = [session(1.0, 1.0), session(2.0, 2.0), session(3.0, 5.0)];
        assert!(plain(&one, &many).is_none() && plain(&many, &one).is_none() && adjusted(&many, &many[..2]).is_none());
        assert!(adjusted(&many, &[session(1.0, 1.0); 5]).is_none(), "nothing varies: there is no line");
        assert!(adjusted(&many, &[session(1.0, 1.0), session(1.0, 1.0), session(9.0, 4.0)]).is_none(), "two points");
    }
}
