//! Apps and objects that have the name of the app, or another owner.

use super::*;

#[test]
fn a_foreign_app_of_the_same_name_is_never_written() {
    for (name, tags, expected) in [
        ("my-app", json!({}), Reason::NameTaken),
        ("MY-App", json!({"team": "x"}), Reason::NameTaken),
        ("my-app", json!({OWNER_TAG: "somebody"}), Reason::OwnedElsewhere),
    ] {
        let mut fixture = Fixture::new(json!({"description": "one"}));
        fixture.remote.add(name, json!({"tags": tags}));
        let before = fixture.remote.apps.clone();
        for _ in 0..3 {
            let result = fixture.reconcile();
            assert_eq!(result.stalled(), Some(expected));
            assert!(result.writes.is_empty(), "{result:?}");
            fixture.advance(3600);
        }
        assert_eq!(fixture.remote.apps, before);
        // A read shows that the cause has ended, and the reconcile continues.
        fixture.remote.apps.clear();
        assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    }
}

#[test]
fn a_recorded_app_with_another_owner_or_name_is_not_written() {
    for (field, value) in [("tags", json!({OWNER_TAG: "somebody"})), ("name", json!("other-app"))] {
        let mut fixture = Fixture::settled(json!({"description": "one"}));
        fixture.remote.apps.get_mut(&101).unwrap().insert(field.into(), value);
        fixture.edit(json!({"description": "two"}));
        let result = fixture.reconcile();
        assert_eq!((result.stalled(), result.writes.len()), (Some(Reason::OwnedElsewhere), 0));
    }
}

#[test]
fn the_first_of_two_objects_owns_the_app_name() {
    let competitor = |without_id, seconds: i64, uid: &str| CompetingApp {
        without_id,
        created: Some(Timestamp::from_second(seconds).unwrap()),
        uid: uid.into(),
        namespace: "team".into(),
        name: "other".into(),
    };
    for (other, stalled) in [
        (competitor(false, 2_000_000, "z"), true),
        (competitor(true, 999_999, "z"), true),
        (competitor(true, 1_000_000, "a"), true),
        (competitor(true, 1_000_000, "z"), false),
        (competitor(true, 1_000_001, "a"), false),
    ] {
        let mut fixture = Fixture::new(json!({}));
        fixture.competing_apps = vec![other.clone()];
        let result = fixture.reconcile();
        assert_eq!(result.stalled() == Some(Reason::NameTaken), stalled, "{other:?}");
        assert_eq!(result.remote_reads() == 0, stalled, "{other:?}");
    }
}

#[test]
fn after_a_name_conflict_only_the_owner_tag_makes_an_app_owned() {
    for tagged in [false, true] {
        let mut fixture = Fixture::new(json!({}));
        fixture.remote.fault = Some((ApiError::local(ErrorKind::Conflict, "the name is taken"), false));
        assert!(matches!(fixture.reconcile().outcome, Outcome::WriteFailed(..)));
        // The app is older than the create, but the list before the create did not have it.
        let tags = if tagged { json!({ OWNER_TAG: fixture.owner() }) } else { json!({}) };
        let old = (fixture.now - jiff::SignedDuration::from_hours(1)).to_string();
        fixture.remote.add("my-app", json!({ "created_at": old, "tags": tags }));
        for _ in 0..2 {
            fixture.advance(60);
            let result = fixture.reconcile();
            assert_eq!(result.stalled(), (!tagged).then_some(Reason::NameTaken), "{result:?}");
            assert!(tagged || result.writes.is_empty(), "{result:?}");
            fixture.restart();
        }
        fixture.delete();
        assert_eq!(fixture.reconcile().deletes().len(), usize::from(tagged), "a foreign app stays");
    }
}
