//! SpiceOrganization: its reads, and who is woken when one changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use serde_json::{Value, json};

use super::connections::Connection;
use super::context::Context;
use super::custody;
use super::driver::{Reconciler, while_wanted};
use super::namespaces;
use super::secret::{tell_secrets_of, tell_users_of};
use super::summary;
use super::undecodable;
use super::watch::{ChangeFilter, EventHandler, decoded, own_matters};
use crate::api::{OrganizationRef, SpiceApp, SpiceAppStatus};
use crate::api::{SpiceOrganization, SpiceOrganizationStatus};
use crate::management::types::{ApiError, App, ErrorKind, ListCompleteness, SecretList};
use crate::management::{ApiResponse, Priority};
use crate::planner::{
    Observation, Observed, OrganizationObserved, OrganizationRead, OrganizationView, OrganizationWrite, WriteResult,
};
use kube::core::DeserializeGuard;

impl Reconciler for SpiceOrganization {
    fn cache(context: &Context) -> &Store<DeserializeGuard<Self>> {
        &context.caches.organizations
    }

    fn with_status(mut self, status: SpiceOrganizationStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Nothing: only who uses it is looked for, and that finds it by its name.
    fn reduce(data: &mut Value, _: Timestamp) {
        data["spec"] = json!({ "credentials": {} });
        undecodable::retain(data, "status", &["observedGeneration"]);
    }

    fn forget_sources(_: &mut OrganizationObserved) {}

    async fn observe(
        context: &Context,
        object: &Self,
        read: &OrganizationRead,
        priority: Priority,
        observed: &mut OrganizationObserved,
    ) {
        match read {
            OrganizationRead::Credential => {
                let version = context.caches.secret_version(&namespace(object), credential_secret(object));
                observed.credential = Some(version.map_or(Observed::Absent, Observed::Present));
                observed.about_to_be_held = custody::is_about_to_hold(context, object);
                observed.lists = lists(context, object).await;
            }
            OrganizationRead::Dependents => observed.dependents = Some(holders(context, object)),
            remote => observe_remote(context, object, remote, priority, observed).await,
        }
    }

    async fn act(_: &Context, _: &Self, write: &OrganizationWrite, _: Priority) -> WriteResult<()> {
        match *write {}
    }
}

/// Does a read that takes a request.
async fn observe_remote(
    context: &Context,
    object: &SpiceOrganization,
    read: &OrganizationRead,
    priority: Priority,
    observed: &mut OrganizationObserved,
) {
    let client = async { Ok(Arc::clone(&unverified_connection(context, object).await?.client)) };
    match read {
        OrganizationRead::Credential | OrganizationRead::Dependents => {}
        OrganizationRead::Organizations => {
            let answer = async { client.await?.organizations(priority).await };
            observed.organizations = Some(looked(while_wanted(context, object, answer).await));
        }
        OrganizationRead::Health => {
            let answer = async { client.await?.health(priority).await };
            observed.health = Some(match while_wanted(context, object, answer).await {
                Ok(ApiResponse { value: (), .. }) => Observed::Present(()),
                Err(error) => Observed::Unknown(error),
            });
        }
        OrganizationRead::Regions => {
            let answer = async { client.await?.regions(priority).await };
            observed.regions = Some(looked(while_wanted(context, object, answer).await));
        }
        OrganizationRead::Images(channel) => {
            let answer = async { client.await?.images(channel, priority).await };
            observed.images.insert(channel, looked(while_wanted(context, object, answer).await));
        }
        OrganizationRead::Limits => {
            let answer = async { client.await?.limits(priority).await };
            observed.limits = Some(looked(while_wanted(context, object, answer).await));
        }
    }
}

/// How the lists ended that were read over the connection of an organization.
async fn lists(context: &Context, organization: &SpiceOrganization) -> BTreeMap<String, ListCompleteness> {
    let connection = context.connections.known(&organization.uid().unwrap_or_default()).await;
    let told = organization.status.iter().flat_map(|status| &status.incomplete_lists).map(|list| &list.path);
    connection.map(|connection| connection.reads.list_completeness(told)).unwrap_or_default()
}

/// The complete list of apps of an organization, for one of them.
pub(super) async fn apps(
    context: &Context,
    app: &SpiceApp,
    connection: &Connection,
    not_before: Timestamp,
    priority: Priority,
) -> Result<ApiResponse<Arc<Vec<App>>>, ApiError> {
    telling_its_end(context, app, connection.reads.apps(not_before, priority).await, "/v1/apps")
}

/// The complete list of the secrets of an app.
pub(super) async fn secrets(
    context: &Context,
    app: &SpiceApp,
    connection: &Connection,
    id: i64,
    not_before: Timestamp,
    priority: Priority,
) -> Result<ApiResponse<Arc<SecretList>>, ApiError> {
    let list = connection.reads.secrets(id, not_before, priority).await;
    telling_its_end(context, app, list, &format!("/v1/apps/{id}/secrets"))
}

/// A list, whose end is told on the organization where that is news: once, and not on every object that waits for it.
fn telling_its_end<T>(
    context: &Context,
    app: &SpiceApp,
    list: Result<ApiResponse<T>, ApiError>,
    path: &str,
) -> Result<ApiResponse<T>, ApiError> {
    let organization = of_app(context, app).and_then(Result::ok);
    let told = organization.iter().filter_map(|it| it.status.as_ref()).flat_map(|status| &status.incomplete_lists);
    let told = told.filter(|list| list.path == path).map(|list| list.items_seen).next();
    let news = match &list {
        Ok(_) => told.is_some(),
        Err(ApiError { kind: ErrorKind::IncompleteList { items_seen }, .. }) => told != i64::try_from(*items_seen).ok(),
        Err(_) => false,
    };
    if news {
        context.queues.organizations.request(reference(app));
    }
    list
}

/// What a failure means is for the planner to say.
fn looked<T>(result: Result<ApiResponse<T>, ApiError>) -> Observed<Observation<T>> {
    match result {
        Ok(answer) => Observed::Present(Observation { value: answer.value, started_at: answer.started_at }),
        Err(error) => Observed::Unknown(error),
    }
}

/// The connection of an organization for whoever uses it: only with what it was checked with last.
///
/// # Errors
/// Also `Withdrawn`, when its spec or its credential changed since: they may lead to another organization.
pub(super) async fn connection(
    context: &Context,
    organization: &SpiceOrganization,
) -> Result<Arc<Connection>, ApiError> {
    let withdrawn = |why: String| ApiError::local(ErrorKind::Cancelled, why);
    if let Some(why) = summary::of(context, organization).unusable {
        return Err(withdrawn(why));
    }
    let connection = unverified_connection(context, organization).await?;
    let checked = organization.status.as_ref().and_then(|status| status.observed_sources.first());
    if checked != Some(&connection.version) {
        return Err(withdrawn("its credential changed and was not checked yet".to_owned()));
    }
    Ok(connection)
}

/// The connection of an organization, by the credential that the cache shows.
async fn unverified_connection(
    context: &Context,
    organization: &SpiceOrganization,
) -> Result<Arc<Connection>, ApiError> {
    use ErrorKind::CredentialMissing;
    let (namespace, secret) = (namespace(organization), credential_secret(organization));
    let version = context.caches.secret_version(&namespace, secret);
    let missing = || ApiError::local(CredentialMissing, format!("Secret {secret} does not exist in this namespace"));
    context.connections.of(organization, &version.ok_or_else(missing)?).await
}

/// Whether an app of the organization has shown that it keeps no tags of ours.
pub(super) fn tags_unsupported(context: &Context, organization: &SpiceOrganization) -> bool {
    let tags_unsupported = |app: &SpiceApp| {
        app.status.as_ref().is_some_and(|status| status.id.is_some() && status.tags_unsupported == Some(true))
    };
    apps_of(&context.caches.apps, organization).iter().any(|app| app.0.as_ref().is_ok_and(tags_unsupported))
}

/// The organization that an app refers to, if it is there.
pub(super) fn of_app(context: &Context, app: &SpiceApp) -> Option<Result<SpiceOrganization, String>> {
    decoded(context.caches.organizations.get(&reference(app)))
}

/// Where the organization that an app refers to would be.
pub(super) fn reference(app: &SpiceApp) -> ObjectRef<DeserializeGuard<SpiceOrganization>> {
    let OrganizationRef { name, namespace } = &app.spec.organization_ref;
    ObjectRef::new(name).within(&namespace.clone().or_else(|| app.namespace()).unwrap_or_default())
}

/// Who holds an organization that is to go.
fn holders(context: &Context, organization: &SpiceOrganization) -> Vec<String> {
    let users = dependents(context, organization);
    let secret = context.caches.secrets.get(&credential_ref(organization));
    let held = secret.is_some_and(|secret| custody::is_to_be_let_go(context, &secret));
    // Without a watch it is organizations that tell which Secrets there are: nobody would find this one again.
    if users.is_empty() && context.settings.secret_poll_interval.is_some() && held {
        return vec![format!("Secret {}, which is about to be let go", credential_secret(organization))];
    }
    users
}

/// The objects that use an organization. An app that may not use it and has nothing remote does not: anybody could
/// make one.
pub(super) fn dependents(context: &Context, organization: &SpiceOrganization) -> Vec<String> {
    let own = namespace(organization);
    let holds = |app: &DeserializeGuard<SpiceApp>| match &app.0 {
        Ok(app) => {
            let remote = |status: &SpiceAppStatus| status.id.is_some() || status.create_intent.is_some();
            app.status.as_ref().is_some_and(remote)
                || namespaces::admits(context, organization, &app.namespace().unwrap_or_default())
        }
        Err(_) => true,
    };
    let name = |app: Arc<DeserializeGuard<SpiceApp>>| match app.namespace() {
        Some(other) if other != own => format!("SpiceApp {other}/{}", app.name_any()),
        _ => format!("SpiceApp {}", app.name_any()),
    };
    let apps = apps_of(&context.caches.apps, organization);
    let mut names: Vec<String> = apps.into_iter().filter(|app| holds(app)).map(name).collect();
    names.sort();
    names
}

/// Those who refer to an organization.
pub(super) fn apps_of(
    apps: &Store<DeserializeGuard<SpiceApp>>,
    organization: &SpiceOrganization,
) -> Vec<Arc<DeserializeGuard<SpiceApp>>> {
    let own = ObjectRef::new(&organization.name_any()).within(&namespace(organization));
    apps.state_filter(|app| match &app.0 {
        Ok(app) => reference(app) == own,
        // What cannot be read may well refer to it.
        Err(invalid) => invalid.metadata.namespace == own.namespace,
    })
}

fn namespace(organization: &SpiceOrganization) -> String {
    organization.namespace().unwrap_or_default()
}

/// The organizations whose credential a Secret holds.
pub(super) fn users(
    context: &Context,
    secret: &PartialObjectMeta<Secret>,
) -> Vec<Arc<DeserializeGuard<SpiceOrganization>>> {
    let (namespace, name) = (secret.namespace(), secret.name_any());
    let names = |one: &SpiceOrganization| one.namespace() == namespace && credential_secret(one) == name;
    context.caches.organizations.state_filter(|organization| organization.0.as_ref().is_ok_and(names))
}

/// The organizations of a namespace.
pub(super) fn of_namespace(
    context: &Context,
    namespace: Option<&str>,
) -> Vec<Arc<DeserializeGuard<SpiceOrganization>>> {
    context.caches.organizations.state_filter(|one| one.namespace().as_deref() == namespace)
}

/// The name of the Secret that holds the credential of an organization.
pub(super) fn credential_secret(organization: &SpiceOrganization) -> &str {
    organization.spec.credentials.secret().unwrap_or_default()
}

/// Where that Secret would be.
pub(super) fn credential_ref(organization: &SpiceOrganization) -> ObjectRef<PartialObjectMeta<Secret>> {
    ObjectRef::new(credential_secret(organization)).within(&namespace(organization))
}

/// A changed organization is visited, and its apps when its identity or readiness changed.
pub(super) struct OrganizationEventHandler {
    context: Arc<Context>,
    seen: ChangeFilter,
    told: ChangeFilter,
}

impl OrganizationEventHandler {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, seen: ChangeFilter::default(), told: ChangeFilter::default() }
    }

    /// The Secret that it names now may have to be held, and one that it named before to be let go.
    fn tell_secrets(&self, object: &DeserializeGuard<SpiceOrganization>) {
        self.context.secrets_named.notify_one();
        if let Ok(organization) = &object.0 {
            custody::look_at_credential(&self.context, organization);
        }
        custody::look_at_held(&self.context, &object.namespace().unwrap_or_default());
    }

    fn tell_apps(&self, organization: &SpiceOrganization) {
        for app in apps_of(&self.context.caches.apps, organization) {
            self.context.look_at_app(&app);
            tell_secrets_of(&self.context, &app.namespace().unwrap_or_default(), &app.name_any());
        }
    }
}

impl EventHandler<DeserializeGuard<SpiceOrganization>> for OrganizationEventHandler {
    fn changed(&mut self, object: &DeserializeGuard<SpiceOrganization>) {
        let uid = kube::Resource::meta(object).uid.clone();
        self.context.interests.changed(uid.as_ref());
        self.context.memories.caught_up(object);
        // A visit mends what cannot be decoded, if anything does.
        if object.0.is_err() || self.seen.differs(uid.as_ref(), own_matters(object)) {
            self.context.queues.organizations.request(ObjectRef::from_obj(object));
            self.tell_secrets(object);
        }
        if let Ok(organization) = &object.0 {
            let OrganizationView { unusable, suspended, pin, accepted_missing_apps, default_region, .. } =
                summary::of(&self.context, organization);
            let spec = &organization.spec;
            let admission = serde_json::to_string(&(&spec.allowed_namespaces, spec.adoption)).unwrap_or_default();
            // The credential's version too: apps that saw it change wait for the organization that has checked it.
            let sources = organization.status.iter().flat_map(|status| &status.observed_sources);
            let versions: Vec<_> =
                sources.map(|source| (source.uid.clone(), source.resource_version.clone())).collect();
            if self.told.differs(
                uid.as_ref(),
                (unusable, suspended, pin, accepted_missing_apps, default_region, admission, versions),
            ) {
                self.tell_apps(organization);
            }
        }
    }

    fn deleted(&mut self, object: &DeserializeGuard<SpiceOrganization>) {
        let uid = kube::Resource::meta(object).uid.clone();
        self.context.interests.changed(uid.as_ref());
        self.seen.forget(uid.as_ref());
        self.told.forget(uid.as_ref());
        self.context.memories.forget(uid.as_ref());
        if let Ok(organization) = &object.0 {
            self.tell_apps(organization);
        }
        self.tell_secrets(object);
        let context = Arc::clone(&self.context);
        tokio::spawn(async move { context.connections.forget(&uid.unwrap_or_default()).await });
    }
}

/// A changed Secret wakes the organizations whose credential it holds.
pub(super) struct SecretEventHandler {
    context: Arc<Context>,
}

impl SecretEventHandler {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

impl EventHandler<PartialObjectMeta<Secret>> for SecretEventHandler {
    fn changed(&mut self, secret: &PartialObjectMeta<Secret>) {
        tell_users_of(&self.context, secret);
        let users = users(&self.context, secret);
        if !users.is_empty() || custody::is_held(secret) {
            self.context.queues.secrets.request(ObjectRef::from_obj(secret));
        }
        for organization in users {
            self.context.queues.organizations.request(ObjectRef::from_obj(organization.as_ref()));
        }
    }

    fn deleted(&mut self, secret: &PartialObjectMeta<Secret>) {
        self.context.unheld.forget(secret);
        self.changed(secret);
    }
}
