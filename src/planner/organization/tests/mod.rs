//! The planner of organizations on a model of the API.

mod binding;
mod bounds;
mod conditions;
mod discovery;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};

use super::*;
use crate::api::{ACCEPT_ORGANIZATION, FINALIZER, IncompleteList, OrganizationStatus};
use crate::management::types::ListCompleteness;
use crate::planner::model::{Model, Subject, reconcile};
use crate::planner::{Observation, Timings};

/// One object, and a model of the API with the result of each read.
struct Fixture {
    subject: Subject<SpiceOrganization>,
    reads: Vec<OrganizationRead>,
    secret: SourceVersion,
    /// First version of the Secret with the present credential.
    first_credential: SourceVersion,
    /// True if the version of the Secret has the verified credential.
    credential_unchanged: bool,
    finalizer_add_pending: bool,
    organizations: Observed<Value>,
    offers: Observed<()>,
    /// Response for the regions.
    regions: Value,
    /// Recommended image of each channel.
    image: String,
    up: bool,
    apps: i64,
    dependents: Vec<String>,
    lists: BTreeMap<String, ListCompleteness>,
    /// Warning about the credential Secret.
    warning: Option<EventRecord>,
    events: Vec<EventRecord>,
    /// Delay until the next reconcile, from the last one.
    requeue_after: Option<Duration>,
}

fn error(kind: ErrorKind) -> ApiError {
    ApiError::local(kind, format!("{kind:?}"))
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
            digest: None,
        };
        let organizations = Observed::Present(json!([{ "id": "1", "name": "mine" }]));
        let offers = Observed::Present(());
        let (reads, dependents, lists) = (Vec::new(), Vec::new(), BTreeMap::new());
        let regions = json!({ "regions": [{ "region": "us-west-2" }], "default": "us-west-2" });
        let subject = Subject::new(object, Timestamp::UNIX_EPOCH);
        let (up, apps, requeue_after) = (true, 0, None);
        let (warning, events) = (None, Vec::new());
        Self {
            subject,
            reads,
            first_credential: secret.clone(),
            secret,
            credential_unchanged: false,
            finalizer_add_pending: false,
            organizations,
            offers,
            regions,
            image: "2.0".to_owned(),
            up,
            apps,
            dependents,
            lists,
            warning,
            events,
            requeue_after,
        }
    }

    /// Changes the Secret to a credential for these organizations.
    fn set_credential(&mut self, organizations: Value) {
        self.secret.resource_version.push('1');
        self.first_credential = self.secret.clone();
        self.organizations = Observed::Present(organizations);
    }

    fn set_endpoint(&mut self, endpoint: &str) {
        self.object.spec.endpoint = endpoint.to_owned();
        self.increment_generation();
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
                observed.credential_unchanged = self.credential_unchanged;
                observed.finalizer_add_pending = self.finalizer_add_pending;
                observed.first_credential = Some(self.first_credential.clone());
                observed.lists = self.lists.clone();
            }
            OrganizationRead::Apps => observed.apps = Some(self.apps),
            OrganizationRead::SecretDeletion => observed.kept_secret_warning = self.warning.clone(),
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
                observed.health = Some(if self.up { Observed::Present(observation(Value::Null)) } else { down });
            }
            OrganizationRead::Regions => {
                observed.regions = Some(offered(&offers, self.regions.clone()));
            }
            OrganizationRead::Images(channel) => {
                let image = json!({ "default": format!("{}-{channel}", self.image) });
                observed.images.insert(channel, offered(&offers, image));
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
        (self.reads, self.events, self.requeue_after) = (done.reads, done.events, done.requeue_after);
        done.outcome
    }

    /// The reads of the last reconcile that send a request.
    fn requests(&self) -> Vec<OrganizationRead> {
        use OrganizationRead::{Apps, Credential, Dependents, SecretDeletion};
        let local = [Apps, Credential, Dependents, SecretDeletion];
        self.reads.iter().filter(|read| !local.contains(read)).cloned().collect()
    }

    fn bound_to(&self) -> (Option<String>, Option<String>) {
        let status = self.status();
        (status.endpoint, status.organization.map(|organization| organization.id))
    }
}

impl Deref for Fixture {
    type Target = Subject<SpiceOrganization>;

    fn deref(&self) -> &Self::Target {
        &self.subject
    }
}

impl DerefMut for Fixture {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.subject
    }
}

impl Model<SpiceOrganization> for Fixture {
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
