//! Binding to the organization of the credential.

use super::*;

#[test]
fn the_first_successful_check_binds_the_organization_and_records_its_offers() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    assert_eq!(fixture.requests().len(), 5, "{:?}", fixture.reads);
    assert_eq!(fixture.requests()[0], OrganizationRead::Organizations);
    let status = fixture.status();
    let mine = OrganizationStatus { id: "1".to_owned(), name: Some("mine".to_owned()) };
    assert_eq!(status.organization, Some(mine));
    assert_eq!(status.endpoint.as_deref(), Some("https://api.example"));
    assert_eq!(status.default_region.as_deref(), Some("us-west-2"));
    assert_eq!(status.images["stable"], "2.0-stable");
    assert_eq!(status.images["enterprise"], "2.0-enterprise");
    let limits = status.limits.unwrap();
    assert_eq!(
        (limits.apps, limits.replicas, limits.requests_per_second, limits.cpu),
        (Some(-1), Some(3), None, Some(4))
    );
    assert_eq!(status.unavailable_paths, [""; 0]);
    assert_eq!(fixture.reconcile(), Outcome::Skipped);
    assert_eq!(fixture.requests(), []);
}

#[test]
fn the_spec_selects_one_of_several_organizations() {
    let two = json!([{ "id": "1", "name": "mine" }, { "id": "2", "name": "other" }]);
    for (requested, expected) in [
        (Some("OTHER"), Ok("2")),
        (Some("mine"), Ok("1")),
        (None, Err("mine, other")),
        (Some("third"), Err("no access to organization \"third\"")),
    ] {
        let mut fixture = Fixture::new();
        fixture.organizations = Observed::Present(two.clone());
        fixture.object.spec.organization = requested.map(str::to_owned);
        match (fixture.reconcile(), expected) {
            (Outcome::InSync, Ok(id)) => assert_eq!(fixture.bound_to(), bound("https://api.example", Some(id))),
            (Outcome::Stalled(Reason::InvalidSpec, message), Err(expected)) => {
                assert!(message.contains(expected), "{message}");
                assert_eq!(fixture.requests(), [OrganizationRead::Organizations]);
                assert_eq!(fixture.bound_to(), (None, None));
            }
            (outcome, _) => panic!("{requested:?}: {outcome:?}"),
        }
    }
    let mut fixture = Fixture::new();
    fixture.organizations = Observed::Present(json!([]));
    assert!(matches!(fixture.reconcile(), Outcome::WriteFailed(Reason::Forbidden, ..)));
}

#[test]
fn no_organization_is_selected_if_several_have_the_requested_name() {
    let several = "The credential has access to several organizations named \"same\": id 3, id 4. Use a credential with \
                   access to only one of them";
    for accessible in [
        json!([{ "id": "3", "name": "same" }, { "id": "4", "name": "same" }]),
        json!([{ "id": "4", "name": "SAME" }, { "id": "1", "name": "mine" }, { "id": "3", "name": "Same" }]),
        json!([{ "id": "4", "name": "same" }, { "id": "3", "name": "same" }, { "id": "2" }]),
    ] {
        for is_bound in [false, true] {
            let mut fixture = Fixture::new();
            fixture.object.spec.organization = Some("same".to_owned());
            if is_bound {
                fixture.organizations = Observed::Present(json!([{ "id": "3", "name": "same" }]));
                assert_eq!(fixture.reconcile(), Outcome::InSync);
            }
            let before = fixture.bound_to();
            fixture.set_credential(accessible.clone());
            let outcome = fixture.reconcile();
            assert_eq!(outcome, Outcome::Stalled(Reason::InvalidSpec, several.to_owned()), "{accessible}");
            assert_eq!(fixture.requests(), [OrganizationRead::Organizations], "{accessible}");
            assert_eq!(fixture.bound_to(), before, "{accessible}");
            fixture.set_credential(json!([{ "id": "3", "name": "same" }]));
            assert_eq!(fixture.reconcile(), Outcome::InSync, "{accessible}");
        }
    }
}

#[test]
fn another_organization_stops_every_read_until_a_user_accepts_it() {
    type Change = (&'static str, fn(&mut Fixture), &'static str);
    let changes: [Change; 3] = [
        ("credential", |fixture| fixture.set_credential(json!([{ "id": "2", "name": "other" }])), "2"),
        ("endpoint", |fixture| fixture.set_endpoint("https://other.example"), "1"),
        (
            "both",
            |fixture| {
                fixture.set_endpoint("https://other.example");
                fixture.organizations = Observed::Unknown(error(NO_SUCH_PATH));
            },
            "https://other.example",
        ),
    ];
    for (case, change, value) in changes {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.reconcile(), Outcome::InSync);
        let before = fixture.bound_to();
        change(&mut fixture);
        let Outcome::Stalled(Reason::OrganizationMismatch, message) = fixture.reconcile() else { panic!("{case}") };
        assert!(message.contains("mine") && message.contains(&format!("{ACCEPT_ORGANIZATION}={value}")), "{message}");
        assert_eq!(fixture.requests(), [OrganizationRead::Organizations], "{case}");
        assert_eq!(fixture.bound_to(), before, "{case}");
        fixture.accept("something else");
        assert!(matches!(fixture.reconcile(), Outcome::Stalled(Reason::OrganizationMismatch, _)), "{case}");
        fixture.accept(value);
        assert_eq!(fixture.reconcile(), Outcome::InSync, "{case}");
        assert_ne!(fixture.bound_to(), before, "{case}");
    }
}

#[test]
fn a_change_that_keeps_the_organization_is_no_mismatch() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    fixture.set_credential(json!([{ "id": "1", "name": "renamed" }]));
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    assert_eq!(fixture.status().organization.unwrap().name.as_deref(), Some("renamed"));
    fixture.set_endpoint("https://api.example/");
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    // The restored credential ends the mismatch.
    fixture.set_credential(json!([{ "id": "2" }]));
    assert!(matches!(fixture.reconcile(), Outcome::Stalled(Reason::OrganizationMismatch, _)));
    fixture.set_credential(json!([{ "id": "1" }]));
    assert_eq!(fixture.reconcile(), Outcome::InSync);
}

#[test]
fn another_spelling_of_the_endpoint_keeps_the_binding() {
    for has_id in [true, false] {
        for (endpoint, spellings) in [
            ("https://api.example", ["https://API.Example", "https://api.example:443/"]),
            ("https://[2001:db8::1]", ["https://[2001:0DB8:0:0:0:0:0:1]", "https://[2001:db8::0:1]:443"]),
            ("http://127.0.0.1:9", ["http://localhost:9", "http://[::1]:9/"]),
        ] {
            let mut fixture = Fixture::new();
            fixture.object.spec.allow_insecure_endpoint = Some(true);
            if !has_id {
                fixture.organizations = Observed::Unknown(error(NO_SUCH_PATH));
            }
            fixture.object.spec.endpoint = endpoint.to_owned();
            assert_eq!(fixture.reconcile(), Outcome::InSync);
            let before = fixture.bound_to();
            for spelling in spellings {
                fixture.set_endpoint(spelling);
                assert_eq!(fixture.reconcile(), Outcome::InSync, "{spelling}");
                assert_eq!(fixture.bound_to(), before, "{spelling}");
            }
            // A status that an operator recorded in the spelling of the spec.
            fixture.object.status.get_or_insert_default().endpoint = Some(spellings[0].to_owned());
            assert_eq!(fixture.reconcile(), Outcome::Skipped, "{}", spellings[0]);
        }
    }
}

#[test]
fn a_user_accepts_an_endpoint_in_any_spelling() {
    let mut fixture = Fixture::new();
    fixture.organizations = Observed::Unknown(error(NO_SUCH_PATH));
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    fixture.set_endpoint("https://OTHER.example/");
    let Outcome::Stalled(Reason::OrganizationMismatch, message) = fixture.reconcile() else { panic!("no mismatch") };
    assert!(message.contains("accept-organization=https://other.example to"), "{message}");
    fixture.accept("https://other.example:443/");
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    assert_eq!(fixture.bound_to(), bound("https://other.example", None));
}

#[test]
fn without_an_identity_read_only_the_endpoint_is_bound_and_status_shows_it() {
    let mut fixture = Fixture::new();
    fixture.organizations = Observed::Unknown(error(NO_SUCH_PATH));
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    assert_eq!(fixture.bound_to(), bound("https://api.example", None));
    assert_eq!(fixture.status().unavailable_paths, ["/v1/orgs"]);
    // A newer version of the API returns the organizations and is the same API.
    fixture.set_credential(json!([{ "id": "1" }]));
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    assert_eq!(fixture.bound_to(), bound("https://api.example", Some("1")));
    assert_eq!(fixture.status().unavailable_paths, [""; 0]);
    // A 404 of a proxy does not show the organization.
    fixture.secret.resource_version.push('1');
    fixture.organizations = Observed::Unknown(error(ErrorKind::NotFound { json: false }));
    assert!(matches!(fixture.reconcile(), Outcome::WriteFailed(Reason::RemoteUnavailable, ..)));
    // An API that no longer returns organizations cannot show that the organization is the same.
    fixture.set_credential(json!([]));
    fixture.organizations = Observed::Unknown(error(NO_SUCH_PATH));
    assert!(matches!(fixture.reconcile(), Outcome::Stalled(Reason::OrganizationMismatch, _)));
}

#[test]
fn a_terminating_object_does_not_accept_another_organization() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    let before = fixture.status();
    fixture.object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    fixture.dependents = vec!["SpiceApp my-app".to_owned()];
    fixture.set_credential(json!([{ "id": "2" }]));
    assert!(matches!(fixture.reconcile(), Outcome::Terminating(_)));
    assert_eq!(fixture.requests(), [OrganizationRead::Organizations]);
    assert_eq!(
        fixture.status().core.observed_sources,
        before.core.observed_sources,
        "the other credential is not verified"
    );
    fixture.set_credential(json!([{ "id": "1" }]));
    assert!(matches!(fixture.reconcile(), Outcome::Terminating(_)));
    assert_ne!(fixture.status().core.observed_sources, before.core.observed_sources);
}
