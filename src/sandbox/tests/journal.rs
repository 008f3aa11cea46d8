//! What arrived, and how to wait for it.

use futures::future::join;
use reqwest::Method;
use serde_json::{Value, json};

use super::{LONG, OPERATOR, READER, TestSandbox, assert_has, named, path, reply};

#[tokio::test]
async fn an_entry_tells_what_was_asked_by_whom_and_what_became_of_it() {
    let world = TestSandbox::start().await;
    let app = world.app(named("app-one")).await;
    let url = path(&app);
    world.put(&url.replace("apps", "projects"), json!({ "replicas": 0 })).await;
    world.call(Method::GET, "/v1/apps?limit=1&offset=0", READER, None).await;
    reply(world.request(Method::GET, "/nowhere")).await;
    reply(world.request(Method::POST, "/v1/apps").bearer_auth("nobody").body("no json")).await;
    world.delete(&url).await;

    let journal = world.journal(0, 0).await;
    let entry = |method: &str, path: &str, rest: Value| {
        let mut entry = json!({ "method": method, "path": path, "query": null, "state": "answered", "body": null });
        entry.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        entry
    };
    let project = url.replace("apps", "projects");
    let expected = [
        entry(
            "POST",
            "/v1/apps",
            json!({ "route": "/v1/apps", "credential": "operator", "status": 201, "applied": true, "body": named("app-one") }),
        ),
        entry(
            "PUT",
            &project,
            json!({ "route": "/v1/projects/{appId}", "credential": "operator", "status": 400, "applied": false, "body": { "replicas": 0 } }),
        ),
        entry(
            "GET",
            "/v1/apps",
            json!({ "route": "/v1/apps", "query": "limit=1&offset=0", "credential": "reader", "status": 200, "applied": false }),
        ),
        entry("GET", "/nowhere", json!({ "route": null, "credential": null, "status": 404, "applied": false })),
        entry("POST", "/v1/apps", json!({ "route": "/v1/apps", "credential": null, "status": 401, "applied": false })),
        entry(
            "DELETE",
            &url,
            json!({ "route": "/v1/apps/{appId}", "credential": "operator", "status": 204, "applied": true }),
        ),
    ];
    let entries = journal["entries"].as_array().unwrap();
    assert_eq!(entries.len(), expected.len());
    for (index, (entry, expected)) in entries.iter().zip(&expected).enumerate() {
        assert_has(entry, expected);
        assert_eq!(entry["seq"], index + 1);
    }
    assert_eq!(journal["last"], entries.last().unwrap()["revision"]);
}

#[tokio::test]
async fn the_journal_holds_no_token_and_not_what_is_asked_of_the_server_itself() {
    let world = TestSandbox::start().await;
    world.get("/v1/apps").await;
    world.get("/sandbox/state").await;
    world.get("/sandbox/nothing").await;
    let text = world.journal(0, 0).await.to_string();
    assert!(text.contains("operator") && !text.contains(OPERATOR) && !text.contains("/sandbox"), "{text}");
}

#[tokio::test]
async fn only_what_changed_after_a_revision_is_told() {
    let world = TestSandbox::start().await;
    world.get("/v1/apps").await;
    let first = world.journal(0, 0).await;
    let last = first["last"].as_u64().unwrap();
    assert_eq!(world.journal(last, 0).await, json!({ "entries": [], "last": last }));
    world.get("/v1/regions").await;
    let second = world.journal(last, 0).await;
    assert_eq!(second["entries"].as_array().unwrap().len(), 1);
    assert_has(&second["entries"][0], &json!({ "seq": 2, "path": "/v1/regions" }));
    assert!(second["last"].as_u64() > Some(last));
}

#[tokio::test]
async fn a_wait_ends_with_the_next_request() {
    let world = TestSandbox::start().await;
    world.get("/v1/apps").await;
    let last = world.journal(0, 0).await["last"].as_u64().unwrap();
    let (journal, _) = join(world.journal(last, LONG), world.get("/v1/regions")).await;
    assert_has(&journal["entries"][0], &json!({ "seq": 2, "path": "/v1/regions" }));
}

#[tokio::test]
async fn a_wait_ends_when_an_entry_changes_its_state() {
    let world = TestSandbox::start().await;
    let rule = world.fault(json!({ "action": "hang" })).await;
    let watch = async {
        let held = world.entry_in("held").await;
        let after = held["revision"].as_u64().unwrap();
        let url = format!("/sandbox/faults/{rule}");
        let (journal, released) = join(world.journal(after, LONG), world.delete(&url)).await;
        assert_eq!(released.0, 204);
        let entry = &journal["entries"][0];
        assert_has(entry, &json!({ "seq": held["seq"], "state": "answered", "status": 200 }));
        assert!(entry["revision"].as_u64() > Some(after));
    };
    join(world.get("/v1/apps"), watch).await;
}

#[tokio::test]
async fn a_wait_that_comes_to_its_end_tells_what_there_is() {
    let world = TestSandbox::start().await;
    assert_eq!(world.journal(0, 1).await, json!({ "entries": [], "last": 0 }));
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_400() {
    let world = TestSandbox::start().await;
    for query in ["after=x", "after=-1", "wait=soon", "since=1"] {
        assert_eq!(world.get(&format!("/sandbox/journal?{query}")).await.0, 400, "{query}");
    }
}

#[tokio::test]
async fn the_oldest_entries_go_when_their_bodies_grow_too_large() {
    let world = TestSandbox::start().await;
    let body = json!({ "name": "x", "description": "x".repeat(1_000_000) });
    for _ in 0..70 {
        world.post("/v1/apps", body.clone()).await;
    }
    let journal = world.journal(0, 0).await;
    let entries = journal["entries"].as_array().unwrap();
    assert!((60..70).contains(&entries.len()), "{}", entries.len());
    assert_eq!(entries.last().unwrap()["seq"], 70);
}
