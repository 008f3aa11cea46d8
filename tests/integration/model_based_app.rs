//! Random edits of the spec and of the app, against a model of what is to come of them.

use kube::ResourceExt;
use serde_json::{Map, Value, json};
use spice_cloud_operator::api::SpiceApp;

use crate::{program, support::test_env::TestEnv};

/// Each begins another sequence; the same one gives the same edits.
const SEEDS: [u64; 3] = [1, 2, 3];
const ROUNDS: u32 = 12;

/// What becomes of a field that is taken out of the spec.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// It is cleared.
    Cleared,
    /// It stays as it is, and is nobody's.
    Stays,
}

/// A field by its place in the spec and in the app, and two values for it.
struct Field {
    spec: &'static str,
    remote: &'static str,
    values: [Value; 2],
    end: End,
}

fn fields() -> Vec<Field> {
    let field = |spec, remote, values, end| Field { spec, remote, values, end };
    vec![
        field("/description", "/description", [json!("one"), json!("two")], End::Cleared),
        field("/visibility", "/visibility", [json!("public"), json!("private")], End::Stays),
        field("/tags/team", "/tags/team", [json!("data"), json!("web")], End::Cleared),
        field("/runtime/replicas", "/config/replicas", [json!(1), json!(2)], End::Stays),
        field("/runtime/imageTag", "/config/image_tag", [json!("v1.1.0"), json!("v1.2.0")], End::Cleared),
        field("/spicepod", "/config/spicepod", [json!({ "name": "one" }), json!({ "name": "two" })], End::Stays),
    ]
}

/// What a field is to be.
#[derive(Clone, Default, Debug)]
struct Model {
    /// In the spec now.
    wanted: Option<Value>,
    /// In the app, or that it is not there; nothing where the service decides.
    shown: Option<Option<Value>>,
}

/// Puts a value at a place, or takes it away.
fn put(object: &mut Value, pointer: &str, value: Option<&Value>) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = parent.split('/').skip(1).fold(object, |object, name| &mut object[name]);
    if let Some(value) = value {
        parent[name] = value.clone();
    } else if let Some(fields) = parent.as_object_mut() {
        fields.remove(name);
    }
}

/// The body of a PUT that gives the app these values. Tags go out as a whole.
fn edited(app: &Value, edits: &[(&'static str, Value)]) -> Value {
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

struct Play<'a> {
    env: &'a TestEnv,
    name: String,
    random: fastrand::Rng,
    spec: Value,
    models: Vec<Model>,
    /// A tag that the operator knows nothing of.
    foreign: Option<Value>,
}

impl Play<'_> {
    async fn remote(&self) -> Value {
        let mut apps = self.env.remote_apps().await;
        apps.retain(|app| app["name"] == self.name.as_str());
        assert_eq!(apps.len(), 1, "{}: {apps:?}", self.name);
        apps.remove(0)
    }

    /// Edits the app as somebody in the portal would, while the operator has nothing to do.
    async fn edit_outside(&mut self, fields: &[Field], chosen: &[usize]) {
        let portal = self.env.sandbox.portal().unwrap();
        let remote = self.remote().await;
        let id = remote["id"].as_u64().unwrap();
        let mut edits = Vec::new();
        for &index in chosen {
            let value = self.random.choice(&fields[index].values).unwrap().clone();
            self.models[index].shown = Some(Some(value.clone()));
            edits.push((fields[index].remote, value));
        }
        if self.random.bool() {
            let value = json!(format!("f{}", self.random.u8(..)));
            edits.push(("/tags/foreign", value.clone()));
            self.foreign = Some(value);
        }
        portal.update_app(id, &edited(&remote, &edits)).await.unwrap();
    }

    /// Changes the spec, and the model with it.
    fn edit_spec(&mut self, fields: &[Field], index: usize) {
        let (field, model) = (&fields[index], &mut self.models[index]);
        let next = if self.random.u8(..3) == 0 { None } else { self.random.choice(&field.values).cloned() };
        if model.wanted.is_some() && next.is_none() && field.end == End::Cleared {
            model.shown = Some(None);
        }
        model.wanted.clone_from(&next);
        put(&mut self.spec, field.spec, next.as_ref());
    }

    async fn round(&mut self, fields: &[Field], round: u32) {
        let mut indices: Vec<usize> = (0..fields.len()).collect();
        self.random.shuffle(&mut indices);
        // Of no field are both sides changed in one round: who was first would be a matter of chance.
        let (outside, inside) = indices.split_at(self.random.usize(0..3));
        let inside = &inside[..self.random.usize(1..4)];
        if round > 0 && self.random.u8(..4) == 0 {
            let id = self.remote().await["id"].as_u64().unwrap();
            self.env.sandbox.portal().unwrap().delete_app(id).await.unwrap();
            // What it comes back with that nobody declares is the service's business.
            self.foreign = None;
            self.models.iter_mut().for_each(|model| model.shown = None);
        } else if round > 0 {
            self.edit_outside(fields, outside).await;
        }
        for index in inside {
            self.edit_spec(fields, *index);
        }
        // Another spec each time: what is put back again and again under one is a fight, which is another test.
        self.spec["productionBranch"] = json!(format!("round-{round}"));
        let mut spec = self.spec.clone();
        // A map that lost its last entry would be sent as null by server-side apply.
        spec.as_object_mut().unwrap().retain(|_, value| *value != json!({}));
        self.env.app(&self.name, spec).await;
        self.env.reconcile_app(&self.name).await;
        let app = self.env.app_is(&self.name, "True", "Succeeded").await;
        self.judge(fields, &app, round).await;
    }

    async fn judge(&mut self, fields: &[Field], app: &SpiceApp, round: u32) {
        let remote = self.remote().await;
        let what = format!("{} in round {round}: spec {} and app {remote}", self.name, self.spec);
        assert_eq!(app.status.as_ref().unwrap().id, remote["id"].as_i64(), "{what}");
        assert_eq!(remote["production_branch"], self.spec["productionBranch"], "{what}");
        assert_eq!(app.finalizers().len(), 1, "{what}");
        for (field, model) in fields.iter().zip(&mut self.models) {
            let found = remote.pointer(field.remote).filter(|value| !value.is_null() && **value != "");
            if let Some(wanted) = &model.wanted {
                assert_eq!(found, Some(wanted), "{} of {what}", field.spec);
            } else if let Some(shown) = &model.shown {
                assert_eq!(found, shown.as_ref(), "{} is cleared or left alone in {what}", field.spec);
            }
            model.shown = Some(found.cloned());
        }
        if let Some(foreign) = &self.foreign {
            assert_eq!(&remote["tags"]["foreign"], foreign, "{what}");
        }
    }
}

#[tokio::test]
async fn after_random_edits_of_spec_and_app_both_are_as_the_model_says() {
    let env = TestEnv::new("random", program()).await;
    let _operator = env.operator().await;
    let fields = fields();
    let plays = SEEDS.map(|seed| {
        let (env, fields) = (&env, &fields);
        async move {
            let mut play = Play {
                env,
                name: format!("app-{seed}"),
                random: fastrand::Rng::with_seed(seed),
                spec: json!({ "tags": {}, "runtime": {} }),
                models: vec![Model::default(); fields.len()],
                foreign: None,
            };
            for round in 0..ROUNDS {
                play.round(fields, round).await;
            }
        }
    });
    futures::future::join_all(plays).await;
    assert_eq!(env.remote_apps().await.len(), SEEDS.len());
}
