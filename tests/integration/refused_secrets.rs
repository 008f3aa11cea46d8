//! Writes of Secrets and of the Lease that an admission policy refuses.

use kube::ResourceExt;
use serde_json::json;
use spice_cloud_operator::api::{CREDENTIAL_FINALIZER, SpiceApp, SpiceOrganization, SpiceSecret};

use crate::{
    refused_writes::{wait_for_event, wait_for_event_with},
    secrets::{env_with_app, one_key_spec},
    support::{
        admission::AdmissionPolicy,
        control_plane::{User, use_existing_cluster},
        eventually::{DEADLINE, eventually},
        operator::Operator,
        test_env::{CREDENTIAL, Kind, TestEnv},
    },
};

const SECRETS: (&str, &str) = ("", "secrets");

/// Writes with this verb and kind that the API server rejected.
async fn rejected_writes(operator: &Operator, verb: &str, kind: &str) -> Result<f64, String> {
    let metrics = operator.metrics().await?;
    let count = |labels: &[(&str, &str)]| metrics.sum("spice_operator_kubernetes_writes_total", labels);
    Ok(count(&[("verb", verb), ("kind", kind)]) - count(&[("verb", verb), ("kind", kind), ("code", "200")]))
}

/// Waits until the API server has rejected several writes, and returns the warnings in the log with this text.
async fn warnings_after_several_attempts(operator: &Operator, verb: &str, kind: &str, text: &str) -> Vec<String> {
    let before = rejected_writes(operator, verb, kind).await.unwrap();
    eventually("several attempts fail", DEADLINE, async || {
        let rejected = rejected_writes(operator, verb, kind).await? - before;
        if rejected >= 3.0 { Ok(()) } else { Err(format!("{rejected} rejected writes")) }
    })
    .await;
    let log = operator.log();
    log.lines().filter(|line| line.contains("WARN") && line.contains(text)).map(str::to_owned).collect()
}

/// Waits until the credential Secret has the finalizer, or until it does not.
async fn wait_for_credential_finalizer(env: &TestEnv, expected: bool) {
    eventually(&format!("finalizer: {expected}"), DEADLINE, async || {
        let secret = env.kubernetes_secrets().get_metadata(CREDENTIAL.0).await.map_err(|error| error.to_string())?;
        let found = secret.finalizers().iter().any(|finalizer| finalizer == CREDENTIAL_FINALIZER);
        if found == expected { Ok(()) } else { Err(format!("{:?}", secret.finalizers())) }
    })
    .await;
}

#[tokio::test]
async fn refused_credential_finalizer_is_an_event_on_the_secret_and_its_organization_works() {
    if use_existing_cluster() {
        // This operator watches every namespace, including the namespaces of other tests.
        return;
    }
    let env = TestEnv::cluster_wide("credential").await;
    let has = |version: &str| {
        format!("{version}.metadata.?finalizers.orValue([]).exists(name, name == '{CREDENTIAL_FINALIZER}')")
    };
    let patch = |finalizers: &[&str]| json!({ "metadata": { "finalizers": finalizers } }).to_string();
    let probe = |patch| vec!["patch", "secret", CREDENTIAL.0, "--type=merge", "--dry-run=server", "-p", patch];

    let (words, add) = ("no finalizers on Secrets", patch(&[CREDENTIAL_FINALIZER]));
    let policy = AdmissionPolicy::deny(&env, SECRETS, &format!("!{}", has("object")), words, &probe(&add)).await;
    let operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({})).await;
    let note = wait_for_event(&env, CREDENTIAL.0, "KubernetesRejected").await;
    assert!(note.contains("rejects the finalizer") && note.contains(words), "{note}");
    let failed = "Failed to change finalizer of credential Secret";
    let warnings = warnings_after_several_attempts(&operator, "patch", "Secret", failed).await;
    assert!(matches!(&warnings[..], [line] if line.contains(words)), "{warnings:?}");
    let revision = env.sandbox.revision().await.unwrap();
    policy.remove(&env).await;
    wait_for_credential_finalizer(&env, true).await;
    env.reconcile::<SpiceApp>("my-app").await;
    let calls = env.calls_since(revision).await;
    assert!(calls.iter().all(|call| call.contains("/apps")), "the same credential is not checked again: {calls:?}");

    let (words, remove) = ("finalizers stay on Secrets", patch(&[]));
    let allowed = format!("oldObject == null || !{} || {}", has("oldObject"), has("object"));
    let policy = AdmissionPolicy::deny(&env, SECRETS, &allowed, words, &probe(&remove)).await;
    env.delete_and_wait::<SpiceApp>("my-app").await;
    env.delete_and_wait::<SpiceOrganization>("default").await;
    let texts = ["rejects the removal of finalizer", words];
    wait_for_event_with(&env, CREDENTIAL.0, "KubernetesRejected", &texts).await;
    let warnings = warnings_after_several_attempts(&operator, "patch", "Secret", words).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    policy.remove(&env).await;
    wait_for_credential_finalizer(&env, false).await;
}

#[tokio::test]
async fn refused_digest_key_is_shown_on_the_secrets_that_wait_for_it() {
    let (env, operator, _) = env_with_app("digest-key", &[], &[]).await;
    operator.terminate().await.unwrap();
    let (words, name) = ("no Secrets of third parties", "my-digest-key");
    let allowed = format!("object.metadata.name != '{name}'");
    let probe = ["create", "secret", "generic", name, "--dry-run=server"];
    let policy = AdmissionPolicy::deny(&env, SECRETS, &allowed, words, &probe).await;
    env.set_values("values", json!({ "key": "fake-value-of-a-secret" })).await;
    env.apply_secret("my-secret", one_key_spec("values", "key", "TOKEN")).await;
    let namespace = format!("--leader-elect-resource-namespace={}", env.namespace);
    let arguments = [&*namespace, "--digest-key-secret=my-digest-key", "--digest-key-check-interval=300ms"];
    // The role of the operator covers its own namespace only.
    let operator = env.spawn_operator(&env.cluster.kubeconfig(User::Admin), &arguments, &[]).await;
    let secret: SpiceSecret = env.wait_for_message("my-secret", "KubernetesRejected", words).await;
    assert!(secret.has_ready("False", "KubernetesRejected"), "{secret:?}");
    assert!(wait_for_event(&env, "my-secret", "KubernetesRejected").await.contains(words));
    let check = format!("the digest key in Secret {}/{name}", env.namespace);
    operator.wait_until_unready(&check).await.unwrap();
    let failed = "Failed to read or create digest key Secret";
    let warnings = warnings_after_several_attempts(&operator, "create", "Secret", failed).await;
    assert!(matches!(&warnings[..], [line] if line.contains(words)), "{warnings:?}");
    policy.remove(&env).await;
    env.wait_for_ready::<SpiceSecret>("my-secret").await;
    operator.wait_until_ready().await.unwrap();
}

#[tokio::test]
async fn refused_lease_is_logged_once_and_the_process_is_not_ready() {
    let env = TestEnv::new("lease").await;
    let (words, name) = ("no Leases of third parties", "spice-cloud-operator");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "probe" },
        "spec": { "holderIdentity": "probe" },
    });
    let path = env.run.write("lease.json", &lease.to_string()).unwrap();
    let path = path.to_string_lossy();
    let probe = ["create", "--dry-run=server", "-f", &path];
    let resource = ("coordination.k8s.io", "leases");
    let policy = AdmissionPolicy::deny(&env, resource, "false", words, &probe).await;
    let namespace = format!("--leader-elect-resource-namespace={}", env.namespace);
    let arguments = [
        "--leader-elect=true",
        &*namespace,
        "--leader-elect-lease-duration=4s",
        "--leader-elect-renew-deadline=3s",
        "--leader-elect-retry-period=200ms",
    ];
    let operator = env.spawn_operator(&env.cluster.kubeconfig(User::Admin), &arguments, &[]).await;
    operator.wait_until_unready(&format!("the Lease {}/{name}", env.namespace)).await.unwrap();
    let failed = "Failed to write leader lease";
    let warnings = warnings_after_several_attempts(&operator, "create", "Lease", failed).await;
    assert!(matches!(&warnings[..], [line] if line.contains(words)), "{warnings:?}");
    policy.remove(&env).await;
    operator.wait_until_ready().await.unwrap();
    env.apply_app_and_wait("my-app", json!({})).await;

    // A leader that cannot renew its lease ends.
    let policy = AdmissionPolicy::deny(&env, resource, "false", "no renewals", &probe).await;
    assert_eq!(operator.wait_for_exit().await.unwrap(), Some(1));
    let log = operator.log();
    let renewals = log.lines().filter(|line| line.contains(failed) && line.contains("no renewals"));
    assert_eq!(renewals.filter(|line| line.contains("WARN")).count(), 1, "{log}");
    assert!(log.lines().last().unwrap().contains("no renewal within the deadline of 3s"), "{log}");
    policy.remove(&env).await;
}
