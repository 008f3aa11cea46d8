//! Comparison of the remote state with the declared state, and of the journal with the budget.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use spice_cloud_operator::api::{SpiceApp, SpiceSecret};

use super::{
    declared::{APPS, Declared, SECRETS, Target},
    run::{Run, SHARE},
};
use crate::support::{
    canary::{hex, leaked_forms},
    sandbox::Entry,
    test_env::Kind,
};

/// Number of actions that a report of a difference contains.
const REPORTED_ACTIONS: usize = 30;

const WINDOW_SECONDS: i64 = 60;

/// A difference, and the affected object.
pub type Difference = (Option<Target>, String);

impl Run {
    /// Returns the differences between the declared state, the objects and the API.
    pub async fn differences(&self) -> Result<Vec<Difference>, String> {
        let remote = self.env.sandbox.state().await?["apps"].as_array().cloned().unwrap_or_default();
        let remote: Vec<Value> = remote.into_iter().filter(|app| app["deleted_at"].is_null()).collect();
        let apps = self.objects::<SpiceApp>().await?;
        let secrets = self.objects::<SpiceSecret>().await?;
        let mut differences = self.foreign_differences(&remote);
        for (index, slot) in APPS.iter().enumerate() {
            let target = Target::App(index);
            let found: Vec<_> = remote.iter().filter(|app| app["name"] == slot.name).collect();
            let object = apps.get(&self.plan.declared.object(target));
            let found = self.app_differences(index, object, &found);
            differences.extend(found.into_iter().map(|difference| (Some(target), difference)));
        }
        for (index, slot) in SECRETS.iter().enumerate() {
            let app = remote.iter().find(|app| app["name"] == APPS[slot.app].name);
            let found = self.secret_differences(index, secrets.get(slot.name), app);
            differences.extend(found.into_iter().map(|difference| (Some(Target::Secret(index)), difference)));
        }
        let declared_apps = self.plan.declared.apps.iter().filter(|app| app.exists).count();
        let declared_secrets = self.plan.declared.secrets.iter().filter(|secret| secret.exists).count();
        if (apps.len(), secrets.len()) != (declared_apps, declared_secrets) {
            differences.push((None, format!("objects: {:?} and {:?}", apps.keys(), secrets.keys())));
        }
        Ok(differences)
    }

    async fn objects<K: Kind>(&self) -> Result<BTreeMap<String, K>, String> {
        let list = self.env.api::<K>().list(&Default::default()).await.map_err(|error| error.to_string())?;
        Ok(list.into_iter().map(|object| (object.name_any(), object)).collect())
    }

    /// Compares the foreign apps, and looks for apps without an owner.
    fn foreign_differences(&self, remote: &[Value]) -> Vec<Difference> {
        let mut differences = Vec::new();
        for foreign in &self.foreign_apps {
            if !remote.contains(foreign) {
                differences.push((None, format!("the foreign app {} changed", foreign["name"])));
            }
        }
        let others = remote.iter().filter(|app| !self.foreign_apps.contains(app));
        let unknown = others.filter(|app| APPS.iter().all(|slot| app["name"] != slot.name));
        differences.extend(unknown.map(|app| (None, format!("an app without an owner: {app}"))));
        differences
    }

    fn app_differences(&self, index: usize, object: Option<&SpiceApp>, remote: &[&Value]) -> Vec<String> {
        let (slot, app) = (&APPS[index], &self.plan.declared.apps[index]);
        let Some(object) = object.filter(|_| app.exists) else {
            let is_expected = !app.exists && (remote.is_empty() || slot.is_retained);
            return if is_expected { vec![] } else { vec![format!("no SpiceApp, and {} apps", remote.len())] };
        };
        let mut differences = not_ready(object).into_iter().collect::<Vec<_>>();
        let [remote] = remote else { return vec![format!("{} apps with the name", remote.len())] };
        if object.status.as_ref().and_then(|status| status.id) != remote["id"].as_i64() {
            differences.push(format!("the app has ID {}, status: {:?}", remote["id"], object.status));
        }
        let spec = self.plan.declared.spec(Target::App(index));
        let tier = spec.pointer("/tags/tier").cloned().unwrap_or_default();
        for (pointer, expected) in [
            ("/description", spec["description"].clone()),
            ("/visibility", spec["visibility"].clone()),
            ("/production_branch", spec["productionBranch"].clone()),
            ("/tags/team", spec["tags"]["team"].clone()),
            ("/tags/tier", tier),
            ("/config/replicas", spec["runtime"]["replicas"].clone()),
            ("/config/image_tag", spec["runtime"]["imageTag"].clone()),
            ("/config/spicepod", self.plan.declared.spicepod(index)),
        ] {
            let found = remote.pointer(pointer).cloned().unwrap_or_default();
            // The portal can restore a removed tag, which then has no owner.
            if found != expected && !expected.is_null() {
                differences.push(format!("{pointer}: expected {expected}, found {found}"));
            }
        }
        differences
    }

    fn secret_differences(&self, index: usize, object: Option<&SpiceSecret>, remote: Option<&Value>) -> Vec<String> {
        let (slot, declared) = (&SECRETS[index], &self.plan.declared);
        let found: BTreeMap<&str, &str> = remote
            .and_then(|app| app["secrets"].as_array())
            .into_iter()
            .flatten()
            .filter_map(|secret| Some((secret["name"].as_str()?, secret["value_sha256"].as_str()?)))
            .collect();
        let mut differences = Vec::new();
        let app = &declared.apps[slot.app];
        let requests = if declared.secrets[index].exists { declared.requests(index) } else { BTreeMap::new() };
        if app.exists && declared.secrets[index].exists {
            match object {
                Some(object) => differences.extend(not_ready(object)),
                None => differences.push("no SpiceSecret".to_owned()),
            }
            for (name, value) in &requests {
                let expected = hex(&Sha256::digest(value));
                if found.get(name.as_str()) != Some(&expected.as_str()) {
                    differences
                        .push(format!("{name}: expected the hash {expected}, found {:?}", found.get(name.as_str())));
                }
            }
        }
        for name in found.keys() {
            let key = (slot.app, (*name).to_owned());
            let is_own = name.starts_with(&format!("S{index}_"));
            // An app that was deleted returns with its secrets, and an adopted secret remains.
            let may_remain = app.was_deleted || declared.set_in_portal.contains(&key);
            if is_own && !requests.contains_key(*name) && !may_remain {
                differences.push(format!("{name}: no SpiceSecret requests the secret"));
            }
        }
        differences
    }

    /// Returns writes of the operator to foreign apps and foreign secrets, and the highest number of requests in one
    /// minute, if these exceed the budget.
    pub fn journal_differences(&mut self, calls: &[Entry]) -> Vec<Difference> {
        let foreign: BTreeSet<String> = self.foreign_apps.iter().map(|app| format!("/v1/apps/{}", app["id"])).collect();
        let mut differences = Vec::new();
        for call in calls.iter().filter(|call| call.method != "GET") {
            let is_foreign_app =
                foreign.iter().any(|path| call.path == *path || call.path.starts_with(&format!("{path}/")));
            let is_foreign_secret = call.path.contains("/secrets/FOREIGN")
                || call.body["name"].as_str().is_some_and(|name| name.starts_with("FOREIGN"));
            if is_foreign_app || is_foreign_secret {
                differences.push((None, format!("the operator sent {} {} {}", call.method, call.path, call.body)));
            }
        }
        let arrivals: Vec<Timestamp> = calls.iter().map(|call| call.at.as_str().unwrap().parse().unwrap()).collect();
        let in_window = |from: &Timestamp| {
            let after = arrivals.iter().filter(|at| **at >= *from);
            after.take_while(|at| at.duration_since(*from).as_secs() < WINDOW_SECONDS).count()
        };
        let maximum = arrivals.iter().map(in_window).max().unwrap_or_default();
        self.figures.insert("API requests", calls.len());
        self.figures.insert("API requests in 60 s, maximum", maximum);
        if maximum > SHARE {
            differences.push((None, format!("{maximum} requests within 60 s, with a share of {SHARE}")));
        }
        differences
    }

    /// Returns the texts that contain a secret value.
    pub async fn leaks(&self) -> Vec<Difference> {
        let objects = self.env.kubectl(&["get", "sorg,sapp,ssec,events,configmaps", "-o", "json"]).await.unwrap();
        let metrics = self.operator().get("metrics").await.unwrap().1;
        let mut texts = self.env.run.logs_of("operator").unwrap();
        texts.extend([("objects".to_owned(), objects.into_bytes()), ("metrics".to_owned(), metrics.into_bytes())]);
        let marker = self.plan.marker.as_str();
        let forms = |text: &[u8]| leaked_forms(marker, marker, text);
        let leaks = texts.iter().map(|(name, text)| (name, forms(text))).filter(|(_, forms)| !forms.is_empty());
        leaks.map(|(name, forms)| (None, format!("{name} contains a secret value: {forms:?}"))).collect()
    }

    /// Formats the differences with the last actions on each affected object.
    pub fn report(&self, seed: u64, differences: &[Difference]) -> String {
        let mut lines = vec![format!("SEED={seed}: {} differences", differences.len())];
        lines.extend(differences.iter().map(|(target, text)| match target {
            Some(target) => format!("{target:?} {}: {text}", self.plan.declared.object(*target)),
            None => text.clone(),
        }));
        let subjects: BTreeSet<Target> = differences.iter().filter_map(|(target, _)| *target).collect();
        for subject in subjects {
            lines.push(format!("last actions on {subject:?}:"));
            let history = self.history.iter().rev().filter(|(_, action)| action.concerns(subject));
            let mut actions: Vec<_> = history.take(REPORTED_ACTIONS).collect();
            actions.reverse();
            lines.extend(actions.iter().map(|(at, action)| format!("  {:7.1} s {action:?}", at.as_secs_f64())));
        }
        lines.join("\n")
    }
}

/// Returns the state of an object that is not Ready for its current generation.
fn not_ready<K: Kind>(object: &K) -> Option<String> {
    let deletion = &object.meta().deletion_timestamp;
    (!object.has_ready("True", "Succeeded") || deletion.is_some())
        .then(|| json!({ "conditions": object.conditions(), "deletionTimestamp": deletion }).to_string())
}

impl Declared {
    /// Returns all existing objects.
    pub fn targets(&self) -> Vec<Target> {
        let apps = (0..APPS.len()).map(Target::App);
        apps.chain((0..SECRETS.len()).map(Target::Secret)).filter(|target| self.exists(*target)).collect()
    }
}
