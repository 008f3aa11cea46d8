//! Fault rules.

use futures::future::join;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{LONG_MS, OPERATOR, TestSandbox, assert_has, named, path};

/// Sends a create request over a raw connection, so that the test sees every byte of the response.
async fn raw_create(sandbox: &TestSandbox, name: &str) -> TcpStream {
    let body = named(name).to_string();
    let head = format!(
        "POST /v1/apps HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer {OPERATOR}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(sandbox.server.address()).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_status_fault_replaces_the_response_before_or_after_the_effect() {
    for (when, applied) in [("before", false), ("after", true)] {
        let sandbox = TestSandbox::start().await;
        sandbox
            .add_fault(json!({ "method": "POST", "route": "/v1/apps", "when": when, "action": { "status": 503 } }))
            .await;
        let response = sandbox.post("/v1/apps", named("app-one")).await;
        assert_eq!(response, (503, json!({ "error": "Service Unavailable" })), "{when}");
        assert_eq!(sandbox.stored_app_names().await.len(), usize::from(applied), "{when}");
        let entry = sandbox.wait_for_state("answered").await;
        assert_has(&entry, &json!({ "status": 503, "applied": applied, "route": "/v1/apps" }));
    }
}

#[tokio::test]
async fn a_status_fault_can_have_any_body_and_headers() {
    let sandbox = TestSandbox::start().await;
    let bodies = [json!({}), json!({ "error": { "odd": 1 } }), json!("text"), json!(null)];
    for body in bodies {
        let headers = json!({ "Retry-After": "7", "content-type": "text/plain" });
        sandbox.add_fault(json!({ "action": { "status": 429, "body": body, "headers": headers }, "times": 1 })).await;
        let response = sandbox.request(Method::GET, "/v1/apps").bearer_auth(OPERATOR).send().await.unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(response.headers()["content-type"], "text/plain");
        assert_eq!(response.json::<Value>().await.unwrap(), body);
    }
}

#[tokio::test]
async fn a_status_fault_can_have_a_text_body() {
    let sandbox = TestSandbox::start().await;
    let page = "<!DOCTYPE html><title>Not here</title>";
    for (headers, content_type) in
        [(json!({}), "text/plain; charset=utf-8"), (json!({ "Content-Type": "text/html" }), "text/html")]
    {
        let action = json!({ "status": 404, "text": page, "headers": headers });
        sandbox.add_fault(json!({ "action": action, "times": 1 })).await;
        let response = sandbox.request(Method::GET, "/v1/apps").bearer_auth(OPERATOR).send().await.unwrap();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["content-type"], content_type);
        assert_eq!(response.text().await.unwrap(), page);
    }
}

#[tokio::test]
async fn a_delay_ends_after_its_time_or_with_its_rule() {
    for (when, state) in [("before", "held"), ("after", "applied-held")] {
        for (action, status) in [(json!({ "delay": 1 }), 201), (json!({ "delay": 1, "status": 503 }), 503)] {
            let sandbox = TestSandbox::start().await;
            let rule = json!({ "method": "POST", "when": when, "action": action });
            sandbox.add_fault(rule.clone()).await;
            assert_eq!(sandbox.post("/v1/apps", named("app-one")).await.0, status, "{rule}");
            let applied = status == 201 || when == "after";
            assert_eq!(sandbox.stored_app_names().await.len(), usize::from(applied), "{rule}");
        }
        let sandbox = TestSandbox::start().await;
        let rule = sandbox.add_fault(json!({ "method": "POST", "when": when, "action": { "delay": LONG_MS } })).await;
        let release = async {
            sandbox.wait_for_state(state).await;
            sandbox.remove_fault(rule).await;
        };
        let (response, ()) = join(sandbox.post("/v1/apps", named("app-one")), release).await;
        assert_eq!(response.0, 201, "{when}");
    }
}

#[tokio::test]
async fn a_fault_affects_only_the_named_credential() {
    let sandbox = TestSandbox::start().await;
    sandbox.add_fault(json!({ "credential": "reader", "action": { "status": 503 } })).await;
    assert_eq!(sandbox.get("/v1/apps").await.0, 200);
    sandbox.add_fault(json!({ "credential": "operator", "action": { "status": 502 } })).await;
    assert_eq!(sandbox.get("/v1/apps").await.0, 502);
}

#[tokio::test]
async fn a_close_fault_sends_no_byte() {
    for (when, applied) in [("before", false), ("after", true)] {
        let sandbox = TestSandbox::start().await;
        sandbox.add_fault(json!({ "when": when, "action": "close" })).await;
        let mut bytes = Vec::new();
        raw_create(&sandbox, "app-one").await.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"", "{when}");
        assert_eq!(sandbox.stored_app_names().await.len(), usize::from(applied), "{when}");
        let entry = sandbox.wait_for_state("closed").await;
        assert_has(&entry, &json!({ "status": null, "applied": applied, "body": named("app-one") }));
    }
}

#[tokio::test]
async fn a_hang_lasts_until_its_rule_is_removed_and_the_request_then_succeeds() {
    for (when, state, stored) in [("before", "held", 0), ("after", "applied-held", 1)] {
        for all in [false, true] {
            let sandbox = TestSandbox::start().await;
            let rule = sandbox.add_fault(json!({ "route": "/v1/apps", "when": when, "action": "hang" })).await;
            let release = async {
                let entry = sandbox.wait_for_state(state).await;
                assert_has(&entry, &json!({ "status": null, "applied": stored == 1 }));
                assert_eq!(sandbox.stored_app_names().await.len(), stored, "{when}");
                if all {
                    assert_eq!(sandbox.delete("/sandbox/faults").await.0, 204);
                } else {
                    sandbox.remove_fault(rule).await;
                }
            };
            let (response, ()) = join(sandbox.post("/v1/apps", named("app-one")), release).await;
            assert_eq!(response.0, 201, "{when}");
            assert_eq!(sandbox.stored_app_names().await, ["app-one"]);
            assert_has(&sandbox.wait_for_state("answered").await, &json!({ "status": 201, "applied": true }));
        }
    }
}

#[tokio::test]
async fn a_delayed_request_is_abandoned_when_its_client_disconnects() {
    for (when, state, applied) in [("before", "held", false), ("after", "applied-held", true)] {
        let sandbox = TestSandbox::start().await;
        let rule = sandbox.add_fault(json!({ "method": "POST", "when": when, "action": "hang" })).await;
        let client = raw_create(&sandbox, "app-one").await;
        sandbox.wait_for_state(state).await;
        drop(client);
        assert_has(&sandbox.wait_for_state("abandoned").await, &json!({ "status": null, "applied": applied }));
        sandbox.remove_fault(rule).await;
        // A later request would see the effect of a request that continued after the release.
        sandbox.get("/v1/apps").await;
        assert_eq!(sandbox.stored_app_names().await.len(), usize::from(applied), "{when}");
        assert_has(&sandbox.journal_entries().await[0], &json!({ "state": "abandoned", "applied": applied }));
    }
}

#[tokio::test]
async fn a_request_is_abandoned_when_its_client_cancels_it() {
    let sandbox = TestSandbox::start().await;
    sandbox.add_fault(json!({ "method": "POST", "action": "hang" })).await;
    let request = sandbox.request(Method::POST, "/v1/apps").bearer_auth(OPERATOR).json(&named("app-one"));
    let request = tokio::spawn(request.send());
    sandbox.wait_for_state("held").await;
    request.abort();
    sandbox.wait_for_state("abandoned").await;
    sandbox.delete("/sandbox/faults").await;
    sandbox.get("/v1/apps").await;
    assert!(sandbox.stored_app_names().await.is_empty());
}

#[tokio::test]
async fn a_rule_affects_only_matching_requests() {
    let sandbox = TestSandbox::start().await;
    let app = path(&sandbox.create_app(named("app-one")).await);
    let project = app.replace("apps", "projects");
    let requests = [
        (Method::GET, "/v1/apps"),
        (Method::PUT, "/v1/apps"),
        (Method::GET, &app),
        (Method::GET, &project),
        (Method::GET, "/no"),
    ];
    let cases = [
        (json!({}), [true, true, true, true, true]),
        (json!({ "method": "GET" }), [true, false, true, true, true]),
        (json!({ "route": "/v1/apps" }), [true, true, false, false, false]),
        (json!({ "route": "/v1/apps/{appId}" }), [false, false, true, false, false]),
        (json!({ "route": "/v1/apps*" }), [true, true, true, false, false]),
        (json!({ "route": "/v1/*" }), [true, true, true, true, false]),
        (json!({ "route": "*" }), [true, true, true, true, true]),
        (json!({ "method": "PUT", "route": "/v1/apps" }), [false, true, false, false, false]),
    ];
    for (mut rule, expected) in cases {
        rule["action"] = json!({ "status": 599 });
        sandbox.add_fault(rule.clone()).await;
        for ((method, url), expected) in requests.iter().zip(expected) {
            let (status, _) = sandbox.call(method.clone(), url, OPERATOR, None).await;
            assert_eq!(status == 599, expected, "{rule} {method} {url}");
        }
        sandbox.delete("/sandbox/faults").await;
    }
}

#[tokio::test]
async fn the_first_rule_wins_until_it_is_exhausted() {
    let sandbox = TestSandbox::start().await;
    let first = sandbox.add_fault(json!({ "action": { "status": 500 }, "times": 2 })).await;
    let second = sandbox.add_fault(json!({ "action": { "status": 502 }, "route": "/v1/apps" })).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(sandbox.get("/v1/apps").await.0);
    }
    assert_eq!(statuses, [500, 500, 502, 502]);
    let listed = json!([
        { "id": first, "when": "before", "action": { "status": 500 }, "times": 2, "matched": 2 },
        { "id": second, "route": "/v1/apps", "when": "before", "action": { "status": 502 }, "matched": 2 },
    ]);
    assert_eq!(sandbox.get("/sandbox/faults").await, (200, listed));
    sandbox.remove_fault(second).await;
    assert_eq!(sandbox.get("/v1/apps").await.0, 200);
}

#[tokio::test]
async fn a_request_can_trigger_one_rule_before_and_one_after_its_effect() {
    let sandbox = TestSandbox::start().await;
    let hang = sandbox.add_fault(json!({ "when": "before", "action": "hang" })).await;
    sandbox.add_fault(json!({ "when": "after", "action": { "status": 500 } })).await;
    let release = async {
        sandbox.wait_for_state("held").await;
        sandbox.remove_fault(hang).await;
    };
    let (response, ()) = join(sandbox.post("/v1/apps", named("app-one")), release).await;
    assert_eq!(response.0, 500);
    assert_eq!(sandbox.stored_app_names().await, ["app-one"]);
}

#[tokio::test]
async fn an_invalid_rule_is_rejected() {
    let sandbox = TestSandbox::start().await;
    let action = json!({ "status": 500 });
    let rules = [
        json!({}),
        json!({ "action": "explode" }),
        json!({ "action": {} }),
        json!({ "action": { "status": 100 } }),
        json!({ "action": { "status": 600 } }),
        json!({ "action": { "status": 500, "colour": "red" } }),
        json!({ "action": { "status": 500, "headers": { "a b": "c" } } }),
        json!({ "action": { "status": 500, "headers": { "Content-Length": "9" } } }),
        json!({ "action": { "delay": -1 } }),
        json!({ "action": { "delay": 600_001 } }),
        json!({ "action": { "status": 500, "body": {}, "text": "" } }),
        json!({ "action": { "text": "no status" } }),
        json!({ "action": action, "method": "post" }),
        json!({ "action": action, "route": "v1/apps" }),
        json!({ "action": action, "route": "/v1/*/x" }),
        json!({ "action": action, "when": "later" }),
        json!({ "action": action, "times": 0 }),
        json!({ "action": action, "time": 1 }),
    ];
    for rule in rules {
        let (status, response) = sandbox.post("/sandbox/faults", rule.clone()).await;
        assert_eq!(status, 400, "{rule} {response}");
    }
    assert_eq!(sandbox.get("/sandbox/faults").await.1, json!([]));
    for id in ["1", "x"] {
        assert_eq!(sandbox.delete(&format!("/sandbox/faults/{id}")).await.0, 404);
    }
}

#[tokio::test]
async fn rules_do_not_affect_the_sandbox_endpoints() {
    let sandbox = TestSandbox::start().await;
    sandbox.add_fault(json!({ "action": "close" })).await;
    assert_eq!(sandbox.get("/sandbox/state").await.0, 200);
    assert_eq!(sandbox.delete("/sandbox/faults").await.0, 204);
}
