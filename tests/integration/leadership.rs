//! The lease: of several processes one writes, and the next takes over.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use spice_cloud_operator::api::SpiceApp;

use crate::{
    program,
    support::{
        control_plane::User,
        eventually::{DEADLINE, poll},
        operator::Operator,
        sandbox::{Action, Fault, When},
        test_env::TestEnv,
    },
};

/// Short terms, and a Lease in the env's own namespace.
struct Election {
    env: TestEnv,
    arguments: Vec<String>,
}

impl Election {
    async fn new(name: &str) -> Self {
        let election = Self::without_permission(name).await;
        election.permit().await;
        election
    }

    async fn without_permission(name: &str) -> Self {
        let env = TestEnv::new(name, program()).await;
        let arguments = vec![
            "--leader-elect=true".to_owned(),
            format!("--leader-elect-resource-namespace={}", env.namespace),
            "--leader-elect-lease-duration=4s".to_owned(),
            "--leader-elect-renew-deadline=3s".to_owned(),
            "--leader-elect-retry-period=200ms".to_owned(),
        ];
        Self { env, arguments }
    }

    /// What config/rbac gives in the operator's namespace, given here.
    async fn permit(&self) {
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

    async fn operator(&self) -> Operator {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.env.operator_with(&arguments).await
    }

    async fn lease(&self) -> Lease {
        Api::namespaced(self.env.client.clone(), &self.env.namespace).get("spice-cloud-operator").await.unwrap()
    }
}

async fn leads(operator: &Operator) -> Result<(), String> {
    let leads = operator.metrics().await?.sum("spice_operator_leader", &[]);
    if leads == 1.0 { Ok(()) } else { Err(format!("leader {leads}")) }
}

#[tokio::test]
async fn a_second_process_stands_by_and_takes_over_when_the_first_is_told_to_stop() {
    let election = Election::new("standby").await;
    let first = election.operator().await;
    poll("the first leads", DEADLINE, async || leads(&first).await).await.unwrap();
    let second = election.operator().await;
    election.env.app("my-app", json!({ "description": "first" })).await;
    election.env.app_is("my-app", "True", "Succeeded").await;
    poll("the second says that it stands by", DEADLINE, async || {
        if second.log().contains("Waiting for leader lease") { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await
    .unwrap();
    leads(&second).await.unwrap_err();
    assert_eq!(second.metrics().await.unwrap().reconciles("SpiceApp"), 0.0);

    let before = election.lease().await.spec.unwrap();
    assert_eq!(first.terminate().await.unwrap(), Some(0));
    poll("the second leads", DEADLINE, async || leads(&second).await).await.unwrap();
    let after = election.lease().await.spec.unwrap();
    assert_ne!(after.holder_identity, before.holder_identity);
    assert_eq!(after.lease_transitions, before.lease_transitions.map(|count| count + 1));
    election.env.app("my-app", json!({ "description": "second" })).await;
    election.env.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(election.env.remote_apps().await[0]["description"], "second");
}

#[tokio::test]
async fn invariant_9_a_leader_that_stood_still_past_its_lease_writes_nothing_more_and_ends() {
    // Where it stands still: with the create not applied yet, applied and not answered, or between two reconciles.
    for (name, held) in
        [("frozen-before", Some(When::Before)), ("frozen-after", Some(When::After)), ("frozen-idle", None)]
    {
        let election = Election::new(name).await;
        let env = &election.env;
        let first = election.operator().await;
        env.organization_is("True", "Succeeded").await;
        if let Some(when) = held {
            let (method, route) = (Some("POST".to_owned()), Some("/v1/apps".to_owned()));
            let fault = Fault { method, route, when, action: Action::Hang, times: Some(1) };
            env.sandbox.add_fault(&fault).await.unwrap();
            env.app("my-app", json!({ "description": "wanted" })).await;
            let held = |call: &crate::support::sandbox::Entry| {
                call.method == "POST" && call.status.is_none() && call.state != "received"
            };
            env.sandbox.call("the create is held", 0, held).await.unwrap();
        }
        first.process().pause().unwrap();
        if held.is_none() {
            env.app("my-app", json!({ "description": "wanted" })).await;
        }
        let second = election.operator().await;
        poll("the second leads", DEADLINE, async || leads(&second).await).await.unwrap();
        env.app_is("my-app", "True", "Succeeded").await;

        let revision = env.sandbox.revision().await.unwrap();
        let version = env.api::<SpiceApp>().get("my-app").await.unwrap().resource_version();
        first.process().go_on().unwrap();
        assert_eq!(first.process().wait(DEADLINE).await.unwrap().code(), Some(1), "{name}");
        let log = first.log();
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        let error = last["error"].as_str().unwrap();
        let holder = election.lease().await.spec.unwrap().holder_identity.unwrap();
        assert!(last["level"] == "ERROR" && last["message"] == "Exiting: lost leader lease", "{name}: {last}");
        // The process checks its own deadline first, and then the lease that it reads.
        assert!(error.contains(&holder) || error.contains("no renewal within the deadline of 3s"), "{name}: {last}");
        let late: Vec<_> = env.calls(revision).await.into_iter().filter(|call| !call.starts_with("GET")).collect();
        // The create that was under way is the one that the journal still changes.
        assert!(
            late.iter().all(|call| held.is_some() && call == "POST /v1/apps") && late.len() <= 1,
            "{name}: {late:?}"
        );
        assert_eq!(env.api::<SpiceApp>().get("my-app").await.unwrap().resource_version(), version, "{name}");
        let state = env.sandbox.state().await.unwrap();
        assert_eq!(state["apps"].as_array().unwrap().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_process_that_may_not_read_its_lease_is_not_ready_and_names_it() {
    let election = Election::without_permission("unreadable").await;
    let env = &election.env;
    let mut arguments: Vec<&str> = election.arguments.iter().map(String::as_str).collect();
    arguments.extend(["--watch-namespace", &env.namespace]);
    let kubeconfig = env.cluster.kubeconfig(User::Operator);
    let operator = Operator::start(&env.run, program(), &kubeconfig, &arguments, &[]).await.unwrap();
    operator.unready(&format!("the Lease {}/spice-cloud-operator", env.namespace)).await.unwrap();
    poll("that alone is missing", DEADLINE, async || match operator.answer("readyz").await? {
        (503, text) if text.lines().count() == 1 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    assert_eq!(operator.answer("livez").await.unwrap().0, 200);
    let started: Value = serde_json::from_str(operator.log().lines().next().unwrap()).unwrap();
    for (field, value) in [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("watch_namespace", json!(env.namespace)),
        ("leader_elect", json!(true)),
    ] {
        assert_eq!(started[field], value, "{started}");
    }

    election.permit().await;
    operator.ready().await.unwrap();
    poll("it leads", DEADLINE, async || leads(&operator).await).await.unwrap();
}

#[tokio::test]
async fn a_leader_whose_lease_is_taken_says_who_took_it() {
    let election = Election::new("taken").await;
    let operator = election.operator().await;
    poll("it leads", DEADLINE, async || leads(&operator).await).await.unwrap();
    let leases: Api<Lease> = Api::namespaced(election.env.client.clone(), &election.env.namespace);
    let patch = json!({ "spec": { "holderIdentity": "somebody else" } });
    leases.patch("spice-cloud-operator", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(operator.process().wait(DEADLINE).await.unwrap().code(), Some(1));
    let log = operator.log();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(last["reason"], "taken_by_other_process", "{last}");
    assert_eq!(last["error"], "another process took the lease: somebody else", "{last}");
}
