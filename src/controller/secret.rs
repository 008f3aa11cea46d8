//! SpiceSecret: its reads and writes.

mod reaction;

pub(super) use reaction::SpiceSecretEventHandler;

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::app;
use super::claims::of_undecodable;
use super::context::Context;
use super::definition;
use super::driver::{Reconciler, kubernetes_words, while_wanted};
use super::namespaces;
use super::organization;
use super::store::bounded;
use super::summary;
use super::undecodable;
use super::watch::{decoded, is_current};
use crate::api::{ConditionType, ManagementPolicy, SourceVersion, SpiceApp, SpiceSecret, SpiceSecretStatus};
use crate::management::types::{ApiError, ErrorKind, RemoteSecret};
use crate::management::{AccessMode, ApiResponse, Priority};
use crate::planner::{
    AppSecrets, Observed, ParentApp, SecretObserved, SecretRead, SecretWrite, SiblingSecret, SourceValues, WriteResult,
    elapsed,
};
use kube::core::DeserializeGuard;

/// How many failures in a row make a deletion one that is stuck: about half a minute of them.
const PATIENCE: u32 = 5;

impl Reconciler for SpiceSecret {
    fn cache(context: &Context) -> &Store<DeserializeGuard<Self>> {
        &context.caches.spice_secrets
    }

    fn with_status(mut self, status: SpiceSecretStatus) -> Self {
        self.status = Some(status);
        self
    }

    fn reduce(data: &mut Value, _: Timestamp) {
        undecodable::retain(data, "spec", &["appRef", "deletionPolicy"]);
        undecodable::retain(data, "status", &["appId", "secrets", "observedGeneration"]);
        // What an entry says besides its name and whose it was can be done without.
        let entries = data["status"]["secrets"].as_array().cloned().unwrap_or_default();
        let names = entries.into_iter().filter_map(|entry| {
            let name = entry["name"].as_str()?;
            Some(json!({ "name": name, "adopted": entry["adopted"].as_bool() }))
        });
        data["status"]["secrets"] = names.collect();
    }

    fn forget_sources(observed: &mut SecretObserved) {
        (observed.source, observed.values) = (None, None);
    }

    async fn observe(
        context: &Context,
        object: &Self,
        read: &SecretRead,
        priority: Priority,
        observed: &mut SecretObserved,
    ) {
        match read {
            SecretRead::App => observed.app = Some(app_facts(context, object)),
            SecretRead::Siblings => observed.others = Some(others(context, object)),
            SecretRead::Source => {
                let version = context.caches.secret_version(&namespace(object), source(object));
                observed.source = Some(version.map_or(Observed::Absent, Observed::Present));
            }
            SecretRead::Key => {
                let key = context.digest_key.get().map(|key| key.id().to_owned());
                observed.key = Some(key.map_or(Observed::Absent, Observed::Present));
            }
            SecretRead::SourceValues => observed.values = Some(values(context, object).await),
            SecretRead::CrdTerminating => {
                observed.crd_terminating = Some(definition::is_deleting::<Self>(context).await)
            }
            SecretRead::RemoteApp(id, not_before) => {
                let shown = of_app(context, object, async |app| {
                    app::connection(context, app).await?.reads.app(*id, *not_before, priority).await
                });
                let shown = app::seen(shown.await);
                if shown == Observed::Absent {
                    look_at_app(context, object);
                }
                observed.shown = Some(shown);
            }
            SecretRead::List(id, not_before) => {
                let list = of_app(context, object, async |app| {
                    let connection = app::connection(context, app).await?;
                    organization::secrets(context, app, &connection, *id, *not_before, priority).await
                });
                let list = app::seen(list.await);
                if list == Observed::Absent {
                    look_at_app(context, object);
                }
                observed.list = Some(list);
            }
            SecretRead::Apps(not_before) => {
                let list = of_app(context, object, async |app| {
                    let connection = app::connection(context, app).await?;
                    organization::apps(context, app, &connection, *not_before, priority).await
                });
                // A list is never absent: where there is none, it cannot be seen.
                observed.apps = Some(list.await.map_or_else(Observed::Unknown, app::present));
            }
        }
    }

    async fn act(
        context: &Context,
        object: &Self,
        write: &SecretWrite,
        priority: Priority,
    ) -> WriteResult<crate::planner::SecretResponse> {
        let started_at = context.now();
        let mut answer = Vec::new();
        for part in parts(write) {
            let result =
                with_app(context, object, async |app| one(context, object, app, write, &part, priority).await).await;
            let name = part.name().to_owned();
            // Each secret is refused for itself; anything else would meet the others as well.
            let stops = result.as_ref().is_err_and(|error| error.kind != ErrorKind::Invalid);
            if let Err(error) = &result {
                // So many have gone before it that what they rest on has grown old: it is looked at anew for the others.
                if !answer.is_empty() && has_grown_old(context, write) && error.proves_not_applied() {
                    break;
                }
                tracing::warn!(name, kind = error.label(), "a secret was not written: {error}");
                if answer.is_empty() && stops {
                    return WriteResult { result: Err(error.clone()), started_at };
                }
            }
            answer.push((name, result));
            if stops {
                break;
            }
        }
        WriteResult { result: Ok(answer), started_at }
    }

    fn ended(context: &Context, object: &Self) {
        if is_stuck(context, object.meta()) {
            context.queues.apps.request(app_ref(object));
        }
    }
}

/// One write of a batch.
enum SecretOperation<'a> {
    Set(&'a crate::management::types::PutSecret),
    Delete(&'a str),
}

impl SecretOperation<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Set(body) => &body.name,
            Self::Delete(name) => name,
        }
    }
}

fn parts(write: &SecretWrite) -> Vec<SecretOperation<'_>> {
    match write {
        SecretWrite::Set { secrets, .. } => secrets.iter().map(|set| SecretOperation::Set(&set.body)).collect(),
        SecretWrite::Delete { names, .. } => names.iter().map(|name| SecretOperation::Delete(name)).collect(),
    }
}

/// Does one write of a batch, and lets those who share what was read know of it.
async fn one(
    context: &Context,
    object: &SpiceSecret,
    app: &SpiceApp,
    write: &SecretWrite,
    part: &SecretOperation<'_>,
    priority: Priority,
) -> Result<Option<RemoteSecret>, ApiError> {
    let permitted = async {
        let connection = app::connection(context, app).await?;
        let permit = connection.client.acquire_permit(priority, AccessMode::Write).await?;
        Ok((connection, permit))
    };
    // What is sent is waited for: its outcome is to be known.
    let (connection, permit) = while_wanted(context, object, permitted).await?;
    still_wanted(context, object, app, write)?;
    let id = write.app();
    let result = match part {
        SecretOperation::Set(body) => {
            connection.client.put_secret(id, body, permit).await.map(|ApiResponse { value, .. }| Some(value))
        }
        SecretOperation::Delete(name) => match connection.client.delete_secret(id, name, permit).await {
            // One that is not there is as good as deleted.
            Ok(_) | Err(ApiError { kind: ErrorKind::NotFound { json: true }, .. }) => Ok(None),
            Err(error) => Err(error),
        },
    };
    match &result {
        Ok(now_there) => connection.reads.on_secret_write(id, part.name(), Some(now_there.clone())),
        Err(error) if error.proves_not_applied() => {}
        Err(_) => connection.reads.on_secret_write(id, part.name(), None),
    }
    result
}

fn has_grown_old(context: &Context, write: &SecretWrite) -> bool {
    elapsed(write.based_on(), context.now()) > context.settings.timings.max_read_age
}

/// Looks once more before a write is sent: it may have waited long for its turn.
fn still_wanted(context: &Context, object: &SpiceSecret, app: &SpiceApp, write: &SecretWrite) -> Result<(), ApiError> {
    let organization = app::still_allowed(context, app, !has_grown_old(context, write))?;
    // What was set is deleted all the same.
    if let SecretWrite::Set { .. } = write {
        app::admitted(&organization)?;
    }
    if is_current(&context.caches.spice_secrets, object) {
        return Ok(());
    }
    Err(ApiError::local(ErrorKind::Cancelled, "the object changed while it waited for its turn"))
}

/// Work about the app of an object.
async fn with_app<T>(
    context: &Context,
    object: &SpiceSecret,
    work: impl AsyncFnOnce(&SpiceApp) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let app = context.caches.apps.get(&app_ref(object));
    let Some(Ok(app)) = app.as_deref().map(|app| app.0.as_ref()) else {
        return Err(ApiError::local(ErrorKind::Cancelled, "the SpiceApp is gone"));
    };
    app::doubted(context, app, work(app).await)
}

/// Reads about the app of an object, as long as they are wanted.
async fn of_app<T>(
    context: &Context,
    object: &SpiceSecret,
    work: impl AsyncFnOnce(&SpiceApp) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    with_app(context, object, async |app| while_wanted(context, object, work(app)).await).await
}

fn namespace(object: &SpiceSecret) -> String {
    object.namespace().unwrap_or_default()
}

/// Where the app of an object would be.
fn app_ref(object: &SpiceSecret) -> ObjectRef<DeserializeGuard<SpiceApp>> {
    ObjectRef::new(&object.spec.app_ref.name).within(&namespace(object))
}

/// The name of the Kubernetes Secret that an object names.
pub(super) fn source(object: &SpiceSecret) -> &str {
    let spec = &object.spec;
    let of_key = spec.secret_key_ref.as_ref().map(|source| &source.name);
    of_key.or(spec.secret_ref.as_ref().map(|source| &source.name)).map_or("", String::as_str)
}

/// Lets the app find out what became of it.
fn look_at_app(context: &Context, object: &SpiceSecret) {
    if let Some(app) = context.caches.apps.get(&app_ref(object)) {
        context.look_at_app(&app);
    }
}

fn app_facts(context: &Context, object: &SpiceSecret) -> Observed<ParentApp> {
    let app = match decoded(context.caches.apps.get(&app_ref(object))) {
        None => return Observed::Absent,
        Some(Ok(app)) => app,
        Some(Err(error)) => {
            let message = format!("SpiceApp {} cannot be decoded: {error}", object.spec.app_ref.name);
            return Observed::Unknown(ApiError::local(ErrorKind::InvalidResponse, message));
        }
    };
    let status = app.status.clone().unwrap_or_default();
    let ours = status.incarnation.is_some() && app.spec.management_policy != Some(ManagementPolicy::Observe);
    let organization = organization::of_app(context, &app).and_then(Result::ok);
    Observed::Present(ParentApp {
        uid: app.uid().unwrap_or_default(),
        interval: interval(context, &app),
        name: app.spec.name.clone().unwrap_or_else(|| app.name_any()),
        id: status.id.filter(|_| ours),
        created_at: status.created_at.as_ref().map(|time| time.0),
        tags_unsupported: status.tags_unsupported == Some(true),
        unready: unready(&app),
        recorded_in: status.organization_binding,
        incarnation: status.incarnation,
        organization_name: app.spec.organization_ref.name.clone(),
        organization: organization.map(|organization| summary::for_app(context, &organization, &app)),
    })
}

/// Why nothing is to be set in an app now, if so.
fn unready(app: &SpiceApp) -> Option<String> {
    if app.metadata.deletion_timestamp.is_some() {
        return Some("is being deleted".to_owned());
    }
    if app.spec.management_policy == Some(ManagementPolicy::Observe) {
        return Some("only observes its app (managementPolicy: Observe): nothing is set in it".to_owned());
    }
    let conditions = app.status.iter().flat_map(|status| &status.conditions);
    match conditions.into_iter().find(|condition| condition.type_ == ConditionType::Ready.as_str()) {
        None => Some("was not visited yet".to_owned()),
        Some(ready) if ready.status != "True" => Some(format!("is not ready: {} {}", ready.reason, ready.message)),
        Some(_) => None,
    }
}

/// What of an app its SpiceSecrets go by.
pub(super) fn matters(app: &DeserializeGuard<SpiceApp>) -> impl Hash + use<> {
    let facts = |app: &SpiceApp| {
        let status = app.status.clone().unwrap_or_default();
        let own = (status.id, status.incarnation, status.tags_unsupported, status.organization_binding);
        (own, unready(app), app.spec.interval.map(Duration::from))
    };
    app.0.as_ref().ok().map(facts)
}

/// The SpiceSecrets of an app.
pub(super) fn of(context: &Context, namespace: &str, app: &str) -> Vec<Arc<DeserializeGuard<SpiceSecret>>> {
    let names = context.secrets_by_app.referring_to(namespace, app);
    let found =
        names.iter().filter_map(|name| context.caches.spice_secrets.get(&ObjectRef::new(name).within(namespace)));
    let refers = |object: &Arc<DeserializeGuard<SpiceSecret>>| match &object.0 {
        Ok(object) => object.spec.app_ref.name == app,
        Err(_) => true,
    };
    found.filter(refers).collect()
}

/// The shortest interval that an app or one of its SpiceSecrets asks for.
fn interval(context: &Context, app: &SpiceApp) -> Option<Duration> {
    let secrets = of(context, &app.namespace().unwrap_or_default(), &app.name_any());
    let of_secrets = secrets.iter().filter_map(|secret| secret.0.as_ref().ok()?.spec.interval);
    of_secrets.chain(app.spec.interval).map(Duration::from).min()
}

/// What an app has to know of its SpiceSecrets.
pub(super) fn of_this_app(context: &Context, app: &SpiceApp) -> AppSecrets {
    let (mut going, mut stuck) = (Vec::new(), 0);
    let namespace = app.namespace().unwrap_or_default();
    // The objects of a namespace that ends are deleted one by one, in an order that nobody knows.
    let all_go = namespaces::is_ending(context, &namespace);
    for secret in of(context, &namespace, &app.name_any()) {
        let is_held = secret.meta().finalizers.iter().flatten().any(|one| one == crate::api::FINALIZER);
        let deleting = secret.meta().deletion_timestamp.is_some();
        if !is_held || !(deleting || all_go) {
            continue;
        }
        stuck += usize::from(secret.0.is_err() || is_stuck(context, secret.meta()));
        going.push(secret.name_any());
    }
    AppSecrets { interval: interval(context, app), going, stuck }
}

/// Whether a deletion does not come to its end: an app that stays is not held back by it any longer.
fn is_stuck(context: &Context, object: &ObjectMeta) -> bool {
    let failures = context.memories.failures(object.uid.as_deref().unwrap_or_default());
    object.deletion_timestamp.is_some() && failures >= PATIENCE
}

/// What is known of the other SpiceSecrets of the app.
fn others(context: &Context, object: &SpiceSecret) -> Vec<Arc<SiblingSecret>> {
    let namespace = namespace(object);
    let mut all = of(context, &namespace, &object.spec.app_ref.name);
    // Which app one is about that could never be decoded tells only who has noted it.
    let noted: BTreeSet<&String> =
        object.status.iter().flat_map(|status| &status.conflicts).map(|held| &held.owned_by).collect();
    let hidden = noted.into_iter().filter(|name| context.secrets_by_app.referred_by(&namespace, name).is_none());
    all.extend(hidden.filter_map(|name| context.caches.spice_secrets.get(&ObjectRef::new(name).within(&namespace))));
    let others = all.iter().filter(|other| other.meta().uid != object.metadata.uid);
    let known = others.filter_map(|other| {
        let (meta, known) = (other.meta(), context.claims.of(other.meta().uid.as_ref()));
        match &other.0 {
            Ok(_) => known,
            Err(_) => Some(Arc::new(of_undecodable(meta, known.as_deref(), object))),
        }
    });
    known.collect()
}

/// What the Kubernetes Secret holds that an object names.
async fn values(context: &Context, object: &SpiceSecret) -> Observed<SourceValues> {
    let (namespace, name) = (namespace(object), source(object));
    context.values.join(format!("{namespace}/{name}"), async || read(context, &namespace, name).await).await
}

async fn read(context: &Context, namespace: &str, name: &str) -> Observed<SourceValues> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let unknown = |message: String| Observed::Unknown(ApiError::local(ErrorKind::Connect, message));
    let Some(key) = context.digest_key.get() else { return unknown("there is no key of digests yet".to_owned()) };
    match bounded(secrets.get_opt(name)).await {
        Ok(Some(secret)) => {
            let version = SourceVersion::of("Secret", &secret.metadata);
            let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
            Observed::Present(SourceValues::new(version, data, key.clone()))
        }
        Ok(None) => Observed::Absent,
        Err(error) => unknown(format!("Secret {name} cannot be read: {}", kubernetes_words(&error))),
    }
}

/// Lets the SpiceSecrets of an app be visited and looked at anew.
pub(super) fn tell_secrets_of(context: &Context, namespace: &str, app: &str) {
    for secret in of(context, namespace, app) {
        context.look_at_secret(&secret);
    }
}

/// Lets the SpiceSecrets be visited that take their values from a Kubernetes Secret.
pub(super) fn tell_users_of(context: &Context, secret: &PartialObjectMeta<Secret>) {
    let namespace = secret.namespace().unwrap_or_default();
    for name in context.secrets_by_source.referring_to(&namespace, &secret.name_any()) {
        context.queues.spice_secrets.request(ObjectRef::new(&name).within(&namespace));
    }
}
