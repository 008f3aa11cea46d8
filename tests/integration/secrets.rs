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
        proxy::{FaultPoints, Proxy},
        test_env::{Kind, TestEnv, id_of},
    },
};

/// A env with an app `my-app` that is Ready.
async fn env(name: &str, args: &[&str]) -> (TestEnv, Operator, u64) {
    let env = TestEnv::with_sandbox(name, program(), args).await;
    let operator = env.operator().await;
    env.app("my-app", json!({})).await;
    let id = id_of(&env.app_is("my-app", "True", "Succeeded").await);
    (env, operator, id)
}

fn digest(value: &str) -> String {
    hex(&Sha256::digest(value))
}

/// The secrets of an app, by name, as digests of their values.
pub async fn remote(env: &TestEnv, app: u64) -> BTreeMap<String, String> {
    let apps = env.remote_apps().await;
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
    let (env, _operator, id) = env("secret", &[]).await;
    env.values("db", json!({ "url": "fake-value-1" })).await;
    let before = env.sandbox.revision().await.unwrap();
    env.secret("db", from_key("db", "url", "DATABASE_URL")).await;
    let secret = env.secret_is("db", "True", "Succeeded").await;
    assert_eq!(remote(&env, id).await, expected(&[("DATABASE_URL", "fake-value-1")]));
    let calls = env.calls(before).await;
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

    let before = env.sandbox.revision().await.unwrap();
    env.values("db", json!({ "url": "fake-value-2" })).await;
    env.until("db", "set anew", |secret: &SpiceSecret| {
        secret.status.as_ref().is_some_and(|status| status.secrets[0].digest != entry.digest)
    })
    .await;
    env.secret_is("db", "True", "Succeeded").await;
    assert_eq!(remote(&env, id).await, expected(&[("DATABASE_URL", "fake-value-2")]));
    assert_eq!(env.calls(before).await, ["POST /v1/apps/{appId}/secrets"]);

    let before = env.sandbox.revision().await.unwrap();
    env.api::<SpiceSecret>().delete("db", &DeleteParams::default()).await.unwrap();
    env.gone::<SpiceSecret>("db").await;
    assert_eq!(remote(&env, id).await, expected(&[]));
    assert_eq!(env.calls(before).await, ["DELETE /v1/apps/{appId}/secrets/{secretName}"]);
}

/// Sets a secret as somebody does in the portal.
pub async fn portal_sets(env: &TestEnv, app: u64, name: &str, value: &str) {
    let body = json!({ "name": name, "value": value });
    env.sandbox.portal().unwrap().call(Method::POST, &format!("/apps/{app}/secrets"), Some(&body)).await.unwrap();
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
pub async fn portal_deletes(env: &TestEnv, app: u64, name: &str) {
    let path = format!("/apps/{app}/secrets/{name}");
    env.sandbox.portal().unwrap().call(Method::DELETE, &path, None).await.unwrap();
}

/// Writes to secrets after a revision.
async fn writes(env: &TestEnv, after: u64) -> Vec<String> {
    let calls = env.calls(after).await.into_iter();
    calls.filter(|call| call.contains("/secrets") && !call.starts_with("GET")).collect()
}

const POST: &str = "POST /v1/apps/{appId}/secrets";
const DELETE: &str = "DELETE /v1/apps/{appId}/secrets/{secretName}";

#[tokio::test]
async fn all_keys_go_out_but_those_that_cannot_and_each_of_these_is_named() {
    let (env, _operator, id) = env("all-keys", &[]).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "env", "namespace": env.namespace },
        "data": { "BINARY": ByteString(vec![0xff, 0xfe]), "HUGE": ByteString(vec![b'x'; 64 * 1024 + 1]) },
        "stringData": { "TOKEN": "fake-value-token", "EMPTY": "", "bad-name": "fake-value-bad" },
    });
    env.cluster.kubectl_apply_text(&secret.to_string()).await.unwrap();
    env.secret("env", json!({ "secretRef": { "name": "env" } })).await;
    let secret = env.secret_is("env", "False", "InvalidSpec").await;
    let message = &secret.conditions().iter().find(|one| one.type_ == "Ready").unwrap().message;
    for words in
        ["value of key BINARY is not UTF-8", "value of key HUGE is longer than 64 KiB", "key bad-name cannot be"]
    {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert_eq!(remote(&env, id).await, expected(&[("EMPTY", ""), ("TOKEN", "fake-value-token")]));
    eventually("the empty value is told", DEADLINE, async || {
        let events = env.cluster.kubectl(&["events", "-n", &env.namespace, "--for", "spicesecret/env"]).await?;
        if events.contains("the value is empty: EMPTY") { Ok(()) } else { Err(events) }
    })
    .await;

    // Mended, one key gone: what was set for it goes as well.
    let before = env.sandbox.revision().await.unwrap();
    env.values("env", json!({ "TOKEN": "fake-value-token", "MORE": "fake-value-more" })).await;
    env.secret_is("env", "True", "Succeeded").await;
    assert_eq!(remote(&env, id).await, expected(&[("MORE", "fake-value-more"), ("TOKEN", "fake-value-token")]));
    assert_eq!(writes(&env, before).await, [POST, DELETE]);
}

#[tokio::test]
async fn an_app_that_is_missing_or_going_is_waited_for_without_a_call() {
    let env = TestEnv::new("no-app", program()).await;
    let _operator = env.operator().await;
    env.organization_is("True", "Succeeded").await;
    env.values("db", json!({ "url": "fake-value-url" })).await;
    let before = env.sandbox.revision().await.unwrap();
    env.secret("db", from_key("db", "url", "DATABASE_URL")).await;
    env.says::<SpiceSecret>("db", "DependencyNotReady", "SpiceApp \"my-app\" not found").await;
    assert_eq!(env.calls(before).await, [""; 0]);
    // One that waits itself is not ready.
    env.app("my-app", json!({ "suspend": true })).await;
    env.says::<SpiceSecret>("db", "DependencyNotReady", "SpiceApp \"my-app\" is not ready: Suspended").await;
    assert_eq!(env.calls(before).await, [""; 0]);
    env.app("my-app", json!({ "suspend": false })).await;
    env.secret_is("db", "True", "Succeeded").await;
    let id = id_of(&env.app_is("my-app", "True", "Succeeded").await);
    assert_eq!(remote(&env, id).await.len(), 1);

    // A new life of the app gets its secrets at once.
    env.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    env.gone::<SpiceApp>("my-app").await;
    env.app("my-app", json!({})).await;
    let app = env.app_is("my-app", "True", "Succeeded").await;
    let incarnation = app.status.as_ref().unwrap().incarnation.clone();
    env.until("db", "set in the new app", |secret: &SpiceSecret| {
        let entries = secret.status.iter().flat_map(|status| &status.secrets);
        entries.into_iter().any(|entry| entry.incarnation == incarnation && entry.digest.is_some())
    })
    .await;
    assert_eq!(remote(&env, id_of(&app)).await, expected(&[("DATABASE_URL", "fake-value-url")]));
}

#[tokio::test]
async fn a_source_that_is_missing_vanishes_or_is_emptied_is_named_and_deletes_nothing() {
    let (env, _operator, id) = env("no-source", &[]).await;
    env.secret("db", from_key("db", "url", "DATABASE_URL")).await;
    env.secret("all", json!({ "secretRef": { "name": "db" } })).await;
    for name in ["db", "all"] {
        env.says::<SpiceSecret>(name, "SourceNotFound", "Secret \"db\" not found").await;
    }
    env.values("db", json!({ "other": "fake-value-other" })).await;
    env.says::<SpiceSecret>("db", "SourceNotFound", "Secret \"db\" has no key \"url\"").await;
    env.values("db", json!({ "other": "fake-value-other", "url": "fake-value-url" })).await;
    env.secret_is("db", "True", "Succeeded").await;
    let whole = |secret: &SpiceSecret| {
        let entries = secret.status.iter().flat_map(|status| &status.secrets);
        entries.filter(|entry| entry.digest.is_some()).count() == 2
    };
    env.until("all", "with both entries", whole).await;
    env.secret_is("all", "True", "Succeeded").await;
    let all = expected(&[("DATABASE_URL", "fake-value-url"), ("other", "fake-value-other"), ("url", "fake-value-url")]);
    assert_eq!(remote(&env, id).await, all);

    let before = env.sandbox.revision().await.unwrap();
    env.values("db", json!({})).await;
    env.says::<SpiceSecret>("db", "SourceNotFound", "Secret \"db\" has no key \"url\"").await;
    env.says::<SpiceSecret>("all", "SourceNotFound", "Secret \"db\" has no data").await;
    let secrets: Api<Secret> = Api::namespaced(env.client.clone(), &env.namespace);
    secrets.delete("db", &DeleteParams::default()).await.unwrap();
    for name in ["db", "all"] {
        env.says::<SpiceSecret>(name, "SourceNotFound", "not found").await;
    }
    env.values("db", json!({ "other": "fake-value-other", "url": "fake-value-url" })).await;
    for name in ["db", "all"] {
        env.secret_is(name, "True", "Succeeded").await;
    }
    assert_eq!((remote(&env, id).await, writes(&env, before).await), (all, Vec::new()));
}

#[tokio::test]
async fn what_is_changed_or_deleted_outside_is_mended_with_exactly_the_writes_needed_or_reported() {
    for precision in [&[][..], &["--mixed-timestamp-precision"]] {
        let (env, _operator, id) = env("drift", precision).await;
        env.values("env", json!({ "A": "fake-value-a", "B": "fake-value-b", "C": "fake-value-c" })).await;
        let spec = |policy: &str| json!({ "secretRef": { "name": "env" }, "driftPolicy": policy });
        env.secret("env", spec("Correct")).await;
        env.secret_is("env", "True", "Succeeded").await;
        let before = env.sandbox.revision().await.unwrap();
        env.reconcile_secret("env").await;
        assert_eq!(env.calls(before).await, ["GET /v1/apps/{appId}/secrets"], "nothing is to be mended");
        let ours = remote(&env, id).await;
        another_second().await;
        portal_sets(&env, id, "A", "theirs").await;
        portal_deletes(&env, id, "B").await;
        portal_sets(&env, id, "D", "theirs").await;
        let before = env.sandbox.revision().await.unwrap();
        env.reconcile_secret("env").await;
        assert_eq!(writes(&env, before).await, [POST, POST]);
        let mut left = remote(&env, id).await;
        assert_eq!(left.remove("D"), Some(digest("theirs")), "never ours");
        assert_eq!(left, ours);

        env.secret("env", spec("Report")).await;
        env.secret_is("env", "True", "Succeeded").await;
        another_second().await;
        portal_sets(&env, id, "A", "theirs").await;
        portal_deletes(&env, id, "B").await;
        let before = env.sandbox.revision().await.unwrap();
        let secret = env.reconcile_secret("env").await;
        assert_eq!(secret.status.unwrap().drift, ["A", "B"]);
        assert_eq!(writes(&env, before).await, [""; 0]);
        let drifted = |secret: &SpiceSecret| secret.conditions().iter().any(|one| one.type_ == "Drifted");
        env.until("env", "Drifted", drifted).await;
        env.secret("env", spec("Correct")).await;
        env.until("env", "put back", |secret: &SpiceSecret| !drifted(secret)).await;
        assert_eq!(writes(&env, before).await, [POST, POST]);
    }
}

#[tokio::test]
async fn one_of_two_objects_has_a_name_and_it_passes_to_the_other_when_that_one_is_gone() {
    let (env, _operator, id) = env("claims", &[]).await;
    env.values("one", json!({ "key": "fake-value-one" })).await;
    env.values("two", json!({ "key": "fake-value-two", "MORE": "fake-value-more" })).await;
    env.secret("older", from_key("one", "key", "key")).await;
    env.secret_is("older", "True", "Succeeded").await;
    another_second().await;
    env.secret("younger", json!({ "secretRef": { "name": "two" } })).await;
    env.says::<SpiceSecret>("younger", "NameTaken", "key is held by SpiceSecret older").await;
    assert_eq!(remote(&env, id).await, expected(&[("MORE", "fake-value-more"), ("key", "fake-value-one")]));
    let before = env.sandbox.revision().await.unwrap();
    env.api::<SpiceSecret>().delete("older", &DeleteParams::default()).await.unwrap();
    env.gone::<SpiceSecret>("older").await;
    env.secret_is("younger", "True", "Succeeded").await;
    assert_eq!(remote(&env, id).await, expected(&[("MORE", "fake-value-more"), ("key", "fake-value-two")]));
    assert_eq!(writes(&env, before).await, [POST], "it was released, and never deleted");
}

#[tokio::test]
async fn what_was_made_in_the_portal_is_not_touched_until_it_is_adopted_and_stays_then() {
    let (env, _operator, id) = env("portal", &[]).await;
    portal_sets(&env, id, "TOKEN", "theirs").await;
    env.values("src", json!({ "TOKEN": "fake-value-ours" })).await;
    env.secret("src", json!({ "secretRef": { "name": "src" } })).await;
    let words = "was not set by this object: set spec.adoptionPolicy to Adopt to overwrite it";
    env.says::<SpiceSecret>("src", "NameTaken", words).await;
    assert_eq!(remote(&env, id).await, expected(&[("TOKEN", "theirs")]));
    // An annotation on the source is no reason to look into it anew.
    let before = env.sandbox.revision().await.unwrap();
    env.secret("src", json!({ "secretRef": { "name": "src" }, "adoptionPolicy": "Adopt" })).await;
    env.secret_is("src", "True", "Succeeded").await;
    assert_eq!(remote(&env, id).await, expected(&[("TOKEN", "fake-value-ours")]));
    assert_eq!(writes(&env, before).await, [POST]);
    env.api::<SpiceSecret>().delete("src", &DeleteParams::default()).await.unwrap();
    env.gone::<SpiceSecret>("src").await;
    assert_eq!(remote(&env, id).await.len(), 1, "what was taken over is retained");
}

#[tokio::test]
async fn the_key_of_digests_is_put_back_while_known_and_without_it_each_entry_is_set_once_more() {
    let env = TestEnv::new("key", program()).await;
    let key = format!("--digest-key-secret={}", env.namespace);
    let settings = [key.as_str(), "--digest-key-check-interval=50ms"];
    let operator = env.operator_with(&settings).await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    env.values("src", json!({ "A": "fake-value-a", "B": "fake-value-b" })).await;
    env.secret("src", json!({ "secretRef": { "name": "src" } })).await;
    let entries = env.secret_is("src", "True", "Succeeded").await.status.unwrap().secrets;
    let keys: Api<Secret> = Api::namespaced(env.client.clone(), OPERATOR_NAMESPACE);
    let first = keys.get(&env.namespace).await.unwrap();
    assert_eq!(first.immutable, Some(true));
    keys.delete(&env.namespace, &DeleteParams::default()).await.unwrap();
    let back = poll("the key is put back", DEADLINE, async || {
        keys.get_opt(&env.namespace).await.map_err(|e| e.to_string())?.ok_or_else(|| "not yet".to_owned())
    })
    .await
    .unwrap();
    assert_eq!(back.data, first.data);

    // The same key: nothing to do. Another one: each entry once.
    operator.terminate().await.unwrap();
    for (lost, posts) in [(false, 0), (true, 2)] {
        if lost {
            keys.delete(&env.namespace, &DeleteParams::default()).await.unwrap();
        }
        let before = env.sandbox.revision().await.unwrap();
        let operator = env.operator_with(&settings).await;
        env.reconciles(&operator, "SpiceSecret", 1).await;
        let now = env
            .until("src", "in date", |secret: &SpiceSecret| {
                let status = secret.status.as_ref().unwrap();
                !lost || status.secrets.iter().zip(&entries).all(|(now, then)| now.digest != then.digest)
            })
            .await;
        assert_eq!(writes(&env, before).await.len(), posts, "{lost}");
        let ids = now.status.unwrap().secrets.into_iter().map(|entry| entry.content_hash);
        assert!(ids.eq(entries.iter().map(|entry| entry.content_hash.clone())), "the same content");
        operator.terminate().await.unwrap();
    }
    keys.delete(&env.namespace, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn lost_status_is_a_taken_name_and_under_adopt_one_post_an_entry() {
    let (env, _operator, id) = env("lost", &[]).await;
    // As of an app that was made long before, and adopted.
    env.values("src", json!({ "A": "fake-value-a", "B": "fake-value-b" })).await;
    env.secret("src", json!({ "secretRef": { "name": "src" } })).await;
    env.secret_is("src", "True", "Succeeded").await;
    let lost =
        json!({ "status": { "secrets": null, "observedSources": null, "conditions": null, "observedGeneration": -1 } });
    let api = env.api::<SpiceSecret>();
    api.patch_status("src", &PatchParams::default(), &Patch::Merge(&lost)).await.unwrap();
    env.request_reconcile_of::<SpiceSecret>("src").await;
    env.says::<SpiceSecret>("src", "NameTaken", "was not set by this object").await;
    let before = env.sandbox.revision().await.unwrap();
    env.secret("src", json!({ "secretRef": { "name": "src" }, "adoptionPolicy": "Adopt" })).await;
    env.secret_is("src", "True", "Succeeded").await;
    assert_eq!(writes(&env, before).await, [POST, POST]);
    assert_eq!(remote(&env, id).await, expected(&[("A", "fake-value-a"), ("B", "fake-value-b")]));
}

#[tokio::test]
async fn the_secrets_of_a_deleted_app_that_comes_back_are_told_and_overwritten_where_named() {
    let env = TestEnv::with_sandbox("left-over", program(), &[]).await;
    let portal = env.sandbox.portal().unwrap();
    let app = portal.create_app(&json!({ "name": "my-app", "region": "us-west-2" })).await.unwrap();
    let id = app["id"].as_u64().unwrap();
    for name in ["TOKEN", "OLD"] {
        portal_sets(&env, id, name, "of another life").await;
    }
    portal.delete_app(id).await.unwrap();
    let _operator = env.operator_with(&["--clock-skew=0s"]).await;
    env.app("my-app", json!({})).await;
    assert_eq!(id_of(&env.app_is("my-app", "True", "Succeeded").await), id, "it is the same app");
    env.values("src", json!({ "TOKEN": "fake-value-ours" })).await;
    env.secret("src", json!({ "secretRef": { "name": "src" } })).await;
    env.secret_is("src", "True", "Succeeded").await;
    assert_eq!(remote(&env, id).await, expected(&[("OLD", "of another life"), ("TOKEN", "fake-value-ours")]));
    eventually("the left-over is told", DEADLINE, async || {
        let events = env.cluster.kubectl(&["events", "-n", &env.namespace, "--for", "spicesecret/src"]).await?;
        if events.contains("came back with secrets that nobody names: OLD") { Ok(()) } else { Err(events) }
    })
    .await;
}

#[tokio::test]
async fn a_check_costs_three_pages_for_250_secrets_however_many_objects_share_them_and_no_post() {
    let (env, operator, id) = env("many", &["--user-rate=1000000", "--organization-rate=1000000"]).await;
    let budget = json!({ "spec": { "requestBudget": { "requestsPerMinute": 1_000_000 } } });
    let organizations = env.api::<SpiceOrganization>();
    organizations.patch("default", &PatchParams::default(), &Patch::Merge(budget)).await.unwrap();
    for part in 0..5 {
        let values = (0..50).map(|number| (format!("N{part}_{number:02}"), json!("fake-value-of-one")));
        env.values(&format!("part-{part}"), Value::Object(values.collect())).await;
        env.secret(&format!("part-{part}"), json!({ "secretRef": { "name": format!("part-{part}") } })).await;
    }
    for part in 0..5 {
        env.secret_is(&format!("part-{part}"), "True", "Succeeded").await;
    }
    assert_eq!(remote(&env, id).await.len(), 250);
    // A hundred checks by the clock, all at the same times: no write, and no read but these.
    operator.terminate().await.unwrap();
    for part in 0..5 {
        let spec = json!({ "secretRef": { "name": format!("part-{part}") }, "appRef": { "name": "my-app" } });
        env.apply::<SpiceSecret>(&format!("part-{part}"), spec).await;
    }
    env.apply::<SpiceApp>("my-app", json!({})).await;
    let before = env.sandbox.revision().await.unwrap();
    let _operator = env.operator_with(&["--min-interval=50ms", "--default-interval=100ms"]).await;
    let pages = eventually("a hundred checks", DEADLINE, async || {
        let mut calls = env.sandbox.calls_by("operator", before).await?;
        calls.retain(|call| call.route.as_deref() == Some("/v1/apps/{appId}/secrets"));
        if calls.len() >= 3 * 100 { Ok(calls) } else { Err(format!("{} pages so far", calls.len())) }
    })
    .await;
    let at = |page: usize| pages[page].at.as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond();
    let times = usize::try_from((at(pages.len() - 1) - at(0)) / 100).unwrap() + 2;
    println!("{} pages of secrets at {times} times of checks", pages.len());
    assert!(pages.len() <= 3 * times, "{} pages at {times} times", pages.len());
    assert_eq!(writes(&env, before).await, [""; 0]);
}

#[tokio::test]
async fn a_restart_reads_neither_the_api_nor_a_source() {
    let (faults, env) = (FaultPoints::new("src"), TestEnv::new("secret-restart", program()).await);
    let client = env.cluster.client(User::Operator).await.unwrap();
    let kubernetes = Proxy::of_kubernetes(&faults, client).await.unwrap();
    let kubeconfig = env.run.write("proxy.kubeconfig", &kubernetes.kubeconfig().to_string()).unwrap();
    let reads =
        |source: &str| faults.reads().iter().filter(|path| path.ends_with(&format!("/secrets/{source}"))).count();
    let operator = env.operator_by(&kubeconfig, &[]).await;
    env.app("my-app", json!({})).await;
    env.values("src", json!({ "TOKEN": "fake-value-ours" })).await;
    env.secret("src", json!({ "secretRef": { "name": "src" } })).await;
    env.secret_is("src", "True", "Succeeded").await;
    assert_eq!(reads("src"), 1);
    operator.terminate().await.unwrap();
    let before = env.sandbox.revision().await.unwrap();
    let operator = env.operator_by(&kubeconfig, &[]).await;
    env.reconciles(&operator, "SpiceSecret", 1).await;
    assert_eq!((env.calls(before).await, reads("src")), (Vec::new(), 1));
}

#[tokio::test]
async fn a_rename_and_a_deleted_namespace_leave_nothing_behind() {
    let (env, _operator, id) = env("rename", &[]).await;
    env.values("src", json!({ "key": "fake-value-key" })).await;
    env.secret("src", from_key("src", "key", "OLD")).await;
    env.secret_is("src", "True", "Succeeded").await;
    let before = env.sandbox.revision().await.unwrap();
    env.secret("src", from_key("src", "key", "NEW")).await;
    env.secret_is("src", "True", "Succeeded").await;
    assert_eq!(remote(&env, id).await, expected(&[("NEW", "fake-value-key")]));
    assert_eq!(writes(&env, before).await, [POST, DELETE]);
    // The app waits for its secrets, and the organization for the app.
    let policy = json!({ "deletionPolicy": "Retain" });
    env.app("my-app", policy).await;
    env.app_is("my-app", "True", "Succeeded").await;
    env.api::<SpiceSecret>().delete("src", &DeleteParams::default()).await.unwrap();
    env.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    env.gone::<SpiceApp>("my-app").await;
    env.gone::<SpiceSecret>("src").await;
    assert_eq!(remote(&env, id).await, expected(&[]), "the app is retained, and its secret was not");
}
