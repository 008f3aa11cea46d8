//! Several objects that request one name.

use super::*;
use crate::api::SecretConflict;

fn sibling(age: i64, requested: &[&str], managed: &[&str]) -> SiblingSecret {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    SiblingSecret {
        object: "other".into(),
        created: Some(Timestamp::from_second(1_000_000 - age).unwrap()),
        uid: "uid-1".into(),
        deleting: false,
        undecodable: false,
        requested: names(requested),
        managed: names(managed),
        adopted: BTreeSet::new(),
        acknowledged: names(managed),
    }
}

#[test]
fn the_older_object_owns_a_name_then_the_lower_uid() {
    for (age, uid, is_owner) in [(10, "uid-9", false), (0, "uid-1", false), (0, "uid-9", true), (-10, "uid-1", true)] {
        let mut fixture = Fixture::new(one("TOKEN"), &[("key", "value")]);
        fixture.siblings = vec![SiblingSecret { uid: uid.into(), ..sibling(age, &["TOKEN"], &[]) }];
        let result = fixture.reconcile();
        if is_owner {
            assert_eq!((result.outcome, result.set.len()), (Outcome::InSync, 1), "{age} {uid}");
        } else {
            let message = "Name \"TOKEN\" is owned by SpiceSecret \"other\"".to_owned();
            assert_eq!(
                (result.outcome, result.set.len()),
                (Outcome::Stalled(Reason::NameTaken, message), 0),
                "{age} {uid}"
            );
        }
    }
}

#[test]
fn a_name_is_handed_over_only_after_the_older_object_is_deleted() {
    let mut fixture = Fixture::new(one("TOKEN"), &[("key", "ours")]);
    fixture.set_in_portal("TOKEN", "of the sibling");
    // The app was created long before.
    fixture.app.created_at = None;
    fixture.siblings = vec![sibling(10, &["TOKEN"], &["TOKEN"])];
    assert_eq!(fixture.reconciled_ready().0, "NameTaken");
    assert_eq!(fixture.status().conflicts.len(), 1);
    fixture.siblings[0].deleting = true;
    fixture.runtime_state.force_resync = true;
    assert_eq!(
        fixture.reconciled_ready(),
        ("NameTaken".to_owned(), "Name \"TOKEN\" is owned by SpiceSecret \"other\"".to_owned())
    );
    fixture.siblings.clear();
    let result = fixture.reconcile();
    assert_eq!((result.outcome, result.set.len()), (Outcome::InSync, 1), "a SpiceSecret has set the secret");
    assert_eq!(fixture.status().conflicts, []);
    // A secret that the sibling had not set may be that of another client.
    let mut fixture = Fixture::new(one("TOKEN"), &[("key", "ours")]);
    (fixture.siblings, fixture.app.created_at) = (vec![sibling(10, &["TOKEN"], &[])], None);
    fixture.reconcile();
    fixture.set_in_portal("TOKEN", "theirs");
    fixture.siblings.clear();
    assert!(fixture.reconciled_ready().1.contains("is not managed by this object"));
}

#[test]
fn an_older_object_takes_over_a_name_and_the_younger_one_releases_it() {
    let mut fixture = Fixture::new(one("TOKEN"), &[("key", "of the older one")]);
    fixture.set_in_portal("TOKEN", "of the younger one");
    (fixture.siblings, fixture.app.created_at) = (vec![sibling(-10, &["TOKEN"], &["TOKEN"])], None);
    let result = fixture.reconcile();
    assert_eq!((result.outcome, result.set.len()), (Outcome::InSync, 1));
    let mut fixture = Fixture::settled(all(), &[("TOKEN", "of the younger one"), ("MORE", "more")]);
    fixture.siblings = vec![sibling(10, &["TOKEN"], &["TOKEN"])];
    let result = fixture.reconcile();
    assert!(matches!(result.outcome, Outcome::Stalled(Reason::NameTaken, _)), "{result:?}");
    assert_eq!((result.set.len(), result.deleted.len(), fixture.names()), (0, 0, vec!["MORE".to_owned()]));
}

/// Without the record, the secret would count as that of another client after the deletion of the sibling.
#[test]
fn a_name_that_a_sibling_has_set_is_recorded_first() {
    for (age, app_is_ready, suspended) in [(10, true, false), (-10, false, false), (10, true, true)] {
        let mut fixture = Fixture::new(one("TOKEN"), &[("key", "ours")]);
        fixture.set_in_portal("TOKEN", "of the sibling");
        (fixture.siblings, fixture.app.created_at) = (vec![sibling(age, &[], &["TOKEN"])], None);
        fixture.siblings[0].adopted = ["TOKEN".to_owned()].into();
        fixture.app.unready = (!app_is_ready).then(|| "is not ready".to_owned());
        fixture.object.spec.suspend = Some(suspended);
        fixture.reconcile();
        let conflict =
            SecretConflict { name: "TOKEN".into(), owned_by: "other".into(), present: Some(true), adopted: Some(true) };
        assert_eq!(fixture.status().conflicts, [conflict], "{age} {suspended}");
        (fixture.siblings, fixture.app.unready, fixture.object.spec.suspend) = (Vec::new(), None, None);
        fixture.runtime_state.force_resync = true;
        let result = fixture.reconcile();
        assert_eq!((result.outcome, result.set.len()), (Outcome::InSync, 1), "the name is handed over");
        assert_eq!(fixture.status().secrets[0].adopted, Some(true), "an adopted secret stays adopted");
        assert_eq!(fixture.status().conflicts, []);
    }
}

#[test]
fn an_object_that_selects_all_keys_also_records_a_name_that_a_sibling_sets() {
    let mut fixture = Fixture::new(all(), &[("TOKEN", "ours")]);
    (fixture.siblings, fixture.app.created_at) = (vec![sibling(10, &["TOKEN"], &[])], None);
    fixture.reconcile();
    assert_eq!(fixture.status().conflicts[0].present, None);
    fixture.set_in_portal("TOKEN", "of the sibling");
    fixture.siblings[0].managed.insert("TOKEN".to_owned());
    fixture.app.unready = Some("is not ready".to_owned());
    fixture.reconcile();
    assert_eq!(fixture.status().conflicts[0].present, Some(true), "also while the app is not ready");
}

#[test]
fn a_name_that_a_sibling_requests_is_released_and_never_deleted() {
    let mut fixture = Fixture::settled(all(), &[("A", "one"), ("B", "two"), ("C", "three")]);
    fixture.siblings = vec![sibling(-10, &["B"], &[])];
    fixture.set_source(values(&[("A", "one")]));
    let result = fixture.reconcile();
    let waiting =
        Outcome::InProgress("Waiting for SpiceSecret \"other\" to acknowledge the hand-over of name \"B\"".to_owned());
    assert_eq!((result.outcome, result.deleted), (waiting, vec!["C".to_owned()]));
    fixture.siblings[0].acknowledged.insert("B".to_owned());
    assert_eq!((fixture.reconcile().outcome, fixture.names()), (Outcome::InSync, vec!["A".to_owned()]));
    fixture.siblings = vec![sibling(-10, &["A"], &[])];
    fixture.delete();
    let waiting =
        Outcome::Terminating("Waiting for SpiceSecret \"other\" to acknowledge the hand-over of name \"A\"".to_owned());
    assert_eq!(fixture.reconcile().outcome, waiting);
    fixture.siblings[0].acknowledged.insert("A".to_owned());
    let result = fixture.reconcile();
    assert_eq!((result.outcome.clone(), result.deleted.len(), result.remote_reads().len()), (Outcome::Finalized, 0, 0));
    assert_eq!(fixture.remote.len(), 2);
}

/// The sibling has handed the secret over, and the object is deleted before it could set the secret.
#[test]
fn a_handed_over_secret_is_deleted_with_its_new_owner_or_when_the_owner_drops_the_name() {
    let handed_over = |adopted: bool| {
        let mut fixture = Fixture::new(one("TOKEN"), &[("key", "ours")]);
        fixture.set_in_portal("TOKEN", "of the sibling");
        (fixture.siblings, fixture.app.created_at) = (vec![sibling(10, &["TOKEN"], &["TOKEN"])], None);
        fixture.siblings[0].adopted.extend(adopted.then(|| "TOKEN".to_owned()));
        assert_eq!(fixture.reconciled_ready().0, "NameTaken");
        fixture
    };
    for (adopted, deleted) in [(false, vec!["TOKEN".to_owned()]), (true, Vec::new())] {
        let mut fixture = handed_over(adopted);
        fixture.siblings[0].deleting = true;
        fixture.delete();
        let result = fixture.reconcile();
        let waiting = "Waiting for SpiceSecret \"other\", which is being deleted and owns \"TOKEN\"".to_owned();
        assert_eq!((result.outcome, result.deleted.len()), (Outcome::Terminating(waiting), 0));
        fixture.siblings.clear();
        let result = fixture.reconcile();
        assert_eq!((result.outcome, result.deleted), (Outcome::Finalized, deleted.clone()), "{adopted}");

        let mut fixture = handed_over(adopted);
        fixture.edit(one("OTHER"));
        fixture.siblings[0].deleting = true;
        fixture.reconcile();
        fixture.siblings.clear();
        fixture.runtime_state.force_resync = true;
        let result = fixture.reconcile();
        assert_eq!((result.outcome, result.deleted), (Outcome::InSync, deleted), "{adopted}");
        assert_eq!((fixture.names(), fixture.status().conflicts.len()), (vec!["OTHER".to_owned()], 0));
    }
    // A sibling that is not deleted keeps its secret.
    let mut fixture = handed_over(false);
    fixture.delete();
    assert_eq!((fixture.reconcile().outcome, fixture.remote.len()), (Outcome::Finalized, 1));
}

#[test]
fn status_has_at_most_512_entries() {
    let names = |from: usize| (from..from + 256).map(|number| format!("NAME_{number:04}")).collect::<Vec<_>>();
    let data =
        |names: &[String]| names.iter().map(|name| (name.clone(), b"value".to_vec())).collect::<BTreeMap<_, _>>();
    let mut fixture = Fixture::new(all(), &[]);
    fixture.set_source(data(&names(0)));
    fixture.reconcile();
    // An invalid key prevents the deletion of secrets that the source no longer has.
    for from in [255, 510, 765] {
        let mut values = data(&names(from)[..255]);
        values.insert("no name".to_owned(), b"value".to_vec());
        fixture.set_source(values);
        for _ in 0..2 {
            fixture.runtime_state.force_resync = true;
            assert!(matches!(fixture.reconcile().outcome, Outcome::Stalled(Reason::InvalidSpec, _)));
        }
        assert!(fixture.status().secrets.len() <= 512);
    }
    fixture.set_source(data(&names(765)));
    for _ in 0..3 {
        fixture.runtime_state.force_resync = true;
        fixture.reconcile();
    }
    assert_eq!(fixture.names(), names(765));
}

#[test]
fn an_undecodable_sibling_keeps_its_secrets_and_requests_no_more() {
    let sibling = |managed: &[&str], requested: &[&str]| SiblingSecret {
        object: "older".into(),
        uid: "uid-0".into(),
        undecodable: true,
        managed: managed.iter().map(|name| (*name).to_owned()).collect(),
        requested: requested.iter().map(|name| (*name).to_owned()).collect(),
        acknowledged: managed.iter().map(|name| (*name).to_owned()).collect(),
        ..SiblingSecret::default()
    };
    let mut fixture = Fixture::new(one("TOKEN"), &[("key", "value")]);
    fixture.siblings = vec![sibling(&["TOKEN"], &["TOKEN"])];
    assert_eq!(fixture.reconciled_ready().1, "Name \"TOKEN\" is owned by SpiceSecret \"older\"");
    // An undecodable sibling requests no name.
    fixture.siblings = vec![sibling(&[], &["TOKEN"])];
    assert_eq!(fixture.reconcile().set, ["TOKEN"]);
    fixture.delete();
    let result = fixture.reconcile();
    assert_eq!((result.outcome, result.deleted), (Outcome::Finalized, vec!["TOKEN".to_owned()]));
}
