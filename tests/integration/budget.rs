//! Invariant 6 on the wire. It takes longer than a minute, as that is what it is about: `make test-extended` runs it.

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use spice_cloud_operator::api::SpiceOrganization;

use crate::{extended, program, support::world::World};

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
    let world = World::new("budget", program()).await;
    let budget = json!({ "spec": { "requestBudget": { "requestsPerMinute": 2 * SHARE, "reservePercent": 50 } } });
    let organizations = world.api::<SpiceOrganization>();
    organizations.patch("default", &PatchParams::default(), &Patch::Merge(budget)).await.unwrap();
    // More to do at any time than the share allows: apps to create, and then to check once a second.
    for number in 0..20 {
        world.app(&format!("app-{number:02}"), json!({ "interval": "1s", "runtime": { "replicas": 2 } })).await;
    }

    let (mut lives, mut arrivals) = (0, Vec::<Timestamp>::new());
    while arrivals.last().is_none_or(|last| last.duration_since(arrivals[0]).as_secs() <= WINDOW_SECONDS + 5) {
        let operator = world.operator().await;
        lives += 1;
        let enough = arrivals.len() + CALLS_A_LIFE;
        let mut revision = 0;
        while arrivals.len() < enough {
            world.sandbox.call("a call", revision, |call| call.credential.is_some()).await.unwrap();
            revision = world.sandbox.revision().await.unwrap();
            let calls = world.sandbox.calls_by("operator", 0).await.unwrap();
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
