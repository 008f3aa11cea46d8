//! Two objects that ask for one name.

use super::*;
use crate::api::SecretConflict;

fn other(age: i64, named: &[&str], set: &[&str]) -> SiblingSecret {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    SiblingSecret {
        object: "other".into(),
        created: Some(Timestamp::from_second(1_000_000 - age).unwrap()),
        uid: "uid-1".into(),
        deleting: false,
        undecodable: false,
        requested: names(named),
        managed: names(set),
        adopted: BTreeSet::new(),
        acknowledged: names(set),
    }
}

#[test]
fn the_older_has_a_name_then_the_lower_uid_and_the_younger_is_told() {
    for (age, uid, ours) in [(10, "uid-9", false), (0, "uid-1", false), (0, "uid-9", true), (-10, "uid-1", true)] {
        let mut world = World::new(one("TOKEN"), &[("key", "value")]);
        world.siblings = vec![SiblingSecret { uid: uid.into(), ..other(age, &["TOKEN"], &[]) }];
        let visit = world.visit();
        if ours {
            assert_eq!((visit.outcome, visit.set.len()), (Outcome::InSync, 1), "{age} {uid}");
        } else {
            let message = "Name \"TOKEN\" is owned by SpiceSecret \"other\"".to_owned();
            assert_eq!(
                (visit.outcome, visit.set.len()),
                (Outcome::Stalled(Reason::NameTaken, message), 0),
                "{age} {uid}"
            );
        }
    }
}

#[test]
fn a_name_passes_on_when_the_older_object_is_gone_and_not_before() {
    let mut world = World::new(one("TOKEN"), &[("key", "ours")]);
    world.portal("TOKEN", "of the other object");
    // The app was made long before.
    world.app.created_at = None;
    world.siblings = vec![other(10, &["TOKEN"], &["TOKEN"])];
    assert_eq!(world.says().0, "NameTaken");
    assert_eq!(world.status().conflicts.len(), 1);
    world.siblings[0].deleting = true;
    world.runtime_state.force_resync = true;
    assert_eq!(world.says(), ("NameTaken".to_owned(), "Name \"TOKEN\" is owned by SpiceSecret \"other\"".to_owned()));
    world.siblings.clear();
    let visit = world.visit();
    assert_eq!((visit.outcome, visit.set.len()), (Outcome::InSync, 1), "it was set by one of ours");
    assert_eq!(world.status().conflicts, []);
    // One that the other had not set is whoever's it is.
    let mut world = World::new(one("TOKEN"), &[("key", "ours")]);
    (world.siblings, world.app.created_at) = (vec![other(10, &["TOKEN"], &[])], None);
    world.visit();
    world.portal("TOKEN", "theirs");
    world.siblings.clear();
    assert!(world.says().1.contains("is not managed by this object"));
}

#[test]
fn an_older_object_takes_over_what_a_younger_has_set_and_the_younger_lets_go() {
    let mut world = World::new(one("TOKEN"), &[("key", "of the older")]);
    world.portal("TOKEN", "of the younger");
    (world.siblings, world.app.created_at) = (vec![other(-10, &["TOKEN"], &["TOKEN"])], None);
    let visit = world.visit();
    assert_eq!((visit.outcome, visit.set.len()), (Outcome::InSync, 1));
    let mut world = World::settled(all(), &[("TOKEN", "of the younger"), ("MORE", "more")]);
    world.siblings = vec![other(10, &["TOKEN"], &["TOKEN"])];
    let visit = world.visit();
    assert!(matches!(visit.outcome, Outcome::Stalled(Reason::NameTaken, _)), "{visit:?}");
    assert_eq!((visit.set.len(), visit.deleted.len(), world.names()), (0, 0, vec!["MORE".to_owned()]));
}

/// Otherwise it could be taken for a stranger's when the other object is gone.
#[test]
fn what_another_object_has_set_is_noted_before_anything_else() {
    for (age, app_is_ready, suspended) in [(10, true, false), (-10, false, false), (10, true, true)] {
        let mut world = World::new(one("TOKEN"), &[("key", "ours")]);
        world.portal("TOKEN", "of the other object");
        (world.siblings, world.app.created_at) = (vec![other(age, &[], &["TOKEN"])], None);
        world.siblings[0].adopted = ["TOKEN".to_owned()].into();
        world.app.unready = (!app_is_ready).then(|| "is not ready".to_owned());
        world.object.spec.suspend = Some(suspended);
        world.visit();
        let held =
            SecretConflict { name: "TOKEN".into(), owned_by: "other".into(), present: Some(true), adopted: Some(true) };
        assert_eq!(world.status().conflicts, [held], "{age} {suspended}");
        (world.siblings, world.app.unready, world.object.spec.suspend) = (Vec::new(), None, None);
        world.runtime_state.force_resync = true;
        let visit = world.visit();
        assert_eq!((visit.outcome, visit.set.len()), (Outcome::InSync, 1), "it passes on");
        assert_eq!(world.status().secrets[0].adopted, Some(true), "and stays what it was");
        assert_eq!(world.status().conflicts, []);
    }
}

#[test]
fn one_that_takes_all_keys_notes_it_too_when_the_other_has_set_what_it_waits_for() {
    let mut world = World::new(all(), &[("TOKEN", "ours")]);
    (world.siblings, world.app.created_at) = (vec![other(10, &["TOKEN"], &[])], None);
    world.visit();
    assert_eq!(world.status().conflicts[0].present, None);
    world.portal("TOKEN", "of the other object");
    world.siblings[0].managed.insert("TOKEN".to_owned());
    world.app.unready = Some("is not ready".to_owned());
    world.visit();
    assert_eq!(world.status().conflicts[0].present, Some(true), "whatever else is in the way");
}

#[test]
fn what_another_object_asks_for_is_released_and_never_deleted() {
    let mut world = World::settled(all(), &[("A", "one"), ("B", "two"), ("C", "three")]);
    world.siblings = vec![other(-10, &["B"], &[])];
    world.source(values(&[("A", "one")]));
    let visit = world.visit();
    let timings =
        Outcome::InProgress("Waiting for SpiceSecret \"other\" to acknowledge the hand-over of name \"B\"".to_owned());
    assert_eq!((visit.outcome, visit.deleted), (timings, vec!["C".to_owned()]));
    world.siblings[0].acknowledged.insert("B".to_owned());
    assert_eq!((world.visit().outcome, world.names()), (Outcome::InSync, vec!["A".to_owned()]));
    world.siblings = vec![other(-10, &["A"], &[])];
    world.delete();
    let timings =
        Outcome::Terminating("Waiting for SpiceSecret \"other\" to acknowledge the hand-over of name \"A\"".to_owned());
    assert_eq!(world.visit().outcome, timings);
    world.siblings[0].acknowledged.insert("A".to_owned());
    let visit = world.visit();
    assert_eq!((visit.outcome.clone(), visit.deleted.len(), visit.remote_reads().len()), (Outcome::Finalized, 0, 0));
    assert_eq!(world.remote.len(), 2);
}

/// The other one left the secret to this one, which is deleted before it could set it.
#[test]
fn what_has_passed_on_is_deleted_with_its_heir_or_when_that_one_asks_for_it_no_longer() {
    let heir = |adopted: bool| {
        let mut world = World::new(one("TOKEN"), &[("key", "ours")]);
        world.portal("TOKEN", "of the other object");
        (world.siblings, world.app.created_at) = (vec![other(10, &["TOKEN"], &["TOKEN"])], None);
        world.siblings[0].adopted.extend(adopted.then(|| "TOKEN".to_owned()));
        assert_eq!(world.says().0, "NameTaken");
        world
    };
    for (adopted, deleted) in [(false, vec!["TOKEN".to_owned()]), (true, Vec::new())] {
        let mut world = heir(adopted);
        world.siblings[0].deleting = true;
        world.delete();
        let visit = world.visit();
        let timings = "Waiting for SpiceSecret \"other\", which is being deleted and owns \"TOKEN\"".to_owned();
        assert_eq!((visit.outcome, visit.deleted.len()), (Outcome::Terminating(timings), 0));
        world.siblings.clear();
        let visit = world.visit();
        assert_eq!((visit.outcome, visit.deleted), (Outcome::Finalized, deleted.clone()), "{adopted}");

        let mut world = heir(adopted);
        world.edit(one("OTHER"));
        world.siblings[0].deleting = true;
        world.visit();
        world.siblings.clear();
        world.runtime_state.force_resync = true;
        let visit = world.visit();
        assert_eq!((visit.outcome, visit.deleted), (Outcome::InSync, deleted), "{adopted}");
        assert_eq!((world.names(), world.status().conflicts.len()), (vec!["OTHER".to_owned()], 0));
    }
    // One that stays keeps what it has.
    let mut world = heir(false);
    world.delete();
    assert_eq!((world.visit().outcome, world.remote.len()), (Outcome::Finalized, 1));
}

#[test]
fn no_more_is_recorded_than_status_takes() {
    let names = |from: usize| (from..from + 256).map(|number| format!("NAME_{number:04}")).collect::<Vec<_>>();
    let held =
        |names: &[String]| names.iter().map(|name| (name.clone(), b"value".to_vec())).collect::<BTreeMap<_, _>>();
    let mut world = World::new(all(), &[]);
    world.source(held(&names(0)));
    world.visit();
    // What is wrong with one key keeps what goes from being deleted.
    for from in [255, 510, 765] {
        let mut values = held(&names(from)[..255]);
        values.insert("no name".to_owned(), b"value".to_vec());
        world.source(values);
        for _ in 0..2 {
            world.runtime_state.force_resync = true;
            assert!(matches!(world.visit().outcome, Outcome::Stalled(Reason::InvalidSpec, _)));
        }
        assert!(world.status().secrets.len() <= 512);
    }
    world.source(held(&names(765)));
    for _ in 0..3 {
        world.runtime_state.force_resync = true;
        world.visit();
    }
    assert_eq!(world.names(), names(765));
}

#[test]
fn one_that_cannot_be_decoded_keeps_what_it_has_set_and_asks_for_nothing_more() {
    let other = |set: &[&str], named: &[&str]| SiblingSecret {
        object: "older".into(),
        uid: "uid-0".into(),
        undecodable: true,
        managed: set.iter().map(|name| (*name).to_owned()).collect(),
        requested: named.iter().map(|name| (*name).to_owned()).collect(),
        acknowledged: set.iter().map(|name| (*name).to_owned()).collect(),
        ..SiblingSecret::default()
    };
    let mut world = World::new(one("TOKEN"), &[("key", "value")]);
    world.siblings = vec![other(&["TOKEN"], &["TOKEN"])];
    assert_eq!(world.says().1, "Name \"TOKEN\" is owned by SpiceSecret \"older\"");
    // It asks for what it has not: nobody waits for it.
    world.siblings = vec![other(&[], &["TOKEN"])];
    assert_eq!(world.visit().set, ["TOKEN"]);
    world.delete();
    let visit = world.visit();
    assert_eq!((visit.outcome, visit.deleted), (Outcome::Finalized, vec!["TOKEN".to_owned()]));
}
