//! `make soak`: a random run against all real parts, which ends equal to the objects in the cluster.
//!
//! The run edits, deletes and creates objects, and edits their sources and the apps in the API. The run also adds foreign
//! finalizers and faults, and kills the operator and the apiserver. [`plan`] draws the actions from the seed, [`run`]
//! executes the actions, and [`verify`] compares the end with the [`declared`] state. The status checker of `TestEnv`
//! checks the condition invariants of every status.

use std::{
    env,
    time::{Duration, Instant},
};

use crate::support::{
    control_plane::use_existing_cluster, eventually::poll, namespace_controller::NamespaceController,
};
use declared::APPS;
use run::Run;
use verify::Difference;

mod declared;
mod plan;
mod run;
mod verify;

/// Time limit of each convergence. Pauses after rejections and the budget take up to two minutes.
const CONVERGENCE: Duration = Duration::from_secs(180);

fn setting(name: &str) -> Option<u64> {
    let value = env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value:?}")))
}

/// Waits until there are no differences, and returns the time.
async fn converge(run: &Run, seed: u64, phase: &str) -> Duration {
    let start = Instant::now();
    let converged = poll(phase, CONVERGENCE, async || match run.differences().await? {
        differences if differences.is_empty() => Ok(()),
        differences => Err(run.report(seed, &differences)),
    });
    if let Err(report) = converged.await {
        fail(&report);
    }
    start.elapsed()
}

/// Fails the run with this report.
fn fail(report: &str) -> ! {
    println!("{report}");
    panic!("the soak run found differences");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make soak` runs the test"]
async fn random_run_ends_equal_to_the_objects_in_the_cluster() {
    assert!(!use_existing_cluster(), "the run kills the apiserver, so it needs its own control plane");
    let seed = setting("SEED").unwrap_or_else(|| fastrand::u64(..));
    let duration = Duration::from_secs(setting("DURATION").unwrap_or(600));
    println!("SEED={seed} DURATION={}", duration.as_secs());
    let mut run = Run::start(seed).await;
    run.execute_for(duration).await;
    let executed = run.history.len();

    let mut times = vec![end_faults(&mut run, seed).await];
    let mut differences = Vec::new();
    times.push(edit_after_portal(&mut run, seed, &mut differences).await);
    differences.extend(run.leaks().await);
    times.push(delete_all(&mut run, seed).await);
    run.record_status_writes().await;
    let calls = run.env.sandbox.calls_by("operator", 0).await.unwrap();
    differences.extend(run.journal_differences(&calls));
    if !differences.is_empty() {
        fail(&run.report(seed, &differences));
    }
    // The end of the namespace needs the controller manager. The drop of the environment checks every status.
    let _controller = NamespaceController::start(&run.env.cluster).await.unwrap();
    run.env.delete_namespace().await;
    run.env.wait_for_namespace_deletion().await;
    println!("SEED={seed}: {executed} actions in {} s", duration.as_secs());
    run.figures.iter().for_each(|(label, count)| println!("  {label}: {count}"));
    let times: Vec<_> = times.iter().map(|time| format!("{:.1} s", time.as_secs_f64())).collect();
    println!("  time to converge after faults, edits, deletions: {}", times.join(", "));
    drop(run);
    println!("  violations: 0");
}

/// Ends all faults and foreign finalizers, and returns the time until the convergence.
async fn end_faults(run: &mut Run, seed: u64) -> Duration {
    let start = Instant::now();
    let terminating = run.calm(CONVERGENCE).await;
    if !terminating.is_empty() {
        let differences: Vec<_> =
            terminating.into_iter().map(|target| (Some(target), "terminating".to_owned())).collect();
        fail(&run.report(seed, &differences));
    }
    converge(run, seed, "convergence after the faults").await;
    start.elapsed()
}

/// Sets a tag of another client on every app, and edits every SpiceApp. The tag survives the update by the operator.
async fn edit_after_portal(run: &mut Run, seed: u64, differences: &mut Vec<Difference>) -> Duration {
    let existing: Vec<usize> = (0..APPS.len()).filter(|index| run.plan.declared.apps[*index].exists).collect();
    for index in &existing {
        run.tag_in_portal(*index, "last").await.unwrap();
    }
    run.edit_all_apps().await;
    let time = converge(run, seed, "convergence after the last edit").await;
    for app in run.env.remote_apps().await {
        let is_existing = existing.iter().any(|index| app["name"] == APPS[*index].name);
        if is_existing && app["tags"]["foreign"] != "last" {
            differences.push((None, format!("{}: the foreign tag changed: {}", app["name"], app["tags"])));
        }
    }
    time
}

/// Deletes all objects in random order, and returns the time until the end of the deletions.
async fn delete_all(run: &mut Run, seed: u64) -> Duration {
    let mut targets = run.plan.declared.targets();
    fastrand::Rng::with_seed(seed).shuffle(&mut targets);
    run.delete_all(targets).await;
    converge(run, seed, "convergence after the deletion").await
}
