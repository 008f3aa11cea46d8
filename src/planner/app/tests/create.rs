//! Creation of an app: intents, unknown outcomes, and the attachment after a lost status.

use super::update::full;
use super::*;

#[test]
fn a_create_is_based_on_a_fresh_list_even_after_a_long_wait() {
    let mut fixture = Fixture::new(json!({}));
    let wanted = fixture.now;
    fixture.runtime_state.pending_since = Some(wanted);
    fixture.advance(600);
    let result = fixture.reconcile();
    let Some(AppRead::List(not_before)) = result.reads.iter().find(|read| matches!(read, AppRead::List(_))) else {
        panic!("no list: {result:?}")
    };
    assert!(fixture.now.duration_since(*not_before) <= jiff::SignedDuration::from_secs(30), "{not_before}");
}

#[test]
fn a_create_of_unknown_outcome_is_found_or_repeated_under_the_same_intent() {
    for applied in [true, false] {
        let mut fixture = Fixture::new(json!({"description": "one"}));
        fixture.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "broken"), applied));
        assert!(matches!(fixture.reconcile().outcome, Outcome::WriteFailed(Reason::RemoteUnavailable, ..)));
        let intent = fixture.status().create_intent.unwrap();
        fixture.restart();
        fixture.advance(1);
        let result = fixture.reconcile();
        assert_eq!(result.outcome, Outcome::InSync);
        assert_eq!((result.writes.len(), fixture.remote.apps.len()), (usize::from(!applied), 1));
        assert_eq!(fixture.remote.apps[&101]["tags"][INCARNATION_TAG], format!("c-{}", intent.id));
        assert_eq!(fixture.status().create_intent, None);
    }
}

#[test]
fn the_cause_of_an_unknown_outcome_stays_in_the_message_until_the_next_attempt() {
    let mut fixture = Fixture::new(json!({}));
    fixture.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "the server redirects"), false));
    fixture.reconcile();
    for _ in 0..2 {
        fixture.advance(1);
        let Outcome::ReadFailed(reason, message, _) = fixture.reconcile().outcome else { panic!("no attempt") };
        assert_eq!(reason, Reason::RemoteUnavailable);
        assert!(message.ends_with("the outcome of the last create is not known: the server redirects"), "{message}");
    }
    fixture.advance(60);
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
}

#[test]
fn an_intent_is_removed_after_a_proven_rejection_of_its_only_attempt() {
    use ErrorKind::*;
    for error in errors() {
        let is_removed = matches!(
            error.kind,
            Connect
                | CredentialMissing
                | Invalid
                | Unauthorized
                | PaymentRequired
                | Forbidden
                | RateLimited { .. }
                | Rejected
        );
        for attempts_before in [0, 1] {
            let mut fixture = Fixture::new(json!({}));
            for _ in 0..attempts_before {
                fixture.remote.fault = Some((ApiError::local(OutcomeUnknown, "broken"), false));
                fixture.reconcile();
                fixture.advance(60);
            }
            fixture.remote.fault = Some((error.clone(), false));
            fixture.remote.fault_lasts = true;
            let result = fixture.reconcile();
            assert!(matches!(result.outcome, Outcome::WriteFailed(..)), "{result:?}");
            let intent = fixture.status().create_intent;
            assert_eq!(intent.is_none(), is_removed && attempts_before == 0, "{error:?} after {attempts_before}");
            if let Some(intent) = intent {
                assert_eq!(intent.at.0, fixture.now, "the time of the last attempt");
            }
        }
    }
}

/// Error bodies: the API's JSON, a page, and shapes between them.
const BODIES: [&str; 5] = ["", "{}", "<html>no</html>", r#"{"error":"no"}"#, r#"{"error":"no","code":"plan_limit"}"#];

#[test]
fn the_status_of_a_response_shows_whether_a_write_was_applied() {
    use Reason::*;
    for status in (300..600).filter(|status| *status < 452 || *status > 498) {
        for body in BODIES {
            let error = ApiError::from_response(status, None, body, ResponseText::WithoutToken(""));
            let is_refused = (400..500).contains(&status) && ![404, 408, 409, 425].contains(&status);
            let reason = match status {
                400 | 413 | 422 => InvalidSpec,
                401 => Unauthorized,
                402 | 403 => PlanLimit,
                429 => RateLimited,
                _ if is_refused => Rejected,
                _ => RemoteUnavailable,
            };
            let has_reason =
                |outcome: &Outcome, reason| matches!(outcome, Outcome::WriteFailed(found, ..) if *found == reason);
            let mut fixture = Fixture::new(json!({}));
            (fixture.remote.fault, fixture.remote.fault_lasts) = (Some((error.clone(), false)), true);
            let outcome = fixture.reconcile().outcome;
            assert!(has_reason(&outcome, reason), "create: {status} {body}: {outcome:?}");
            assert_eq!(fixture.status().create_intent.is_none(), is_refused, "create: {status} {body}");

            let mut fixture = Fixture::settled(json!({ "description": "one" }));
            fixture.edit(json!({ "description": "two" }));
            (fixture.remote.fault, fixture.remote.fault_lasts) = (Some((error.clone(), false)), true);
            let outcome = fixture.reconcile().outcome;
            assert!(has_reason(&outcome, reason), "update: {status} {body}: {outcome:?}");

            let mut fixture = Fixture::settled(json!({}));
            fixture.delete();
            (fixture.remote.fault, fixture.remote.fault_lasts) = (Some((error, false)), true);
            let outcome = fixture.reconcile().outcome;
            let reason = match status {
                400 | 413 | 422 => Rejected,
                403 => Forbidden,
                _ => reason,
            };
            assert!(has_reason(&outcome, reason), "delete: {status} {body}: {outcome:?}");
            assert_eq!(fixture.status().id, Some(101), "delete: {status} {body}");
        }
    }
}

#[test]
fn after_lost_status_the_app_is_attached_without_a_write() {
    let mut fixture = Fixture::settled(full());
    let (before, remote) = (fixture.status(), fixture.remote.apps.clone());
    fixture.object.status = None;
    fixture.restart();
    let result = fixture.reconcile();
    assert_eq!((result.outcome.clone(), result.writes.len()), (Outcome::InSync, 0), "{result:?}");
    let after = fixture.status();
    assert_eq!(
        (after.id, &after.incarnation, &after.last_applied),
        (before.id, &before.incarnation, &before.last_applied)
    );
    assert_eq!(fixture.remote.apps, remote);
}

#[test]
fn the_portal_page_is_recorded_if_it_is_known() {
    let mut fixture = Fixture::new(json!({}));
    let Observed::Present(organization) = &mut fixture.organization else { unreachable!() };
    organization.portal = Some("https://example/team/my-app".into());
    fixture.reconcile();
    assert_eq!(fixture.status().url.as_deref(), Some("https://example/team/my-app"));
}
