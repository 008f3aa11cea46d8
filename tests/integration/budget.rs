//! Invariant 6 on the wire. It takes longer than a minute, as that is what it is about: `make test-extended` runs it.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use reqwest::Method;
use serde_json::json;
use spice_cloud_operator::api::SpiceOrganization;

use crate::{
    extended, program,
    support::{sandbox::Entry, test_env::TestEnv},
};

/// Of 60 requests a minute, half is left to others.
const SHARE: usize = 30;

/// Calls after which the operator is killed and started again.
const CALLS_A_LIFE: usize = 4;

const WINDOW_SECONDS: i64 = 60;

#[tokio::test]
async fn invariant_6_in_no_window_of_a_minute_more_than_the_share_is_spent_across_restarts_too() {
    if !extended() {
        return;
    }
    let env = TestEnv::new("budget", program()).await;
    let budget = json!({ "spec": { "requestBudget": { "requestsPerMinute": 2 * SHARE, "reservePercent": 50 } } });
    let organizations = env.api::<SpiceOrganization>();
    organizations.patch("default", &PatchParams::default(), &Patch::Merge(budget)).await.unwrap();
    // More to do at any time than the share allows: apps to create, and then to check once a second.
    for number in 0..20 {
        env.app(&format!("app-{number:02}"), json!({ "interval": "1s", "runtime": { "replicas": 2 } })).await;
    }

    let (mut lives, mut arrivals) = (0, Vec::<Timestamp>::new());
    while arrivals.last().is_none_or(|last| last.duration_since(arrivals[0]).as_secs() <= WINDOW_SECONDS + 5) {
        let operator = env.operator().await;
        lives += 1;
        let enough = arrivals.len() + CALLS_A_LIFE;
        let mut revision = 0;
        while arrivals.len() < enough {
            env.sandbox.call("a call", revision, |call| call.credential.is_some()).await.unwrap();
            revision = env.sandbox.revision().await.unwrap();
            let calls = env.sandbox.calls_by("operator", 0).await.unwrap();
            arrivals = calls.iter().map(|call| call.at.as_str().unwrap().parse().unwrap()).collect();
        }
        operator.kill().unwrap();
    }

    let within = |from: &Timestamp| {
        let after = arrivals.iter().filter(|at| **at >= *from);
        after.take_while(|at| at.duration_since(*from).as_secs() < WINDOW_SECONDS).count()
    };
    let most = arrivals.iter().map(within).max().unwrap();
    println!("{} calls in {lives} lives; at most {most} in {WINDOW_SECONDS} s, of a share of {SHARE}", arrivals.len());
    assert!(lives >= 5, "restarts were part of it: {lives}");
    assert!(most <= SHARE, "{most} calls within {WINDOW_SECONDS} s");
    assert!(most > SHARE / 2, "the share is used, so that a breach would show: {most}");
}

/// The account's window, made short so that the operator is restarted in every half of several.
const SHORT_WINDOW: Duration = Duration::from_secs(30);

/// Of 1000 requests a minute, in that window.
const IN_SHORT_WINDOW: u32 = 500;

/// What the other client asks for: 300 requests a minute, however it is answered.
const FOREIGN_EVERY: Duration = Duration::from_millis(200);

/// Together they want more than the account is granted; it is the operator that gives way, by the headers alone.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_another_client_of_the_account_is_never_refused() {
    if !extended() {
        return;
    }
    let (window, limit) = (SHORT_WINDOW.as_secs().to_string(), IN_SHORT_WINDOW.to_string());
    let env = TestEnv::with_sandbox("foreign", program(), &["--rate-window", &window, "--user-rate", &limit]).await;
    for number in 0..40 {
        env.app(&format!("app-{number:02}"), json!({ "interval": "1s" })).await;
    }
    // Of the same user as the operator.
    let foreign = env.sandbox.person("reader").unwrap();
    let client = tokio::spawn(async move {
        let mut turns = tokio::time::interval(FOREIGN_EVERY);
        loop {
            turns.tick().await;
            foreign.call(Method::GET, "/regions", None).await?;
        }
        #[expect(unreachable_code, reason = "names the type of what ends it")]
        Ok::<(), String>(())
    });
    let lives = 6;
    for _ in 0..lives {
        let operator = env.operator_with(&["--max-rate-limit-pause=10m"]).await;
        tokio::time::sleep(SHORT_WINDOW / 2).await;
        assert!(!client.is_finished(), "it was refused: {:?}", client.await);
        operator.kill().unwrap();
    }
    client.abort();

    let entries = env.sandbox.journal(0, Duration::ZERO).await.unwrap().entries;
    let by = |who: &str| entries.iter().filter(|entry| entry.credential.as_deref() == Some(who)).collect::<Vec<_>>();
    let (ours, theirs) = (by("operator"), by("reader"));
    let refused = |calls: &[&Entry]| calls.iter().filter(|call| call.status == Some(429)).count();
    println!(
        "{lives} lives of {} s: {} calls of the operator ({} refused), {} of the other client ({} refused)",
        SHORT_WINDOW.as_secs() / 2,
        ours.len(),
        refused(&ours),
        theirs.len(),
        refused(&theirs),
    );
    assert_eq!(refused(&theirs), 0);
    assert!(theirs.len() > 200 && ours.len() > 300, "both were at work: {} and {}", theirs.len(), ours.len());
}
