//! Conditions of an object that cannot be reconciled now.

use super::*;

#[test]
fn a_suspended_object_or_an_unusable_app_causes_no_request() {
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "one")]);
    let usable = fixture.app.clone();
    let unready = |message: &str| Some(message.to_owned());
    let blockers = [
        (ParentApp { unready: unready("is being deleted"), ..usable.clone() }, "SpiceApp \"my-app\" is being deleted"),
        (ParentApp { id: None, ..usable.clone() }, "SpiceApp \"my-app\" has no app yet"),
        (
            ParentApp { organization: Observed::Absent, ..usable.clone() },
            "SpiceOrganization \"default\" not found. Create the SpiceOrganization. With --watch-namespace, the \
             SpiceOrganization must be in that namespace",
        ),
        (
            ParentApp {
                organization: Observed::Present(OrganizationView {
                    unusable: Some("the object cannot be decoded: why".into()),
                    ..OrganizationView::default()
                }),
                ..usable.clone()
            },
            "SpiceOrganization \"default\" is not ready: the object cannot be decoded: why",
        ),
        (
            ParentApp { organization_binding: Some("https://api.example#2".into()), ..usable.clone() },
            "SpiceOrganization \"default\" is bound to another organization than the one that the app is recorded in",
        ),
    ];
    // Before and after a rotation.
    for (rotated, ready) in [(false, "True"), (true, "False")] {
        if rotated {
            fixture.set_source(values(&[("key", "two")]));
        }
        for (app, message) in blockers.clone() {
            fixture.app = app;
            let result = fixture.reconcile();
            let expected = Outcome::WaitingForDependency(Reason::DependencyNotReady, message.to_owned());
            assert_eq!((result.outcome.clone(), result.remote_reads().len()), (expected, 0));
            assert_eq!(fixture.ready().0, ready, "Ready changes only after a rotation");
        }
    }
    fixture.app = usable;
    fixture.edit(
        json!({ "secretRef": { "name": "source", "items": [{ "key": "key", "name": "TOKEN" }] }, "suspend": true }),
    );
    let result = fixture.reconcile();
    assert_eq!((result.outcome, result.reads), (Outcome::Suspended, vec![SecretRead::Siblings]));
    fixture.edit(one("TOKEN"));
    assert_eq!(fixture.reconcile().set, ["TOKEN"]);
}

#[test]
fn without_its_app_a_secret_is_not_ready() {
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "one")]);
    fixture.app_exists = false;
    assert_eq!(fixture.reconcile().remote_reads().len(), 0);
    let message = ["False", "DependencyNotReady", "SpiceApp \"my-app\" not found"];
    assert_eq!(fixture.ready(), message.map(str::to_owned).into());
    fixture.app_exists = true;
    fixture.reconcile();
    assert_eq!(fixture.ready().0, "True");
}

#[test]
fn a_namespace_that_is_no_longer_allowed_sets_nothing_but_can_delete() {
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
    fixture.organization().not_allowed = Some("SpiceOrganization org/default does not allow namespace team".into());
    fixture.set_source(values(&[("key", "rotated")]));
    let result = fixture.reconcile();
    assert_eq!((result.set.len(), result.remote_reads().len()), (0, 0), "{result:?}");
    let (status, reason, message) = fixture.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NamespaceNotAllowed"));
    assert!(message.starts_with("Secret \"source\" has changed and is not applied yet: "), "{message}");
    fixture.delete();
    assert_eq!(fixture.reconcile().deleted, ["TOKEN"]);
}

#[test]
fn a_new_resource_version_with_the_same_content_keeps_ready_during_a_wait() {
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
    let usable = fixture.app.clone();
    fixture.app.unready = Some("is not ready: RateLimited".to_owned());
    // As after a change of a label.
    fixture.set_source(values(&[("key", "value"), ("another", "not requested")]));
    let result = fixture.reconcile();
    assert!(matches!(result.outcome, Outcome::WaitingForDependency(..)), "{result:?}");
    assert_eq!((fixture.ready().0.as_str(), result.remote_reads().len()), ("True", 0));
    assert!(!fixture.reconcile().reads.contains(&SecretRead::SourceValues), "the version is recorded");
    fixture.set_source(values(&[("key", "rotated")]));
    fixture.reconcile();
    assert_eq!(fixture.ready().0, "False");
    assert!(
        fixture.ready().2.starts_with("Secret \"source\" has changed and is not applied yet: "),
        "{:?}",
        fixture.ready()
    );
    fixture.app = usable;
    assert_eq!(fixture.reconcile().set, ["TOKEN"]);
}

#[test]
fn a_new_object_that_waits_reports_no_source_change() {
    let mut fixture = Fixture::new(one("TOKEN"), &[("key", "value")]);
    fixture.app.unready = Some("has not been reconciled yet".to_owned());
    let (reason, message) = fixture.reconciled_ready();
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("DependencyNotReady", "SpiceApp \"my-app\" has not been reconciled yet")
    );
}

#[test]
fn a_new_resource_version_with_the_same_content_keeps_ready_unknown() {
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
    fixture.app.unready = Some("is not ready: RemoteUnavailable".to_owned());
    fixture.advance(4 * 660);
    fixture.reconcile();
    assert_eq!(fixture.ready().0, "Unknown");
    fixture.set_source(values(&[("key", "value"), ("another", "not requested")]));
    fixture.reconcile();
    assert_eq!(fixture.ready().0, "Unknown", "{:?}", fixture.ready());
}

#[test]
fn a_spice_app_that_kubernetes_still_shows_is_called_deleted_only_in_part() {
    for (is_released, message) in
        [(false, "SpiceApp \"my-app\" not found"), (true, "SpiceApp \"my-app\" is being deleted")]
    {
        let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
        (fixture.app_exists, fixture.app_is_released) = (false, is_released);
        let result = fixture.reconcile();
        assert!(matches!(result.outcome, Outcome::DependencyDeleted(..)), "{result:?}");
        let expected = ("False".to_owned(), "DependencyNotReady".to_owned(), message.to_owned());
        assert_eq!(fixture.ready(), expected);
        fixture.delete();
        let events = fixture.reconcile().events;
        let state = if is_released { "is being deleted" } else { "does not exist" };
        let kept = format!("SpiceApp \"my-app\" {state}. If the app was kept, the secrets stay in the app");
        assert!(events.iter().any(|event| event.message.contains(&kept)), "{events:?}");
    }
}

#[test]
fn without_a_digest_key_the_condition_and_the_event_show_the_cause() {
    let words = "“no Secrets today” (422)";
    let failure = |is_refusal| DigestKeyFailure { error: format!("Secret operator/key: {words}"), is_refusal };
    for (failure, reason, warning, expected) in [
        (None, "DependencyNotReady", false, "; see its /readyz and its log"),
        (Some(failure(false)), "DependencyNotReady", false, &*format!("; Secret operator/key: {words}")),
        (
            Some(failure(true)),
            "KubernetesRejected",
            true,
            &*format!("; Secret operator/key: {words}. Correct the policy or the permission"),
        ),
    ] {
        let mut fixture = Fixture::new(one("TOKEN"), &[("key", "value")]);
        (fixture.has_key, fixture.key_failure) = (false, failure);
        let result = fixture.reconcile();
        let message = format!("The operator has no digest key yet{expected}");
        assert_eq!(fixture.ready(), ("False".to_owned(), reason.to_owned(), message.clone()));
        let [event] = &result.events[..] else { panic!("{:?}", result.events) };
        assert_eq!((event.warning, event.reason.as_str(), &event.message), (warning, reason, &message));
    }
}
