//! What goes wrong on purpose.

use futures::future::join;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{LONG, OPERATOR, TestSandbox, assert_has, named, path};

/// A create over a connection of its own, to see every byte of the answer.
async fn raw_create(world: &TestSandbox, name: &str) -> TcpStream {
    let body = named(name).to_string();
    let head = format!(
        "POST /v1/apps HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer {OPERATOR}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(world.running.address()).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_status_replaces_the_answer_before_or_after_the_request_took_effect() {
    for (when, applied) in [("before", false), ("after", true)] {
        let world = TestSandbox::start().await;
        world.fault(json!({ "method": "POST", "route": "/v1/apps", "when": when, "action": { "status": 503 } })).await;
        let answer = world.post("/v1/apps", named("app-one")).await;
        assert_eq!(answer, (503, json!({ "error": "Service Unavailable" })), "{when}");
        assert_eq!(world.kept().await.len(), usize::from(applied), "{when}");
        let entry = world.entry_in("answered").await;
        assert_has(&entry, &json!({ "status": 503, "applied": applied, "route": "/v1/apps" }));
    }
}

#[tokio::test]
async fn a_status_may_bring_any_body_and_headers() {
    let world = TestSandbox::start().await;
    let bodies = [json!({}), json!({ "error": { "odd": 1 } }), json!("text"), json!(null)];
    for body in bodies {
        let headers = json!({ "Retry-After": "7", "content-type": "text/plain" });
        world.fault(json!({ "action": { "status": 429, "body": body, "headers": headers }, "times": 1 })).await;
        let response = world.request(Method::GET, "/v1/apps").bearer_auth(OPERATOR).send().await.unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(response.headers()["content-type"], "text/plain");
        assert_eq!(response.json::<Value>().await.unwrap(), body);
    }
}

#[tokio::test]
async fn a_status_may_bring_a_text_that_is_no_json() {
    let world = TestSandbox::start().await;
    let page = "<!DOCTYPE html><title>Not here</title>";
    for (headers, content_type) in
        [(json!({}), "text/plain; charset=utf-8"), (json!({ "Content-Type": "text/html" }), "text/html")]
    {
        let answer = json!({ "status": 404, "text": page, "headers": headers });
        world.fault(json!({ "action": answer, "times": 1 })).await;
        let response = world.request(Method::GET, "/v1/apps").bearer_auth(OPERATOR).send().await.unwrap();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["content-type"], content_type);
        assert_eq!(response.text().await.unwrap(), page);
    }
}

#[tokio::test]
async fn a_delay_ends_by_itself_or_with_its_rule() {
    for (when, state) in [("before", "held"), ("after", "applied-held")] {
        for (action, status) in [(json!({ "delay": 1 }), 201), (json!({ "delay": 1, "status": 503 }), 503)] {
            let world = TestSandbox::start().await;
            let rule = json!({ "method": "POST", "when": when, "action": action });
            world.fault(rule.clone()).await;
            assert_eq!(world.post("/v1/apps", named("app-one")).await.0, status, "{rule}");
            let applied = status == 201 || when == "after";
            assert_eq!(world.kept().await.len(), usize::from(applied), "{rule}");
        }
        let world = TestSandbox::start().await;
        let rule = world.fault(json!({ "method": "POST", "when": when, "action": { "delay": LONG } })).await;
        let release = async {
            world.entry_in(state).await;
            world.delete(&format!("/sandbox/faults/{rule}")).await;
        };
        let (answer, ()) = join(world.post("/v1/apps", named("app-one")), release).await;
        assert_eq!(answer.0, 201, "{when}");
    }
}

#[tokio::test]
async fn a_close_ends_the_connection_without_a_byte() {
    for (when, applied) in [("before", false), ("after", true)] {
        let world = TestSandbox::start().await;
        world.fault(json!({ "when": when, "action": "close" })).await;
        let mut answer = Vec::new();
        raw_create(&world, "app-one").await.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"", "{when}");
        assert_eq!(world.kept().await.len(), usize::from(applied), "{when}");
        let entry = world.entry_in("closed").await;
        assert_has(&entry, &json!({ "status": null, "applied": applied, "body": named("app-one") }));
    }
}

#[tokio::test]
async fn a_hang_lasts_until_the_rule_is_removed_and_then_nothing_was_wrong() {
    for (when, state, kept) in [("before", "held", 0), ("after", "applied-held", 1)] {
        for all in [false, true] {
            let world = TestSandbox::start().await;
            let rule = world.fault(json!({ "route": "/v1/apps", "when": when, "action": "hang" })).await;
            let release = async {
                let entry = world.entry_in(state).await;
                assert_has(&entry, &json!({ "status": null, "applied": kept == 1 }));
                assert_eq!(world.kept().await.len(), kept, "{when}");
                let url = if all { "/sandbox/faults".to_owned() } else { format!("/sandbox/faults/{rule}") };
                assert_eq!(world.delete(&url).await.0, 204);
            };
            let (answer, ()) = join(world.post("/v1/apps", named("app-one")), release).await;
            assert_eq!(answer.0, 201, "{when}");
            assert_eq!(world.kept().await, ["app-one"]);
            assert_has(&world.entry_in("answered").await, &json!({ "status": 201, "applied": true }));
        }
    }
}

#[tokio::test]
async fn a_request_whose_client_left_while_it_was_held_does_nothing_more() {
    for (when, state, applied) in [("before", "held", false), ("after", "applied-held", true)] {
        let world = TestSandbox::start().await;
        let rule = world.fault(json!({ "method": "POST", "when": when, "action": "hang" })).await;
        let client = raw_create(&world, "app-one").await;
        world.entry_in(state).await;
        drop(client);
        assert_has(&world.entry_in("abandoned").await, &json!({ "status": null, "applied": applied }));
        assert_eq!(world.delete(&format!("/sandbox/faults/{rule}")).await.0, 204);
        // A request that comes after the release would see the effect of one that went on.
        world.get("/v1/apps").await;
        assert_eq!(world.kept().await.len(), usize::from(applied), "{when}");
        let journal = world.journal(0, 0).await;
        assert_has(&journal["entries"][0], &json!({ "state": "abandoned", "applied": applied }));
    }
}

#[tokio::test]
async fn a_client_that_gives_up_by_a_timeout_leaves_too() {
    let world = TestSandbox::start().await;
    world.fault(json!({ "method": "POST", "action": "hang" })).await;
    let request = tokio::spawn(
        Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(format!("{}/v1/apps", world.running.url()))
            .bearer_auth(OPERATOR)
            .json(&named("app-one"))
            .send(),
    );
    world.entry_in("held").await;
    request.abort();
    world.entry_in("abandoned").await;
    world.delete("/sandbox/faults").await;
    world.get("/v1/apps").await;
    assert!(world.kept().await.is_empty());
}

#[tokio::test]
async fn a_rule_acts_only_on_what_it_names() {
    let world = TestSandbox::start().await;
    let app = path(&world.app(named("app-one")).await);
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
        world.fault(rule.clone()).await;
        for ((method, url), expected) in requests.iter().zip(expected) {
            let (status, _) = world.call(method.clone(), url, OPERATOR, None).await;
            assert_eq!(status == 599, expected, "{rule} {method} {url}");
        }
        world.delete("/sandbox/faults").await;
    }
}

#[tokio::test]
async fn the_first_rule_wins_until_it_is_used_up() {
    let world = TestSandbox::start().await;
    let first = world.fault(json!({ "action": { "status": 500 }, "times": 2 })).await;
    let second = world.fault(json!({ "action": { "status": 502 }, "route": "/v1/apps" })).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(world.get("/v1/apps").await.0);
    }
    assert_eq!(seen, [500, 500, 502, 502]);
    let listed = json!([
        { "id": first, "when": "before", "action": { "status": 500 }, "times": 2, "matched": 2 },
        { "id": second, "route": "/v1/apps", "when": "before", "action": { "status": 502 }, "matched": 2 },
    ]);
    assert_eq!(world.get("/sandbox/faults").await, (200, listed));
    assert_eq!(world.delete(&format!("/sandbox/faults/{second}")).await.0, 204);
    assert_eq!(world.get("/v1/apps").await.0, 200);
}

#[tokio::test]
async fn a_rule_that_holds_nothing_back_before_may_still_meet_one_after() {
    let world = TestSandbox::start().await;
    let hang = world.fault(json!({ "when": "before", "action": "hang" })).await;
    world.fault(json!({ "when": "after", "action": { "status": 500 } })).await;
    let release = async {
        world.entry_in("held").await;
        world.delete(&format!("/sandbox/faults/{hang}")).await;
    };
    let (answer, ()) = join(world.post("/v1/apps", named("app-one")), release).await;
    assert_eq!(answer.0, 500);
    assert_eq!(world.kept().await, ["app-one"]);
}

#[tokio::test]
async fn a_rule_that_makes_no_sense_is_refused() {
    let world = TestSandbox::start().await;
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
        let (status, answer) = world.post("/sandbox/faults", rule.clone()).await;
        assert_eq!(status, 400, "{rule} {answer}");
    }
    assert_eq!(world.get("/sandbox/faults").await.1, json!([]));
    for id in ["1", "x"] {
        assert_eq!(world.delete(&format!("/sandbox/faults/{id}")).await.0, 404);
    }
}

#[tokio::test]
async fn no_rule_reaches_what_is_asked_of_the_server_itself() {
    let world = TestSandbox::start().await;
    world.fault(json!({ "action": "close" })).await;
    assert_eq!(world.get("/sandbox/state").await.0, 200);
    assert_eq!(world.delete("/sandbox/faults").await.0, 204);
}
