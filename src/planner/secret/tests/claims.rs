//! Two objects that ask for one name.

use super::*;

fn other(age: i64, named: &[&str], set: &[&str]) -> OtherSecret {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    OtherSecret {
        object: "other".into(),
        created: Some(Timestamp::from_second(1_000_000 - age).unwrap()),
        uid: "uid-1".into(),
        deleting: false,
        named: names(named),
        set: names(set),
    }
}

#[test]
fn the_older_has_a_name_then_the_lower_uid_and_the_younger_is_told() {
    for (age, uid, ours) in [(10, "uid-9", false), (0, "uid-1", false), (0, "uid-9", true), (-10, "uid-1", true)] {
        let mut world = World::new(one("TOKEN"), &[("key", "value")]);
        world.others = vec![OtherSecret { uid: uid.into(), ..other(age, &["TOKEN"], &[]) }];
        let visit = world.visit();
        if ours {
            assert_eq!((visit.verdict, visit.set.len()), (Verdict::Settled, 1), "{age} {uid}");
        } else {
            let words = "TOKEN is held by SpiceSecret other".to_owned();
            assert_eq!(
                (visit.verdict, visit.set.len()),
                (Verdict::Stalled(Reason::NameTaken, words), 0),
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
    world.others = vec![other(10, &["TOKEN"], &["TOKEN"])];
    assert_eq!(world.says().0, "NameTaken");
    assert_eq!(world.status().held.len(), 1);
    world.others[0].deleting = true;
    world.memory.look_again = true;
    assert_eq!(world.says(), ("NameTaken".to_owned(), "TOKEN is held by SpiceSecret other".to_owned()));
    world.others.clear();
    let visit = world.visit();
    assert_eq!((visit.verdict, visit.set.len()), (Verdict::Settled, 1), "it was set by one of ours");
    assert_eq!(world.status().held, []);
    // One that the other had not set is whoever's it is.
    let mut world = World::new(one("TOKEN"), &[("key", "ours")]);
    (world.others, world.app.created_at) = (vec![other(10, &["TOKEN"], &[])], None);
    world.visit();
    world.portal("TOKEN", "theirs");
    world.others.clear();
    assert!(world.says().1.contains("was not set by this object"));
}

#[test]
fn an_older_object_takes_over_what_a_younger_has_set_and_the_younger_lets_go() {
    let mut world = World::new(one("TOKEN"), &[("key", "of the older")]);
    world.portal("TOKEN", "of the younger");
    (world.others, world.app.created_at) = (vec![other(-10, &["TOKEN"], &["TOKEN"])], None);
    let visit = world.visit();
    assert_eq!((visit.verdict, visit.set.len()), (Verdict::Settled, 1));
    let mut world = World::settled(all(), &[("TOKEN", "of the younger"), ("MORE", "more")]);
    world.others = vec![other(10, &["TOKEN"], &["TOKEN"])];
    let visit = world.visit();
    assert!(matches!(visit.verdict, Verdict::Stalled(Reason::NameTaken, _)), "{visit:?}");
    assert_eq!((visit.set.len(), visit.deleted.len(), world.names()), (0, 0, vec!["MORE".to_owned()]));
}

#[test]
fn what_another_object_asks_for_is_released_and_never_deleted() {
    let mut world = World::settled(all(), &[("A", "one"), ("B", "two"), ("C", "three")]);
    world.others = vec![other(-10, &["B"], &[])];
    world.source(values(&[("A", "one")]));
    let visit = world.visit();
    assert_eq!((visit.verdict, visit.deleted), (Verdict::Settled, vec!["C".to_owned()]));
    assert_eq!(world.names(), ["A"]);
    world.others = vec![other(-10, &["A"], &[])];
    world.delete();
    let visit = world.visit();
    assert_eq!((visit.verdict.clone(), visit.deleted.len(), visit.remote_reads().len()), (Verdict::Gone, 0, 0));
    assert_eq!(world.remote.len(), 2);
}
