//! Variants of the Management API: pagination, tags, normalised spicepods, reactivation of deleted apps, private
//! certificate authorities, and proxies.

use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::support::{
    control_plane::User,
    eventually::{DEADLINE, eventually},
    proxy::{FaultPoints, Proxy},
    test_env::{CREDENTIAL, Kind, TestEnv},
};

/// Number of existing apps in the pagination test.
const APP_COUNT: usize = 250;

/// Tag with the owner.
const OWNER_TAG: &str = "spice-operator-owner";

fn id_of(app: &SpiceApp) -> i64 {
    app.status.as_ref().unwrap().id.unwrap()
}

/// Creates a seed file with `APP_COUNT` unowned apps.
fn seed_file() -> tempfile::NamedTempFile {
    let apps: Vec<_> = (1..=APP_COUNT)
        .map(|n| json!({ "organization": "sandbox", "body": { "name": app_name(n), "region": "us-east-1" } }))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "apps": apps }).to_string()).unwrap();
    file
}

fn app_name(item: usize) -> String {
    format!("item-{item:03}")
}

/// The operator finds an existing app on any page, or reports that the list is incomplete.
#[tokio::test(flavor = "multi_thread")]
async fn app_is_found_on_any_page_or_list_is_reported_incomplete() {
    let cases: [(&[&str], bool); 6] = [
        (&[], true),
        (&["--profile", "legacy"], true),
        (&["--clamp-pages"], true),
        (&["--ignore-offset"], false),
        (&["--profile", "legacy", "--ignore-offset"], false),
        (&["--clamp-pages", "--ignore-offset"], false),
    ];
    let seed = seed_file();
    for (flags, complete) in cases {
        let mut args = vec!["--seed", seed.path().to_str().unwrap()];
        args.extend(flags);
        let env = TestEnv::with_sandbox("lists", &args).await;
        let _operator = env.start_operator().await;
        for item in [21, 101, APP_COUNT, APP_COUNT + 1] {
            env.apply_app(&app_name(item), json!({ "region": "us-east-1", "adoptionPolicy": "Adopt" })).await;
        }
        for item in [21, 101, APP_COUNT, APP_COUNT + 1] {
            let name = app_name(item);
            if complete {
                let app = env.wait_for_ready::<SpiceApp>(&name).await;
                let remote = env.remote_apps().await;
                let found = remote.iter().find(|app| app["name"] == name.as_str()).unwrap();
                assert_eq!(found["id"], id_of(&app), "{flags:?}");
            } else {
                let app = env.wait_for_reason::<SpiceApp>(&name, "False", "RemoteUnavailable").await;
                let message = app.ready_message();
                assert!(message.contains("cannot determine whether the list is complete"), "{flags:?}: {message}");
            }
        }
        let organization = env.wait_for("default", "incompleteLists is set", |organization: &SpiceOrganization| {
            organization.status.as_ref().is_some_and(|status| status.incomplete_lists.is_empty() == complete)
        });
        for list in organization.await.status.unwrap().incomplete_lists {
            assert!(list.path == "/v1/apps" && (20..=100).contains(&list.items_seen), "{flags:?}: {list:?}");
        }
        let posts = env.count_posts().await;
        assert_eq!(posts, usize::from(complete), "{flags:?}: only the app that is in no page is created");
        assert_eq!(env.remote_apps().await.len(), APP_COUNT + posts, "{flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn app_lifecycle_works_without_tag_support() {
    for rule in ["drop", "reject"] {
        let env = TestEnv::with_sandbox("no-tags", &["--tags", rule]).await;
        let _operator = env.start_operator().await;
        let spec = json!({ "description": "first", "runtime": { "replicas": 2 } });
        let app = env.apply_app_and_wait("my-app", spec).await;
        assert_eq!(app.status.as_ref().unwrap().tags_unsupported, Some(true), "{rule}");

        env.apply_app_and_wait("my-app", json!({ "description": "second", "runtime": { "replicas": 2 } })).await;
        let remote = env.remote_apps().await;
        assert_eq!((remote.len(), &remote[0]["description"]), (1, &json!("second")), "{rule}");
        assert_eq!(remote[0]["config"]["replicas"], 2, "{rule}");

        // Unsupported tags are not drift: a resync writes nothing.
        let before = env.sandbox.revision().await.unwrap();
        env.reconcile::<SpiceApp>("my-app").await;
        assert_eq!(env.writes_since(before).await, [""; 0], "{rule}");

        env.delete_and_wait::<SpiceApp>("my-app").await;
        assert_eq!(env.remote_apps().await, [Value::Null; 0], "{rule}");
        let posts = env.count_posts().await;
        assert!(posts <= 2, "{rule}: one create, and at most one retry without tags: {posts}");
    }
}

/// A create with the name of a deleted app reactivates that app, with its old configuration or with the request's.
#[tokio::test(flavor = "multi_thread")]
async fn reactivated_app_converges_to_the_spec() {
    for rule in ["apply", "keep"] {
        let env = TestEnv::with_sandbox("reactivation", &["--reactivation", rule]).await;
        let portal = env.sandbox.portal().unwrap();
        let existing =
            json!({ "name": "my-app", "region": "us-east-1", "description": "foreign-value", "visibility": "public" });
        let id = portal.create_app(&existing).await.unwrap()["id"].as_u64().unwrap();
        portal.update_app(id, &json!({ "replicas": 5 })).await.unwrap();
        portal.delete_app(id).await.unwrap();

        let _operator = env.start_operator_with(&["--clock-skew=0s"]).await;
        let spec = json!({ "region": "us-east-1", "description": "desired", "runtime": { "replicas": 2 } });
        let app = env.apply_app_and_wait("my-app", spec).await;
        assert_eq!(id_of(&app), i64::try_from(id).unwrap(), "{rule}: the ID is that of the deleted app");
        let remote = env.remote_apps().await;
        assert_eq!(
            (&remote[0]["description"], &remote[0]["config"]["replicas"]),
            (&json!("desired"), &json!(2)),
            "{rule}"
        );
        assert!(remote[0]["tags"][OWNER_TAG].is_string(), "{rule}: {}", remote[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn normalised_spicepod_is_not_drift() {
    let env = TestEnv::with_sandbox("normalised", &["--normalise-spicepod"]).await;
    let _operator = env.start_operator().await;
    // Without version and kind, and with empty values: the API changes all of them.
    let spicepod =
        json!({ "name": "app", "datasets": [{ "name": "trips", "from": "s3://bucket/", "params": {} }], "views": [] });
    env.apply_app_and_wait("my-app", json!({ "spicepod": spicepod })).await;
    let before = env.sandbox.revision().await.unwrap();
    for _ in 0..3 {
        env.reconcile::<SpiceApp>("my-app").await;
    }
    assert_eq!(env.writes_since(before).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_authority_is_trusted_only_with_ca_bundle() {
    let env = TestEnv::with_sandbox("tls", &["--tls"]).await;
    let _operator = env.start_operator().await;
    let endpoint = env.sandbox.url().replace("127.0.0.1", "localhost");
    assert!(endpoint.starts_with("https://localhost:"), "{endpoint}");
    let organization = |authority: Option<&str>| {
        let mut spec = json!({
            "endpoint": endpoint, "interval": "24h", "allowInsecureEndpoint": false,
            "credentials": { "personalAccessToken": { "secretRef": { "name": CREDENTIAL.0 } } },
        });
        if let Some(authority) = authority {
            spec["caBundle"] = json!(authority);
        }
        spec
    };
    env.apply::<SpiceOrganization>("default", organization(None)).await;
    env.apply_app("my-app", json!({ "description": "desired" })).await;
    let untrusted = env.wait_for_reason::<SpiceOrganization>("default", "False", "RemoteUnavailable").await;
    let message = untrusted.ready_message();
    assert!(message.to_lowercase().contains("certificate"), "{message}");
    assert!(message.contains("Add the certificate of the authority to spec.caBundle"), "{message}");
    assert_eq!(env.calls_since(0).await, [""; 0], "no request reached the untrusted server");

    env.apply::<SpiceOrganization>("default", organization(env.sandbox.authority())).await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
    eventually("the app exists", DEADLINE, async || match env.remote_apps().await.len() {
        1 => Ok(()),
        count => Err(format!("{count} apps")),
    })
    .await;
}

/// The proxy variables apply only to the Management API. An unreachable HTTPS proxy does not affect the connection to
/// the apiserver.
#[tokio::test(flavor = "multi_thread")]
async fn environment_proxy_applies_to_management_api_only() {
    let (faults, env) = (FaultPoints::new("my-app"), TestEnv::new("proxy").await);
    let proxy = Proxy::for_management_api(&faults, env.sandbox.url()).await.unwrap();
    faults.start_recording(None);
    let kubeconfig = env.cluster.kubeconfig(User::Operator);
    let variables = [("http_proxy", proxy.url()), ("https_proxy", "http://127.0.0.1:9".to_owned())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let operator = env.spawn_operator(&kubeconfig, &[], &variables).await;
    operator.wait_until_ready().await.unwrap();
    env.apply_app_and_wait("my-app", json!({})).await;
    let proxied: Vec<_> = faults.points().into_iter().map(|(call, _)| call).collect();
    assert_eq!(proxied, ["GET /v1/apps", "POST /v1/apps"]);
}
