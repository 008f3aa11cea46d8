//! The Secrets of credentials without a watch: each that a SpiceOrganization names is read, by its metadata, now and then,
//! and what changed is told as a watch would tell it. It needs no permission to list Secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};

use super::context::Context;
use super::custody::is_held;
use super::driver::kubernetes_words;
use super::organization::credential_secret;
use super::store::bounded;
use crate::api::SpiceOrganization;

type Metadata = PartialObjectMeta<Secret>;
/// Namespace and name.
type Key = (String, String);

struct Poll {
    context: Arc<Context>,
    every: Duration,
    /// What was told last; nothing before the first round.
    told: Option<BTreeMap<Key, Metadata>>,
}

/// What became of the Secrets that are named, round by round. The cache of organizations is to be filled before.
pub(super) fn secrets(
    context: Arc<Context>,
    every: Duration,
) -> impl Stream<Item = Result<Event<Metadata>, watcher::Error>> + Send {
    let rounds = stream::unfold(Poll { context, every, told: None }, |mut poll| async move {
        let events = poll.round().await;
        Some((stream::iter(events.into_iter().map(Ok)), poll))
    });
    rounds.flatten()
}

impl Poll {
    /// Waits for the next round, and says what changed since the one before.
    async fn round(&mut self) -> Vec<Event<Metadata>> {
        if self.told.is_some() {
            // An organization that has just been made does not wait for its turn.
            let named = self.context.secrets_named.notified();
            let _ = tokio::time::timeout(self.every, named).await;
        }
        let mut now = BTreeMap::new();
        for (namespace, name) in self.named() {
            let known = self.told.as_ref().and_then(|told| told.get(&(namespace.clone(), name.clone())));
            if let Some(secret) = self.read(&namespace, &name, known).await {
                now.insert((namespace, name), secret);
            }
        }
        let before = self.told.replace(now.clone());
        let Some(before) = before else {
            let all = now.into_values().map(Event::InitApply);
            return [Event::Init].into_iter().chain(all).chain([Event::InitDone]).collect();
        };
        changes(&before, &now)
    }

    /// Those that SpiceSecrets name, those that organizations name, those that they named when they were last looked at, and those that are held still:
    /// nobody else would find these again to let them go.
    fn named(&self) -> BTreeSet<Key> {
        let organizations = self.context.caches.organizations.state();
        let readable = organizations.iter().filter_map(|organization| organization.0.as_ref().ok());
        let names = |one: &SpiceOrganization| {
            let before =
                one.status.iter().flat_map(|status| &status.observed_sources).map(|source| source.name.clone());
            before.chain([credential_secret(one).to_owned()]).collect::<Vec<_>>()
        };
        let keys = |one| names(one).into_iter().map(|name| (one.namespace().unwrap_or_default(), name));
        let held = self.told.iter().flatten().filter(|(_, secret)| is_held(secret)).map(|(key, _)| key.clone());
        let secrets = self.context.caches.spice_secrets.state();
        let of_secrets = secrets.iter().filter_map(|secret| secret.0.as_ref().ok());
        let sources = of_secrets.map(|one| (one.namespace().unwrap_or_default(), one.source_name().to_owned()));
        readable.flat_map(keys).chain(held).chain(sources).filter(|(_, name)| !name.is_empty()).collect()
    }

    /// A Secret as it is, or as it was where that cannot be told; none if there is none.
    async fn read(&self, namespace: &str, name: &str, known: Option<&Metadata>) -> Option<Metadata> {
        let secrets: Api<Secret> = Api::namespaced(self.context.client.clone(), namespace);
        match bounded(secrets.get_metadata_opt(name)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(namespace, name, error = kubernetes_words(&error), "Secret cannot be read");
                // One that was never seen is taken for there: its organization then says why it cannot be read.
                let read_failed = || {
                    let mut secret = Metadata::default();
                    secret.metadata.namespace = Some(namespace.to_owned());
                    secret.metadata.name = Some(name.to_owned());
                    secret
                };
                Some(known.cloned().unwrap_or_else(read_failed))
            }
        }
    }
}

fn changes(before: &BTreeMap<Key, Metadata>, now: &BTreeMap<Key, Metadata>) -> Vec<Event<Metadata>> {
    let version = |secret: &Metadata| (secret.uid(), secret.resource_version());
    let gone =
        before.iter().filter(|(key, _)| !now.contains_key(*key)).map(|(_, secret)| Event::Delete(secret.clone()));
    let changed = now.iter().filter(|(key, secret)| before.get(*key).map(version) != Some(version(secret)));
    gone.chain(changed.map(|(_, secret)| Event::Apply(secret.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told() {
        let secrets = |versions: &[(&str, &str)]| {
            let secret = |(name, version): &(&str, &str)| {
                let mut secret = Metadata::default();
                (secret.metadata.name, secret.metadata.resource_version) =
                    (Some((*name).to_owned()), Some((*version).to_owned()));
                (("default".to_owned(), (*name).to_owned()), secret)
            };
            versions.iter().map(secret).collect::<BTreeMap<_, _>>()
        };
        let told =
            changes(&secrets(&[("a", "1"), ("b", "1"), ("c", "1")]), &secrets(&[("a", "1"), ("b", "2"), ("d", "1")]));
        let told: Vec<_> = told
            .iter()
            .map(|event| match event {
                Event::Apply(secret) => format!("+{}", secret.name_any()),
                Event::Delete(secret) => format!("-{}", secret.name_any()),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(told, ["-c", "+b", "+d"]);
    }
}
