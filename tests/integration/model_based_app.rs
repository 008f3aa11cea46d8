//! Random edits of the spec of a SpiceApp and of its app, compared with a model of the expected state.

use kube::ResourceExt;
use serde_json::{Map, Value, json};
use spice_cloud_operator::api::SpiceApp;

use crate::support::test_env::TestEnv;

/// Seeds of the random sequences. A seed always produces the same edits.
const SEEDS: [u64; 3] = [1, 2, 3];
const ROUNDS: u32 = 12;

/// Effect of the removal of a field from the spec.
#[derive(Clone, Copy, PartialEq)]
enum Removal {
    /// The operator clears the field of the app.
    Clears,
    /// The field of the app keeps its value, and the operator no longer manages the field.
    Keeps,
    /// The operator sets the value that it sends if the spec has none.
    Restores(&'static str),
}

/// A field: JSON pointers in the spec and in the app, and two values.
struct Field {
    spec: &'static str,
    remote: &'static str,
    values: [Value; 2],
    removal: Removal,
}

fn fields() -> Vec<Field> {
    let field = |spec, remote, values, removal| Field { spec, remote, values, removal };
    vec![
        field("/description", "/description", [json!("one"), json!("two")], Removal::Clears),
        field("/visibility", "/visibility", [json!("public"), json!("private")], Removal::Restores("private")),
        field("/tags/team", "/tags/team", [json!("data"), json!("web")], Removal::Clears),
        field("/runtime/replicas", "/config/replicas", [json!(1), json!(2)], Removal::Keeps),
        field("/runtime/imageTag", "/config/image_tag", [json!("v1.1.0"), json!("v1.2.0")], Removal::Clears),
        field("/spicepod", "/config/spicepod", [json!({ "name": "one" }), json!({ "name": "two" })], Removal::Keeps),
    ]
}

/// Expected state of a field.
#[derive(Clone, Default, Debug)]
struct Model {
    /// The value in the spec.
    desired: Option<Value>,
    /// The value in the app, `Some(None)` if the app has no value. None if the API chooses the value.
    observed: Option<Option<Value>>,
}

/// Sets or removes the value at a JSON pointer.
fn set_at(object: &mut Value, pointer: &str, value: Option<&Value>) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = parent.split('/').skip(1).fold(object, |object, name| &mut object[name]);
    if let Some(value) = value {
        parent[name] = value.clone();
    } else if let Some(fields) = parent.as_object_mut() {
        fields.remove(name);
    }
}

/// The body of a PUT that sets these values. A PUT replaces all tags, so the body contains all tags.
fn put_body(app: &Value, edits: &[(&'static str, Value)]) -> Value {
    let mut body = Map::new();
    for (pointer, value) in edits {
        let name = pointer.rsplit_once('/').unwrap().1;
        if pointer.starts_with("/tags/") {
            let tags = body.entry("tags").or_insert_with(|| app["tags"].clone());
            tags[name] = value.clone();
        } else {
            body.insert(name.to_owned(), value.clone());
        }
    }
    Value::Object(body)
}

struct Scenario<'a> {
    env: &'a TestEnv,
    name: String,
    random: fastrand::Rng,
    spec: Value,
    models: Vec<Model>,
    /// The value of a tag that the spec does not contain.
    foreign_tag: Option<Value>,
}

impl Scenario<'_> {
    async fn remote(&self) -> Value {
        let mut apps = self.env.remote_apps().await;
        apps.retain(|app| app["name"] == self.name.as_str());
        assert_eq!(apps.len(), 1, "{}: {apps:?}", self.name);
        apps.remove(0)
    }

    /// Edits the app in the portal while the operator is idle.
    async fn edit_app(&mut self, fields: &[Field], chosen: &[usize]) {
        let portal = self.env.sandbox.portal().unwrap();
        let remote = self.remote().await;
        let id = remote["id"].as_u64().unwrap();
        let mut edits = Vec::new();
        for &index in chosen {
            let value = self.random.choice(&fields[index].values).unwrap().clone();
            self.models[index].observed = Some(Some(value.clone()));
            edits.push((fields[index].remote, value));
        }
        if self.random.bool() {
            let value = json!(format!("f{}", self.random.u8(..)));
            edits.push(("/tags/foreign", value.clone()));
            self.foreign_tag = Some(value);
        }
        portal.update_app(id, &put_body(&remote, &edits)).await.unwrap();
    }

    /// Edits the spec and the model.
    fn edit_spec(&mut self, fields: &[Field], index: usize) {
        let (field, model) = (&fields[index], &mut self.models[index]);
        let next = if self.random.u8(..3) == 0 { None } else { self.random.choice(&field.values).cloned() };
        if model.desired.is_some() && next.is_none() && field.removal == Removal::Clears {
            model.observed = Some(None);
        }
        model.desired.clone_from(&next);
        set_at(&mut self.spec, field.spec, next.as_ref());
    }

    async fn round(&mut self, fields: &[Field], round: u32) {
        let mut indices: Vec<usize> = (0..fields.len()).collect();
        self.random.shuffle(&mut indices);
        // A round edits each field on one side only: the result of edits on both sides depends on their order.
        let (app_edits, spec_edits) = indices.split_at(self.random.usize(0..3));
        let spec_edits = &spec_edits[..self.random.usize(1..4)];
        if round > 0 && self.random.u8(..4) == 0 {
            let id = self.remote().await["id"].as_u64().unwrap();
            self.env.sandbox.portal().unwrap().delete_app(id).await.unwrap();
            // The new app has API defaults in the fields that the spec does not set.
            self.foreign_tag = None;
            self.models.iter_mut().for_each(|model| model.observed = None);
        } else if round > 0 {
            self.edit_app(fields, app_edits).await;
        }
        for index in spec_edits {
            self.edit_spec(fields, *index);
        }
        // A new spec in each round prevents a correction loop, which another test covers.
        self.spec["productionBranch"] = json!(format!("round-{round}"));
        let mut spec = self.spec.clone();
        // Server-side apply would send an empty map as null.
        spec.as_object_mut().unwrap().retain(|_, value| *value != json!({}));
        self.env.apply_app(&self.name, spec).await;
        self.env.reconcile::<SpiceApp>(&self.name).await;
        let app = self.env.wait_for_ready::<SpiceApp>(&self.name).await;
        self.verify(fields, &app, round).await;
    }

    async fn verify(&mut self, fields: &[Field], app: &SpiceApp, round: u32) {
        let remote = self.remote().await;
        let context = format!("{} in round {round}: spec {} and app {remote}", self.name, self.spec);
        assert_eq!(app.status.as_ref().unwrap().id, remote["id"].as_i64(), "{context}");
        assert_eq!(remote["production_branch"], self.spec["productionBranch"], "{context}");
        assert_eq!(app.finalizers().len(), 1, "{context}");
        for (field, model) in fields.iter().zip(&mut self.models) {
            let found = remote.pointer(field.remote).filter(|value| !value.is_null() && **value != "");
            let restored = if let Removal::Restores(value) = field.removal { Some(json!(value)) } else { None };
            if let Some(desired) = model.desired.clone().or(restored) {
                assert_eq!(found, Some(&desired), "{}: {context}", field.spec);
            } else if let Some(observed) = &model.observed {
                assert_eq!(found, observed.as_ref(), "{} is cleared or unchanged: {context}", field.spec);
            }
            model.observed = Some(found.cloned());
        }
        if let Some(value) = &self.foreign_tag {
            assert_eq!(&remote["tags"]["foreign"], value, "{context}");
        }
    }
}

#[tokio::test]
async fn random_edits_of_spec_and_app_converge_to_the_model() {
    let env = TestEnv::new("random").await;
    let _operator = env.start_operator().await;
    let fields = fields();
    let scenarios = SEEDS.map(|seed| {
        let (env, fields) = (&env, &fields);
        async move {
            let mut scenario = Scenario {
                env,
                name: format!("app-{seed}"),
                random: fastrand::Rng::with_seed(seed),
                spec: json!({ "tags": {}, "runtime": {} }),
                models: vec![Model::default(); fields.len()],
                foreign_tag: None,
            };
            for round in 0..ROUNDS {
                scenario.round(fields, round).await;
            }
        }
    });
    futures::future::join_all(scenarios).await;
    assert_eq!(env.remote_apps().await.len(), SEEDS.len());
}
