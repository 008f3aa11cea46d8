//! Rejected writes, writes of unknown outcome, and large batches.

use super::*;

#[test]
fn many_externally_deleted_secrets_are_corrected_without_a_correction_loop() {
    let names: Vec<String> = (0..256).map(|number| format!("NAME_{number:03}")).collect();
    let data: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "value")).collect();
    let mut fixture = Fixture::settled(all(), &data);
    for loss in 0..2 {
        fixture.remote.clear();
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, result.set.len()), (&Outcome::InSync, 256), "loss {loss}");
        assert_eq!(fixture.remote.len(), 256);
        let corrections = result.events.iter().filter(|event| event.reason == "DriftCorrected").count();
        assert_eq!(corrections, 6, "one event for each batch: {:?}", result.events);
        fixture.advance(660);
    }
}

#[test]
fn events_and_correction_counts_cover_only_successful_writes() {
    let mut fixture = Fixture::settled(all(), &[("A", "one"), ("B", "two")]);
    fixture.rejected.insert("A".to_owned(), ErrorKind::Invalid);
    for _ in 0..4 {
        fixture.remote.clear();
        let result = fixture.reconcile();
        assert!(matches!(result.outcome, Outcome::WriteFailed(Reason::InvalidSpec, ..)), "{result:?}");
        assert_eq!(result.event("DriftCorrected").unwrap_or("Corrected drift: B"), "Corrected drift: B");
        assert_eq!(["Created", "Adopted", "Rotated"].map(|reason| result.event(reason)), [None; 3], "{result:?}");
        fixture.advance(1860);
    }
    assert!(!fixture.runtime_state.corrections.is_correction_loop(
        fixture.object.metadata.generation,
        "A",
        fixture.now,
        fixture.timings.correction_loop_cooldown
    ));
    fixture.rejected.insert("A".to_owned(), ErrorKind::Server);
    fixture.set_source(values(&[("A", "new")]));
    let result = fixture.reconcile();
    let reasons = ["Created", "Adopted", "Rotated", "DriftCorrected"];
    assert_eq!(reasons.map(|reason| result.event(reason)), [None; 4], "{result:?}");
}

#[test]
fn a_rotation_of_unknown_outcome_is_set_again_even_for_the_old_value() {
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "old")]);
    fixture.set_source(values(&[("key", "new")]));
    // The write took effect, but the response was lost.
    fixture.rejected.insert("TOKEN".to_owned(), ErrorKind::OutcomeUnknown);
    assert!(matches!(fixture.reconcile().outcome, Outcome::WriteFailed(Reason::RemoteUnavailable, ..)));
    fixture.set_in_portal("TOKEN", "new");
    fixture.rejected.clear();
    fixture.set_source(values(&[("key", "old")]));
    let result = fixture.reconcile();
    assert_eq!((result.outcome, fixture.remote()), (Outcome::InSync, vec![("TOKEN", "old")]));
}

#[test]
fn a_rejected_write_is_not_repeated_because_of_sibling_changes() {
    let mut fixture = Fixture::new(all(), &[("A", "one")]);
    for kind in [ErrorKind::Forbidden, ErrorKind::RateLimited { retry_after: None }, ErrorKind::Connect] {
        fixture.rejected.insert("A".to_owned(), kind);
        fixture.edit(all());
        assert!(matches!(fixture.reconcile().outcome, Outcome::WriteFailed(..)));
        // A sibling records a name, removes the record, and so on.
        for set in ["B", "C"] {
            fixture.siblings = vec![SiblingSecret {
                object: "other".into(),
                managed: [set.to_owned()].into(),
                ..SiblingSecret::default()
            }];
            let result = fixture.reconcile();
            assert_eq!((&result.outcome, result.remote_reads().len()), (&Outcome::Skipped, 0), "{kind:?}: {result:?}");
        }
        fixture.siblings.clear();
    }
    // The retry time comes.
    fixture.rejected.clear();
    fixture.advance(3600);
    assert_eq!(fixture.reconcile().set, ["A"]);
}

#[test]
fn a_resumed_object_retries_a_rejected_write_at_once() {
    let mut fixture = Fixture::new(one("TOKEN"), &[("key", "value")]);
    fixture.rejected.insert("TOKEN".to_owned(), ErrorKind::Forbidden);
    fixture.reconcile();
    let annotations = fixture.object.metadata.annotations.get_or_insert_default();
    annotations.insert(crate::api::SUSPEND.to_owned(), "true".to_owned());
    assert_eq!(fixture.reconciled_ready().0, "Suspended");
    fixture.object.metadata.annotations = None;
    fixture.rejected.clear();
    assert_eq!(fixture.reconcile().set, ["TOKEN"]);
}

#[test]
fn a_write_without_effect_does_not_hide_a_missing_secret() {
    use ErrorKind::*;
    for kind in [Connect, Cancelled, Forbidden, PaymentRequired, Rejected, Invalid] {
        let mut fixture = Fixture::settled(all(), &[("A", "one"), ("B", "two")]);
        fixture.remote.remove("A");
        fixture.rejected.insert("A".to_owned(), kind);
        let result = fixture.reconcile();
        assert!(result.outcome != Outcome::InSync && result.set.is_empty(), "{kind:?}: {result:?}");
        fixture.rejected.clear();
        // The edit ends the hold on the write; the settle period has just begun.
        fixture.edit(all());
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, &*result.set), (&Outcome::InSync, &["A".to_owned()][..]), "{kind:?}");
    }
}

#[test]
fn the_kind_of_an_error_shows_whether_a_secret_was_set() {
    for (kind, reason, is_refused) in [
        (ErrorKind::Invalid, Reason::InvalidSpec, true),
        (ErrorKind::PaymentRequired, Reason::PlanLimit, true),
        (ErrorKind::Rejected, Reason::Rejected, true),
        (ErrorKind::NotFound { json: false }, Reason::RemoteUnavailable, true),
        (ErrorKind::Conflict, Reason::RemoteUnavailable, true),
        (ErrorKind::Server, Reason::RemoteUnavailable, false),
        (ErrorKind::InvalidResponse, Reason::RemoteUnavailable, false),
    ] {
        let mut fixture = Fixture::new(one("TOKEN"), &[("key", "value")]);
        fixture.rejected.insert("TOKEN".to_owned(), kind);
        let outcome = fixture.reconcile().outcome;
        assert!(matches!(outcome, Outcome::WriteFailed(found, ..) if found == reason), "{kind:?}: {outcome:?}");
        assert_eq!(fixture.status().secrets.is_empty(), is_refused, "{kind:?}");

        let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
        fixture.rejected.insert("TOKEN".to_owned(), kind);
        fixture.delete();
        let outcome = fixture.reconcile().outcome;
        let reason = if kind == ErrorKind::Invalid { Reason::Rejected } else { reason };
        assert!(matches!(outcome, Outcome::WriteFailed(found, ..) if found == reason), "{kind:?}: {outcome:?}");
        assert_eq!(fixture.status().secrets.len(), 1, "{kind:?}: the entry is kept");
    }
}
