//! Exploration: who is drawn takes the other side, where there is one.

use super::*;

/// Models and rules, with a request that is drawn or not.
pub(super) fn explored(rate: f32, drawn: bool) -> World {
    let mut world = world();
    world.steering.exploration = Exploration { rate, drawn };
    world
}

#[test]
fn a_drawn_request_takes_the_other_side_and_says_how_probable_that_was() {
    let propensity = |world: &World, need| decide(admit(&facts(), world), judged(need)).unwrap().propensity;
    check(&facts(), &explored(0.1, true), judged(0.2), "big>small exploration");
    check(&facts(), &explored(0.1, true), judged(0.9), "small>big exploration");
    check(&facts(), &explored(0.1, false), judged(0.9), "big>small classifier");
    assert_eq!((propensity(&explored(0.1, true), 0.2), propensity(&explored(0.1, false), 0.2)), (0.1, 0.9));
    assert_eq!(propensity(&world(), 0.2), 1.0);
    let mut close = explored(0.1, true);
    close.steering.uncertain = Some((0.4, 0.6));
    let decision = decide(admit(&facts(), &close), judged(0.5)).unwrap();
    assert!(decision.plan.first().as_str() == "big" && !decision.watch, "what goes hosted is not looked at");
}

#[test]
fn nothing_is_explored_where_there_is_no_choice_or_no_judgement() {
    let world = explored(1.0, true);
    check(&facts(), &world, None, "small>big unsure");
    check(&Facts { class: restricted().0, ..facts() }, &world, None, "small residency");
    check(&Facts { choice: Choice::Pinned("big".into()), ..facts() }, &world, judged(0.1), "big pinned");
    check(&Facts { wish: RouteWish::Local, ..facts() }, &world, judged(0.9), "small header");
    let mut spent = explored(1.0, true);
    let account = Account { limit: 1, spent: 1, held: 0 };
    let budget = BudgetView {
        scope: "org".into(),
        only_model: None,
        measure: Measure::Money,
        account,
        on_exceeded: OnExceeded::Refuse,
        near: None,
    };
    spent.budgets = vec![budget];
    check(&facts(), &spent, judged(0.9), "!budget");
    check(&facts(), &spent, judged(0.1), "small classifier");
    assert_eq!(decide(admit(&facts(), &spent), judged(0.1)).unwrap().propensity, 1.0);
}
