//! Spicepod from a connected repository.

use super::*;
use crate::api::RECONCILE_REQUESTED_AT;

#[test]
fn a_spicepod_of_a_repository_is_sent_once_and_other_fields_are_updated() {
    let mut fixture = Fixture::settled(spec());
    let connected =
        |result: &Reconciled<SpiceApp>| matches!(result.outcome, Outcome::Stalled(Reason::RepositoryConnected, _));
    fixture.remote.has_repository = true;
    fixture.remote.apps.get_mut(&101).unwrap().insert("spicepod".into(), json!({"name": "theirs"}));
    let result = fixture.reconcile();
    assert!(connected(&result) && result.writes.len() == 1, "{result:?}");
    for _ in 0..2 {
        fixture.advance(3600);
        let result = fixture.reconcile();
        assert!(connected(&result) && result.writes.is_empty() && result.remote_reads() == 1, "{result:?}");
        fixture.restart();
    }
    let mut spec = spec();
    spec["runtime"]["replicas"] = json!(3);
    fixture.edit(spec);
    let result = fixture.reconcile();
    assert!(connected(&result) && result.writes.len() == 2, "{result:?}");
    assert_eq!(result.put_of(1), ["replicas".to_owned()].into());
    fixture.remote.has_repository = false;
    fixture.advance(3600);
    assert!(connected(&fixture.reconcile()), "no read shows that the repository is disconnected");
    fixture.object.metadata.annotations = Some([(RECONCILE_REQUESTED_AT.into(), "now".into())].into());
    let result = fixture.reconcile();
    assert_eq!((result.put(), result.outcome), (["spicepod".to_owned()].into(), Outcome::InSync));
}

fn spec() -> Value {
    json!({"description": "one", "spicepod": {"version": "v1", "name": "pod"}, "runtime": {"replicas": 2}})
}
