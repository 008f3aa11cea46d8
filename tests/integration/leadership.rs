//! Leader election: only the process that holds the Lease writes, and a standby process takes over.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::{
    program,
    support::{
        control_plane::User,
        eventually::{DEADLINE, eventually},
        operator::Operator,
        sandbox::{Action, Fault, When},
        test_env::TestEnv,
    },
};

/// A `TestEnv` with short lease timings and a Lease in its own namespace.
struct Election {
    env: TestEnv,
    arguments: Vec<String>,
}

impl Election {
    async fn new(name: &str) -> Self {
        let election = Self::without_lease_role(name).await;
        election.grant_lease_role().await;
        election
    }

    async fn without_lease_role(name: &str) -> Self {
        let env = TestEnv::new(name).await;
        let arguments = vec![
            "--leader-elect=true".to_owned(),
            format!("--leader-elect-resource-namespace={}", env.namespace),
            "--leader-elect-lease-duration=4s".to_owned(),
            "--leader-elect-renew-deadline=3s".to_owned(),
            "--leader-elect-retry-period=200ms".to_owned(),
        ];
        Self { env, arguments }
    }

    /// Grants the Role that `config/rbac` grants in the operator's namespace.
    async fn grant_lease_role(&self) {
        let env = &self.env;
        let rules = json!([
            { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"] },
            { "apiGroups": [""], "resources": ["secrets"], "verbs": ["create"] },
        ]);
        let subject = json!({ "kind": "ServiceAccount", "name": "spice-cloud-operator", "namespace": "spice-cloud-operator-system" });
        let rbac = "rbac.authorization.k8s.io";
        let role = json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "Role", "rules": rules,
            "metadata": { "name": "leases", "namespace": env.namespace },
        });
        let binding = json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "subjects": [subject],
            "roleRef": { "apiGroup": rbac, "kind": "Role", "name": "leases" },
            "metadata": { "name": "leases", "namespace": env.namespace },
        });
        env.cluster.kubectl_apply_text(&format!("{role}\n---\n{binding}")).await.unwrap();
    }

    async fn start_operator(&self) -> Operator {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.env.start_operator_with(&arguments).await
    }

    async fn lease(&self) -> Lease {
        Api::namespaced(self.env.client.clone(), &self.env.namespace).get("spice-cloud-operator").await.unwrap()
    }
}

async fn is_leader(operator: &Operator) -> bool {
    operator.metrics().await.unwrap().sum("spice_operator_leader", &[]) == 1.0
}

async fn wait_until_leader(operator: &Operator) {
    eventually("the process is leader", DEADLINE, async || {
        if is_leader(operator).await { Ok(()) } else { Err("not leader yet".to_owned()) }
    })
    .await;
}

/// Returns the last log entry of an ended process.
fn last_log_entry(operator: &Operator) -> Value {
    serde_json::from_str(operator.log().lines().last().unwrap()).unwrap()
}

#[tokio::test]
async fn standby_process_becomes_leader_after_the_leader_terminates() {
    let election = Election::new("standby").await;
    let first = election.start_operator().await;
    wait_until_leader(&first).await;
    let second = election.start_operator().await;
    election.env.apply_app("my-app", json!({ "description": "first" })).await;
    election.env.wait_for_ready::<SpiceApp>("my-app").await;
    eventually("the second process waits for the lease", DEADLINE, async || {
        if second.log().contains("Waiting for leader lease") { Ok(()) } else { Err("no log line yet".to_owned()) }
    })
    .await;
    assert!(!is_leader(&second).await);
    assert_eq!(second.metrics().await.unwrap().reconciles("SpiceApp"), 0.0);

    let before = election.lease().await.spec.unwrap();
    assert_eq!(first.terminate().await.unwrap(), Some(0));
    wait_until_leader(&second).await;
    let after = election.lease().await.spec.unwrap();
    assert_ne!(after.holder_identity, before.holder_identity);
    assert_eq!(after.lease_transitions, before.lease_transitions.map(|count| count + 1));
    election.env.apply_app("my-app", json!({ "description": "second" })).await;
    election.env.wait_for_ready::<SpiceApp>("my-app").await;
    assert_eq!(election.env.remote_apps().await[0]["description"], "second");
}

#[tokio::test]
async fn invariant_9_leader_paused_past_its_lease_writes_nothing_and_exits() {
    // The process is paused before the create takes effect, after the create takes effect, or between two reconciles.
    for (name, hang) in
        [("frozen-before", Some(When::Before)), ("frozen-after", Some(When::After)), ("frozen-idle", None)]
    {
        let election = Election::new(name).await;
        let env = &election.env;
        let first = election.start_operator().await;
        env.wait_for_ready::<SpiceOrganization>("default").await;
        if let Some(when) = hang {
            let fault = Fault::new(when, Action::Hang).method("POST").route("/v1/apps").times(1);
            env.sandbox.add_fault(fault).await.unwrap();
            env.apply_app("my-app", json!({ "description": "wanted" })).await;
            let is_hanging_create = |call: &crate::support::sandbox::Entry| {
                call.method == "POST" && call.status.is_none() && call.state != "received"
            };
            env.sandbox.wait_for_call("the create hangs", 0, is_hanging_create).await.unwrap();
        }
        first.process().pause().unwrap();
        if hang.is_none() {
            env.apply_app("my-app", json!({ "description": "wanted" })).await;
        }
        let second = election.start_operator().await;
        wait_until_leader(&second).await;
        env.wait_for_ready::<SpiceApp>("my-app").await;

        let revision = env.sandbox.revision().await.unwrap();
        let version = env.api::<SpiceApp>().get("my-app").await.unwrap().resource_version();
        first.process().resume().unwrap();
        assert_eq!(first.wait_for_exit().await.unwrap(), Some(1), "{name}");
        let last = last_log_entry(&first);
        let error = last["error"].as_str().unwrap();
        let holder = election.lease().await.spec.unwrap().holder_identity.unwrap();
        assert!(last["level"] == "ERROR" && last["message"] == "Exiting: lost leader lease", "{name}: {last}");
        // The process checks the renew deadline before it reads the Lease.
        assert!(error.contains(&holder) || error.contains("no renewal within the deadline of 3s"), "{name}: {last}");
        let late_writes = env.writes_since(revision).await;
        // Only the entry of the create that was in flight may still change.
        assert!(
            late_writes.iter().all(|call| hang.is_some() && call == "POST /v1/apps") && late_writes.len() <= 1,
            "{name}: {late_writes:?}"
        );
        assert_eq!(env.api::<SpiceApp>().get("my-app").await.unwrap().resource_version(), version, "{name}");
        let state = env.sandbox.state().await.unwrap();
        assert_eq!(state["apps"].as_array().unwrap().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn process_without_permission_to_read_the_lease_is_not_ready() {
    let election = Election::without_lease_role("unreadable").await;
    let env = &election.env;
    let mut arguments: Vec<&str> = election.arguments.iter().map(String::as_str).collect();
    arguments.extend(["--watch-namespace", &env.namespace]);
    let kubeconfig = env.cluster.kubeconfig(User::Operator);
    let operator = Operator::start(&env.run, program(), &kubeconfig, &arguments, &[]).await.unwrap();
    operator.wait_until_unready(&format!("the Lease {}/spice-cloud-operator", env.namespace)).await.unwrap();
    eventually("readyz lists only the Lease", DEADLINE, async || match operator.get("readyz").await? {
        (503, text) if text.lines().count() == 1 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(operator.get("livez").await.unwrap().0, 200);
    let started: Value = serde_json::from_str(operator.log().lines().next().unwrap()).unwrap();
    for (field, value) in [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("watch_namespace", json!(env.namespace)),
        ("leader_elect", json!(true)),
    ] {
        assert_eq!(started[field], value, "{started}");
    }

    election.grant_lease_role().await;
    operator.wait_until_ready().await.unwrap();
    wait_until_leader(&operator).await;
}

#[tokio::test]
async fn leader_that_loses_the_lease_logs_the_new_holder() {
    let election = Election::new("taken").await;
    let operator = election.start_operator().await;
    wait_until_leader(&operator).await;
    let leases: Api<Lease> = Api::namespaced(election.env.client.clone(), &election.env.namespace);
    let patch = json!({ "spec": { "holderIdentity": "other-process" } });
    leases.patch("spice-cloud-operator", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(operator.wait_for_exit().await.unwrap(), Some(1));
    let last = last_log_entry(&operator);
    assert_eq!(last["reason"], "taken_by_other_process", "{last}");
    assert_eq!(last["error"], "another process took the lease: other-process", "{last}");
}
