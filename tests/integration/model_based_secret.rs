//! Random rotations, renames, claims and edits in the portal, against a model of what is to come of them.

use std::collections::BTreeMap;

use kube::{Api, api::DeleteParams};
use serde_json::json;
use spice_cloud_operator::api::SpiceSecret;

use crate::{
    program,
    secrets::{expected, portal_deletes, portal_sets, remote},
    support::{
        eventually::{DEADLINE, poll},
        test_env::{Kind, TestEnv},
    },
};

/// Each begins another sequence; the same one gives the same edits.
const SEEDS: [u64; 4] = [1, 2, 3, 4];
const ROUNDS: u32 = 12;
const NAMES: [&str; 6] = ["A", "B", "C", "D", "E", "F"];
const KEYS: usize = 3;

/// A secret of the app.
#[derive(Clone, Debug)]
struct There {
    /// Nothing if somebody has deleted it.
    value: Option<String>,
    /// The object that has it, by its age; nobody if it is somebody else's.
    owner: Option<usize>,
    adopted: bool,
}

struct Play<'a> {
    env: &'a TestEnv,
    random: fastrand::Rng,
    app: String,
    id: u64,
    /// Whether objects take over what is somebody else's.
    adopts: bool,
    /// The names of the objects, the oldest first.
    objects: Vec<String>,
    /// What each of them asks for: a key by each name.
    asks: Vec<BTreeMap<&'static str, usize>>,
    /// What the Kubernetes Secret holds.
    values: [String; KEYS],
    there: BTreeMap<&'static str, There>,
}

impl<'a> Play<'a> {
    /// Several objects of one app where they adopt: one alone where they do not, because what one may not delete as long as
    /// something is wrong with it, another one could take over.
    async fn begin(env: &'a TestEnv, seed: u64) -> Self {
        let (app, adopts) = (format!("app-{seed}"), seed % 2 == 1);
        env.app(&app, json!({})).await;
        let id = env.app_is(&app, "True", "Succeeded").await.status.unwrap().id.unwrap();
        let objects =
            if adopts { vec![format!("{app}-one"), format!("{app}-two")] } else { vec![format!("{app}-one")] };
        let asks = vec![BTreeMap::new(); objects.len()];
        let (random, id) = (fastrand::Rng::with_seed(seed), u64::try_from(id).unwrap());
        let mut play =
            Self { env, random, app, id, adopts, objects, asks, values: Default::default(), there: BTreeMap::new() };
        (0..KEYS).for_each(|key| play.rotate(key));
        play.env.values(&play.app, play.source()).await;
        // Two that were made within one second are told apart by their uids.
        let mut made = Vec::new();
        for (index, name) in play.objects.clone().into_iter().enumerate() {
            play.ask(index, NAMES[index]);
            let secret = play.apply(&name, index, 0).await;
            made.push((secret.metadata.creation_timestamp, secret.metadata.uid, name));
        }
        made.sort();
        if made.iter().map(|(.., name)| name).ne(&play.objects) {
            play.objects.reverse();
            play.asks.reverse();
        }
        play.settle();
        play.judge("at first").await;
        play
    }

    fn rotate(&mut self, key: usize) {
        self.values[key] = format!("fake-value-{key}-{}", self.random.u8(..));
    }

    fn source(&self) -> serde_json::Value {
        self.values.iter().enumerate().map(|(key, value)| (format!("k{key}"), json!(value))).collect()
    }

    fn ask(&mut self, object: usize, name: &'static str) {
        let key = self.random.usize(..KEYS);
        self.asks[object].insert(name, key);
    }

    async fn apply(&self, name: &str, index: usize, round: u32) -> SpiceSecret {
        let items: Vec<_> =
            self.asks[index].iter().map(|(name, key)| json!({ "key": format!("k{key}"), "name": name })).collect();
        let spec = json!({
            "appRef": { "name": self.app },
            "secretRef": { "name": self.app, "items": items },
            "adoptionPolicy": if self.adopts { "Adopt" } else { "Fail" },
            // Another spec each time: what is put back again and again under one is a fight, which is another test.
            "interval": format!("{}s", 86400 + round),
        });
        self.env.secret(name, spec).await
    }

    /// Edits the app as somebody in the portal would.
    async fn edit_outside(&mut self, name: &'static str) {
        let is_there = self.there.get(name).is_some_and(|there| there.value.is_some());
        if is_there && self.random.u8(..3) == 0 {
            portal_deletes(self.env, self.id, name).await;
            match self.there.get_mut(name) {
                Some(There { owner: None, .. }) => drop(self.there.remove(name)),
                Some(there) => there.value = None,
                None => {}
            }
            return;
        }
        let value = format!("fake-foreign-{}", self.random.u8(..));
        portal_sets(self.env, self.id, name, &value).await;
        let there = self.there.entry(name).or_insert(There { value: None, owner: None, adopted: false });
        there.value = Some(value);
    }

    /// Changes which of the objects ask for a name.
    fn edit_inside(&mut self, name: &'static str) {
        for object in 0..self.objects.len() {
            if self.random.bool() {
                self.ask(object, name);
            } else if self.asks[object].len() > 1 {
                self.asks[object].remove(name);
            }
        }
    }

    async fn round(&mut self, round: u32) {
        let mut names = NAMES;
        self.random.shuffle(&mut names);
        // Of no name are both sides changed in one round: who was first would be a matter of chance.
        let (outside, inside) = names.split_at(self.random.usize(0..3));
        for name in outside {
            self.edit_outside(name).await;
        }
        for name in &inside[..self.random.usize(0..3)] {
            self.edit_inside(name);
        }
        let key = self.random.usize(..KEYS);
        if self.random.bool() {
            self.rotate(key);
            self.env.values(&self.app, self.source()).await;
        }
        for (index, name) in self.objects.iter().enumerate() {
            self.apply(name, index, round).await;
        }
        for name in &self.objects {
            self.env.request_reconcile_of::<SpiceSecret>(name).await;
        }
        self.settle();
        self.judge(&format!("in round {round}")).await;
    }

    /// The object that has a name.
    fn holder(&self, name: &str) -> Option<usize> {
        self.asks.iter().position(|asks| asks.contains_key(name))
    }

    /// Whether an object asks for a secret that is somebody else's, and may not have it.
    fn is_refused(&self, object: usize) -> bool {
        let theirs = |name: &str| self.there.get(name).is_some_and(|there| there.owner.is_none());
        self.asks[object].keys().any(|name| theirs(name))
    }

    /// What the operator makes of it.
    fn settle(&mut self) {
        for name in NAMES {
            let Some(holder) = self.holder(name) else { continue };
            let value = Some(self.values[self.asks[holder][name]].clone());
            let before = self.there.get(name).cloned();
            let there = match before {
                Some(There { owner: None, .. }) if !self.adopts => continue,
                Some(There { owner: None, .. }) => There { value, owner: Some(holder), adopted: true },
                // Where there is none, there is nothing to take over; one's own stays what it was.
                Some(There { owner, value: None, .. }) if owner != Some(holder) => {
                    There { value, owner: Some(holder), adopted: false }
                }
                Some(before) => There { value, owner: Some(holder), ..before },
                None => There { value, owner: Some(holder), adopted: false },
            };
            self.there.insert(name, there);
        }
        let refused: Vec<bool> = (0..self.objects.len()).map(|object| self.is_refused(object)).collect();
        for name in NAMES {
            if self.holder(name).is_some() {
                continue;
            }
            match self.there.get_mut(name) {
                Some(There { owner: Some(owner), .. }) if refused[*owner] => {}
                Some(There { owner: Some(_), adopted: false, .. } | There { value: None, .. }) => {
                    self.there.remove(name);
                }
                Some(there) => there.owner = None,
                None => {}
            }
        }
    }

    async fn judge(&self, when: &str) {
        let there = self.there.iter().filter_map(|(name, there)| Some((*name, there.value.as_deref()?)));
        let there = expected(&there.collect::<Vec<_>>());
        let what = format!("{} {when}: {:?} asks for {:?}", self.app, self.objects, self.asks);
        poll(&what, DEADLINE, async || {
            let found = remote(self.env, self.id).await;
            if found != there {
                return Err(format!("{:?} is to be there, not {found:?}", self.there));
            }
            for (index, name) in self.objects.iter().enumerate() {
                self.judge_object(index, name).await?;
            }
            Ok(())
        })
        .await
        .unwrap();
    }

    async fn judge_object(&self, index: usize, name: &str) -> Result<(), String> {
        let api: Api<SpiceSecret> = self.env.api();
        let secret = api.get(name).await.map_err(|error| error.to_string())?;
        let ready = secret.conditions().iter().find(|condition| condition.type_ == "Ready");
        let ready = ready.filter(|ready| ready.observed_generation == secret.metadata.generation);
        let told = ready.map(|ready| (ready.status.as_str(), ready.reason.as_str()));
        let has_all = self.asks[index].keys().all(|name| self.there[name].owner == Some(index));
        let told_rightly = if has_all { ("True", "Succeeded") } else { ("False", "NameTaken") };
        let status = secret.status.clone().unwrap();
        let entries: BTreeMap<&str, bool> =
            status.secrets.iter().map(|entry| (entry.name.as_str(), entry.adopted == Some(true))).collect();
        let own = self.there.iter().filter(|(_, there)| there.owner == Some(index));
        let own: BTreeMap<&str, bool> = own.map(|(name, there)| (*name, there.adopted)).collect();
        if told != Some(told_rightly) || entries != own {
            return Err(format!("{name} is to be {told_rightly:?} with {own:?}, not {told:?} with {entries:?}"));
        }
        Ok(())
    }

    /// Deletes every object: what was somebody else's once stays.
    async fn end(mut self) {
        let api: Api<SpiceSecret> = self.env.api();
        for name in &self.objects {
            api.delete(name, &DeleteParams::default()).await.unwrap();
        }
        for name in &self.objects {
            self.env.gone::<SpiceSecret>(name).await;
        }
        self.there.retain(|_, there| there.owner.is_none() || there.adopted && there.value.is_some());
        self.objects.clear();
        self.judge("at last").await;
    }
}

#[tokio::test]
async fn after_random_edits_of_secrets_in_kubernetes_and_portal_both_are_as_the_model_says() {
    let env = TestEnv::new("randomsecrets", program()).await;
    let _operator = env.operator().await;
    let plays = SEEDS.map(|seed| {
        let env = &env;
        async move {
            let mut play = Play::begin(env, seed).await;
            for round in 1..=ROUNDS {
                play.round(round).await;
            }
            play.end().await;
        }
    });
    futures::future::join_all(plays).await;
}
