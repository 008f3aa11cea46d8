//! Whose an app is: names that are taken, apps that exist, other owners, and apps that are gone.

use kube::api::DeleteParams;
use serde_json::{Value, json};
use spice_cloud_operator::api::SpiceApp;

use crate::{
    program,
    support::world::{World, id_of},
};

#[tokio::test]
async fn a_taken_name_is_left_alone_until_it_is_free() {
    let world = World::new("taken", program()).await;
    let _operator = world.operator().await;
    let portal = world.sandbox.portal().unwrap();
    let foreign = portal.create_app(&json!({ "name": "My-App", "region": "us-east-1" })).await.unwrap();
    world.app("my-app", json!({ "description": "ours" })).await;

    let app = world.app_is("my-app", "False", "NameTaken").await;
    let status = app.status.unwrap();
    let stalled = status.core.conditions.iter().find(|condition| condition.type_ == "Stalled").unwrap();
    assert_eq!(stalled.status, "True");
    assert!(stalled.message.contains(&foreign["id"].to_string()), "{}", stalled.message);
    let writes: Vec<_> = world.calls(0).await.into_iter().filter(|call| !call.starts_with("GET")).collect();
    assert_eq!(writes, [""; 0]);
    assert_eq!(world.remote_apps().await[0]["description"], Value::Null);

    portal.delete_app(foreign["id"].as_u64().unwrap()).await.unwrap();
    world.request_visit("my-app").await;
    world.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(world.remote_apps().await.len(), 1);
}

#[tokio::test]
async fn an_app_that_exists_is_adopted_with_one_put_and_outlives_its_object() {
    let world = World::new("adopt", program()).await;
    let _operator = world.operator().await;
    let portal = world.sandbox.portal().unwrap();
    let theirs =
        json!({ "name": "My-App", "region": "us-east-1", "description": "theirs", "tags": { "foreign": "f" } });
    let id = portal.create_app(&theirs).await.unwrap()["id"].as_u64().unwrap();
    world.app("my-app", json!({ "description": "ours" })).await;
    let refused = world.app_is("my-app", "False", "NameTaken").await;
    assert!(refused.status.unwrap().core.conditions[0].message.contains("adoptionPolicy"));

    let before = world.sandbox.revision().await.unwrap();
    world.app("my-app", json!({ "description": "ours", "adoptionPolicy": "Adopt" })).await;
    let app = world.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(id_of(&app), id);
    assert_eq!(world.calls(before).await, ["GET /v1/apps", "GET /v1/apps/{appId}", "PUT /v1/apps/{appId}"]);
    let remote = &world.remote_apps().await[0];
    assert_eq!((&remote["description"], &remote["tags"]["foreign"]), (&json!("ours"), &json!("f")));
    assert_eq!(remote["tags"]["spice-operator-incarnation"], app.status.unwrap().incarnation.unwrap());

    world.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("my-app").await;
    assert_eq!(world.remote_apps().await[0]["tags"], json!({ "foreign": "f" }), "our tags went, the app stayed");
}

#[tokio::test]
async fn another_owners_app_is_taken_over_when_an_annotation_names_the_owner() {
    let world = World::new("take-ownership-from", program()).await;
    let _operator = world.operator().await;
    let owner = "0123456789abcdef0123456789abcdef";
    let theirs = json!({ "name": "my-app", "region": "us-east-1", "tags": { "spice-operator-owner": owner } });
    world.sandbox.portal().unwrap().create_app(&theirs).await.unwrap();
    world.app("my-app", json!({ "adoptionPolicy": "Adopt" })).await;
    let refused = world.app_is("my-app", "False", "OwnedElsewhere").await;
    assert!(refused.status.unwrap().core.conditions[0].message.contains(owner));
    let annotation = format!("cloud.spice.ai/take-ownership-from={owner}");
    world.cluster.kubectl(&["annotate", "sapp/my-app", "-n", &world.namespace, &annotation]).await.unwrap();
    world.app_is("my-app", "True", "Succeeded").await;
    assert_ne!(world.remote_apps().await[0]["tags"]["spice-operator-owner"], owner);
}

#[tokio::test]
async fn an_observed_app_is_shown_with_what_differs_and_never_written() {
    let world = World::new("observe", program()).await;
    let _operator = world.operator().await;
    let portal = world.sandbox.portal().unwrap();
    let theirs = json!({ "name": "my-app", "region": "us-east-1", "description": "theirs" });
    let id = portal.create_app(&theirs).await.unwrap()["id"].as_u64().unwrap();
    world
        .app("my-app", json!({ "description": "ours", "managementPolicy": "Observe", "deletionPolicy": "Delete" }))
        .await;
    let app = world.app_is("my-app", "True", "Succeeded").await;
    assert_eq!((id_of(&app), app.status.unwrap().drift), (id, vec!["description".to_owned()]));
    world.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("my-app").await;
    assert!(world.calls(0).await.iter().all(|call| call.starts_with("GET")));
    assert_eq!(world.remote_apps().await.len(), 1);
}

#[tokio::test]
async fn of_two_objects_for_one_name_the_older_acts_and_the_younger_says_who_does() {
    let world = World::new("claims", program()).await;
    world.app("first", json!({ "name": "shared" })).await;
    let operator = world.operator().await;
    world.app_is("first", "True", "Succeeded").await;
    world.app("second", json!({ "name": "SHARED" })).await;
    let second = world.app_is("second", "False", "NameTaken").await;
    let message = &second.status.unwrap().core.conditions[0].message;
    assert!(message.contains(&format!("{}/first", world.namespace)), "{message}");
    assert_eq!(world.remote_apps().await.len(), 1);

    world.api::<SpiceApp>().delete("first", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("first").await;
    world.app_is("second", "True", "Succeeded").await;
    drop(operator);
}

#[tokio::test]
async fn another_owners_app_is_never_written_and_its_object_goes_without_it() {
    let world = World::new("owned", program()).await;
    let _operator = world.operator().await;
    world.app("my-app", json!({ "description": "ours" })).await;
    let id = id_of(&world.app_is("my-app", "True", "Succeeded").await);
    let theirs = json!({ "tags": { "spice-operator-owner": "0".repeat(32) }, "description": "theirs" });
    world.sandbox.portal().unwrap().update_app(id, &theirs).await.unwrap();
    let before = world.sandbox.revision().await.unwrap();
    world.request_visit("my-app").await;
    world.app_is("my-app", "False", "OwnedElsewhere").await;

    world.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("my-app").await;
    let writes: Vec<_> = world.calls(before).await.into_iter().filter(|call| !call.starts_with("GET")).collect();
    assert_eq!(writes, [""; 0]);
    assert_eq!(world.remote_apps().await[0]["description"], "theirs");
}

#[tokio::test]
async fn an_app_deleted_outside_is_made_anew_if_we_made_it_and_else_said_to_be_gone() {
    let world = World::new("gone", program()).await;
    let _operator = world.operator().await;
    let portal = world.sandbox.portal().unwrap();
    portal.create_app(&json!({ "name": "adopted-app", "region": "us-east-1" })).await.unwrap();
    for (name, spec) in
        [("made-app", json!({ "description": "ours" })), ("adopted-app", json!({ "adoptionPolicy": "Adopt" }))]
    {
        world.app(name, spec).await;
        let id = id_of(&world.app_is(name, "True", "Succeeded").await);
        portal.delete_app(id).await.unwrap();
    }
    let before = world.sandbox.revision().await.unwrap();
    world.visit("made-app").await;
    let made = world.app_is("made-app", "True", "Succeeded").await;
    let apps: Vec<_> = world.calls(before).await.into_iter().filter(|call| call.contains("/apps")).collect();
    assert_eq!(apps[..3], ["GET /v1/apps/{appId}", "GET /v1/apps", "POST /v1/apps"]);
    assert_eq!(world.remote_apps().await[0]["description"], "ours");
    assert_eq!(world.remote_apps().await[0]["id"], id_of(&made));

    let before = world.sandbox.revision().await.unwrap();
    world.request_visit("adopted-app").await;
    world.app_is("adopted-app", "False", "DeletedExternally").await;
    assert_eq!(world.calls(before).await, ["GET /v1/apps/{appId}", "GET /v1/apps"]);
    world.api::<SpiceApp>().delete("adopted-app", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("adopted-app").await;
    assert!(!world.calls(before).await.iter().any(|call| call.starts_with("DELETE")));
}

#[tokio::test]
async fn many_apps_missing_at_once_are_taken_for_another_organization_until_a_person_says_otherwise() {
    let world = World::new("mass", program()).await;
    let _operator = world.operator().await;
    let names = ["one-app", "two-app", "three-app", "four-app"];
    for name in names {
        world.app(name, json!({})).await;
        world.app_is(name, "True", "Succeeded").await;
    }
    let portal = world.sandbox.portal().unwrap();
    for app in world.remote_apps().await {
        portal.delete_app(app["id"].as_u64().unwrap()).await.unwrap();
    }
    for name in names {
        world.request_visit(name).await;
        world.app_is(name, "False", "OrganizationMismatch").await;
    }
    assert_eq!(world.remote_apps().await, [json!(null); 0]);
    let accept = ["annotate", "sorg/default", "-n", &world.namespace, "cloud.spice.ai/accept-missing-apps=4"];
    world.cluster.kubectl(&accept).await.unwrap();
    for name in names {
        world.app_is(name, "True", "Succeeded").await;
    }
    assert_eq!(world.remote_apps().await.len(), 4);
}
