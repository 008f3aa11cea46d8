//! Organizations that take no tags: the recorded id counts.

use super::*;

fn refuses(world: &mut World) {
    world.remote.rejects_tags = true;
}

fn drops(world: &mut World) {
    world.remote.drops_tags = true;
}

#[test]
fn where_tags_are_refused_or_dropped_an_app_is_kept_by_its_id() {
    for (without_tags, writes) in [(refuses as fn(&mut World), 2), (drops, 2)] {
        let mut world = World::new(json!({"description": "one"}));
        without_tags(&mut world);
        let visit = world.visit();
        assert_eq!((&visit.outcome, visit.writes.len()), (&Outcome::InSync, writes), "{visit:?}");
        assert_eq!((world.status().tags_unsupported, world.remote.apps.len()), (Some(true), 1));
        assert!(world.status().incarnation.unwrap().starts_with("c-"));

        for restart in [false, true] {
            if restart {
                world.restart();
            }
            world.pass(3600);
            let check = world.visit();
            assert_eq!((&check.outcome, check.writes.len()), (&Outcome::InSync, 0), "{check:?}");
        }
        world.edit(json!({"description": "two"}));
        assert_eq!(world.visit().put(), ["description".to_owned()].into());

        world.delete();
        let visit = world.visit();
        assert_eq!((visit.deletes(), visit.writes.len(), visit.outcome), (vec![101], 1, Outcome::Finalized));
    }
}

#[test]
fn what_one_app_has_shown_the_next_one_knows() {
    let mut world = World::new(json!({}));
    world.remote.rejects_tags = true;
    world.organization = Observed::Present(OrganizationView {
        tags_unsupported: true,
        default_region: Some("us-west-2".into()),
        ..OrganizationView::default()
    });
    let visit = world.visit();
    assert_eq!((&visit.outcome, visit.writes.len()), (&Outcome::InSync, 1), "{visit:?}");
    assert_eq!(world.status().tags_unsupported, Some(true));
}

#[test]
fn without_tags_lost_status_is_a_taken_name_until_it_is_adopted() {
    let mut world = World::new(json!({"description": "one"}));
    world.remote.rejects_tags = true;
    world.visit();
    world.object.status = None;
    world.restart();
    assert_eq!(world.visit().stalled(), Some(Reason::NameTaken));
    world.edit(json!({"description": "one", "adoptionPolicy": "Adopt"}));
    let visit = world.visit();
    assert_eq!(visit.outcome, Outcome::InSync, "{visit:?}");
    assert_eq!((world.status().id, world.status().tags_unsupported), (Some(101), Some(true)));
}

#[test]
fn a_refusal_that_is_about_something_else_is_told_after_one_repetition() {
    for (kind, reason) in [(ErrorKind::Invalid, Reason::InvalidSpec), (ErrorKind::Forbidden, Reason::PlanLimit)] {
        let mut world = World::new(json!({}));
        world.remote.fault = Some((ApiError::local(kind, "no"), false));
        world.remote.fault_lasts = true;
        let visit = world.visit();
        assert!(matches!(visit.outcome, Outcome::WriteFailed(found, ..) if found == reason), "{visit:?}");
        assert_eq!(visit.writes.len(), 2);
        assert_eq!((world.status().create_intent, world.status().tags_unsupported), (None, None));
    }
    let mut world = World::new(json!({}));
    let scope = ApiError { code: Some("insufficient_scope".into()), ..ApiError::local(ErrorKind::Forbidden, "no") };
    world.remote.fault = Some((scope, false));
    assert_eq!(world.visit().writes.len(), 1, "a scope is not about tags");
}

#[test]
fn tags_that_come_back_count_again() {
    let mut world = World::new(json!({}));
    world.remote.drops_tags = true;
    world.visit();
    world.remote.drops_tags = false;
    let tags = json!({OWNER_TAG: world.owner(), INCARNATION_TAG: world.status().incarnation});
    world.remote.apps.get_mut(&101).unwrap().insert("tags".into(), tags);
    world.pass(3600);
    assert_eq!((world.visit().outcome, world.status().tags_unsupported), (Outcome::InSync, None));
}

#[test]
fn a_refusal_of_the_whole_write_does_not_show_that_tags_are_lost() {
    let refused = |kind, code: &str| ApiError { code: Some(code.into()), ..ApiError::local(kind, "no") };
    for (spec, error, reason) in [
        (
            json!({"adoptionPolicy": "Adopt", "runtime": {"imageTag": "9"}}),
            refused(ErrorKind::Invalid, "bad"),
            Reason::InvalidSpec,
        ),
        (
            json!({"adoptionPolicy": "Adopt", "runtime": {"imageTag": "9"}}),
            refused(ErrorKind::Forbidden, "image_tag_requires_enterprise"),
            Reason::PlanLimit,
        ),
        // Nothing but our tags is to be sent, by somebody who may send nothing.
        (json!({"adoptionPolicy": "Adopt"}), refused(ErrorKind::Forbidden, "forbidden"), Reason::Forbidden),
    ] {
        let mut world = World::new(spec);
        world.remote.add("my-app", json!({}));
        world.remote.fault = Some((error, false));
        world.remote.fault_lasts = true;
        let visit = world.visit();
        assert!(matches!(visit.outcome, Outcome::WriteFailed(found, ..) if found == reason), "{visit:?}");
        assert_eq!(world.status().tags_unsupported, None, "{visit:?}");
        (world.remote.fault, world.remote.fault_lasts) = (None, false);
        world.pass(3600);
        assert_eq!(world.visit().outcome, Outcome::InSync);
        assert_eq!(world.remote.list()[0].tag(OWNER_TAG), Some(world.owner().as_str()));
    }
}

#[test]
fn a_repeated_create_that_is_refused_does_not_show_that_tags_are_lost() {
    let mut world = World::new(json!({}));
    world.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "broken"), false));
    world.visit();
    let limit = ApiError { code: Some("plan_limit".into()), ..ApiError::local(ErrorKind::Forbidden, "no") };
    (world.remote.fault, world.remote.fault_lasts) = (Some((limit, false)), true);
    world.pass(200);
    let visit = world.visit();
    assert!(matches!(visit.outcome, Outcome::WriteFailed(Reason::PlanLimit, ..)), "{visit:?}");
    assert_eq!(visit.writes.len(), 2, "with tags and without");
    assert!(
        world.status().create_intent.is_some() && world.status().tags_unsupported.is_none(),
        "{:?}",
        world.status()
    );
    (world.remote.fault, world.remote.fault_lasts) = (None, false);
    world.pass(3600);
    assert_eq!(world.visit().outcome, Outcome::InSync);
    assert_eq!(world.remote.list()[0].tag(OWNER_TAG), Some(world.owner().as_str()));
}

#[test]
fn an_app_without_tags_that_was_only_observed_for_a_while_is_still_ours() {
    let mut world = World::new(json!({}));
    world.remote.drops_tags = true;
    world.visit();
    let incarnation = world.status().incarnation;
    world.edit(json!({"managementPolicy": "Observe"}));
    assert_eq!(world.visit().outcome, Outcome::InSync);
    world.edit(json!({}));
    assert_eq!((world.visit().outcome, world.status().incarnation), (Outcome::InSync, incarnation));
}
