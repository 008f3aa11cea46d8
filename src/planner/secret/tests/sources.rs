//! What the Kubernetes Secret holds, or no longer holds.

use super::*;

#[test]
fn a_source_that_vanishes_or_is_emptied_deletes_nothing_and_is_named() {
    for spec in [all(), one("TOKEN"), json!({ "secretRef": { "name": "source", "items": [{ "key": "key" }] } })] {
        let takes_all = spec == all();
        let mut world = World::settled(spec, &[("key", "value"), ("more", "value")]);
        let before: Vec<String> = world.remote.keys().cloned().collect();
        for (held, message) in [
            (None, "Secret \"source\" not found. Secrets already set from it are kept"),
            (
                Some(vec![]),
                if takes_all { "Secret \"source\" has no data" } else { "Secret \"source\" has no key \"key\"" },
            ),
        ] {
            match held {
                Some(held) => world.source(values(&held)),
                None => world.source = None,
            }
            let visit = world.visit();
            assert_eq!((visit.set.len(), visit.deleted.len()), (0, 0), "{visit:?}");
            let (status, reason, shown) = world.ready();
            assert_eq!((status.as_str(), reason.as_str(), shown.as_str()), ("False", "SourceNotFound", message));
        }
        assert_eq!(world.remote.keys().cloned().collect::<Vec<_>>(), before);
        world.source(values(&[("key", "value"), ("more", "value")]));
        let visit = world.visit();
        assert_eq!((visit.outcome, visit.set.len()), (Outcome::InSync, 0), "it is as it was");
    }
}

#[test]
fn a_key_that_goes_from_a_source_with_others_goes_from_the_app_if_we_have_set_it() {
    let mut world = World::new(
        json!({ "secretRef": { "name": "source" }, "adoptionPolicy": "Adopt" }),
        &[("A", "1"), ("B", "2"), ("C", "3")],
    );
    world.portal("B", "theirs");
    assert_eq!(world.visit().outcome, Outcome::InSync);
    world.portal("D", "theirs");
    world.source(values(&[("A", "1")]));
    let visit = world.visit();
    assert_eq!((visit.outcome, visit.deleted), (Outcome::InSync, vec!["C".to_owned()]));
    // The one that was taken over stays, and so does the one that we never had.
    assert_eq!((world.names(), world.remote()), (vec!["A".to_owned()], vec![("A", "1"), ("B", "2"), ("D", "theirs")]));
}

#[test]
fn what_cannot_be_sent_is_listed_one_by_one_and_the_rest_goes_out() {
    let mut world = World::new(all(), &[]);
    let mut held = values(&[("good", "value"), ("bad-name", "value"), ("1st", "value"), ("empty", "")]);
    held.insert("binary".into(), vec![0xff, 0xfe]);
    held.insert("huge".into(), vec![b'x'; 64 * 1024 + 1]);
    held.insert("large".into(), vec![b'x'; 64 * 1024]);
    world.source(held);
    let visit = world.visit();
    assert_eq!(visit.set, ["empty", "good", "large"]);
    assert_eq!(visit.told("EmptyValue"), Some("The value is empty: empty"));
    let Outcome::Stalled(Reason::InvalidSpec, message) = &visit.outcome else { panic!("{visit:?}") };
    let message: Vec<&str> = message.split(". ").collect();
    assert_eq!(
        message,
        [
            "Secret \"source\": key \"1st\" is not a valid secret name; map it in spec.secretRef.items",
            "Secret \"source\": key \"bad-name\" is not a valid secret name; map it in spec.secretRef.items",
            "Secret \"source\": the value of key \"binary\" is not UTF-8",
            "Secret \"source\": the value of key \"huge\" is longer than 64 KiB",
        ]
    );
    // A restart finds it as it was.
    world.restart();
    let visit = world.visit();
    assert_eq!((visit.outcome.clone(), visit.remote_reads().len()), (Outcome::Skipped, 0));
    // A value that becomes too large leaves what is there.
    let mut held = values(&[("good", "value")]);
    held.insert("large".into(), vec![b'x'; 64 * 1024 + 1]);
    world.source(held);
    let visit = world.visit();
    assert_eq!((visit.set.len(), visit.deleted.len()), (0, 0), "{visit:?}");
    assert_eq!(world.remote.len(), 3);
}

#[test]
fn a_rename_sets_the_new_name_before_the_old_one_goes() {
    let mut world = World::settled(one("OLD"), &[("key", "value")]);
    world.edit(one("NEW"));
    world.refused.insert("NEW".into(), ErrorKind::Server);
    let visit = world.visit();
    assert!(visit.deleted.is_empty() && world.remote.contains_key("OLD"), "{visit:?}");
    world.refused.clear();
    world.pass(60);
    let visit = world.visit();
    assert_eq!(
        (visit.outcome, visit.set, visit.deleted),
        (Outcome::InSync, vec!["NEW".to_owned()], vec!["OLD".to_owned()])
    );
    // Where the old one is to be kept it is, and is ours no more.
    let retained = |name: &str| {
        let mut spec = one(name);
        spec["deletionPolicy"] = json!("Retain");
        spec
    };
    let mut world = World::settled(retained("OLD"), &[("key", "value")]);
    world.edit(retained("NEW"));
    assert_eq!(world.visit().deleted, [""; 0]);
    assert_eq!((world.names(), world.remote.len()), (vec!["NEW".to_owned()], 2));
}

#[test]
fn a_spec_that_an_older_definition_let_in_is_refused_without_a_read() {
    for (spec, message) in [
        (one("1A"), "spec.secretRef.items[0].name: \"1A\""),
        (
            json!({ "secretRef": { "name": "source", "items": [{ "key": "a", "name": "A" }, { "key": "A" }] } }),
            "spec.secretRef.items[1].name: A is there twice",
        ),
        (
            json!({ "secretRef": { "name": "source", "items": [{ "key": "a.b" }] } }),
            "spec.secretRef.items[0].name: \"a.b\"",
        ),
    ] {
        let mut world = World::new(spec, &[("key", "value")]);
        let visit = world.visit();
        let Outcome::Stalled(Reason::InvalidSpec, told) = &visit.outcome else { panic!("{visit:?}") };
        assert!(told.contains(message) && visit.reads == [SecretRead::Siblings], "{told}");
    }
}
