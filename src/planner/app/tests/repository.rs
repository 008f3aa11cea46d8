//! An app whose spicepod comes from a connected repository.

use super::*;
use crate::api::RECONCILE_REQUESTED_AT;

#[test]
fn a_spicepod_that_comes_from_a_repository_is_sent_once_and_the_rest_goes_out() {
    let mut world = World::settled(spec());
    let connected =
        |visit: &Reconciled<SpiceApp>| matches!(visit.outcome, Outcome::Stalled(Reason::RepositoryConnected, _));
    world.remote.has_repository = true;
    world.remote.apps.get_mut(&101).unwrap().insert("spicepod".into(), json!({"name": "theirs"}));
    let visit = world.visit();
    assert!(connected(&visit) && visit.writes.len() == 1, "{visit:?}");
    for _ in 0..2 {
        world.pass(3600);
        let visit = world.visit();
        assert!(connected(&visit) && visit.writes.is_empty() && visit.remote_reads() == 1, "{visit:?}");
        world.restart();
    }
    let mut spec = spec();
    spec["runtime"]["replicas"] = json!(3);
    world.edit(spec);
    let visit = world.visit();
    assert!(connected(&visit) && visit.writes.len() == 2, "{visit:?}");
    assert_eq!(visit.put_of(1), ["replicas".to_owned()].into());
    world.remote.has_repository = false;
    world.pass(3600);
    assert!(connected(&world.visit()), "no read tells that it is connected no more");
    world.object.metadata.annotations = Some([(RECONCILE_REQUESTED_AT.into(), "now".into())].into());
    let visit = world.visit();
    assert_eq!((visit.put(), visit.outcome), (["spicepod".to_owned()].into(), Outcome::InSync));
}

fn spec() -> Value {
    json!({"description": "one", "spicepod": {"version": "v1", "name": "pod"}, "runtime": {"replicas": 2}})
}
