//! SpiceSecret on real parts: a Kubernetes Secret in, POSTs out, status says what was set.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret};

use crate::{
    program,
    support::{
        canary::hex,
        control_plane::{OPERATOR_NAMESPACE, User},
        eventually::{DEADLINE, eventually, poll},
        operator::Operator,
        proxy::{Gate, Proxy},
        world::{Kind, World, id_of},
    },
};

/// A world with an app `my-app` that is Ready.
async fn world(name: &str, args: &[&str]) -> (World, Operator, u64) {
    let world = World::with_sandbox(name, program(), args).await;
    let operator = world.operator().await;
    world.app("my-app", json!({})).await;
    let id = id_of(&world.app_is("my-app", "True", "Succeeded").await);
    (world, operator, id)
}

fn digest(value: &str) -> String {
    hex(&Sha256::digest(value))
}

/// The secrets of an app, by name, as digests of their values.
pub async fn remote(world: &World, app: u64) -> BTreeMap<String, String> {
    let apps = world.remote_apps().await;
    let app = apps.iter().find(|one| one["id"] == app).unwrap();
    let secrets = app["secrets"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    secrets.iter().map(|secret| (text(&secret["name"]), text(&secret["value_sha256"]))).collect()
}

/// What there should be.
pub fn expected(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| ((*name).to_owned(), digest(value))).collect()
}

pub fn from_key(secret: &str, key: &str, name: &str) -> Value {
    json!({ "secretRef": { "name": secret, "items": [{ "key": key, "name": name }] } })
}

#[tokio::test]
async fn a_secret_is_set_with_one_post_follows_its_source_and_goes_with_its_object() {
    let (world, _operator, id) = world("secret", &[]).await;
    world.values("db", json!({ "url": "fake-value-1" })).await;
    let before = world.sandbox.revision().await.unwrap();
    world.secret("db", from_key("db", "url", "DATABASE_URL")).await;
    let secret = world.secret_is("db", "True", "Succeeded").await;
    assert_eq!(remote(&world, id).await, expected(&[("DATABASE_URL", "fake-value-1")]));
    let calls = world.calls(before).await;
    assert_eq!(
        calls,
        ["GET /v1/apps/{appId}/secrets", "POST /v1/apps/{appId}/secrets"],
        "the app's own answer is new enough"
    );
    let status = secret.status.unwrap();
    assert_eq!(status.app_id, i64::try_from(id).ok());
    let entry = &status.secrets[0];
    assert_eq!(entry.name, "DATABASE_URL");
    assert!(entry.digest.as_ref().unwrap().starts_with("v1:") && entry.digest == entry.content_hash);

    let before = world.sandbox.revision().await.unwrap();
    world.values("db", json!({ "url": "fake-value-2" })).await;
    world
        .until("db", "set anew", |secret: &SpiceSecret| {
            secret.status.as_ref().is_some_and(|status| status.secrets[0].digest != entry.digest)
        })
        .await;
    world.secret_is("db", "True", "Succeeded").await;
    assert_eq!(remote(&world, id).await, expected(&[("DATABASE_URL", "fake-value-2")]));
    assert_eq!(world.calls(before).await, ["POST /v1/apps/{appId}/secrets"]);

    let before = world.sandbox.revision().await.unwrap();
    world.api::<SpiceSecret>().delete("db", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceSecret>("db").await;
    assert_eq!(remote(&world, id).await, expected(&[]));
    assert_eq!(world.calls(before).await, ["DELETE /v1/apps/{appId}/secrets/{secretName}"]);
}

/// Sets a secret as somebody does in the portal.
pub async fn portal_sets(world: &World, app: u64, name: &str, value: &str) {
    let body = json!({ "name": name, "value": value });
    world.sandbox.portal().unwrap().call(Method::POST, &format!("/apps/{app}/secrets"), Some(&body)).await.unwrap();
}

/// Waits for the next second of the clock: of times that are told to the second, two in one second are the same.
pub async fn another_second() {
    let now = Timestamp::now().as_second();
    eventually("another second", DEADLINE, async || {
        if Timestamp::now().as_second() > now { Ok(()) } else { Err("the same".to_owned()) }
    })
    .await;
}

/// Deletes a secret as somebody does in the portal.
pub async fn portal_deletes(world: &World, app: u64, name: &str) {
    let path = format!("/apps/{app}/secrets/{name}");
    world.sandbox.portal().unwrap().call(Method::DELETE, &path, None).await.unwrap();
}

/// Writes to secrets after a revision.
async fn writes(world: &World, after: u64) -> Vec<String> {
    let calls = world.calls(after).await.into_iter();
    calls.filter(|call| call.contains("/secrets") && !call.starts_with("GET")).collect()
}

const POST: &str = "POST /v1/apps/{appId}/secrets";
const DELETE: &str = "DELETE /v1/apps/{appId}/secrets/{secretName}";

#[tokio::test]
async fn all_keys_go_out_but_those_that_cannot_and_each_of_these_is_named() {
    let (world, _operator, id) = world("all-keys", &[]).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "env", "namespace": world.namespace },
        "data": { "BINARY": ByteString(vec![0xff, 0xfe]), "HUGE": ByteString(vec![b'x'; 64 * 1024 + 1]) },
        "stringData": { "TOKEN": "fake-value-token", "EMPTY": "", "bad-name": "fake-value-bad" },
    });
    world.cluster.kubectl_apply_text(&secret.to_string()).await.unwrap();
    world.secret("env", json!({ "secretRef": { "name": "env" } })).await;
    let secret = world.secret_is("env", "False", "InvalidSpec").await;
    let message = &secret.conditions().iter().find(|one| one.type_ == "Ready").unwrap().message;
    for words in
        ["value of key BINARY is not UTF-8", "value of key HUGE is longer than 64 KiB", "key bad-name cannot be"]
    {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert_eq!(remote(&world, id).await, expected(&[("EMPTY", ""), ("TOKEN", "fake-value-token")]));
    eventually("the empty value is told", DEADLINE, async || {
        let events = world.cluster.kubectl(&["events", "-n", &world.namespace, "--for", "spicesecret/env"]).await?;
        if events.contains("the value is empty: EMPTY") { Ok(()) } else { Err(events) }
    })
    .await;

    // Mended, one key gone: what was set for it goes as well.
    let before = world.sandbox.revision().await.unwrap();
    world.values("env", json!({ "TOKEN": "fake-value-token", "MORE": "fake-value-more" })).await;
    world.secret_is("env", "True", "Succeeded").await;
    assert_eq!(remote(&world, id).await, expected(&[("MORE", "fake-value-more"), ("TOKEN", "fake-value-token")]));
    assert_eq!(writes(&world, before).await, [POST, DELETE]);
}

#[tokio::test]
async fn an_app_that_is_missing_or_going_is_waited_for_without_a_call() {
    let world = World::new("no-app", program()).await;
    let _operator = world.operator().await;
    world.organization_is("True", "Succeeded").await;
    world.values("db", json!({ "url": "fake-value-url" })).await;
    let before = world.sandbox.revision().await.unwrap();
    world.secret("db", from_key("db", "url", "DATABASE_URL")).await;
    world.says::<SpiceSecret>("db", "DependencyNotReady", "SpiceApp my-app does not exist in this namespace").await;
    assert_eq!(world.calls(before).await, [""; 0]);
    // One that waits itself is not ready.
    world.app("my-app", json!({ "suspend": true })).await;
    world.says::<SpiceSecret>("db", "DependencyNotReady", "SpiceApp my-app is not ready: Suspended").await;
    assert_eq!(world.calls(before).await, [""; 0]);
    world.app("my-app", json!({ "suspend": false })).await;
    world.secret_is("db", "True", "Succeeded").await;
    let id = id_of(&world.app_is("my-app", "True", "Succeeded").await);
    assert_eq!(remote(&world, id).await.len(), 1);

    // A new life of the app gets its secrets at once.
    world.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("my-app").await;
    world.app("my-app", json!({})).await;
    let app = world.app_is("my-app", "True", "Succeeded").await;
    let incarnation = app.status.as_ref().unwrap().incarnation.clone();
    world
        .until("db", "set in the new app", |secret: &SpiceSecret| {
            let entries = secret.status.iter().flat_map(|status| &status.secrets);
            entries.into_iter().any(|entry| entry.incarnation == incarnation && entry.digest.is_some())
        })
        .await;
    assert_eq!(remote(&world, id_of(&app)).await, expected(&[("DATABASE_URL", "fake-value-url")]));
}

#[tokio::test]
async fn a_source_that_is_missing_vanishes_or_is_emptied_is_named_and_deletes_nothing() {
    let (world, _operator, id) = world("no-source", &[]).await;
    world.secret("db", from_key("db", "url", "DATABASE_URL")).await;
    world.secret("all", json!({ "secretRef": { "name": "db" } })).await;
    for name in ["db", "all"] {
        world.says::<SpiceSecret>(name, "SourceNotFound", "Secret \"db\" not found").await;
    }
    world.values("db", json!({ "other": "fake-value-other" })).await;
    world.says::<SpiceSecret>("db", "SourceNotFound", "Secret \"db\" has no key \"url\"").await;
    world.values("db", json!({ "other": "fake-value-other", "url": "fake-value-url" })).await;
    world.secret_is("db", "True", "Succeeded").await;
    let whole = |secret: &SpiceSecret| {
        let entries = secret.status.iter().flat_map(|status| &status.secrets);
        entries.filter(|entry| entry.digest.is_some()).count() == 2
    };
    world.until("all", "with both entries", whole).await;
    world.secret_is("all", "True", "Succeeded").await;
    let all = expected(&[("DATABASE_URL", "fake-value-url"), ("other", "fake-value-other"), ("url", "fake-value-url")]);
    assert_eq!(remote(&world, id).await, all);

    let before = world.sandbox.revision().await.unwrap();
    world.values("db", json!({})).await;
    world.says::<SpiceSecret>("db", "SourceNotFound", "Secret \"db\" has no key \"url\"").await;
    world.says::<SpiceSecret>("all", "SourceNotFound", "Secret \"db\" has no data").await;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    secrets.delete("db", &DeleteParams::default()).await.unwrap();
    for name in ["db", "all"] {
        world.says::<SpiceSecret>(name, "SourceNotFound", "not found").await;
    }
    world.values("db", json!({ "other": "fake-value-other", "url": "fake-value-url" })).await;
    for name in ["db", "all"] {
        world.secret_is(name, "True", "Succeeded").await;
    }
    assert_eq!((remote(&world, id).await, writes(&world, before).await), (all, Vec::new()));
}

#[tokio::test]
async fn what_is_changed_or_deleted_outside_is_mended_with_exactly_the_writes_needed_or_reported() {
    for precision in [&[][..], &["--mixed-timestamp-precision"]] {
        let (world, _operator, id) = world("drift", precision).await;
        world.values("env", json!({ "A": "fake-value-a", "B": "fake-value-b", "C": "fake-value-c" })).await;
        let spec = |policy: &str| json!({ "secretRef": { "name": "env" }, "driftPolicy": policy });
        world.secret("env", spec("Correct")).await;
        world.secret_is("env", "True", "Succeeded").await;
        let before = world.sandbox.revision().await.unwrap();
        world.visit_secret("env").await;
        assert_eq!(world.calls(before).await, ["GET /v1/apps/{appId}/secrets"], "nothing is to be mended");
        let ours = remote(&world, id).await;
        another_second().await;
        portal_sets(&world, id, "A", "theirs").await;
        portal_deletes(&world, id, "B").await;
        portal_sets(&world, id, "D", "theirs").await;
        let before = world.sandbox.revision().await.unwrap();
        world.visit_secret("env").await;
        assert_eq!(writes(&world, before).await, [POST, POST]);
        let mut left = remote(&world, id).await;
        assert_eq!(left.remove("D"), Some(digest("theirs")), "never ours");
        assert_eq!(left, ours);

        world.secret("env", spec("Report")).await;
        world.secret_is("env", "True", "Succeeded").await;
        another_second().await;
        portal_sets(&world, id, "A", "theirs").await;
        portal_deletes(&world, id, "B").await;
        let before = world.sandbox.revision().await.unwrap();
        let secret = world.visit_secret("env").await;
        assert_eq!(secret.status.unwrap().drift, ["A", "B"]);
        assert_eq!(writes(&world, before).await, [""; 0]);
        let drifted = |secret: &SpiceSecret| secret.conditions().iter().any(|one| one.type_ == "Drifted");
        world.until("env", "Drifted", drifted).await;
        world.secret("env", spec("Correct")).await;
        world.until("env", "put back", |secret: &SpiceSecret| !drifted(secret)).await;
        assert_eq!(writes(&world, before).await, [POST, POST]);
    }
}

#[tokio::test]
async fn one_of_two_objects_has_a_name_and_it_passes_to_the_other_when_that_one_is_gone() {
    let (world, _operator, id) = world("claims", &[]).await;
    world.values("one", json!({ "key": "fake-value-one" })).await;
    world.values("two", json!({ "key": "fake-value-two", "MORE": "fake-value-more" })).await;
    world.secret("older", from_key("one", "key", "key")).await;
    world.secret_is("older", "True", "Succeeded").await;
    another_second().await;
    world.secret("younger", json!({ "secretRef": { "name": "two" } })).await;
    world.says::<SpiceSecret>("younger", "NameTaken", "key is held by SpiceSecret older").await;
    assert_eq!(remote(&world, id).await, expected(&[("MORE", "fake-value-more"), ("key", "fake-value-one")]));
    let before = world.sandbox.revision().await.unwrap();
    world.api::<SpiceSecret>().delete("older", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceSecret>("older").await;
    world.secret_is("younger", "True", "Succeeded").await;
    assert_eq!(remote(&world, id).await, expected(&[("MORE", "fake-value-more"), ("key", "fake-value-two")]));
    assert_eq!(writes(&world, before).await, [POST], "it was released, and never deleted");
}

#[tokio::test]
async fn what_was_made_in_the_portal_is_not_touched_until_it_is_adopted_and_stays_then() {
    let (world, _operator, id) = world("portal", &[]).await;
    portal_sets(&world, id, "TOKEN", "theirs").await;
    world.values("src", json!({ "TOKEN": "fake-value-ours" })).await;
    world.secret("src", json!({ "secretRef": { "name": "src" } })).await;
    let words = "was not set by this object: set spec.adoptionPolicy to Adopt to overwrite it";
    world.says::<SpiceSecret>("src", "NameTaken", words).await;
    assert_eq!(remote(&world, id).await, expected(&[("TOKEN", "theirs")]));
    // An annotation on the source is no reason to look into it anew.
    let before = world.sandbox.revision().await.unwrap();
    world.secret("src", json!({ "secretRef": { "name": "src" }, "adoptionPolicy": "Adopt" })).await;
    world.secret_is("src", "True", "Succeeded").await;
    assert_eq!(remote(&world, id).await, expected(&[("TOKEN", "fake-value-ours")]));
    assert_eq!(writes(&world, before).await, [POST]);
    world.api::<SpiceSecret>().delete("src", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceSecret>("src").await;
    assert_eq!(remote(&world, id).await.len(), 1, "what was taken over is retained");
}

#[tokio::test]
async fn the_key_of_digests_is_put_back_while_known_and_without_it_each_entry_is_set_once_more() {
    let world = World::new("key", program()).await;
    let key = format!("--digest-key-secret={}", world.namespace);
    let settings = [key.as_str(), "--digest-key-check-interval=50ms"];
    let operator = world.operator_with(&settings).await;
    world.app("my-app", json!({})).await;
    world.app_is("my-app", "True", "Succeeded").await;
    world.values("src", json!({ "A": "fake-value-a", "B": "fake-value-b" })).await;
    world.secret("src", json!({ "secretRef": { "name": "src" } })).await;
    let entries = world.secret_is("src", "True", "Succeeded").await.status.unwrap().secrets;
    let keys: Api<Secret> = Api::namespaced(world.client.clone(), OPERATOR_NAMESPACE);
    let first = keys.get(&world.namespace).await.unwrap();
    assert_eq!(first.immutable, Some(true));
    keys.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    let back = poll("the key is put back", DEADLINE, async || {
        keys.get_opt(&world.namespace).await.map_err(|e| e.to_string())?.ok_or_else(|| "not yet".to_owned())
    })
    .await
    .unwrap();
    assert_eq!(back.data, first.data);

    // The same key: nothing to do. Another one: each entry once.
    operator.terminate().await.unwrap();
    for (lost, posts) in [(false, 0), (true, 2)] {
        if lost {
            keys.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
        }
        let before = world.sandbox.revision().await.unwrap();
        let operator = world.operator_with(&settings).await;
        world.visits(&operator, "SpiceSecret", 1).await;
        let now = world
            .until("src", "in date", |secret: &SpiceSecret| {
                let status = secret.status.as_ref().unwrap();
                !lost || status.secrets.iter().zip(&entries).all(|(now, then)| now.digest != then.digest)
            })
            .await;
        assert_eq!(writes(&world, before).await.len(), posts, "{lost}");
        let ids = now.status.unwrap().secrets.into_iter().map(|entry| entry.content_hash);
        assert!(ids.eq(entries.iter().map(|entry| entry.content_hash.clone())), "the same content");
        operator.terminate().await.unwrap();
    }
    keys.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn lost_status_is_a_taken_name_and_under_adopt_one_post_an_entry() {
    let (world, _operator, id) = world("lost", &[]).await;
    // As of an app that was made long before, and adopted.
    world.values("src", json!({ "A": "fake-value-a", "B": "fake-value-b" })).await;
    world.secret("src", json!({ "secretRef": { "name": "src" } })).await;
    world.secret_is("src", "True", "Succeeded").await;
    let lost =
        json!({ "status": { "secrets": null, "observedSources": null, "conditions": null, "observedGeneration": -1 } });
    let api = world.api::<SpiceSecret>();
    api.patch_status("src", &PatchParams::default(), &Patch::Merge(&lost)).await.unwrap();
    world.ask_for_visit::<SpiceSecret>("src").await;
    world.says::<SpiceSecret>("src", "NameTaken", "was not set by this object").await;
    let before = world.sandbox.revision().await.unwrap();
    world.secret("src", json!({ "secretRef": { "name": "src" }, "adoptionPolicy": "Adopt" })).await;
    world.secret_is("src", "True", "Succeeded").await;
    assert_eq!(writes(&world, before).await, [POST, POST]);
    assert_eq!(remote(&world, id).await, expected(&[("A", "fake-value-a"), ("B", "fake-value-b")]));
}

#[tokio::test]
async fn the_secrets_of_a_deleted_app_that_comes_back_are_told_and_overwritten_where_named() {
    let world = World::with_sandbox("left-over", program(), &[]).await;
    let portal = world.sandbox.portal().unwrap();
    let app = portal.create_app(&json!({ "name": "my-app", "region": "us-west-2" })).await.unwrap();
    let id = app["id"].as_u64().unwrap();
    for name in ["TOKEN", "OLD"] {
        portal_sets(&world, id, name, "of another life").await;
    }
    portal.delete_app(id).await.unwrap();
    let _operator = world.operator_with(&["--clock-skew=0s"]).await;
    world.app("my-app", json!({})).await;
    assert_eq!(id_of(&world.app_is("my-app", "True", "Succeeded").await), id, "it is the same app");
    world.values("src", json!({ "TOKEN": "fake-value-ours" })).await;
    world.secret("src", json!({ "secretRef": { "name": "src" } })).await;
    world.secret_is("src", "True", "Succeeded").await;
    assert_eq!(remote(&world, id).await, expected(&[("OLD", "of another life"), ("TOKEN", "fake-value-ours")]));
    eventually("the left-over is told", DEADLINE, async || {
        let events = world.cluster.kubectl(&["events", "-n", &world.namespace, "--for", "spicesecret/src"]).await?;
        if events.contains("came back with secrets that nobody names: OLD") { Ok(()) } else { Err(events) }
    })
    .await;
}

#[tokio::test]
async fn a_check_costs_three_pages_for_250_secrets_however_many_objects_share_them_and_no_post() {
    let (world, operator, id) = world("many", &["--user-rate=1000000", "--organization-rate=1000000"]).await;
    let budget = json!({ "spec": { "requestBudget": { "requestsPerMinute": 1_000_000 } } });
    let organizations = world.api::<SpiceOrganization>();
    organizations.patch("default", &PatchParams::default(), &Patch::Merge(budget)).await.unwrap();
    for part in 0..5 {
        let values = (0..50).map(|number| (format!("N{part}_{number:02}"), json!("fake-value-of-one")));
        world.values(&format!("part-{part}"), Value::Object(values.collect())).await;
        world.secret(&format!("part-{part}"), json!({ "secretRef": { "name": format!("part-{part}") } })).await;
    }
    for part in 0..5 {
        world.secret_is(&format!("part-{part}"), "True", "Succeeded").await;
    }
    assert_eq!(remote(&world, id).await.len(), 250);
    // A hundred checks by the clock, all at the same times: no write, and no read but these.
    operator.terminate().await.unwrap();
    for part in 0..5 {
        let spec = json!({ "secretRef": { "name": format!("part-{part}") }, "appRef": { "name": "my-app" } });
        world.apply::<SpiceSecret>(&format!("part-{part}"), spec).await;
    }
    world.apply::<SpiceApp>("my-app", json!({})).await;
    let before = world.sandbox.revision().await.unwrap();
    let _operator = world.operator_with(&["--min-interval=50ms", "--default-interval=100ms"]).await;
    let pages = eventually("a hundred checks", DEADLINE, async || {
        let mut calls = world.sandbox.calls_by("operator", before).await?;
        calls.retain(|call| call.route.as_deref() == Some("/v1/apps/{appId}/secrets"));
        if calls.len() >= 3 * 100 { Ok(calls) } else { Err(format!("{} pages so far", calls.len())) }
    })
    .await;
    let at = |page: usize| pages[page].at.as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond();
    let times = usize::try_from((at(pages.len() - 1) - at(0)) / 100).unwrap() + 2;
    println!("{} pages of secrets at {times} times of checks", pages.len());
    assert!(pages.len() <= 3 * times, "{} pages at {times} times", pages.len());
    assert_eq!(writes(&world, before).await, [""; 0]);
}

#[tokio::test]
async fn a_restart_reads_neither_the_api_nor_a_source() {
    let (gate, world) = (Gate::new("src"), World::new("secret-restart", program()).await);
    let client = world.cluster.client(User::Operator).await.unwrap();
    let kubernetes = Proxy::of_kubernetes(&gate, client).await.unwrap();
    let kubeconfig = world.run.write("proxy.kubeconfig", &kubernetes.kubeconfig().to_string()).unwrap();
    let reads = |source: &str| gate.reads().iter().filter(|path| path.ends_with(&format!("/secrets/{source}"))).count();
    let operator = world.operator_by(&kubeconfig, &[]).await;
    world.app("my-app", json!({})).await;
    world.values("src", json!({ "TOKEN": "fake-value-ours" })).await;
    world.secret("src", json!({ "secretRef": { "name": "src" } })).await;
    world.secret_is("src", "True", "Succeeded").await;
    assert_eq!(reads("src"), 1);
    operator.terminate().await.unwrap();
    let before = world.sandbox.revision().await.unwrap();
    let operator = world.operator_by(&kubeconfig, &[]).await;
    world.visits(&operator, "SpiceSecret", 1).await;
    assert_eq!((world.calls(before).await, reads("src")), (Vec::new(), 1));
}

#[tokio::test]
async fn a_rename_and_a_deleted_namespace_leave_nothing_behind() {
    let (world, _operator, id) = world("rename", &[]).await;
    world.values("src", json!({ "key": "fake-value-key" })).await;
    world.secret("src", from_key("src", "key", "OLD")).await;
    world.secret_is("src", "True", "Succeeded").await;
    let before = world.sandbox.revision().await.unwrap();
    world.secret("src", from_key("src", "key", "NEW")).await;
    world.secret_is("src", "True", "Succeeded").await;
    assert_eq!(remote(&world, id).await, expected(&[("NEW", "fake-value-key")]));
    assert_eq!(writes(&world, before).await, [POST, DELETE]);
    // The app waits for its secrets, and the organization for the app.
    let policy = json!({ "deletionPolicy": "Retain" });
    world.app("my-app", policy).await;
    world.app_is("my-app", "True", "Succeeded").await;
    world.api::<SpiceSecret>().delete("src", &DeleteParams::default()).await.unwrap();
    world.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("my-app").await;
    world.gone::<SpiceSecret>("src").await;
    assert_eq!(remote(&world, id).await, expected(&[]), "the app is retained, and its secret was not");
}
