//! Apps and organizations without tag support, where the recorded ID counts.

use super::*;

fn rejects(fixture: &mut Fixture) {
    fixture.remote.rejects_tags = true;
}

fn drops(fixture: &mut Fixture) {
    fixture.remote.drops_tags = true;
}

#[test]
fn without_tag_support_an_app_is_managed_by_its_recorded_id() {
    for (without_tags, writes) in [(rejects as fn(&mut Fixture), 2), (drops, 2)] {
        let mut fixture = Fixture::new(json!({"description": "one"}));
        without_tags(&mut fixture);
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, result.writes.len()), (&Outcome::InSync, writes), "{result:?}");
        assert_eq!((fixture.status().tags_unsupported, fixture.remote.apps.len()), (Some(true), 1));
        assert!(fixture.status().incarnation.unwrap().starts_with("c-"));

        for restart in [false, true] {
            if restart {
                fixture.restart();
            }
            fixture.advance(3600);
            let next = fixture.reconcile();
            assert_eq!((&next.outcome, next.writes.len()), (&Outcome::InSync, 0), "{next:?}");
        }
        fixture.edit(json!({"description": "two"}));
        assert_eq!(fixture.reconcile().put(), ["description".to_owned()].into());

        fixture.delete();
        let result = fixture.reconcile();
        assert_eq!((result.deletes(), result.writes.len(), result.outcome), (vec![101], 1, Outcome::Finalized));
    }
}

#[test]
fn missing_tag_support_is_known_from_another_app() {
    let mut fixture = Fixture::new(json!({}));
    fixture.remote.rejects_tags = true;
    fixture.organization = Observed::Present(OrganizationView {
        apps_without_tags: 2,
        default_region: Some("us-west-2".into()),
        ..OrganizationView::default()
    });
    let result = fixture.reconcile();
    assert_eq!((&result.outcome, result.writes.len()), (&Outcome::InSync, 1), "{result:?}");
    assert_eq!(fixture.status().tags_unsupported, Some(true));
}

#[test]
fn without_tag_support_lost_status_means_name_taken_until_adoption() {
    let mut fixture = Fixture::new(json!({"description": "one"}));
    fixture.remote.rejects_tags = true;
    fixture.reconcile();
    fixture.object.status = None;
    fixture.restart();
    assert_eq!(fixture.reconcile().stalled(), Some(Reason::NameTaken));
    fixture.edit(json!({"description": "one", "adoptionPolicy": "Adopt"}));
    let result = fixture.reconcile();
    assert_eq!(result.outcome, Outcome::InSync, "{result:?}");
    assert_eq!((fixture.status().id, fixture.status().tags_unsupported), (Some(101), Some(true)));
}

#[test]
fn an_unrelated_rejection_is_reported_after_one_attempt_without_tags() {
    for (kind, reason) in [(ErrorKind::Invalid, Reason::InvalidSpec), (ErrorKind::Forbidden, Reason::PlanLimit)] {
        let mut fixture = Fixture::new(json!({}));
        fixture.remote.fault = Some((ApiError { is_json: true, ..ApiError::local(kind, "no") }, false));
        fixture.remote.fault_lasts = true;
        let result = fixture.reconcile();
        assert!(matches!(result.outcome, Outcome::WriteFailed(found, ..) if found == reason), "{result:?}");
        assert_eq!(result.writes.len(), 2);
        assert_eq!((fixture.status().create_intent, fixture.status().tags_unsupported), (None, None));
    }
    let mut fixture = Fixture::new(json!({}));
    let scope = ApiError { code: Some("insufficient_scope"), ..ApiError::local(ErrorKind::Forbidden, "no") };
    fixture.remote.fault = Some((scope, false));
    assert_eq!(fixture.reconcile().writes.len(), 1, "a missing scope does not concern tags");
}

#[test]
fn an_owner_tag_that_the_api_shows_again_counts() {
    let mut fixture = Fixture::new(json!({}));
    fixture.remote.drops_tags = true;
    fixture.reconcile();
    fixture.remote.drops_tags = false;
    let tags = json!({OWNER_TAG: fixture.owner(), INCARNATION_TAG: fixture.status().incarnation});
    fixture.remote.apps.get_mut(&101).unwrap().insert("tags".into(), tags);
    fixture.advance(3600);
    assert_eq!((fixture.reconcile().outcome, fixture.status().tags_unsupported), (Outcome::InSync, None));
}

#[test]
fn a_rejection_of_the_whole_update_does_not_show_missing_tag_support() {
    let rejection =
        |kind, code: &'static str| ApiError { code: Some(code), is_json: true, ..ApiError::local(kind, "no") };
    for (spec, error, reason) in [
        (
            json!({"adoptionPolicy": "Adopt", "runtime": {"imageTag": "9"}}),
            rejection(ErrorKind::Invalid, "bad"),
            Reason::InvalidSpec,
        ),
        (
            json!({"adoptionPolicy": "Adopt", "runtime": {"imageTag": "9"}}),
            rejection(ErrorKind::Forbidden, "image_tag_requires_enterprise"),
            Reason::PlanLimit,
        ),
        // Only the owner tags differ, and the credential may not write at all.
        (json!({"adoptionPolicy": "Adopt"}), rejection(ErrorKind::Forbidden, "forbidden"), Reason::Forbidden),
    ] {
        let mut fixture = Fixture::new(spec);
        fixture.remote.add("my-app", json!({}));
        fixture.remote.fault = Some((error, false));
        fixture.remote.fault_lasts = true;
        let result = fixture.reconcile();
        assert!(matches!(result.outcome, Outcome::WriteFailed(found, ..) if found == reason), "{result:?}");
        assert_eq!(fixture.status().tags_unsupported, None, "{result:?}");
        (fixture.remote.fault, fixture.remote.fault_lasts) = (None, false);
        fixture.advance(3600);
        assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
        assert_eq!(fixture.remote.list()[0].tag(OWNER_TAG), Some(fixture.owner().as_str()));
    }
}

#[test]
fn a_rejected_second_create_does_not_show_missing_tag_support() {
    let mut fixture = Fixture::new(json!({}));
    fixture.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "broken"), false));
    fixture.reconcile();
    let limit = ApiError { code: Some("plan_limit"), is_json: true, ..ApiError::local(ErrorKind::Forbidden, "no") };
    (fixture.remote.fault, fixture.remote.fault_lasts) = (Some((limit, false)), true);
    fixture.advance(200);
    let result = fixture.reconcile();
    assert!(matches!(result.outcome, Outcome::WriteFailed(Reason::PlanLimit, ..)), "{result:?}");
    assert_eq!(result.writes.len(), 2, "with tags and without");
    assert!(
        fixture.status().create_intent.is_some() && fixture.status().tags_unsupported.is_none(),
        "{:?}",
        fixture.status()
    );
    (fixture.remote.fault, fixture.remote.fault_lasts) = (None, false);
    fixture.advance(3600);
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    assert_eq!(fixture.remote.list()[0].tag(OWNER_TAG), Some(fixture.owner().as_str()));
}

#[test]
fn without_tag_support_an_app_stays_owned_while_it_is_only_observed() {
    let mut fixture = Fixture::new(json!({}));
    fixture.remote.drops_tags = true;
    fixture.reconcile();
    let incarnation = fixture.status().incarnation;
    fixture.edit(json!({"managementPolicy": "Observe"}));
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    fixture.edit(json!({}));
    assert_eq!((fixture.reconcile().outcome, fixture.status().incarnation), (Outcome::InSync, incarnation));
}

fn untagged_events(result: &Reconciled<SpiceApp>) -> usize {
    result.events.iter().filter(|event| event.reason == "TagsUnsupported").count()
}

#[test]
fn a_response_that_is_no_json_error_does_not_show_missing_tag_support() {
    for status in [400, 403, 413, 422] {
        for body in ["", "{}", "<html>no</html>", r#"{"message":"no"}"#] {
            let mut fixture = Fixture::new(json!({}));
            let error = ApiError::from_response(status, None, body, ResponseText::WithoutToken(""));
            fixture.remote.fault = Some((error, false));
            let result = fixture.reconcile();
            assert_eq!((result.writes.len(), fixture.status().tags_unsupported), (1, None), "{status} {body}");
            fixture.advance(3600);
            assert_eq!((fixture.reconcile().outcome, fixture.status().tags_unsupported), (Outcome::InSync, None));
            assert_eq!(fixture.remote.list()[0].tag(OWNER_TAG), Some(fixture.owner().as_str()));
        }
    }
}

#[test]
fn an_app_is_marked_with_one_event() {
    for without_tags in [rejects as fn(&mut Fixture), drops] {
        let mut fixture = Fixture::new(json!({"description": "one"}));
        without_tags(&mut fixture);
        let result = fixture.reconcile();
        assert_eq!((untagged_events(&result), fixture.status().tags_unsupported), (1, Some(true)), "{result:?}");
        assert_eq!(fixture.status().tags_tried_at.map(|at| at.0), Some(fixture.now));
        fixture.edit(json!({"description": "two"}));
        let result = fixture.reconcile();
        assert_eq!((untagged_events(&result), result.writes.len()), (0, 1), "{result:?}");
    }
}

#[test]
fn one_app_without_tags_does_not_count_for_its_organization() {
    for (apps_without_tags, writes_tag) in [(0, true), (1, true), (2, false)] {
        let mut fixture = Fixture::new(json!({}));
        let Observed::Present(organization) = &mut fixture.organization else { unreachable!() };
        organization.apps_without_tags = apps_without_tags;
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, result.writes.len()), (&Outcome::InSync, 1), "{result:?}");
        assert_eq!(fixture.remote.list()[0].tag(OWNER_TAG).is_some(), writes_tag, "{apps_without_tags}");
        assert_eq!(
            (untagged_events(&result), fixture.status().tags_unsupported.is_none()),
            (1 - usize::from(writes_tag), writes_tag)
        );
    }
}

#[test]
fn the_next_update_after_the_retry_interval_contains_the_tags() {
    const DAY: i64 = 24 * 3600;
    for supports_tags in [false, true] {
        let mut fixture = Fixture::new(json!({"description": "one"}));
        rejects(&mut fixture);
        fixture.reconcile();
        let marked_at = fixture.now;
        fixture.advance(DAY - 60);
        fixture.edit(json!({"description": "two"}));
        assert_eq!(fixture.reconcile().put(), ["description".to_owned()].into(), "before the interval");
        fixture.advance(3600);
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, result.writes.len()), (&Outcome::InSync, 0), "the tags alone cause no update");
        assert_eq!(fixture.status().tags_tried_at.map(|at| at.0), Some(marked_at));

        fixture.remote.rejects_tags = !supports_tags;
        fixture.edit(json!({"description": "three"}));
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, untagged_events(&result)), (&Outcome::InSync, 0), "{result:?}");
        assert_eq!(result.put_of(0), ["description".to_owned(), "tags".to_owned()].into());
        assert_eq!(result.writes.len(), if supports_tags { 1 } else { 2 });
        assert_eq!(fixture.status().tags_unsupported, (!supports_tags).then_some(true));
        assert_eq!(fixture.status().tags_tried_at.map(|at| at.0), (!supports_tags).then_some(fixture.now));
        fixture.edit(json!({"description": "four"}));
        assert_eq!(fixture.reconcile().put(), ["description".to_owned()].into());
    }
}
