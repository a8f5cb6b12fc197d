//! Tables and laws of the decision.

use super::*;
use crate::budget::{Account, Measure, OnExceeded};
use crate::candidate::{Capabilities, Location, ModelKind, Readiness};
use crate::exploration::Exploration;
use crate::facts::{Classed, Endpoint, Needs, Principal, TokenEstimate};
use crate::money::{Price, PriceSource, Pricing, Rate};
use crate::signals::JudgedBy;
use crate::steering::Kept;
use proptest::prelude::*;

mod explored;
mod masked;
mod plain;

use self::explored::explored;
use self::plain::facts;

fn candidate(model: &str, location: Location) -> Candidate {
    let price = Price { input: Rate(2_500_000_000), output: Rate(10_000_000_000), ..Price::default() };
    let local = location == Location::Local;
    Candidate {
        model: model.into(),
        provider: format!("p-{model}").into(),
        location,
        region: (!local).then(|| "us".into()),
        kind: ModelKind::Chat,
        capabilities: if local { Capabilities::TEXT } else { Capabilities::ALL },
        context_window: local.then_some(2_048),
        max_output: None,
        tells: local,
        pricing: if local { Pricing::Free } else { Pricing::Priced(price, PriceSource::Config) },
        readiness: Readiness::Ready,
        first_token_in: local.then_some(Duration::from_millis(300)),
        expected_output: None,
    }
}

fn world() -> World {
    World {
        candidates: vec![candidate("small", Location::Local), candidate("big", Location::Hosted)],
        local: ["small".into()].into(),
        hosted: ["big".into()].into(),
        classes: Arc::new(Classes::standard()),
        rules: [].into(),
        budgets: vec![],
        max_per_request: None,
        max_first_token: Some(Duration::from_secs(20)),
        assumed_output: 4_096,
        steering: Steering::new(0.5, Unsure::Heuristic, 0.15),
    }
}

fn restricted() -> DataClassOf {
    DataClassOf(Classes::standard().named("restricted").unwrap())
}

struct DataClassOf(crate::residency::DataClass);

fn judged(need: f32) -> Option<Signals> {
    Some(Signals {
        need: Some(need),
        judged_by: JudgedBy::Heuristic,
        abstained: None,
        skipped: None,
        unread_bytes: 0,
        took_us: 1,
        features: vec![],
        head: None,
    })
}

/// Expects a plan, written `small>big reason`, or a refusal, written `!constraint`.
fn check(facts: &Facts, world: &World, signals: Option<Signals>, expected: &str) {
    let shown = match decide(admit(facts, world), signals) {
        Ok(decision) => {
            let names: Vec<_> = decision.plan.targets().iter().map(ModelName::as_str).collect();
            format!("{} {}", names.join(">"), decision.reason.word())
        }
        Err(refusal) => format!("!{}", refusal.by.word()),
    };
    assert_eq!(shown, expected);
}

#[test]
fn need_orders_the_sides() {
    check(&facts(), &world(), judged(0.2), "small>big classifier");
    check(&facts(), &world(), judged(0.5), "big>small classifier");
    check(&facts(), &world(), None, "small>big unsure");
}

#[test]
fn a_conversation_keeps_its_side_until_the_need_has_moved_by_more_than_switching_costs() {
    let on =
        |side, need| World { steering: Steering { kept: Some(Kept { side, need }), ..world().steering }, ..world() };
    let hosted = on(Side::Hosted, 0.6);
    check(&facts(), &hosted, judged(0.46), "big>small session");
    check(&facts(), &hosted, judged(0.44), "small>big classifier");
    check(&facts(), &hosted, None, "big>small session");
    check(&facts(), &on(Side::Local, 0.4), judged(0.54), "small>big session");
    check(&facts(), &on(Side::Local, 0.4), judged(0.56), "big>small classifier");
}

#[test]
fn many_small_steps_carry_a_conversation_no_further_than_one_large_one() {
    let mut world = world();
    for (need, expected) in [
        (0.2, "small>big classifier"),
        (0.3, "small>big session"),
        (0.34, "small>big session"),
        // Further than 0.15 from where it was judged: judged anew, and it stays local from 0.4 on.
        (0.4, "small>big classifier"),
        (0.54, "small>big session"),
        (0.6, "big>small classifier"),
        (0.46, "big>small session"),
    ] {
        check(&facts(), &world, judged(need), expected);
        let first = decide(admit(&facts(), &world), judged(need)).unwrap().first_side().unwrap();
        world.steering.kept = Some(world.steering.remembered(first, need));
    }
}

#[test]
fn neither_a_conversation_nor_an_agent_in_trouble_is_explored() {
    let exploration = Exploration { rate: 0.1, drawn: true };
    let kept = Some(Kept { side: Side::Hosted, need: 0.6 });
    let drawn = World { steering: Steering { exploration, ..world().steering }, ..world() };
    let in_session = World { steering: Steering { exploration, kept, ..world().steering }, ..world() };
    check(&facts(), &drawn, judged(0.2), "big>small exploration");
    check(&facts(), &in_session, judged(0.5), "big>small session");
    check(&Facts { tool_loop: true, ..facts() }, &drawn, judged(0.2), "big>small tool_loop");
    assert_eq!(decide(admit(&facts(), &in_session), judged(0.5)).unwrap().propensity, 1.0);
}

#[test]
fn a_session_that_is_held_out_goes_hosted_unjudged_and_a_constraint_still_wins() {
    let exploration = Exploration { rate: 0.1, drawn: true };
    let kept = Some(Kept { side: Side::Local, need: 0.1 });
    let steering = Steering { holdout: true, exploration, kept, uncertain: Some((0.0, 1.0)), ..world().steering };
    let world = World { steering, ..world() };
    let admission = admit(&facts(), &world);
    assert!(!admission.needs_judgement() && admission.closed().is_none());
    check(&facts(), &world, None, "big>small holdout");
    check(&Facts { tool_loop: true, ..facts() }, &world, judged(0.1), "big>small holdout");
    let decision = decide(admission, judged(0.1)).unwrap();
    assert!(!decision.watch && decision.propensity == 1.0);

    for (facts, closed, expected) in [
        (Facts { class: restricted().0, ..facts() }, "residency", "small residency"),
        (Facts { wish: RouteWish::Local, ..facts() }, "header", "small header"),
        (Facts { choice: Choice::Pinned("small".into()), ..facts() }, "pinned", "small pinned"),
    ] {
        assert_eq!(admit(&facts, &world).closed().map(Reason::word), Some(closed));
        check(&facts, &world, None, expected);
    }
    let alone = World { hosted: [].into(), ..world.clone() };
    assert_eq!(admit(&facts(), &alone).closed(), Some(Reason::Only));
    check(&facts(), &alone, None, "small only");
}

#[test]
fn a_failing_tool_called_again_goes_to_the_strong_side_whatever_else_is_preferred() {
    let kept = Some(Kept { side: Side::Local, need: 0.1 });
    let world = World { steering: Steering { kept, uncertain: Some((0.0, 1.0)), ..world().steering }, ..world() };
    let looping = Facts { tool_loop: true, ..facts() };
    check(&looping, &world, judged(0.1), "big>small tool_loop");
    check(&Facts { class: restricted().0, ..looping }, &world, judged(0.1), "small residency");
}

#[test]
fn what_is_kept_on_the_hosted_side_is_not_looked_at() {
    let kept = Some(Kept { side: Side::Hosted, need: 0.5 });
    let world = World { steering: Steering { kept, uncertain: Some((0.0, 1.0)), ..world().steering }, ..world() };
    assert!(!decide(admit(&facts(), &world), judged(0.5)).unwrap().watch);
}

#[test]
fn what_is_too_close_to_call_begins_locally_only_where_its_answer_can_be_looked_at_and_the_look_decides() {
    let close = Steering { uncertain: Some((0.4, 0.6)), ..world().steering };
    let with = |tells: bool, observes: bool| {
        let mut world = World { steering: Steering { observes, ..close }, ..world() };
        world.candidates[0].tells = tells;
        world
    };
    // Whether the model tells, whether it is only observed; who goes first at .45 and at .55, and who is looked at.
    for (tells, observes, below, above, watched) in [
        (true, false, "small>big classifier", "small>big classifier", [true, true]),
        (true, true, "small>big classifier", "big>small classifier", [true, false]),
        (false, false, "small>big classifier", "big>small classifier", [false, false]),
        (false, true, "small>big classifier", "big>small classifier", [false, false]),
    ] {
        let world = with(tells, observes);
        for (need, expected, watched) in [(0.45, below, watched[0]), (0.55, above, watched[1])] {
            check(&facts(), &world, judged(need), expected);
            let decision = decide(admit(&facts(), &world), judged(need)).unwrap();
            assert_eq!(decision.watch, watched, "{tells} {observes} {need}");
            assert_eq!(
                decision.steering.uncertain.is_some(),
                tells && !observes,
                "the record names the band that decided"
            );
        }
    }
    // It is the first that could answer who has to tell.
    let mut two = with(true, false);
    two.candidates.push(Candidate { tells: false, ..candidate("tiny", Location::Local) });
    two.local = ["tiny".into(), "small".into()].into();
    check(&facts(), &two, judged(0.55), "big>tiny>small classifier");
}

#[test]
fn restricted_data_stays_and_says_so() {
    let facts = Facts { class: restricted().0, ..facts() };
    check(&facts, &world(), None, "small residency");
    let hosted = Facts { wish: RouteWish::Hosted, ..facts.clone() };
    check(&hosted, &world(), None, "!residency");
    let pinned = Facts { choice: Choice::Pinned("big".into()), ..facts.clone() };
    check(&pinned, &world(), None, "!residency");
    let mut down = world();
    down.candidates[0].readiness = Readiness::Down { why: "it failed".into(), retry_after: None };
    check(&facts, &down, None, "!health");
}

#[test]
fn a_pin_or_a_header_narrows_and_never_widens() {
    check(&Facts { choice: Choice::Pinned("big".into()), ..facts() }, &world(), None, "big pinned");
    check(&Facts { wish: RouteWish::Local, ..facts() }, &world(), None, "small header");
    let both = Facts { choice: Choice::Pinned("big".into()), wish: RouteWish::Local, ..facts() };
    check(&both, &world(), None, "!route");
    let listed = Principal { models: Some(vec!["small".into()]), ..Principal::default() };
    check(&Facts { principal: listed, ..facts() }, &world(), None, "small allow_list");
}

#[test]
fn a_keys_routes_and_classes_only_take_away() {
    let routed = |route| Principal { routes: Some(vec![route]), ..Principal::default() };
    let sending = |class: &str| Principal { classes: Some(vec![class.into()]), ..Principal::default() };
    let class = |name: &str| Classes::standard().named(name).unwrap();
    let pinned = Choice::Pinned("big".into());
    for (facts, expected) in [
        (Facts { principal: routed(Location::Local), ..facts() }, "small key_route"),
        (Facts { principal: routed(Location::Hosted), ..facts() }, "big key_route"),
        (Facts { principal: routed(Location::Local), choice: pinned, ..facts() }, "!key_route"),
        (Facts { principal: routed(Location::Local), wish: RouteWish::Hosted, ..facts() }, "!key_route"),
        (Facts { principal: Principal { routes: Some(vec![]), ..Principal::default() }, ..facts() }, "!key_route"),
        (Facts { principal: sending("public"), class: class("internal"), ..facts() }, "!key_class"),
        (Facts { principal: sending("internal"), class: class("internal"), ..facts() }, "small>big unsure"),
        (Facts { principal: sending("public"), class: class("restricted"), ..facts() }, "!key_class"),
        (Facts { principal: sending("restricted"), class: class("restricted"), ..facts() }, "small residency"),
    ] {
        check(&facts, &world(), None, expected);
    }
}

#[test]
fn the_first_matching_rule_narrows() {
    let mut world = world();
    world.rules = [
        Rule { tag: Some(("job".into(), "nightly".into())), route: RouteWish::Local, ..Rule::default() },
        Rule { team: Some("research".into()), pin: Some("big".into()), ..Rule::default() },
    ]
    .into();
    let tagged = Facts { tags: vec![("job".into(), "nightly".into())], ..facts() };
    check(&tagged, &world, judged(0.9), "small rule");
    let team = Principal { team: Some("research".into()), ..Principal::default() };
    check(&Facts { principal: team, ..facts() }, &world, judged(0.1), "big rule");
    check(&facts(), &world, judged(0.9), "big>small classifier");
}

#[test]
fn a_missing_capability_or_a_long_prompt_leaves_the_other_side() {
    let vision = Needs { vision: true, choices: 1, ..Needs::default() };
    check(&Facts { needs: vision, ..facts() }, &world(), None, "big capability");
    let long = TokenEstimate { floor: 3_000, likely: 6_000, ceiling: 24_000 };
    check(&Facts { prompt: long, ..facts() }, &world(), None, "big context");
    check(&Facts { prompt: long, wish: RouteWish::Local, ..facts() }, &world(), None, "!context");
    check(
        &Facts { needs: Needs { choices: 2, ..vision }, wish: RouteWish::Local, ..facts() },
        &world(),
        None,
        "!capability",
    );
}

#[test]
fn a_spent_budget_refuses_or_goes_local_as_the_policy_says() {
    let budget = |on_exceeded, spent| BudgetView {
        scope: "org".into(),
        only_model: None,
        account: Account { limit: 1_000_000, spent, held: 0 },
        measure: Measure::Money,
        on_exceeded,
        near: None,
    };
    let mut world = world();
    world.budgets = vec![budget(OnExceeded::Refuse, 999_999)];
    check(&facts(), &world, judged(0.9), "!budget");
    check(&facts(), &world, judged(0.1), "small classifier");
    world.budgets = vec![budget(OnExceeded::Local, 999_999)];
    check(&facts(), &world, judged(0.9), "small budget");
    world.budgets = vec![budget(OnExceeded::Clamp, 0)];
    check(&facts(), &world, judged(0.9), "big>small classifier");
    world.candidates[1].pricing = Pricing::Unpriced;
    check(&facts(), &world, judged(0.9), "small price");
}

#[test]
fn an_experiment_puts_a_request_on_a_side_only_where_both_are_admitted() {
    let mut world = world();
    for (side, expected) in [(Side::Local, "small>big experiment"), (Side::Hosted, "big>small experiment")] {
        world.steering.experiment = Some(side);
        check(&facts(), &world, None, expected);
        assert!(!admit(&facts(), &world).needs_judgement(), "nobody has to judge");
    }
    // What keeps data at home, and an agent in trouble, go first; so does the holdout.
    let restricted = Facts { class: restricted().0, ..facts() };
    check(&restricted, &world, None, "small residency");
    check(&Facts { tool_loop: true, ..facts() }, &world, judged(0.1), "big>small tool_loop");
    world.steering.experiment = Some(Side::Local);
    world.steering.holdout = true;
    check(&facts(), &world, None, "big>small holdout");
}

#[test]
fn a_slow_or_loading_local_model_leaves_the_hosted_one() {
    let mut world = world();
    world.candidates[0].first_token_in = Some(Duration::from_secs(25));
    check(&facts(), &world, None, "big first_token");
    world.candidates[0].readiness = Readiness::Loading;
    check(&facts(), &world, None, "big first_token");
    let restricted = Facts { class: restricted().0, ..facts() };
    check(&restricted, &world, None, "!first_token");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Adding a constraint never adds a target; restricted data never has a hosted target; plans never repeat.
    #[test]
    fn constraints_only_take_away(
        class in 0usize..4, wish in 0u8..3, tools: bool, vision: bool, choices in 1u32..3, floor in 0u64..4_000,
        ready in 0u8..3, region: bool, drawn: bool, need in proptest::option::of(0f32..1f32), spent in 0u64..2_000_000,
        listed: bool, home: bool, sends in 0usize..5, kept in proptest::option::of((any::<bool>(), 0f32..1f32)), tool_loop: bool,
    ) {
        let classes = Classes::standard();
        let names = ["public", "internal", "confidential", "restricted"];
        let loose = Facts {
            class: classes.named("public").unwrap(),
            needs: Needs { choices: 1, ..Needs::default() },
            ..facts()
        };
        let tight = Facts {
            class: classes.named(names[class]).unwrap(),
            wish: [RouteWish::Auto, RouteWish::Local, RouteWish::Hosted][usize::from(wish)],
            needs: Needs { tools, vision, choices, ..Needs::default() },
            prompt: TokenEstimate { floor, likely: floor * 2, ceiling: floor * 8 },
            tool_loop,
            principal: Principal {
                models: listed.then(|| vec!["small".into()]),
                routes: home.then(|| vec![Location::Local]),
                classes: names.get(sends).map(|name| vec![(*name).into()]),
                ..Principal::default()
            },
            ..facts()
        };
        let mut narrow = explored(0.5, drawn);
        narrow.candidates[0].readiness = match ready {
            0 => Readiness::Ready,
            1 => Readiness::Loading,
            _ => Readiness::Down { why: "x".into(), retry_after: None },
        };
        narrow.steering.kept =
            kept.map(|(local, need)| Kept { side: if local { Side::Local } else { Side::Hosted }, need });
        if !region { narrow.candidates[1].region = None; }
        narrow.budgets = vec![BudgetView {
            scope: "org".into(),
            only_model: None,
            measure: Measure::Money,
            account: Account { limit: 1_000_000, spent, held: 0 },
            on_exceeded: OnExceeded::Local,
            near: None,
        }];
        let signals = need.and_then(judged);
        let wide = decide(admit(&loose, &world()), signals.clone()).unwrap();
        if let Ok(decision) = decide(admit(&tight, &narrow), signals) {
            let targets = decision.plan.targets();
            prop_assert!(targets.iter().all(|target| wide.plan.targets().contains(target)));
            prop_assert!(!(names[class] == "restricted" && targets.contains(&"big".into())));
            prop_assert!(!(home && targets.contains(&"big".into())));
            prop_assert!(sends == 4 || sends == class);
            prop_assert!(region || !targets.contains(&"big".into()));
            let mut seen = targets.to_vec();
            seen.sort();
            seen.dedup();
            prop_assert_eq!(seen.len(), targets.len());
        }
    }
}
