//! The planner of organizations on a model of the API.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};

use super::*;
use crate::api::{ACCEPT_ORGANIZATION, FINALIZER, IncompleteList, OrganizationStatus};
use crate::management::types::ListCompleteness;
use crate::planner::model::{Model, reconcile};
use crate::planner::{Observation, RuntimeState, Timings};

/// One object, and a model of the API with the result of each read.
struct Fixture {
    object: SpiceOrganization,
    reads: Vec<OrganizationRead>,
    secret: SourceVersion,
    organizations: Observed<Value>,
    offers: Observed<()>,
    up: bool,
    apps: i64,
    dependents: Vec<String>,
    lists: BTreeMap<String, ListCompleteness>,
    runtime_state: RuntimeState,
    /// Delay until the next reconcile, from the last one.
    requeue_after: Option<Duration>,
}

fn error(kind: ErrorKind) -> ApiError {
    ApiError { kind, code: None, message: format!("{kind:?}") }
}

const NO_SUCH_PATH: ErrorKind = ErrorKind::NotFound { json: true };

impl Fixture {
    fn new() -> Self {
        let spec = json!({
            "endpoint": "https://api.example",
            "credentials": { "personalAccessToken": { "secretRef": { "name": "token" } } },
        });
        let mut object = SpiceOrganization::new("default", serde_json::from_value(spec).unwrap());
        object.metadata = ObjectMeta {
            generation: Some(1),
            uid: Some("uid".to_owned()),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..object.metadata
        };
        let secret = SourceVersion {
            kind: "Secret".to_owned(),
            name: "token".to_owned(),
            uid: "secret".to_owned(),
            resource_version: "1".to_owned(),
        };
        let organizations = Observed::Present(json!([{ "id": "1", "name": "mine" }]));
        let offers = Observed::Present(());
        let (reads, dependents, lists) = (Vec::new(), Vec::new(), BTreeMap::new());
        let (runtime_state, requeue_after, up) = (RuntimeState::new(Timestamp::UNIX_EPOCH), None, true);
        let apps = 0;
        Self { object, reads, secret, organizations, offers, up, apps, dependents, lists, runtime_state, requeue_after }
    }

    /// Changes the Secret to a credential for these organizations.
    fn set_credential(&mut self, organizations: Value) {
        self.secret.resource_version.push('1');
        self.organizations = Observed::Present(organizations);
    }

    fn set_endpoint(&mut self, endpoint: &str) {
        self.object.spec.endpoint = endpoint.to_owned();
        self.object.metadata.generation = self.object.metadata.generation.map(|generation| generation + 1);
    }

    fn accept(&mut self, value: &str) {
        self.object.metadata.annotations = Some([(ACCEPT_ORGANIZATION.to_owned(), value.to_owned())].into());
    }

    fn respond(&mut self, read: &OrganizationRead, observed: &mut OrganizationObserved) {
        fn observation<T: serde::de::DeserializeOwned>(value: Value) -> Observation<T> {
            Observation { value: serde_json::from_value(value).unwrap(), started_at: Timestamp::UNIX_EPOCH }
        }
        fn offered<T: serde::de::DeserializeOwned>(offers: &Observed<()>, value: Value) -> Observed<Observation<T>> {
            match offers {
                Observed::Present(()) => Observed::Present(observation(value)),
                Observed::Absent => Observed::Absent,
                Observed::Unknown(error) => Observed::Unknown(error.clone()),
            }
        }
        let offers = self.offers.clone();
        match read {
            OrganizationRead::Credential => {
                observed.credential = Some(Observed::Present(self.secret.clone()));
                observed.lists = self.lists.clone();
            }
            OrganizationRead::Apps => observed.apps = Some(self.apps),
            OrganizationRead::Dependents => observed.dependents = Some(self.dependents.clone()),
            OrganizationRead::Organizations => {
                observed.organizations = Some(match &self.organizations {
                    Observed::Present(response) => Observed::Present(observation(response.clone())),
                    Observed::Absent => Observed::Absent,
                    Observed::Unknown(error) => Observed::Unknown(error.clone()),
                });
            }
            OrganizationRead::Health => {
                let down = Observed::Unknown(error(ErrorKind::Server));
                observed.health = Some(if self.up { Observed::Present(()) } else { down });
            }
            OrganizationRead::Regions => {
                let regions = json!({ "regions": [{ "region": "us-west-2" }], "default": "us-west-2" });
                observed.regions = Some(offered(&offers, regions));
            }
            OrganizationRead::Images(channel) => {
                observed.images.insert(channel, offered(&offers, json!({ "default": format!("2.0-{channel}") })));
            }
            OrganizationRead::Limits => {
                let limits = json!({ "apps": -1, "replicas": 3, "api_rps": "many", "resources": { "max_cpu": 4 } });
                observed.limits = Some(offered(&offers, limits));
            }
        }
    }

    /// One reconcile.
    fn reconcile(&mut self) -> Outcome {
        let done = reconcile(self);
        (self.reads, self.requeue_after) = (done.reads, done.requeue_after);
        done.outcome
    }

    /// The reads of the last reconcile that send a request.
    fn requests(&self) -> Vec<OrganizationRead> {
        let local = [OrganizationRead::Apps, OrganizationRead::Credential, OrganizationRead::Dependents];
        self.reads.iter().filter(|read| !local.contains(read)).cloned().collect()
    }

    fn status(&self) -> SpiceOrganizationStatus {
        self.object.status.clone().unwrap_or_default()
    }

    fn bound_to(&self) -> (Option<String>, Option<String>) {
        let status = self.status();
        (status.endpoint, status.organization.map(|organization| organization.id))
    }
}

impl Model<SpiceOrganization> for Fixture {
    fn object(&mut self) -> &mut SpiceOrganization {
        &mut self.object
    }

    fn runtime_state(&mut self) -> &mut RuntimeState {
        &mut self.runtime_state
    }

    fn timings(&self) -> Timings {
        Timings::default()
    }

    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn observe(&mut self, read: &OrganizationRead, observed: &mut OrganizationObserved) {
        self.respond(read, observed);
    }

    fn carry_out(&mut self, write: &NoRemoteWrite) -> Result<(), ApiError> {
        match *write {}
    }
}

fn bound(endpoint: &str, id: Option<&str>) -> (Option<String>, Option<String>) {
    (Some(endpoint.to_owned()), id.map(str::to_owned))
}

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
    fixture.secret.resource_version.push('1');
    fixture.organizations = Observed::Unknown(error(NO_SUCH_PATH));
    assert!(matches!(fixture.reconcile(), Outcome::Stalled(Reason::OrganizationMismatch, _)));
}

#[test]
fn a_response_of_a_proxy_does_not_remove_recorded_offers() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    let shown = fixture.status();
    assert!(shown.default_region.is_some() && shown.limits.is_some() && !shown.images.is_empty());
    for (kind, stays) in
        [(ErrorKind::NotFound { json: false }, true), (ErrorKind::Invalid, true), (ErrorKind::Forbidden, false)]
    {
        fixture.offers = Observed::Unknown(error(kind));
        fixture.secret.resource_version.push('1');
        assert_eq!(fixture.reconcile(), Outcome::InSync, "{kind:?}");
        let now = fixture.status();
        assert_eq!(now.default_region.is_some(), stays, "{kind:?}");
        assert_eq!((now.limits.is_some(), now.unavailable_paths.is_empty()), (stays, stays), "{kind:?}");
        assert_eq!(!now.images.is_empty(), stays, "{kind:?}");
    }
}

#[test]
fn an_offer_that_an_older_api_lacks_is_listed_and_keeps_ready() {
    for kind in [NO_SUCH_PATH, ErrorKind::NotFound { json: false }, ErrorKind::Forbidden, ErrorKind::Invalid] {
        let mut fixture = Fixture::new();
        fixture.offers = Observed::Unknown(error(kind));
        assert_eq!(fixture.reconcile(), Outcome::InSync, "{kind:?}");
        assert_eq!(fixture.status().unavailable_paths, ["/v1/regions", "/v1/container-images", "/v1/limits"]);
    }
    // Without the identity read, the regions must show that the credential is accepted.
    let mut fixture = Fixture::new();
    fixture.offers = Observed::Unknown(error(ErrorKind::Forbidden));
    fixture.organizations = Observed::Unknown(error(NO_SUCH_PATH));
    assert!(matches!(fixture.reconcile(), Outcome::WriteFailed(Reason::Forbidden, ..)));
}

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

#[test]
fn an_outage_after_the_identity_read_stops_further_reads() {
    for kind in [ErrorKind::Server, ErrorKind::Connect, ErrorKind::RateLimited { retry_after: None }] {
        let mut fixture = Fixture::new();
        fixture.offers = Observed::Unknown(error(kind));
        assert!(matches!(fixture.reconcile(), Outcome::WriteFailed(..)), "{kind:?}");
        assert_eq!(fixture.requests(), [OrganizationRead::Organizations, OrganizationRead::Regions], "{kind:?}");
    }
}

#[test]
fn an_incomplete_list_is_reported_without_a_request_until_it_is_complete() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    let list = |path: &str, items_seen| IncompleteList { path: path.to_owned(), items_seen };
    let unknown = |items_seen| ListCompleteness::Unknown { items_seen };
    let (apps, secrets) = ("/v1/apps", "/v1/apps/7/secrets");
    for (read, recorded) in [
        (vec![(apps, unknown(20))], vec![list(apps, 20)]),
        (vec![(apps, unknown(40)), (secrets, unknown(20))], vec![list(apps, 40), list(secrets, 20)]),
        // The record of another process stays until this process has read the list.
        (vec![(apps, ListCompleteness::Complete)], vec![list(secrets, 20)]),
        (vec![], vec![list(secrets, 20)]),
        (vec![(secrets, ListCompleteness::Complete)], vec![]),
    ] {
        fixture.lists = read.into_iter().map(|(path, end)| (path.to_owned(), end)).collect();
        assert_eq!(fixture.reconcile(), Outcome::Skipped);
        assert_eq!((fixture.requests(), fixture.status().incomplete_lists), (Vec::new(), recorded));
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
