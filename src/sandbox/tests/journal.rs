//! Journal: entries, revisions and waits.

use futures::future::join;
use reqwest::Method;
use serde_json::{Value, json};

use super::{LONG_MS, OPERATOR, READER, TestSandbox, UNKNOWN, assert_has, named, path, reply};

#[tokio::test]
async fn an_entry_records_request_credential_and_outcome() {
    let sandbox = TestSandbox::start().await;
    let app = sandbox.create_app(named("app-one")).await;
    let url = path(&app);
    sandbox.put(&url.replace("apps", "projects"), json!({ "replicas": 0 })).await;
    sandbox.get_as(READER, "/v1/apps?limit=1&offset=0").await;
    reply(sandbox.request(Method::GET, "/nowhere")).await;
    reply(sandbox.request(Method::POST, "/v1/apps").bearer_auth(UNKNOWN).body("no json")).await;
    sandbox.delete(&url).await;

    let journal = sandbox.journal(0, 0).await;
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
async fn the_journal_contains_no_token_and_no_request_to_the_sandbox_endpoints() {
    let sandbox = TestSandbox::start().await;
    sandbox.get("/v1/apps").await;
    sandbox.get("/sandbox/state").await;
    sandbox.get("/sandbox/nothing").await;
    let text = sandbox.journal(0, 0).await.to_string();
    assert!(text.contains("operator") && !text.contains(OPERATOR) && !text.contains("/sandbox"), "{text}");
}

#[tokio::test]
async fn the_journal_returns_only_changes_after_a_revision() {
    let sandbox = TestSandbox::start().await;
    sandbox.get("/v1/apps").await;
    let first = sandbox.journal(0, 0).await;
    let last = first["last"].as_u64().unwrap();
    assert_eq!(sandbox.journal(last, 0).await, json!({ "entries": [], "last": last }));
    sandbox.get("/v1/regions").await;
    let second = sandbox.journal(last, 0).await;
    assert_eq!(second["entries"].as_array().unwrap().len(), 1);
    assert_has(&second["entries"][0], &json!({ "seq": 2, "path": "/v1/regions" }));
    assert!(second["last"].as_u64() > Some(last));
}

#[tokio::test]
async fn a_wait_ends_with_the_next_request() {
    let sandbox = TestSandbox::start().await;
    sandbox.get("/v1/apps").await;
    let last = sandbox.journal(0, 0).await["last"].as_u64().unwrap();
    let (journal, _) = join(sandbox.journal(last, LONG_MS), sandbox.get("/v1/regions")).await;
    assert_has(&journal["entries"][0], &json!({ "seq": 2, "path": "/v1/regions" }));
}

#[tokio::test]
async fn a_wait_ends_when_an_entry_changes_its_state() {
    let sandbox = TestSandbox::start().await;
    let rule = sandbox.add_fault(json!({ "action": "hang" })).await;
    let watch = async {
        let held = sandbox.wait_for_state("held").await;
        let after = held["revision"].as_u64().unwrap();
        let (journal, ()) = join(sandbox.journal(after, LONG_MS), sandbox.remove_fault(rule)).await;
        let entry = &journal["entries"][0];
        assert_has(entry, &json!({ "seq": held["seq"], "state": "answered", "status": 200 }));
        assert!(entry["revision"].as_u64() > Some(after));
    };
    join(sandbox.get("/v1/apps"), watch).await;
}

#[tokio::test]
async fn a_wait_that_times_out_returns_the_current_revision() {
    let sandbox = TestSandbox::start().await;
    assert_eq!(sandbox.journal(0, 1).await, json!({ "entries": [], "last": 0 }));
}

#[tokio::test]
async fn an_invalid_journal_query_gives_400() {
    let sandbox = TestSandbox::start().await;
    for query in ["after=x", "after=-1", "wait=soon", "since=1"] {
        assert_eq!(sandbox.get(&format!("/sandbox/journal?{query}")).await.0, 400, "{query}");
    }
}

#[tokio::test]
async fn the_oldest_entries_are_evicted_when_bodies_grow_too_large() {
    let sandbox = TestSandbox::start().await;
    let body = json!({ "name": "x", "description": "x".repeat(1_000_000) });
    for _ in 0..70 {
        sandbox.post("/v1/apps", body.clone()).await;
    }
    let entries = sandbox.journal_entries().await;
    assert!((60..70).contains(&entries.len()), "{}", entries.len());
    assert_eq!(entries.last().unwrap()["seq"], 70);
}
