//! SpiceApp: its reads and writes, and who is woken when one changes.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::connections::Connection;
use super::context::Context;
use super::custody;
use super::definition;
use super::driver::{Reconciler, kubernetes_words, while_wanted};
use super::organization;
use super::secret;
use super::store::bounded;
use super::summary;
use super::undecodable;
use super::watch::{ChangeFilter, EventHandler, is_current, own_matters};
use crate::api::{ConfigMapKeyRef, CreateIntent, SourceVersion, SpiceApp, SpiceAppStatus};
use crate::management::types::{ApiError, App, ErrorKind};
use crate::management::{AccessMode, ApiResponse, Priority};
use crate::planner::{
    AppObserved, AppRead, AppWrite, CompetingApp, LoadedSpicepod, Observation, Observed, OrganizationView, WriteResult,
    elapsed, parse_spicepod,
};
use kube::core::DeserializeGuard;

impl Reconciler for SpiceApp {
    fn cache(context: &Context) -> &Store<DeserializeGuard<Self>> {
        &context.caches.apps
    }

    fn with_status(mut self, status: SpiceAppStatus) -> Self {
        self.status = Some(status);
        self
    }

    fn reduce(data: &mut Value, deleted_at: Timestamp) {
        undecodable::retain(data, "spec", &["organizationRef", "name", "deletionPolicy", "managementPolicy"]);
        let status =
            ["id", "incarnation", "createIntent", "organizationBinding", "tagsUnsupported", "observedGeneration"];
        undecodable::retain(data, "status", &status);
        let intent = data["status"]["createIntent"].clone();
        if !intent.is_null() && serde_json::from_value::<CreateIntent>(intent.clone()).is_err() {
            data["status"]["createIntent"] = undecodable::some_intent(&intent["name"], deleted_at);
        }
    }

    fn forget_sources(observed: &mut AppObserved) {
        (observed.source, observed.spicepod) = (None, None);
    }

    async fn observe(context: &Context, object: &Self, read: &AppRead, priority: Priority, observed: &mut AppObserved) {
        match read {
            AppRead::Organization => observed.organization = Some(organization_of(context, object)),
            AppRead::CompetingApps => observed.claims = Some(claims(context, object)),
            AppRead::Source(key) => {
                let version = context.caches.config_map_version(&object.namespace().unwrap_or_default(), &key.name);
                observed.source = Some(version.map_or(Observed::Absent, Observed::Present));
            }
            AppRead::Spicepod(key) => observed.spicepod = Some(spicepod(context, object, key).await),
            AppRead::Secrets => observed.secrets = Some(secret::of_this_app(context, object)),
            AppRead::Siblings => observed.siblings = Some(siblings(context, object)),
            AppRead::CrdTerminating => observed.crd_terminating = Some(definition::is_deleting::<Self>(context).await),
            AppRead::List(not_before) => {
                let list = async {
                    let connection = connection(context, object).await?;
                    organization::apps(context, object, &connection, *not_before, priority).await
                };
                let list = doubted(context, object, while_wanted(context, object, list).await);
                // A list is never absent: where there is none, it cannot be seen.
                observed.list = Some(list.map_or_else(Observed::Unknown, present));
            }
            AppRead::App(id, not_before) => {
                let app = async { connection(context, object).await?.reads.app(*id, *not_before, priority).await };
                let app = doubted(context, object, while_wanted(context, object, app).await);
                observed.app =
                    Some(seen(app.map(|app| ApiResponse {
                        value: Arc::unwrap_or_clone(app.value),
                        started_at: app.started_at,
                    })));
            }
        }
    }

    async fn act(context: &Context, object: &Self, write: &AppWrite, priority: Priority) -> WriteResult<Option<App>> {
        let started_at = context.now();
        let answer = async {
            let connection = connection(context, object).await?;
            let client = &connection.client;
            let permit = while_wanted(context, object, client.acquire_permit(priority, AccessMode::Write)).await?;
            still_wanted(context, object, write)?;
            let answer = match write {
                AppWrite::Create { body, .. } => client.create_app(body, permit).await.map(Some),
                AppWrite::Update { id, body, .. } | AppWrite::RemoveOwnerTags { id, body, .. } => {
                    client.update_app(*id, body, permit).await.map(Some)
                }
                AppWrite::Delete { id, .. } => client.delete_app(*id, permit).await.map(|_| None),
            };
            // Whoever shares what is read of the app is not served what was so before.
            let shown = answer.as_ref().ok().and_then(Option::as_ref);
            if let Some(id) = write.id().or(shown.map(|app| app.value.id)) {
                connection.reads.on_app_write(id, shown);
            }
            answer
        };
        match doubted(context, object, answer.await) {
            Ok(Some(answer)) => WriteResult { result: Ok(Some(answer.value)), started_at: answer.started_at },
            Ok(None) => WriteResult { result: Ok(None), started_at },
            Err(error) => WriteResult { result: Err(error), started_at },
        }
    }
}

/// Looks once more before a write is sent: it may have waited long for its turn.
fn still_wanted(context: &Context, app: &SpiceApp, write: &AppWrite) -> Result<(), ApiError> {
    let timings = &context.settings.timings;
    let is_fresh = match write {
        // That the name is free was read after somebody asked for the app, and the API itself says if it is taken by now.
        // But by when the create was decided on it is told what came of it.
        AppWrite::Create { intended_at, .. } => {
            elapsed(*intended_at, context.now()) <= timings.create_confirmation_timeout.max(timings.max_read_age)
        }
        _ => elapsed(write.based_on(), context.now()) <= timings.max_read_age,
    };
    admitted(&still_allowed(context, app, is_fresh)?)?;
    if is_current(&context.caches.apps, app) {
        return Ok(());
    }
    Err(ApiError::local(ErrorKind::Cancelled, "the object changed while it waited for its turn"))
}

/// Its organization, if anything may be written about an app by now. `is_fresh`: whether what it rests on is.
pub(super) fn still_allowed(context: &Context, app: &SpiceApp, is_fresh: bool) -> Result<OrganizationView, ApiError> {
    let withdrawn = |why: &str| Err(ApiError::local(ErrorKind::Cancelled, why));
    if !is_fresh {
        let message = "not sent: within the request budget its turn came so late that what it rests on had grown old";
        return Err(ApiError::local(ErrorKind::RateLimited { retry_after: None }, message));
    }
    if !context.leadership.may_write() {
        return withdrawn("this process holds the lease no more");
    }
    match organization_of(context, app) {
        Observed::Present(organization) if !organization.suspended => Ok(organization),
        _ => withdrawn("the organization was suspended, or is gone"),
    }
}

/// Whether the organization admits the app's namespace; for an app that is being deleted it need not.
pub(super) fn admitted(organization: &OrganizationView) -> Result<(), ApiError> {
    let why = organization.not_allowed.as_ref();
    why.map_or(Ok(()), |why| Err(ApiError::local(ErrorKind::Cancelled, why)))
}

/// A credential that is refused concerns all that use it: the organization is looked at, and says so for all of them.
pub(super) fn doubted<T>(context: &Context, app: &SpiceApp, result: Result<T, ApiError>) -> Result<T, ApiError> {
    if let Err(ApiError { kind: ErrorKind::Unauthorized, .. }) = &result
        && let Some(Ok(organization)) = organization::of_app(context, app)
    {
        context.memories.force_resync(organization.uid().as_deref().unwrap_or_default(), context.now());
        let namespace = organization.namespace().unwrap_or_default();
        context.queues.organizations.request(ObjectRef::new(&organization.name_any()).within(&namespace));
    }
    result
}

/// A 404 of the API's own is an absence for the planner to weigh; any other failure leaves it unknown.
pub(super) fn seen<T>(result: Result<ApiResponse<T>, ApiError>) -> Observed<Observation<T>> {
    match result {
        Ok(answer) => present(answer),
        Err(ApiError { kind: ErrorKind::NotFound { json: true }, .. }) => Observed::Absent,
        Err(error) => Observed::Unknown(error),
    }
}

pub(super) fn present<T>(answer: ApiResponse<T>) -> Observed<Observation<T>> {
    Observed::Present(Observation { value: answer.value, started_at: answer.started_at })
}

pub(super) async fn connection(context: &Context, app: &SpiceApp) -> Result<Arc<Connection>, ApiError> {
    match organization::of_app(context, app) {
        Some(Ok(organization)) => organization::connection(context, &organization).await,
        _ => Err(ApiError::local(ErrorKind::CredentialMissing, "the SpiceOrganization is gone")),
    }
}

fn organization_of(context: &Context, app: &SpiceApp) -> Observed<OrganizationView> {
    match organization::of_app(context, app) {
        None => Observed::Absent,
        Some(Ok(organization)) => {
            let tags_unsupported = organization::tags_unsupported(context, &organization);
            Observed::Present(OrganizationView { tags_unsupported, ..summary::for_app(context, &organization, app) })
        }
        Some(Err(error)) => {
            let unusable = Some(format!("it cannot be decoded: {error}"));
            Observed::Present(OrganizationView { unusable, ..OrganizationView::default() })
        }
    }
}

/// Other SpiceApps that stand for an app of the same organization and name.
fn claims(context: &Context, app: &SpiceApp) -> Vec<CompetingApp> {
    let others = context.caches.apps.state_filter(|other| match &other.0 {
        Ok(other) => other.uid() != app.uid() && same_claim(context, other, app),
        Err(_) => false,
    });
    let claim = |other: &SpiceApp| CompetingApp {
        without_id: other.status.as_ref().is_none_or(|status| status.id.is_none()),
        created: other.metadata.creation_timestamp.as_ref().map(|time| time.0),
        uid: other.uid().unwrap_or_default(),
        object: format!("{}/{}", other.namespace().unwrap_or_default(), other.name_any()),
    };
    others.iter().filter_map(|other| other.0.as_ref().ok()).map(claim).collect()
}

/// Whether two objects stand for one app: the same name, in one SpiceOrganization or in two of one organization.
fn same_claim(context: &Context, one: &SpiceApp, other: &SpiceApp) -> bool {
    let name = |app: &SpiceApp| app.spec.name.clone().unwrap_or_else(|| app.name_any()).to_ascii_lowercase();
    name(one) == name(other) && same_organization(context, one, other)
}

fn same_organization(context: &Context, one: &SpiceApp, other: &SpiceApp) -> bool {
    // Whom it does not admit claims nothing of it, unless something was made.
    let counts = |app: &SpiceApp, organization: &OrganizationView| {
        organization.not_allowed.is_none() || app.status.as_ref().is_some_and(|status| status.id.is_some())
    };
    let pin = |app: &SpiceApp| {
        let found = organization::of_app(context, app)?.ok()?;
        let organization = summary::for_app(context, &found, app);
        organization.pin.clone().filter(|_| counts(app, &organization))
    };
    let same_object = organization::reference(one) == organization::reference(other);
    if same_object && one.namespace() == other.namespace() {
        return true;
    }
    pin(one).is_some_and(|of_one| pin(other) == Some(of_one))
}

/// Ids that other SpiceApps of the organization have recorded; not of those that are being deleted.
fn siblings(context: &Context, app: &SpiceApp) -> Vec<i64> {
    let others = context.caches.apps.state_filter(|other| match &other.0 {
        Ok(other) => {
            let kept = other.uid() != app.uid() && other.metadata.deletion_timestamp.is_none();
            kept && same_organization(context, other, app)
        }
        Err(_) => false,
    });
    let recorded = |app: &SpiceApp| app.status.as_ref().filter(|status| status.incarnation.is_some())?.id;
    others.iter().filter_map(|other| recorded(other.0.as_ref().ok()?)).collect()
}

/// Reads a spicepod from its ConfigMap.
async fn spicepod(context: &Context, app: &SpiceApp, key: &ConfigMapKeyRef) -> Observed<LoadedSpicepod> {
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &app.namespace().unwrap_or_default());
    let what = format!("{}/{}", app.namespace().unwrap_or_default(), key.name);
    let read = async || {
        let config_map = bounded(api.get_opt(&key.name)).await.map_err(|error| kubernetes_words(&error))?;
        Ok(config_map.map(Arc::new))
    };
    match context.config_maps.join(what, read).await {
        Ok(Some(config_map)) => {
            let text = config_map.data.as_ref().and_then(|data| data.get(&key.key));
            let binary = config_map.binary_data.as_ref().is_some_and(|data| data.contains_key(&key.key));
            let spicepod = match text {
                Some(text) => parse_spicepod(text),
                None if binary => Err("it is in binaryData, where no text is".to_owned()),
                None => Err("there is no such key in its data".to_owned()),
            };
            Observed::Present(LoadedSpicepod {
                version: SourceVersion::of("ConfigMap", &config_map.metadata),
                spicepod,
            })
        }
        Ok(None) => Observed::Absent,
        Err(error) => {
            let message = format!("ConfigMap {} cannot be read: {error}", key.name);
            Observed::Unknown(ApiError::local(ErrorKind::Connect, message))
        }
    }
}

/// A changed app is visited. One that goes frees its name, and its organization if that waits to go.
pub(super) struct AppEventHandler {
    context: Arc<Context>,
    seen: ChangeFilter,
    /// What its SpiceSecrets go by.
    told: ChangeFilter,
}

impl AppEventHandler {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, seen: ChangeFilter::default(), told: ChangeFilter::default() }
    }
}

impl AppEventHandler {
    fn tell_secrets(&self, object: &DeserializeGuard<SpiceApp>) {
        secret::tell_secrets_of(&self.context, &object.namespace().unwrap_or_default(), &object.name_any());
    }
}

impl EventHandler<DeserializeGuard<SpiceApp>> for AppEventHandler {
    fn changed(&mut self, object: &DeserializeGuard<SpiceApp>) {
        self.context.interests.changed(kube::Resource::meta(object).uid.as_ref());
        self.context.memories.caught_up(object);
        // A visit mends what cannot be decoded, if anything does.
        if object.0.is_err() || self.seen.differs(kube::Resource::meta(object).uid.as_ref(), own_matters(object)) {
            self.context.queues.apps.request(ObjectRef::from_obj(object));
        }
        if self.told.differs(kube::Resource::meta(object).uid.as_ref(), secret::matters(object)) {
            self.tell_secrets(object);
        }
    }

    fn deleted(&mut self, object: &DeserializeGuard<SpiceApp>) {
        let uid = kube::Resource::meta(object).uid.as_ref();
        self.context.interests.changed(uid);
        self.seen.forget(uid);
        self.told.forget(uid);
        self.tell_secrets(object);
        self.context.memories.forget(uid);
        let Ok(app) = &object.0 else {
            // It may have been what any of them waited for.
            for one in organization::of_namespace(&self.context, object.namespace().as_deref()) {
                self.context.queues.organizations.request(ObjectRef::from_obj(one.as_ref()));
            }
            return;
        };
        self.context.queues.organizations.request(organization::reference(app));
        if let Some(Ok(organization)) = organization::of_app(&self.context, app) {
            custody::look_at_credential(&self.context, &organization);
        }
        for claim in claims(&self.context, app) {
            self.context.memories.force_resync(&claim.uid, self.context.now());
            if let Some((namespace, name)) = claim.object.split_once('/') {
                self.context.queues.apps.request(ObjectRef::new(name).within(namespace));
            }
        }
    }
}

/// A changed ConfigMap wakes the apps whose spicepod it holds.
pub(super) struct ConfigMapEventHandler {
    context: Arc<Context>,
}

impl ConfigMapEventHandler {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

impl EventHandler<PartialObjectMeta<ConfigMap>> for ConfigMapEventHandler {
    fn changed(&mut self, config_map: &PartialObjectMeta<ConfigMap>) {
        let holds = |app: &SpiceApp| {
            let source = app.spec.spicepod_from.as_ref().map(|source| &source.config_map_key_ref.name);
            app.namespace() == config_map.namespace() && source == config_map.metadata.name.as_ref()
        };
        for app in self.context.caches.apps.state_filter(|app| app.0.as_ref().is_ok_and(holds)) {
            self.context.queues.apps.request(ObjectRef::from_obj(app.as_ref()));
        }
    }

    fn deleted(&mut self, config_map: &PartialObjectMeta<ConfigMap>) {
        self.changed(config_map);
    }
}
