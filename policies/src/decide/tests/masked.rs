//! A masked request goes where its masked class may go, and nowhere else.

use super::*;
use crate::detect::Kind;
use crate::mask::Masked;

fn classed(class: &str, masked: Option<(&str, bool)>) -> Facts {
    let classes = Classes::standard();
    let masked = masked.map(|(class, always)| Masked {
        class: classes.named(class).unwrap(),
        always,
        providers: None,
        kinds: vec![(Kind::Email, 1)],
    });
    Facts { class: classes.named(class).unwrap(), classed: Classed { masked, ..Classed::default() }, ..facts() }
}

#[test]
fn a_hosted_model_is_admitted_masked_where_what_is_left_may_go() {
    for (class, masked, admitted, sent_masked) in [
        ("restricted", None, false, false),
        ("restricted", Some(("internal", false)), true, true),
        ("restricted", Some(("restricted", false)), false, true),
        ("internal", Some(("public", true)), true, true),
        ("internal", Some(("public", false)), true, false),
    ] {
        let admission = admit(&classed(class, masked), &world());
        let of = |model: &str| {
            let seen = admission.considered().iter().find(|seen| seen.candidate.model.as_str() == model).unwrap();
            (seen.admitted(), seen.masked)
        };
        assert_eq!(of("big"), (admitted, sent_masked), "{class} {masked:?}");
        assert_eq!(of("small"), (true, false), "a local model never gets it masked");
    }
}

#[test]
fn a_provider_that_is_not_listed_gets_the_request_as_it_is_or_not_at_all() {
    for (class, listed, expected) in [
        ("restricted", "p-big", (true, true)),
        ("restricted", "another", (false, false)),
        ("internal", "another", (true, false)),
    ] {
        let mut facts = classed(class, Some(("internal", true)));
        if let Some(masked) = &mut facts.classed.masked {
            masked.providers = Some([listed.into()].into());
        }
        let admission = admit(&facts, &world());
        let big = &admission.considered()[1];
        assert_eq!((big.admitted(), big.masked), expected, "{class} {listed}");
    }
}

#[test]
fn an_unknown_region_stays_refused_and_a_key_keeps_to_its_classes() {
    let mut world = world();
    world.candidates[1].region = None;
    let facts = classed("restricted", Some(("internal", true)));
    assert!(!admit(&facts, &world).considered()[1].admitted());
    world.candidates[1].region = Some("us".into());
    let key = Principal { classes: Some(vec!["internal".into()]), ..Principal::default() };
    let admission = admit(&Facts { principal: key, ..facts }, &world);
    assert_eq!(admission.considered()[1].refused_by().unwrap().by, Constraint::KeyClass);
}

proptest! {
    /// Masking admits only hosted candidates, only those that the masked class permits, and only past residency.
    #[test]
    fn masking_admits_nobody_whom_its_own_class_forbids(
        class in 0usize..4, left in 0usize..4, always in any::<bool>(), regions in proptest::option::of(any::<bool>()),
    ) {
        let names = ["public", "internal", "confidential", "restricted"];
        let mut rules = Classes::standard().rules().to_vec();
        if let Some(near) = regions {
            rules[left].regions = Some(vec![if near { "us".into() } else { "eu".into() }]);
        }
        let mut world = world();
        world.classes = Arc::new(Classes::new(rules).unwrap());
        let plain = admit(&classed(names[class], None), &world);
        let masked = admit(&classed(names[class], Some((names[left], always))), &world);
        let alone = admit(&classed(names[left], None), &world);
        for ((plain, masked), alone) in plain.considered().iter().zip(masked.considered()).zip(alone.considered()) {
            prop_assert!(masked.admitted() == (plain.admitted() || (masked.side == Side::Hosted && alone.admitted())));
            prop_assert!(!masked.masked || masked.side == Side::Hosted);
            // Whoever is admitted only by masking gets it masked.
            prop_assert!(masked.masked || masked.admitted() == plain.admitted());
        }
    }
}
