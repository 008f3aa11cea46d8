//! Conditions, resyncs, and the number of apps.

use super::*;
use crate::api::ConditionType;
use crate::planner::find_condition;

#[test]
fn a_forced_resync_checks_an_organization_that_is_in_sync() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    assert_eq!(fixture.reconcile(), Outcome::Skipped);
    fixture.runtime_state.force_resync = true;
    fixture.organizations = Observed::Unknown(error(ErrorKind::Unauthorized));
    assert!(matches!(fixture.reconcile(), Outcome::WriteFailed(Reason::Unauthorized, ..)));
}

#[test]
fn after_a_long_outage_the_next_check_is_within_the_interval() {
    let mut fixture = Fixture::new();
    fixture.organizations = Observed::Unknown(error(ErrorKind::Server));
    fixture.runtime_state.failures = 30;
    fixture.reconcile();
    assert!(fixture.requeue_after.unwrap() <= Timings::default().default_interval, "{:?}", fixture.requeue_after);
}

#[test]
fn a_rejected_credential_is_distinguished_from_an_outage() {
    for (kind, up, reason, message, reads) in [
        (
            ErrorKind::Unauthorized,
            true,
            Reason::Unauthorized,
            "The API rejected the credential in Secret \"token\": Unauthorized",
            2,
        ),
        (ErrorKind::Unauthorized, false, Reason::Unauthorized, "Unauthorized", 2),
        (ErrorKind::Connect, true, Reason::RemoteUnavailable, "Connect", 1),
        (ErrorKind::Server, true, Reason::RemoteUnavailable, "Server", 1),
        (ErrorKind::RateLimited { retry_after: None }, true, Reason::RateLimited, "RateLimited", 1),
        (ErrorKind::Forbidden, true, Reason::Forbidden, "Forbidden", 1),
        (ErrorKind::Invalid, true, Reason::InvalidSpec, "Invalid", 1),
    ] {
        let mut fixture = Fixture::new();
        (fixture.organizations, fixture.up) = (Observed::Unknown(error(kind)), up);
        let Outcome::WriteFailed(found, shown, _) = fixture.reconcile() else { panic!("{kind:?}") };
        assert_eq!(found, reason);
        assert!(shown.contains(message), "{shown}");
        assert_eq!(fixture.requests().len(), reads, "{:?}", fixture.reads);
    }
}

#[test]
fn status_counts_the_apps_without_a_call_whatever_the_outcome_is() {
    let mut fixture = Fixture::new();
    fixture.apps = 2;
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    assert_eq!(fixture.status().apps, Some(2));
    let before = fixture.status();
    assert_eq!(fixture.reconcile(), Outcome::Skipped);
    assert_eq!(fixture.status(), before, "nothing is written while the number stays");
    fixture.apps = 3;
    assert_eq!(fixture.reconcile(), Outcome::Skipped);
    assert_eq!((fixture.status().apps, fixture.requests()), (Some(3), Vec::new()));
    fixture.object.spec.suspend = Some(true);
    fixture.apps = 4;
    assert_eq!(fixture.reconcile(), Outcome::Suspended);
    assert_eq!((fixture.status().apps, fixture.requests()), (Some(4), Vec::new()));
}

#[test]
fn a_terminating_object_in_use_reports_a_failed_check_of_its_credential() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    fixture.object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    fixture.dependents = vec!["SpiceApp \"my-app\"".to_owned()];
    fixture.set_credential(json!([{ "id": "1" }]));
    fixture.organizations = Observed::Unknown(error(ErrorKind::Unauthorized));
    let Outcome::Terminating(message) = fixture.reconcile() else { panic!("the object is in use") };
    assert!(
        message.starts_with("In use by SpiceApp \"my-app\". The credential check failed (Unauthorized): "),
        "{message}"
    );
    fixture.set_credential(json!([{ "id": "1" }]));
    assert_eq!(fixture.reconcile(), Outcome::Terminating("In use by SpiceApp \"my-app\"".to_owned()));
}

#[test]
fn a_kept_secret_is_the_message_of_ready_at_once_and_one_event() {
    for (organizations, status, reason) in [
        (Observed::Present(json!([{ "id": "1" }])), "True", "Succeeded"),
        (Observed::Unknown(error(ErrorKind::Unauthorized)), "False", "Unauthorized"),
    ] {
        for suspended in [false, true] {
            let mut fixture = Fixture::new();
            fixture.organizations = organizations.clone();
            fixture.reconcile();
            fixture.object.spec.suspend = Some(suspended);
            let (status, reason) = match suspended {
                true => (if status == "True" { "True" } else { "Unknown" }, "Suspended"),
                false => (status, reason),
            };
            let warning = EventRecord::warning("Delete", "SecretTerminating", "the Secret is kept".to_owned());
            fixture.warning = Some(warning.clone());
            for events in [1, 0] {
                fixture.reconcile();
                let ready = find_condition(&fixture.status().core.conditions, ConditionType::Ready).unwrap().clone();
                assert_eq!(
                    (ready.status.as_str(), ready.reason.as_str(), ready.message.as_str()),
                    (status, reason, "the Secret is kept")
                );
                let published = fixture.events.iter().filter(|event| **event == warning).count();
                assert_eq!(published, events, "{:?}", fixture.events);
            }
        }
    }
}

#[test]
fn a_new_version_of_the_secret_with_the_verified_credential_is_recorded_without_a_request() {
    for terminating in [false, true] {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.reconcile(), Outcome::InSync);
        if terminating {
            fixture.object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            fixture.dependents = vec!["SpiceApp \"my-app\"".to_owned()];
        }
        fixture.secret.resource_version.push('1');
        fixture.credential_unchanged = true;
        fixture.reconcile();
        assert_eq!(fixture.requests(), [], "terminating: {terminating}");
        assert_eq!(fixture.status().core.observed_sources, [fixture.secret.clone()]);
        // Another credential is checked.
        fixture.secret.resource_version.push('1');
        fixture.credential_unchanged = false;
        fixture.reconcile();
        assert!(!fixture.requests().is_empty(), "terminating: {terminating}");
    }
}

#[test]
fn the_check_of_a_credential_waits_for_the_finalizer_which_changes_the_version_of_the_secret() {
    let mut fixture = Fixture::new();
    fixture.finalizer_add_pending = true;
    let outcome = fixture.reconcile();
    let message = "Adding the finalizer to Secret \"token\"".to_owned();
    assert_eq!(outcome, Outcome::ReadFailed(Reason::Progressing, message, Retry::Backoff));
    assert!(!fixture.reads.contains(&OrganizationRead::Organizations), "{:?}", fixture.reads);
    fixture.finalizer_add_pending = false;
    fixture.secret.resource_version = "2".to_owned();
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    assert!(fixture.reads.contains(&OrganizationRead::Organizations), "{:?}", fixture.reads);
    // A verified credential is not checked again for a finalizer that is added later.
    fixture.finalizer_add_pending = true;
    assert_eq!(fixture.reconcile(), Outcome::Skipped);
}

#[test]
fn a_failed_check_is_repeated_at_its_retry_time_or_with_another_credential() {
    let several = Observed::Present(json!([{ "id": "1", "name": "one" }, { "id": "2", "name": "two" }]));
    let unknown = |kind| Observed::Unknown(error(kind));
    for organizations in [
        unknown(ErrorKind::Unauthorized),
        unknown(ErrorKind::Server),
        unknown(ErrorKind::Forbidden),
        unknown(ErrorKind::Invalid),
        Observed::Present(json!([])),
        several,
        Observed::Present(json!([{ "id": "9", "name": "other" }])),
    ] {
        let mut fixture = Fixture::new();
        // A binding, so that another organization is a mismatch.
        fixture.reconcile();
        fixture.set_credential(json!([]));
        fixture.organizations = organizations.clone();
        let outcome = fixture.reconcile();
        assert!(!fixture.requests().is_empty() && !matches!(outcome, Outcome::InSync), "{outcome:?}");
        // Metadata, and the number of apps.
        for apps in [0, 1] {
            fixture.secret.resource_version.push('1');
            fixture.apps = apps;
            assert_eq!((fixture.reconcile(), fixture.requests()), (Outcome::Skipped, Vec::new()), "{outcome:?}");
        }
        let repeats = |fixture: &mut Fixture, cause: &str| {
            assert_eq!(fixture.reconcile(), outcome, "{cause}");
            assert!(!fixture.requests().is_empty(), "{cause}: {outcome:?}");
        };
        fixture.runtime_state.force_resync = true;
        repeats(&mut fixture, "a request of a dependent");
        fixture.accept("77");
        repeats(&mut fixture, "an annotation");
        fixture.increment_generation();
        repeats(&mut fixture, "a change of the spec");
        fixture.advance(60 * 60);
        repeats(&mut fixture, "the retry time");
        fixture.restart();
        repeats(&mut fixture, "a restart");
        fixture.set_credential(json!([{ "id": "1", "name": "mine" }]));
        assert_eq!(fixture.reconcile(), Outcome::InSync, "another credential");
    }
}
