//! Objects that make no request: invalid, or with an unusable organization.

use super::*;

#[test]
fn an_unusable_organization_is_waited_for_without_a_request() {
    let organization = OrganizationView::default();
    for organization in [
        Observed::Absent,
        Observed::Present(OrganizationView { suspended: true, ..organization.clone() }),
        Observed::Present(OrganizationView { unusable: Some("why".into()), ..organization.clone() }),
        Observed::Unknown(ApiError::local(ErrorKind::Connect, "why")),
    ] {
        let mut fixture = Fixture::new(json!({}));
        fixture.organization = organization;
        let result = fixture.reconcile();
        assert!(matches!(result.outcome, Outcome::WaitingForDependency(Reason::DependencyNotReady, _)), "{result:?}");
        assert_eq!((result.remote_reads(), result.writes.len()), (0, 0));
    }
    let mut fixture = Fixture::new(json!({}));
    fixture.organization = Observed::Present(organization);
    let result = fixture.reconcile();
    assert!(
        matches!(&result.outcome, Outcome::WaitingForDependency(_, message) if message.contains("region")),
        "{result:?}"
    );
    assert_eq!((result.writes.len(), fixture.status().create_intent), (0, None));
}

#[test]
fn an_invalid_spec_stalls_without_a_request() {
    for (spec, field) in [
        (json!({"tags": {"1x": "a"}}), "spec.tags"),
        (json!({"tags": {"a": "b c"}}), "spec.tags"),
        (json!({"tags": {"spice-operator-owner": "a"}}), "spec.tags"),
        (json!({"region": "a", "cname": "b"}), "spec.cname"),
        (json!({"spicepod": {"a": "x".repeat(256 * 1024)}}), "spec.spicepod"),
    ] {
        let mut fixture = Fixture::new(spec);
        let result = fixture.reconcile();
        assert!(matches!(&result.outcome, Outcome::Stalled(Reason::InvalidSpec, message) if message.contains(field)));
        assert_eq!(result.reads, []);
    }
}
