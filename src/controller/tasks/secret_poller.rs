//! Polls the metadata of each referenced Secret, instead of a watch, and delivers changes as a watch would. Needs no
//! permission to list Secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};

use crate::api::SpiceOrganization;
use crate::controller::cluster::call::{format_kube_error, with_timeout};
use crate::controller::lookup::credential::has_finalizer;
use crate::controller::lookup::organizations::credential_secret;
use crate::controller::state::context::Context;

type Metadata = PartialObjectMeta<Secret>;
/// Namespace and name.
type SecretKey = (String, String);

struct SecretPoller {
    context: Arc<Context>,
    interval: Duration,
    /// Secrets as delivered last; none before the first poll.
    last_reported: Option<BTreeMap<SecretKey, Metadata>>,
}

/// Changes of the referenced Secrets. The organizations must be cached before.
pub(in crate::controller) fn poll(
    context: Arc<Context>,
    interval: Duration,
) -> impl Stream<Item = Result<Event<Metadata>, watcher::Error>> + Send {
    let poller = SecretPoller { context, interval, last_reported: None };
    let polls = stream::unfold(poller, |mut poller| async move {
        let events = poller.poll_once().await;
        Some((stream::iter(events.into_iter().map(Ok)), poller))
    });
    polls.flatten()
}

impl SecretPoller {
    /// Waits for the interval or for a new reference, and returns the changes since the last poll.
    async fn poll_once(&mut self) -> Vec<Event<Metadata>> {
        if self.last_reported.is_some() {
            let new_reference = self.context.secret_refs_changed.notified();
            let _ = tokio::time::timeout(self.interval, new_reference).await;
        }
        let mut now = BTreeMap::new();
        for (namespace, name) in self.referenced() {
            let known = self.last_reported.as_ref().and_then(|last| last.get(&(namespace.clone(), name.clone())));
            if let Some(secret) = self.read(&namespace, &name, known).await {
                now.insert((namespace, name), secret);
            }
        }
        match self.last_reported.replace(now.clone()) {
            Some(before) => changes(&before, &now),
            None => {
                let all = now.into_values().map(Event::InitApply);
                [Event::Init].into_iter().chain(all).chain([Event::InitDone]).collect()
            }
        }
    }

    /// The Secrets of SpiceSecrets and organizations; those that organizations used at their last reconcile; and those
    /// that still have the finalizer, which the operator must remove.
    fn referenced(&self) -> BTreeSet<SecretKey> {
        let kinds = &self.context.kinds;
        let organizations = kinds.organizations.filter(|_| true);
        let decoded = organizations.iter().filter_map(|organization| organization.0.as_ref().ok());
        let names = |one: &SpiceOrganization| {
            let sources = one.status.iter().flat_map(|status| &status.core.observed_sources);
            let before = sources.map(|source| source.name.clone());
            before.chain([credential_secret(one).to_owned()]).collect::<Vec<_>>()
        };
        let credentials =
            decoded.flat_map(|one| names(one).into_iter().map(|name| (one.namespace().unwrap_or_default(), name)));
        let protected = self.last_reported.iter().flatten().filter(|(_, secret)| has_finalizer(secret));
        let secrets = kinds.secrets.filter(|_| true);
        let values = secrets.iter().filter_map(|secret| secret.0.as_ref().ok());
        let sources = values.map(|one| (one.namespace().unwrap_or_default(), one.source_name().to_owned()));
        let all = credentials.chain(protected.map(|(key, _)| key.clone())).chain(sources);
        all.filter(|(_, name)| !name.is_empty()).collect()
    }

    /// A Secret as it is now; as known before if the read fails; none if it does not exist.
    async fn read(&self, namespace: &str, name: &str, known: Option<&Metadata>) -> Option<Metadata> {
        let secrets: Api<Secret> = Api::namespaced(self.context.client.clone(), namespace);
        match with_timeout(secrets.get_metadata_opt(name)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(
                    kind = "Secret",
                    namespace,
                    name,
                    error = format_kube_error(&error),
                    "Failed to read Secret"
                );
                // An unknown Secret counts as existing: its organization then reports the error of the read.
                let unknown = || {
                    let mut secret = Metadata::default();
                    secret.metadata.namespace = Some(namespace.to_owned());
                    secret.metadata.name = Some(name.to_owned());
                    secret
                };
                Some(known.cloned().unwrap_or_else(unknown))
            }
        }
    }
}

fn changes(before: &BTreeMap<SecretKey, Metadata>, now: &BTreeMap<SecretKey, Metadata>) -> Vec<Event<Metadata>> {
    let version = |secret: &Metadata| (secret.uid(), secret.resource_version());
    let deleted = before.iter().filter(|(key, _)| !now.contains_key(*key));
    let changed = now.iter().filter(|(key, secret)| before.get(*key).map(version) != Some(version(secret)));
    let deleted = deleted.map(|(_, secret)| Event::Delete(secret.clone()));
    deleted.chain(changed.map(|(_, secret)| Event::Apply(secret.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changed_secrets_are_reported() {
        let secrets = |versions: &[(&str, &str)]| {
            let secret = |(name, version): &(&str, &str)| {
                let mut secret = Metadata::default();
                (secret.metadata.name, secret.metadata.resource_version) =
                    (Some((*name).to_owned()), Some((*version).to_owned()));
                (("default".to_owned(), (*name).to_owned()), secret)
            };
            versions.iter().map(secret).collect::<BTreeMap<_, _>>()
        };
        let events =
            changes(&secrets(&[("a", "1"), ("b", "1"), ("c", "1")]), &secrets(&[("a", "1"), ("b", "2"), ("d", "1")]));
        let events: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Apply(secret) => format!("+{}", secret.name_any()),
                Event::Delete(secret) => format!("-{}", secret.name_any()),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(events, ["-c", "+b", "+d"]);
    }
}
