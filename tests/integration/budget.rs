//! Invariant 6: the request budget in the requests that the sandbox receives. The tests take minutes, so only
//! `make test-extended` runs them.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;
use spice_cloud_operator::api::SpiceOrganization;

use crate::{
    extended,
    support::{sandbox::Entry, test_env::TestEnv},
};

/// Requests per minute for the operator: half of 60, because of a reserve of 50 %.
const SHARE: usize = 30;

/// Number of requests between two restarts of the operator.
const CALLS_PER_RUN: usize = 4;

const WINDOW_SECONDS: i64 = 60;

#[tokio::test]
async fn invariant_6_request_budget_holds_in_every_minute_across_restarts() {
    if !extended() {
        return;
    }
    let env = TestEnv::new("budget").await;
    let budget = json!({ "spec": { "requestBudget": { "requestsPerMinute": 2 * SHARE, "reservePercent": 50 } } });
    env.patch::<SpiceOrganization>("default", budget).await;
    // The creates, and then a resync per second and app, always require more requests than the share.
    for number in 0..20 {
        env.apply_app(&format!("app-{number:02}"), json!({ "interval": "1s", "runtime": { "replicas": 2 } })).await;
    }

    let (mut runs, mut arrivals) = (0, Vec::<Timestamp>::new());
    while arrivals.last().is_none_or(|last| last.duration_since(arrivals[0]).as_secs() <= WINDOW_SECONDS + 5) {
        let operator = env.start_operator().await;
        runs += 1;
        let target = arrivals.len() + CALLS_PER_RUN;
        let mut revision = 0;
        while arrivals.len() < target {
            env.sandbox
                .wait_for_call("a request with a credential", revision, |call| call.credential.is_some())
                .await
                .unwrap();
            revision = env.sandbox.revision().await.unwrap();
            let calls = env.sandbox.calls_by("operator", 0).await.unwrap();
            arrivals = calls.iter().map(|call| call.at.as_str().unwrap().parse().unwrap()).collect();
        }
        operator.kill().unwrap();
    }

    let requests_in_window = |from: &Timestamp| {
        let after = arrivals.iter().filter(|at| **at >= *from);
        after.take_while(|at| at.duration_since(*from).as_secs() < WINDOW_SECONDS).count()
    };
    let maximum = arrivals.iter().map(requests_in_window).max().unwrap();
    println!(
        "{} requests in {runs} runs; at most {maximum} in {WINDOW_SECONDS} s, with a share of {SHARE}",
        arrivals.len()
    );
    assert!(runs >= 5, "too few restarts: {runs}");
    assert!(maximum <= SHARE, "{maximum} requests within {WINDOW_SECONDS} s");
    assert!(maximum > SHARE / 2, "too few requests to detect a violation: {maximum}");
}

/// Rate-limit window of the account, short so that the test covers several windows with two restarts each.
const SHORT_WINDOW: Duration = Duration::from_secs(30);

/// Requests per window: 1000 per minute.
const SHORT_WINDOW_LIMIT: u32 = 500;

/// Interval of the other client's requests: 300 per minute.
const FOREIGN_INTERVAL: Duration = Duration::from_millis(200);

/// Together, both clients exceed the limit of the account. The operator reduces its requests because of the headers.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_other_clients_of_the_account_are_never_rate_limited() {
    if !extended() {
        return;
    }
    let (window, limit) = (SHORT_WINDOW.as_secs().to_string(), SHORT_WINDOW_LIMIT.to_string());
    let env = TestEnv::with_sandbox("foreign", &["--rate-window", &window, "--user-rate", &limit]).await;
    for number in 0..40 {
        env.apply_app(&format!("app-{number:02}"), json!({ "interval": "1s" })).await;
    }
    // A credential of the operator's user.
    let foreign = env.sandbox.client("reader").unwrap();
    let client = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(FOREIGN_INTERVAL);
        loop {
            ticks.tick().await;
            foreign.call(Method::GET, "/regions", None).await?;
        }
        #[expect(unreachable_code, reason = "sets the error type of the task")]
        Ok::<(), String>(())
    });
    let runs = 6;
    for _ in 0..runs {
        let operator = env.start_operator_with(&["--max-rate-limit-pause=10m"]).await;
        tokio::time::sleep(SHORT_WINDOW / 2).await;
        assert!(!client.is_finished(), "the other client failed: {:?}", client.await);
        operator.kill().unwrap();
    }
    client.abort();

    let entries = env.sandbox.journal(0, Duration::ZERO).await.unwrap().entries;
    let calls_of =
        |name: &str| entries.iter().filter(|entry| entry.credential.as_deref() == Some(name)).collect::<Vec<_>>();
    let (own, foreign) = (calls_of("operator"), calls_of("reader"));
    let rate_limited = |calls: &[&Entry]| calls.iter().filter(|call| call.status == Some(429)).count();
    println!(
        "{runs} runs of {} s: {} requests of the operator ({} rate limited), {} of the other client ({} rate limited)",
        SHORT_WINDOW.as_secs() / 2,
        own.len(),
        rate_limited(&own),
        foreign.len(),
        rate_limited(&foreign),
    );
    assert_eq!(rate_limited(&foreign), 0);
    assert!(foreign.len() > 200 && own.len() > 300, "too few requests: {} and {}", foreign.len(), own.len());
}
