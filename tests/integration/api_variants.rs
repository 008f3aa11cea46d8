//! What holds whichever Management API is met: the sources disagree on pages, tags, spicepods and what a create does to
//! a deleted app, and an organization may have an authority of its own.

use kube::api::DeleteParams;
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::{
    program,
    support::{
        control_plane::User,
        eventually::{DEADLINE, poll},
        proxy::{FaultPoints, Proxy},
        test_env::{CREDENTIAL, TestEnv},
    },
};

/// Apps that an organization has in the tests of lists.
const MANY: usize = 250;

/// The tags of an app that are ours.
const OWNER: &str = "spice-operator-owner";

fn id_of(app: &SpiceApp) -> i64 {
    app.status.as_ref().unwrap().id.unwrap()
}

/// A seed file with so many apps, all of them foreign.
fn many_apps() -> tempfile::NamedTempFile {
    let apps: Vec<_> = (1..=MANY)
        .map(|n| json!({ "organization": "sandbox", "body": { "name": name_of(n), "region": "us-east-1" } }))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "apps": apps }).to_string()).unwrap();
    file
}

fn name_of(item: usize) -> String {
    format!("item-{item:03}")
}

/// Whatever becomes of pages: an app that exists is found wherever it is in the list, or the list is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_found_on_any_page_or_the_list_is_not_believed() {
    let switches: [(&[&str], bool); 6] = [
        (&[], true),
        (&["--profile", "legacy"], true),
        (&["--clamp-pages"], true),
        (&["--ignore-offset"], false),
        (&["--profile", "legacy", "--ignore-offset"], false),
        (&["--clamp-pages", "--ignore-offset"], false),
    ];
    let seed = many_apps();
    for (switches, complete) in switches {
        let mut args = vec!["--seed", seed.path().to_str().unwrap()];
        args.extend(switches);
        let env = TestEnv::with_sandbox("lists", program(), &args).await;
        let _operator = env.operator().await;
        for item in [21, 101, MANY, MANY + 1] {
            env.app(&name_of(item), json!({ "region": "us-east-1", "adoptionPolicy": "Adopt" })).await;
        }
        for item in [21, 101, MANY, MANY + 1] {
            let name = name_of(item);
            if complete {
                let app = env.app_is(&name, "True", "Succeeded").await;
                let remote = env.remote_apps().await;
                let found = remote.iter().find(|app| app["name"] == name.as_str()).unwrap();
                assert_eq!(found["id"], id_of(&app), "{switches:?}");
            } else {
                let app = env.app_is(&name, "False", "RemoteUnavailable").await;
                let message = &app.status.unwrap().core.conditions[0].message;
                assert!(message.contains("cannot determine whether the list is complete"), "{switches:?}: {message}");
            }
        }
        let told = env.until("default", "how its list ends is told", |organization: &SpiceOrganization| {
            organization.status.as_ref().is_some_and(|status| status.incomplete_lists.is_empty() == complete)
        });
        for list in told.await.status.unwrap().incomplete_lists {
            assert!(list.path == "/v1/apps" && (20..=100).contains(&list.items_seen), "{switches:?}: {list:?}");
        }
        let posts = env.calls(0).await.iter().filter(|call| call.starts_with("POST")).count();
        assert_eq!(posts, usize::from(complete), "{switches:?}: only what is nowhere in the list is made");
        assert_eq!(env.remote_apps().await.len(), MANY + posts, "{switches:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_lives_and_dies_where_tags_are_not_to_be_had() {
    for rule in ["drop", "reject"] {
        let env = TestEnv::with_sandbox("no-tags", program(), &["--tags", rule]).await;
        let _operator = env.operator().await;
        let spec = json!({ "description": "first", "runtime": { "replicas": 2 } });
        env.app("my-app", spec).await;
        let app = env.app_is("my-app", "True", "Succeeded").await;
        assert_eq!(app.status.as_ref().unwrap().tags_unsupported, Some(true), "{rule}");

        env.app("my-app", json!({ "description": "second", "runtime": { "replicas": 2 } })).await;
        env.app_is("my-app", "True", "Succeeded").await;
        let remote = env.remote_apps().await;
        assert_eq!((remote.len(), &remote[0]["description"]), (1, &json!("second")), "{rule}");
        assert_eq!(remote[0]["config"]["replicas"], 2, "{rule}");

        // What is not kept is no drift: a check writes nothing.
        let before = env.sandbox.revision().await.unwrap();
        env.reconcile_app("my-app").await;
        assert!(!env.calls(before).await.iter().any(|call| !call.starts_with("GET")), "{rule}");

        env.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
        env.gone::<SpiceApp>("my-app").await;
        assert_eq!(env.remote_apps().await, [Value::Null; 0], "{rule}");
        let posts = env.calls(0).await.iter().filter(|call| call.starts_with("POST")).count();
        assert!(posts <= 2, "{rule}: one create, and the same once more without tags: {posts}");
    }
}

/// A name that was used before brings its app back, with what it had or with what the create says.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_app_that_a_create_brings_back_becomes_what_is_declared() {
    for rule in ["apply", "keep"] {
        let env = TestEnv::with_sandbox("reactivation", program(), &["--reactivation", rule]).await;
        let portal = env.sandbox.portal().unwrap();
        let theirs =
            json!({ "name": "my-app", "region": "us-east-1", "description": "theirs", "visibility": "public" });
        let id = portal.create_app(&theirs).await.unwrap()["id"].as_u64().unwrap();
        portal.update_app(id, &json!({ "replicas": 5 })).await.unwrap();
        portal.delete_app(id).await.unwrap();

        let _operator = env.operator_with(&["--clock-skew=0s"]).await;
        let spec = json!({ "region": "us-east-1", "description": "ours", "runtime": { "replicas": 2 } });
        env.app("my-app", spec).await;
        let app = env.app_is("my-app", "True", "Succeeded").await;
        assert_eq!(id_of(&app), i64::try_from(id).unwrap(), "{rule}: it is the same app again");
        let remote = env.remote_apps().await;
        assert_eq!(
            (&remote[0]["description"], &remote[0]["config"]["replicas"]),
            (&json!("ours"), &json!(2)),
            "{rule}"
        );
        assert!(remote[0]["tags"][OWNER].is_string(), "{rule}: {}", remote[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spicepod_that_is_kept_in_another_form_is_no_drift() {
    let env = TestEnv::with_sandbox("normalised", program(), &["--normalise-spicepod"]).await;
    let _operator = env.operator().await;
    // No version, no kind, and things that are empty: the API keeps none of it as it came.
    let spicepod =
        json!({ "name": "app", "datasets": [{ "name": "trips", "from": "s3://bucket/", "params": {} }], "views": [] });
    env.app("my-app", json!({ "spicepod": spicepod })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    let before = env.sandbox.revision().await.unwrap();
    for _ in 0..3 {
        env.reconcile_app("my-app").await;
    }
    let writes: Vec<_> = env.calls(before).await.into_iter().filter(|call| !call.starts_with("GET")).collect();
    assert_eq!(writes, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_the_organization_is_trusted_for_it_and_for_nothing_else() {
    let env = TestEnv::with_sandbox("tls", program(), &["--tls"]).await;
    let _operator = env.operator().await;
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
    env.app("my-app", json!({ "description": "ours" })).await;
    let stranger = env.organization_is("False", "RemoteUnavailable").await;
    let message = &stranger.status.unwrap().core.conditions[0].message;
    assert!(message.to_lowercase().contains("certificate"), "{message}");
    assert_eq!(env.calls(0).await, [""; 0], "no request was made to whom nobody vouches for");

    env.apply::<SpiceOrganization>("default", organization(env.sandbox.authority())).await;
    env.organization_is("True", "Succeeded").await;
    env.app_is("my-app", "True", "Succeeded").await;
    poll("the app is there", DEADLINE, async || match env.remote_apps().await.len() {
        1 => Ok(()),
        other => Err(format!("{other} apps")),
    })
    .await
    .unwrap();
}

/// A proxy of the environment is for the Management API alone: one that leads nowhere does not part the operator from its
/// cluster.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment_is_for_the_management_api_alone() {
    let (faults, env) = (FaultPoints::new("my-app"), TestEnv::new("proxy", program()).await);
    let proxy = Proxy::of_management(&faults, env.sandbox.url()).await.unwrap();
    faults.count(None);
    let kubeconfig = env.cluster.kubeconfig(User::Operator);
    let variables = [("http_proxy", proxy.url()), ("https_proxy", "http://127.0.0.1:9".to_owned())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let _operator = env.operator_in(&kubeconfig, &[], &variables).await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    let through: Vec<_> = faults.points().into_iter().map(|(what, _)| what).collect();
    assert_eq!(through, ["GET /v1/apps", "POST /v1/apps"]);
}
