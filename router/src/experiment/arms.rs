//! What the two arms of a split are, and which requests are in them.
//!
//! **Promise.** An arm may differ by the side that answers, by the model, by the system prompt and by what sets the threshold. A
//! session stays in its arm. All but the system prompt is a preference: constraints have spoken before. A system prompt is put
//! into the request before anybody looks at it, so detectors, data classes, limits, judges, the ledger and the model all see the
//! request with it; what the client's own system prompt was configured to mean ([`policies::ClassMatcher`]) goes on holding.
//!
//! **Who is in it.** The record and the ledger name the arm of a request ([`Placed`]) where the arms could differ: both sides were
//! admitted where the arms are sides, both models where they are models of one side, the usual judge judged where they are
//! thresholds, and where they are prompts the request is a chat. A client that names its model is in no arm. What happens
//! afterwards does not take a request out of its arm; whether the arm itself served it is told apart ([`ArmSpec::own`]).
//!
//! **What it does not do.** Copies for the other side of a shadow experiment, judges and `sluice compare` are in no arm.

use super::{Experiment, Trial};
use crate::ask::Ask;
use crate::compare::{Arm, Side, arm};
use crate::ledger::{Own, Placed};
use crate::look::Looked;
use adapters::wire::{WireRequest, prompted};
use jiff::Timestamp;
use policies::{Choice, Facts, Location, ModelName, Reason, RoutingDecision};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Hex digits of a prompt's digest that are shown: enough to tell prompts apart.
const SHOWN: usize = 16;

/// What an arm does otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmSpec {
    /// The side that answers.
    pub side: Option<Location>,
    /// The model that goes first on its side.
    pub model: Option<ModelName>,
    /// The system prompt.
    pub system: Option<SystemPrompt>,
    /// What sets the threshold.
    pub goal: Option<ArmGoal>,
}

/// What sets an arm's threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ArmGoal {
    /// This share (0 to 1) of its judged requests goes hosted.
    Share(f32),
    /// From this score (0 to 1) on a request goes hosted.
    Cut(f32),
}

/// A system prompt; it is never printed.
#[derive(Clone, PartialEq)]
pub struct SystemPrompt {
    text: Arc<str>,
    digest: String,
}

/// The arm that a request was drawn for.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub(crate) experiment: Arc<Experiment>,
    pub(crate) arm: Side,
    /// The session, as a keyed digest.
    session: String,
    /// The share of sessions that goes left now.
    weight: f64,
}

/// What an experiment makes of a request.
#[derive(Debug)]
pub(crate) struct Enrolled {
    drawn: Drawn,
    /// The request under the arm's system prompt, with what is found in that.
    prompted: Option<(Arc<WireRequest>, Looked)>,
}

// === impl SystemPrompt ===

impl SystemPrompt {
    /// A prompt; `{system}` in it stands for the request's own.
    pub fn new(text: &str) -> Self {
        let digest = hex::encode(Sha256::digest(text.as_bytes()));
        Self { text: text.into(), digest: digest.chars().take(SHOWN).collect() }
    }

    /// The beginning of its SHA-256, in hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The request under it; `None` where it has no messages, or would make no sense.
    pub(crate) fn put(&self, request: &WireRequest) -> Option<Arc<WireRequest>> {
        prompted(request, &self.text).ok().flatten().map(Arc::new)
    }
}

impl fmt::Debug for SystemPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SystemPrompt").field(&self.digest).finish()
    }
}

// === impl ArmSpec ===

impl ArmSpec {
    /// What it does, in few words: an arm of other words is another arm, whose past does not count.
    pub fn what(&self) -> String {
        let goal = self.goal.map(|goal| match goal {
            ArmGoal::Share(share) => format!("hosted_share {share}"),
            ArmGoal::Cut(cut) => format!("cut {cut}"),
        });
        let said = [
            self.side.map(|side| side.word().to_owned()),
            self.model.as_ref().map(|model| format!("model {model}")),
            self.system.as_ref().map(|system| format!("system {}", system.digest())),
            goal,
        ];
        let said: Vec<String> = said.into_iter().flatten().collect();
        if said.is_empty() { "as it comes".into() } else { said.join(", ") }
    }

    /// What an answer has come from where the arm itself served it: its side, its model; under a threshold of its own the
    /// target that was decided on, because what takes its place is no threshold's doing. Under a prompt alone it is any
    /// answer: all of an arm's requests are asked under it.
    pub fn own(&self) -> Own {
        Own { side: self.side, model: self.model.clone(), planned: self.goal.is_some() }
    }
}

// === impl Drawn ===

impl Drawn {
    /// What its arm does.
    pub(crate) fn spec(&self) -> &ArmSpec {
        static NOTHING: ArmSpec = ArmSpec { side: None, model: None, system: None, goal: None };
        self.experiment.spec.kind.arm(self.arm).unwrap_or(&NOTHING)
    }

    /// Whether the request counts for its arm, now that it is decided on. `usual`: an arm's threshold, or the usual judge's, was used.
    pub(crate) fn placed(&self, ask: &Ask, facts: &Facts, decision: &RoutingDecision, usual: bool) -> Option<Placed> {
        let Trial::Split { arms, .. } = &self.experiment.spec.kind else { return None };
        if facts.choice != Choice::Auto || decision.reason == Reason::Holdout {
            return None;
        }
        let some = |has: fn(&ArmSpec) -> bool| arms.iter().any(has);
        let sides = !some(|arm| arm.side.is_some()) || decision.reason == Reason::Experiment;
        let admitted = |model: &ModelName| {
            decision.considered.iter().any(|seen| seen.admitted() && seen.candidate.model == *model)
        };
        let first = decision.plan.first();
        let own = self.spec().model.as_ref().is_none_or(|model| model == first);
        let models = own && arms.iter().filter_map(|arm| arm.model.as_ref()).all(admitted);
        let judged = decision.signals.as_ref().is_some_and(|signals| signals.need.is_some());
        let thresholds = !some(|arm| arm.goal.is_some()) || (usual && judged);
        let chat = !some(|arm| arm.system.is_some()) || ask.request.endpoint == policies::Endpoint::Chat;
        // What nobody could read under the arm's prompt was answered without it.
        let said = self.spec().system.is_none() || ask.looked.came().is_some();
        (sides && models && thresholds && chat && said).then(|| Placed {
            experiment: self.experiment.spec.name.clone(),
            arm: self.arm,
            what: self.spec().what(),
            session: self.session.clone(),
            weight: self.weight,
        })
    }
}

// === impl Trial ===

impl Trial {
    /// What an arm of a split does.
    pub fn arm(&self, side: Side) -> Option<&ArmSpec> {
        match (self, side) {
            (Self::Split { arms, .. }, Side::Left) => arms.first(),
            (Self::Split { arms, .. }, Side::Right) => arms.last(),
            (Self::Split { .. }, Side::Tie) | (Self::Shadow(_), _) => None,
        }
    }
}

// === impl Experiment ===

impl Experiment {
    /// Draws the arm of a request's session, where this is a split.
    fn draw_arm(self: &Arc<Self>, ask: &Ask) -> Option<Drawn> {
        let Trial::Split { left, by_user, ramp, .. } = &self.spec.kind else { return None };
        let user = ask.principal.user.as_ref().filter(|_| *by_user).map(|user| format!("user {user}"));
        let session = user.clone().unwrap_or_else(|| self.draw.session_of(ask));
        let grown = ramp.map_or(1.0, |(since, over)| {
            let gone = Timestamp::now().duration_since(since).as_secs_f64();
            (gone / over.as_secs_f64().max(1.0)).clamp(0.0, 1.0)
        });
        let left = left * grown;
        let arms = [(Side::Left, "left", left), (Side::Right, "right", 1.0 - left)];
        let named = arms.map(|(_, word, weight)| Arm { name: format!("{} {word}", self.spec.name), weight });
        let drawn = arm(&named, &self.key, &session)?;
        let arm = arms.iter().zip(&named).find(|(_, arm)| *arm == drawn).map(|((side, ..), _)| *side)?;
        // A session's name is a digest already; a user's goes on no line.
        let session = user.map_or(session, |user| {
            let digest = Sha256::new().chain_update(self.key).chain_update(user).finalize();
            hex::encode(digest).chars().take(2 * SHOWN).collect()
        });
        Some(Drawn { experiment: self.clone(), arm, session, weight: left })
    }
}

/// The request as an experiment makes it: always the same for the same one.
pub(crate) fn enrolled<'a>(experiments: &[Arc<Experiment>], ask: &'a Ask) -> Cow<'a, Ask> {
    let enrolled = ask.looked.enrolled(|| {
        let drawn = experiments.iter().find_map(|experiment| experiment.draw_arm(ask))?;
        let auto = matches!(ask.request.view.model.as_str(), "auto" | "sluice/auto");
        let system = drawn.spec().system.as_ref().filter(|_| auto);
        let prompted = system.and_then(|system| system.put(&ask.request));
        let prompted = prompted.map(|request| (request, Looked::of(ask.request.clone(), Some(drawn.clone()))));
        Some(Enrolled { drawn, prompted })
    });
    match enrolled.and_then(|enrolled| enrolled.prompted.as_ref()) {
        Some((request, looked)) => Cow::Owned(Ask { request: request.clone(), looked: looked.clone(), ..ask.clone() }),
        None => Cow::Borrowed(ask),
    }
}

/// The same for a request that is not needed as it was.
pub(crate) fn enrol(experiments: &[Arc<Experiment>], ask: Ask) -> Ask {
    let other = match enrolled(experiments, &ask) {
        Cow::Owned(other) => Some(other),
        Cow::Borrowed(_) => None,
    };
    other.unwrap_or(ask)
}

impl Enrolled {
    /// One that was drawn before, whose request is what its arm makes of it.
    pub(crate) fn already(drawn: Drawn) -> Self {
        Self { drawn, prompted: None }
    }

    /// The draw.
    pub(crate) fn drawn(&self) -> &Drawn {
        &self.drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_says_what_it_does_and_never_its_prompt() {
        assert_eq!(ArmSpec::default().what(), "as it comes");
        let system = SystemPrompt::new("Be terse about the merger.");
        let arm = ArmSpec {
            side: Some(Location::Local),
            model: Some("small-lora".into()),
            system: Some(system.clone()),
            goal: Some(ArmGoal::Share(0.25)),
        };
        let said = arm.what();
        assert_eq!(said, format!("local, model small-lora, system {}, hosted_share 0.25", system.digest()));
        assert!(system.digest().len() == 16 && SystemPrompt::new("Be kind.").digest() != system.digest());
        assert!(!format!("{arm:?}{said}").contains("merger"));
        assert_eq!(ArmSpec { goal: Some(ArmGoal::Cut(0.5)), ..ArmSpec::default() }.what(), "cut 0.5");
    }
}
