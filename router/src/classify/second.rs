//! A second opinion where the first is too close to call: the local model is asked, too.
//!
//! **Promise.** It is asked only inside the uncertain band, for at most its deadline, and never again for a while after it
//! was late or failed several times (a breaker). Whatever becomes of it, the first opinion stands: on any failure it is
//! the judgement, unchanged.
//!
//! **How two opinions become one.** The mean of their log-odds: the geometric pool of two experts of equal standing, which
//! keeps a sure word sure and lets two unsure ones stay unsure. It is a fixed rule; no head was fitted to it.
//!
//! **What it costs.** One prefill of the question in the local model, hundreds of milliseconds on a CPU, and there a tiny
//! model judges no better than length: it is off unless configured, for a GPU or a larger local model.

use super::slm;
use crate::health::Breaker;
use adapters::Backend;
use adapters::wire::WireRequest;
use policies::{Permit, Signals, Sink};
use std::sync::Arc;
use std::time::Duration;

/// What its effect is called among the features of a judgement.
const FEATURE: &str = "the local model's own opinion";
/// Nobody is surer than this, so that one opinion cannot drown the other.
const SUREST: f32 = 0.98;

/// Who is asked.
pub struct Second {
    backend: Arc<dyn Backend>,
    deadline: Duration,
    breaker: Breaker,
}

impl std::fmt::Debug for Second {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Second").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

// === impl Second ===

impl Second {
    /// Asks this model, for at most so long.
    pub fn new(backend: Arc<dyn Backend>, deadline: Duration) -> Self {
        Self { backend, deadline, breaker: Breaker::default() }
    }

    /// Weighs the second opinion in, where there is one.
    ///
    /// # Cancel safety
    /// Cancel safe; the question is dropped with the future.
    pub(crate) async fn weigh(&self, request: &WireRequest, signals: &mut Signals, permit: &Permit) {
        if !permit.is_for(Sink::Judge) {
            return;
        }
        let Some(first) = signals.need else { return };
        if !self.breaker.enter() {
            return;
        }
        let mut asked = Asked { breaker: &self.breaker, told: false };
        match slm::judge(self.backend.as_ref(), request, self.deadline).await {
            Ok(Signals { need: Some(second), .. }) => {
                asked.succeeded();
                let both = pooled(first, second);
                signals.features.push((FEATURE, both - first));
                signals.need = Some(both);
            }
            Ok(_) => {}
            Err(why) => {
                asked.failed();
                tracing::debug!(why, "no second opinion");
            }
        }
    }
}

/// Tells the breaker what came of a question; a dropped one tells nothing.
struct Asked<'a> {
    breaker: &'a Breaker,
    told: bool,
}

// === impl Asked ===

impl Asked<'_> {
    fn succeeded(&mut self) {
        self.told = true;
        self.breaker.succeeded();
    }

    fn failed(&mut self) {
        self.told = true;
        self.breaker.failed();
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.breaker.inconclusive();
        }
    }
}

/// The mean of two probabilities' log-odds, as a probability.
fn pooled(one: f32, other: f32) -> f32 {
    let odds = |p: f32| {
        let p = p.clamp(1.0 - SUREST, SUREST);
        (p / (1.0 - p)).ln()
    };
    let mean = f32::midpoint(odds(one), odds(other));
    1.0 / (1.0 + (-mean).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use adapters::scripted::{Play, Scripted};
    use adapters::{BackendError, Call, Description, Events, Question};
    use async_trait::async_trait;
    use policies::{Endpoint, JudgedBy, Readiness};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn leave() -> Permit {
        let classes = policies::Classes::standard();
        classes.permit_sink(classes.named("internal").unwrap(), Sink::Judge).unwrap()
    }

    fn signals() -> Signals {
        Signals {
            need: Some(0.4),
            judged_by: JudgedBy::Probe,
            abstained: None,
            skipped: None,
            unread_bytes: 0,
            took_us: 0,
            features: vec![],
            head: None,
        }
    }

    fn request() -> WireRequest {
        let body = r#"{"model":"auto","messages":[{"role":"user","content":"is it?"}]}"#;
        WireRequest::parse(Endpoint::Chat, body.into()).unwrap()
    }

    /// Never answers a question, and counts them.
    struct Silent(Scripted, AtomicUsize);

    #[async_trait]
    impl Backend for Silent {
        async fn call(&self, call: Call) -> Result<Events, BackendError> {
            self.0.call(call).await
        }

        fn readiness(&self) -> Readiness {
            Readiness::Ready
        }

        fn describe(&self) -> Description {
            self.0.describe()
        }

        async fn ask(&self, _question: Question) -> Result<f32, BackendError> {
            self.1.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
    }

    #[test]
    fn two_opinions_meet_between_them_and_a_third_cannot_tell_their_order() {
        for (one, other, expected) in [(0.5, 0.5, 0.5), (0.4, 0.8, 0.62), (0.1, 0.9, 0.5), (0.0, 1.0, 0.5)] {
            assert!((pooled(one, other) - expected).abs() < 0.01, "{one} {other}: {}", pooled(one, other));
            assert!((pooled(one, other) - pooled(other, one)).abs() < 1e-6);
        }
    }

    #[tokio::test]
    async fn a_second_opinion_moves_the_need_and_says_by_how_much() {
        let backend = Scripted::new([Play::Hang]).answering(0.8);
        let second = Second::new(Arc::new(backend), Duration::from_secs(1));
        let mut judged = signals();
        second.weigh(&request(), &mut judged, &leave()).await;
        let need = judged.need.unwrap();
        assert!((need - 0.62).abs() < 0.01 && judged.features == [(FEATURE, need - 0.4)], "{judged:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_late_a_thousand_times_changes_nothing_and_is_hardly_asked() {
        let backend = Arc::new(Silent(Scripted::new([Play::Hang]), AtomicUsize::new(0)));
        let second = Second::new(backend.clone(), Duration::from_millis(800));
        for _ in 0..1_000 {
            let mut judged = signals();
            second.weigh(&request(), &mut judged, &leave()).await;
            assert_eq!(judged, signals());
        }
        assert!(backend.1.load(Ordering::SeqCst) < 20, "the breaker keeps questions away");
    }
}
