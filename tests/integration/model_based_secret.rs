//! Random rotations, renames, name conflicts and portal edits of secrets, compared with a model of the expected state.

use std::collections::BTreeMap;

use serde_json::json;
use spice_cloud_operator::api::SpiceSecret;

use crate::{
    secrets::{delete_in_portal, expected_secrets, remote_secrets, set_in_portal},
    support::{
        eventually::{DEADLINE, eventually},
        test_env::{Kind, TestEnv},
    },
};

/// Seeds of the random sequences. A seed always produces the same edits.
const SEEDS: [u64; 4] = [1, 2, 3, 4];
const ROUNDS: u32 = 12;
const NAMES: [&str; 6] = ["A", "B", "C", "D", "E", "F"];
const KEYS: usize = 3;

/// Expected state of a secret of the app.
#[derive(Clone, Debug)]
struct RemoteSecret {
    /// None if the secret was deleted in the portal.
    value: Option<String>,
    /// Index of the SpiceSecret that owns the name. None if no SpiceSecret owns the name.
    owner: Option<usize>,
    adopted: bool,
}

struct Scenario<'a> {
    env: &'a TestEnv,
    random: fastrand::Rng,
    app: String,
    id: u64,
    /// True if the SpiceSecrets have adoption policy `Adopt`.
    adopts: bool,
    /// The names of the SpiceSecrets, oldest first.
    objects: Vec<String>,
    /// The requested names of each SpiceSecret, with the index of the key of each name.
    requests: Vec<BTreeMap<&'static str, usize>>,
    /// The values in the Kubernetes Secret.
    values: [String; KEYS],
    secrets: BTreeMap<&'static str, RemoteSecret>,
}

impl<'a> Scenario<'a> {
    /// Creates two SpiceSecrets if `Adopt` is set, otherwise one. Without `Adopt`, a name conflict prevents the
    /// deletion of a name, and a second SpiceSecret could take over this name.
    async fn start(env: &'a TestEnv, seed: u64) -> Self {
        let (app, adopts) = (format!("app-{seed}"), seed % 2 == 1);
        let id = env.apply_app_and_wait(&app, json!({})).await.status.unwrap().id.unwrap();
        let objects =
            if adopts { vec![format!("{app}-one"), format!("{app}-two")] } else { vec![format!("{app}-one")] };
        let requests = vec![BTreeMap::new(); objects.len()];
        let (random, id) = (fastrand::Rng::with_seed(seed), u64::try_from(id).unwrap());
        let mut scenario = Self {
            env,
            random,
            app,
            id,
            adopts,
            objects,
            requests,
            values: Default::default(),
            secrets: BTreeMap::new(),
        };
        (0..KEYS).for_each(|key| scenario.rotate(key));
        scenario.env.set_values(&scenario.app, scenario.source()).await;
        // The UIDs decide the order of two objects with the same creation timestamp.
        let mut created = Vec::new();
        for (index, name) in scenario.objects.clone().into_iter().enumerate() {
            scenario.request(index, NAMES[index]);
            let secret = scenario.apply(&name, index, 0).await;
            created.push((secret.metadata.creation_timestamp, secret.metadata.uid, name));
        }
        created.sort();
        if created.iter().map(|(.., name)| name).ne(&scenario.objects) {
            scenario.objects.reverse();
            scenario.requests.reverse();
        }
        scenario.settle();
        scenario.verify("after the creation").await;
        scenario
    }

    fn rotate(&mut self, key: usize) {
        self.values[key] = format!("fake-value-{key}-{}", self.random.u8(..));
    }

    fn source(&self) -> serde_json::Value {
        self.values.iter().enumerate().map(|(key, value)| (format!("k{key}"), json!(value))).collect()
    }

    fn request(&mut self, object: usize, name: &'static str) {
        let key = self.random.usize(..KEYS);
        self.requests[object].insert(name, key);
    }

    async fn apply(&self, name: &str, index: usize, round: u32) -> SpiceSecret {
        let items: Vec<_> =
            self.requests[index].iter().map(|(name, key)| json!({ "key": format!("k{key}"), "name": name })).collect();
        let spec = json!({
            "appRef": { "name": self.app },
            "secretRef": { "name": self.app, "items": items },
            "adoptionPolicy": if self.adopts { "Adopt" } else { "Fail" },
            // A new spec in each round prevents a correction loop, which another test covers.
            "interval": format!("{}s", 86400 + round),
        });
        self.env.apply_secret(name, spec).await
    }

    /// Sets or deletes a secret in the portal.
    async fn edit_in_portal(&mut self, name: &'static str) {
        let exists = self.secrets.get(name).is_some_and(|secret| secret.value.is_some());
        if exists && self.random.u8(..3) == 0 {
            delete_in_portal(self.env, self.id, name).await;
            match self.secrets.get_mut(name) {
                Some(RemoteSecret { owner: None, .. }) => drop(self.secrets.remove(name)),
                Some(secret) => secret.value = None,
                None => {}
            }
            return;
        }
        let value = format!("fake-foreign-{}", self.random.u8(..));
        set_in_portal(self.env, self.id, name, &value).await;
        let secret = self.secrets.entry(name).or_insert(RemoteSecret { value: None, owner: None, adopted: false });
        secret.value = Some(value);
    }

    /// Changes which SpiceSecrets request a name.
    fn edit_specs(&mut self, name: &'static str) {
        for object in 0..self.objects.len() {
            if self.random.bool() {
                self.request(object, name);
            } else if self.requests[object].len() > 1 {
                self.requests[object].remove(name);
            }
        }
    }

    async fn round(&mut self, round: u32) {
        let mut names = NAMES;
        self.random.shuffle(&mut names);
        // A round edits each name on one side only: the result of edits on both sides depends on their order.
        let (portal_edits, spec_edits) = names.split_at(self.random.usize(0..3));
        for name in portal_edits {
            self.edit_in_portal(name).await;
        }
        for name in &spec_edits[..self.random.usize(0..3)] {
            self.edit_specs(name);
        }
        let key = self.random.usize(..KEYS);
        if self.random.bool() {
            self.rotate(key);
            self.env.set_values(&self.app, self.source()).await;
        }
        for (index, name) in self.objects.iter().enumerate() {
            self.apply(name, index, round).await;
        }
        for name in &self.objects {
            self.env.request_reconcile::<SpiceSecret>(name).await;
        }
        self.settle();
        self.verify(&format!("in round {round}")).await;
    }

    /// Index of the oldest SpiceSecret that requests a name.
    fn requester(&self, name: &str) -> Option<usize> {
        self.requests.iter().position(|names| names.contains_key(name))
    }

    /// Returns true if a SpiceSecret requests a name that no SpiceSecret owns and that it may not adopt.
    fn has_conflict(&self, object: usize) -> bool {
        let is_foreign = |name: &str| self.secrets.get(name).is_some_and(|secret| secret.owner.is_none());
        self.requests[object].keys().any(|name| is_foreign(name))
    }

    /// Applies the expected writes of the operator to the model.
    fn settle(&mut self) {
        for name in NAMES {
            let Some(requester) = self.requester(name) else { continue };
            let value = Some(self.values[self.requests[requester][name]].clone());
            let before = self.secrets.get(name).cloned();
            let secret = match before {
                Some(RemoteSecret { owner: None, .. }) if !self.adopts => continue,
                Some(RemoteSecret { owner: None, .. }) => RemoteSecret { value, owner: Some(requester), adopted: true },
                // A missing secret is created, not adopted. A name that the requester already owns keeps `adopted`.
                Some(RemoteSecret { owner, value: None, .. }) if owner != Some(requester) => {
                    RemoteSecret { value, owner: Some(requester), adopted: false }
                }
                Some(before) => RemoteSecret { value, owner: Some(requester), ..before },
                None => RemoteSecret { value, owner: Some(requester), adopted: false },
            };
            self.secrets.insert(name, secret);
        }
        let has_conflict: Vec<bool> = (0..self.objects.len()).map(|object| self.has_conflict(object)).collect();
        for name in NAMES {
            if self.requester(name).is_some() {
                continue;
            }
            match self.secrets.get_mut(name) {
                Some(RemoteSecret { owner: Some(owner), .. }) if has_conflict[*owner] => {}
                Some(RemoteSecret { owner: Some(_), adopted: false, .. } | RemoteSecret { value: None, .. }) => {
                    self.secrets.remove(name);
                }
                Some(secret) => secret.owner = None,
                None => {}
            }
        }
    }

    async fn verify(&self, when: &str) {
        let desired = self.secrets.iter().filter_map(|(name, secret)| Some((*name, secret.value.as_deref()?)));
        let desired = expected_secrets(&desired.collect::<Vec<_>>());
        let description = format!("{} {when}: {:?} request {:?}", self.app, self.objects, self.requests);
        eventually(&description, DEADLINE, async || {
            let found = remote_secrets(self.env, self.id).await;
            if found != desired {
                return Err(format!("expected {:?}, found {found:?}", self.secrets));
            }
            for (index, name) in self.objects.iter().enumerate() {
                self.verify_object(index, name).await?;
            }
            Ok(())
        })
        .await;
    }

    async fn verify_object(&self, index: usize, name: &str) -> Result<(), String> {
        let secret = self.env.api::<SpiceSecret>().get(name).await.map_err(|error| error.to_string())?;
        let ready = secret.condition("Ready");
        let ready = ready.filter(|ready| ready.observed_generation == secret.metadata.generation);
        let found = ready.map(|ready| (ready.status.as_str(), ready.reason.as_str()));
        let has_all = self.requests[index].keys().all(|name| self.secrets[name].owner == Some(index));
        let expected = if has_all { ("True", "Succeeded") } else { ("False", "NameTaken") };
        let status = secret.status.clone().unwrap();
        let entries: BTreeMap<&str, bool> =
            status.secrets.iter().map(|entry| (entry.name.as_str(), entry.adopted == Some(true))).collect();
        let owned = self.secrets.iter().filter(|(_, secret)| secret.owner == Some(index));
        let owned: BTreeMap<&str, bool> = owned.map(|(name, secret)| (*name, secret.adopted)).collect();
        if found != Some(expected) || entries != owned {
            return Err(format!("{name}: expected {expected:?} with {owned:?}, found {found:?} with {entries:?}"));
        }
        Ok(())
    }

    /// Deletes every SpiceSecret. Adopted secrets remain in the app.
    async fn finish(mut self) {
        for name in &self.objects {
            self.env.delete::<SpiceSecret>(name).await;
        }
        for name in &self.objects {
            self.env.wait_for_deletion::<SpiceSecret>(name).await;
        }
        self.secrets.retain(|_, secret| secret.owner.is_none() || secret.adopted && secret.value.is_some());
        self.objects.clear();
        self.verify("after the deletion").await;
    }
}

#[tokio::test]
async fn random_edits_of_secrets_converge_to_the_model() {
    let env = TestEnv::new("randomsecrets").await;
    let _operator = env.start_operator().await;
    let scenarios = SEEDS.map(|seed| {
        let env = &env;
        async move {
            let mut scenario = Scenario::start(env, seed).await;
            for round in 1..=ROUNDS {
                scenario.round(round).await;
            }
            scenario.finish().await;
        }
    });
    futures::future::join_all(scenarios).await;
}
