//! The tag with the creation ID, edited by another client. The recorded value decides.

use super::*;
use crate::api::DeletionPolicy;

const PATH: &str = "tags.spice-operator-incarnation";

/// An app whose status records `recorded`, and whose tag another client set to `shown`.
fn edited(spec: Value, recorded: &str, shown: &str) -> Fixture {
    let mut fixture = Fixture::settled(spec);
    let mut status = fixture.status();
    status.incarnation = Some(recorded.to_owned());
    let applied = fields::managed_tag(INCARNATION_TAG, json!(recorded));
    status.last_applied.extend(fields::assume_applied(&[applied]));
    fixture.object.status = Some(status);
    fixture.set_tag(shown);
    fixture
}

impl Fixture {
    fn set_tag(&mut self, value: &str) {
        self.remote.apps.get_mut(&101).unwrap()["tags"][INCARNATION_TAG] = json!(value);
    }

    fn tag(&self) -> String {
        self.remote.apps[&101]["tags"][INCARNATION_TAG].as_str().unwrap().to_owned()
    }
}

#[test]
fn an_edited_creation_id_is_drift_and_never_recorded() {
    for (recorded, shown) in [("a-1", "c-2"), ("c-1", "a-2"), ("c-1", "c-2"), ("a-1", "nonsense")] {
        let mut fixture = edited(json!({}), recorded, shown);
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, result.put()), (&Outcome::InSync, ["tags".to_owned()].into()), "{result:?}");
        assert!(result.events.iter().any(|event| event.message == format!("Corrected drift: {PATH}")), "{result:?}");
        assert_eq!((fixture.tag().as_str(), fixture.status().incarnation.as_deref()), (recorded, Some(recorded)));

        let mut fixture = edited(json!({ "driftPolicy": "Report" }), recorded, shown);
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, result.writes.len()), (&Outcome::InSync, 0), "{result:?}");
        assert_eq!((fixture.status().drift, fixture.tag().as_str()), (vec![PATH.to_owned()], shown));
        assert_eq!(fixture.status().incarnation.as_deref(), Some(recorded));
    }
}

#[test]
fn an_edited_creation_id_does_not_decide_whether_the_app_is_deleted() {
    use DeletionPolicy::{Delete, Retain};
    for (recorded, shown, policy, is_deleted) in [
        ("a-1", "c-2", None, false),
        ("c-1", "a-2", None, true),
        ("a-1", "c-2", Some(Delete), true),
        ("c-1", "a-2", Some(Retain), false),
    ] {
        for (resync, drift_policy) in [(false, "Correct"), (true, "Correct"), (true, "Report")] {
            let mut fixture = edited(json!({ "driftPolicy": drift_policy }), recorded, shown);
            if resync {
                assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
                // Edited again, so that the deletion reads another value too.
                fixture.set_tag(shown);
                fixture.advance(3600);
            }
            fixture.object.spec.deletion_policy = policy;
            fixture.delete();
            let result = fixture.reconcile();
            let expected = if is_deleted { vec![101] } else { vec![] };
            assert_eq!((result.outcome.clone(), result.deletes()), (Outcome::Finalized, expected), "{result:?}");
        }
    }
}

#[test]
fn a_lost_status_copies_the_creation_id_once() {
    for (shown, is_created) in [("c-1", true), ("a-1", false)] {
        let mut fixture = Fixture::settled(json!({}));
        fixture.set_tag(shown);
        fixture.object.status = None;
        assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
        assert_eq!(fixture.status().incarnation.as_deref(), Some(shown));
        fixture.set_tag("x-2");
        fixture.advance(660);
        assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
        assert_eq!((fixture.status().incarnation.as_deref(), fixture.tag().as_str()), (Some(shown), shown));
        fixture.delete();
        assert_eq!(fixture.reconcile().deletes().len(), usize::from(is_created), "{shown}");
    }
}

#[test]
fn an_app_that_returns_with_an_old_creation_id_gets_the_new_one() {
    let mut fixture = Fixture::new(json!({}));
    let tags = json!({ OWNER_TAG: fixture.owner(), INCARNATION_TAG: "c-old" });
    let old = fixture.remote.add("my-app", json!({ "tags": tags }));
    fixture.remote.deleted.insert(old);
    fixture.remote.keeps_reactivated = true;
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    let recorded = fixture.status().incarnation.unwrap();
    assert!(recorded != "c-old" && fixture.tag() == recorded, "{recorded}");
}
