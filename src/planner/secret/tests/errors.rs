//! Writes that are refused, or whose outcome is unknown, and many at once.

use super::*;

#[test]
fn of_many_that_were_deleted_outside_all_are_put_back_and_none_is_taken_for_a_fight() {
    let names: Vec<String> = (0..256).map(|number| format!("NAME_{number:03}")).collect();
    let held: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "value")).collect();
    let mut world = World::settled(all(), &held);
    for loss in 0..2 {
        world.remote.clear();
        let visit = world.visit();
        assert_eq!((&visit.outcome, visit.set.len()), (&Outcome::InSync, 256), "loss {loss}");
        assert_eq!(world.remote.len(), 256);
        let told = visit.events.iter().filter(|note| note.reason == "DriftCorrected").count();
        assert_eq!(told, 6, "one a batch: {:?}", visit.events);
        world.pass(660);
    }
}

#[test]
fn what_is_told_and_counted_is_what_was_done() {
    let mut world = World::settled(all(), &[("A", "one"), ("B", "two")]);
    world.refused.insert("A".to_owned(), ErrorKind::Invalid);
    for _ in 0..4 {
        world.remote.clear();
        let visit = world.visit();
        assert!(matches!(visit.outcome, Outcome::WriteFailed(Reason::InvalidSpec, ..)), "{visit:?}");
        assert_eq!(visit.told("DriftCorrected").unwrap_or("Corrected drift: B"), "Corrected drift: B");
        assert_eq!(["Created", "Adopted", "Rotated"].map(|reason| visit.told(reason)), [None; 3], "{visit:?}");
        world.pass(1860);
    }
    assert!(!world.runtime_state.corrections.is_correction_loop(
        world.object.metadata.generation,
        "A",
        world.now,
        world.timings.correction_loop_cooldown
    ));
    world.refused.insert("A".to_owned(), ErrorKind::Server);
    world.source(values(&[("A", "new")]));
    let visit = world.visit();
    let reasons = ["Created", "Adopted", "Rotated", "DriftCorrected"];
    assert_eq!(reasons.map(|reason| visit.told(reason)), [None; 4], "{visit:?}");
}

#[test]
fn a_rotation_whose_outcome_is_unknown_is_set_again_also_where_the_old_value_is_back() {
    let mut world = World::settled(one("TOKEN"), &[("key", "old")]);
    world.source(values(&[("key", "new")]));
    // It took effect; the answer was lost.
    world.refused.insert("TOKEN".to_owned(), ErrorKind::OutcomeUnknown);
    assert!(matches!(world.visit().outcome, Outcome::WriteFailed(Reason::RemoteUnavailable, ..)));
    world.portal("TOKEN", "new");
    world.refused.clear();
    world.source(values(&[("key", "old")]));
    let visit = world.visit();
    assert_eq!((visit.outcome, world.remote()), (Outcome::InSync, vec![("TOKEN", "old")]));
}

#[test]
fn what_was_refused_is_not_sent_again_for_what_others_of_the_app_do() {
    let mut world = World::new(all(), &[("A", "one")]);
    for kind in [ErrorKind::Forbidden, ErrorKind::RateLimited { retry_after: None }, ErrorKind::Connect] {
        world.refused.insert("A".to_owned(), kind);
        world.edit(all());
        assert!(matches!(world.visit().outcome, Outcome::WriteFailed(..)));
        // Another one records a name, withdraws it, and so on.
        for set in ["B", "C"] {
            world.siblings = vec![SiblingSecret {
                object: "other".into(),
                managed: [set.to_owned()].into(),
                ..SiblingSecret::default()
            }];
            let visit = world.visit();
            assert_eq!((&visit.outcome, visit.remote_reads().len()), (&Outcome::Skipped, 0), "{kind:?}: {visit:?}");
        }
        world.siblings.clear();
    }
    // Its time comes.
    world.refused.clear();
    world.pass(3600);
    assert_eq!(world.visit().set, ["A"]);
}

#[test]
fn one_that_is_resumed_is_tried_whatever_was_refused_before() {
    let mut world = World::new(one("TOKEN"), &[("key", "value")]);
    world.refused.insert("TOKEN".to_owned(), ErrorKind::Forbidden);
    world.visit();
    let annotations = world.object.metadata.annotations.get_or_insert_default();
    annotations.insert(crate::api::SUSPEND.to_owned(), "true".to_owned());
    assert_eq!(world.says().0, "Suspended");
    world.object.metadata.annotations = None;
    world.refused.clear();
    assert_eq!(world.visit().set, ["TOKEN"]);
}
