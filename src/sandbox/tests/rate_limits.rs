//! Rate limits.

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{BOTH, ELSEWHERE, OPERATOR, READER, SESSION, TestSandbox, UNKNOWN};
use crate::sandbox::traffic::rate_limits::RequestLimiter;
use crate::sandbox::{RateLimits, SandboxConfig};

/// Longer than any test, so that no request leaves the window.
const WINDOW: Duration = Duration::from_secs(3600);

fn limits(per_user: u32, per_organization: u32) -> RateLimits {
    RateLimits { per_user, per_organization, window: WINDOW, has_headers: true }
}

async fn start(rate_limits: RateLimits) -> TestSandbox {
    TestSandbox::start_with(SandboxConfig { rate_limits, ..SandboxConfig::default() }).await
}

async fn send(sandbox: &TestSandbox, url: &str, token: &str) -> Response {
    sandbox.request(Method::GET, url).bearer_auth(token).send().await.unwrap()
}

fn number(response: &Response, name: &str) -> i64 {
    response.headers()[name].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_response_has_rate_limit_headers_and_a_429_has_retry_after() {
    let sandbox = start(limits(2, 100)).await;
    for (url, status, remaining) in [("/v1/apps", 200, 1), ("/v1/nothing", 404, 0), ("/v1/apps", 429, 0)] {
        let before = jiff::Timestamp::now().as_second();
        let response = send(&sandbox, url, OPERATOR).await;
        assert_eq!(response.status(), status, "{url}");
        assert_eq!(number(&response, "x-ratelimit-limit"), 2);
        assert_eq!(number(&response, "x-ratelimit-remaining"), remaining);
        assert!(number(&response, "x-ratelimit-reset") > before);
        if status == 429 {
            assert!((1..=3600).contains(&number(&response, "retry-after")));
            assert_eq!(response.json::<Value>().await.unwrap(), json!({ "error": "Rate limit exceeded" }));
        } else {
            assert!(!response.headers().contains_key("retry-after"));
        }
    }
    let statuses: Vec<_> = sandbox.journal_entries().await.iter().map(|entry| entry["status"].clone()).collect();
    assert_eq!(statuses, [200, 404, 429]);
}

#[tokio::test]
async fn a_user_limit_covers_all_credentials_of_that_user_only() {
    let sandbox = start(limits(1, 100)).await;
    let cases = [(OPERATOR, 200), (READER, 429), (SESSION, 429), (BOTH, 200), (ELSEWHERE, 200)];
    for (token, status) in cases {
        assert_eq!(send(&sandbox, "/v1/apps", token).await.status(), status, "{token}");
    }
}

#[tokio::test]
async fn an_organization_limit_covers_all_users() {
    let sandbox = start(limits(100, 2)).await;
    for (token, organization, status) in [
        (OPERATOR, "sandbox", 200),
        (BOTH, "sandbox", 200),
        (BOTH, "sandbox", 429),
        (OPERATOR, "sandbox", 429),
        (BOTH, "elsewhere", 200),
        (ELSEWHERE, "elsewhere", 200),
        (ELSEWHERE, "elsewhere", 429),
    ] {
        let request = sandbox.request(Method::GET, "/v1/apps").bearer_auth(token).header("X-Org-Name", organization);
        assert_eq!(request.send().await.unwrap().status(), status, "{token} {organization}");
    }
}

#[tokio::test]
async fn rate_limits_apply_after_401_and_before_all_other_errors() {
    let sandbox = start(limits(0, 100)).await;
    let send = async |token: &str, organization: &str| {
        let request = sandbox.request(Method::POST, "/v1/apps").bearer_auth(token).header("X-Org-Name", organization);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send(UNKNOWN, "sandbox").await, 401);
    assert_eq!(send(READER, "").await, 429);
    assert_eq!(send(OPERATOR, "sandbox").await, 429);
    sandbox.add_fault(json!({ "action": { "status": 500 } })).await;
    assert_eq!(send(OPERATOR, "sandbox").await, 429);
}

#[tokio::test]
async fn sandbox_endpoints_and_the_portal_credential_are_not_limited() {
    let sandbox = start(limits(0, 0)).await;
    for url in ["/v1/health", "/sandbox/state"] {
        assert_eq!(send(&sandbox, url, OPERATOR).await.status(), 200, "{url}");
    }
    assert_eq!(send(&sandbox, "/v1/apps", "sandbox-fake-token-portal").await.status(), 200);
}

#[tokio::test]
async fn rate_limit_headers_can_be_omitted() {
    let sandbox = start(RateLimits { has_headers: false, ..limits(1, 100) }).await;
    for status in [200, 429] {
        let response = send(&sandbox, "/v1/apps", OPERATOR).await;
        assert_eq!(response.status(), status);
        let has_headers =
            response.headers().keys().any(|name| name.as_str().starts_with("x-rate") || name == "retry-after");
        assert!(!has_headers, "{:?}", response.headers());
    }
}

#[test]
fn the_window_slides_and_a_rejected_request_does_not_count() {
    let limiter = RequestLimiter::new(RateLimits { window: Duration::from_secs(10), ..limits(2, 100) });
    let (credential, start) = (SandboxConfig::default().credentials.remove(0), Instant::now());
    let cases = [(0, None), (6, None), (7, Some(3)), (9, Some(1)), (10, None), (11, Some(5)), (16, None), (40, None)];
    for (second, expected) in cases {
        let state = limiter.count_request(&credential, 1, start + Duration::from_secs(second));
        assert_eq!(state.retry_after, expected.map(Duration::from_secs), "at {second} s");
    }
}
