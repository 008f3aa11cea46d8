//! Admission policies that refuse writes in the namespace of one test.

use serde_json::json;

use super::{
    eventually::{DEADLINE, eventually},
    test_env::TestEnv,
};

/// An admission policy, in effect until [`AdmissionPolicy::remove`].
pub struct AdmissionPolicy {
    name: String,
}

impl AdmissionPolicy {
    /// Refuses writes of `resource` (for example `spiceapps/status`) of the group `group` in the namespace of `env`,
    /// with this message, unless the CEL expression `allowed` holds. Returns when `probe`, the arguments of a kubectl
    /// command that the policy refuses, fails.
    pub async fn deny(env: &TestEnv, resource: (&str, &str), allowed: &str, message: &str, probe: &[&str]) -> Self {
        Self::deny_because(env, resource, allowed, ("Invalid", message), probe).await
    }

    /// As [`Self::deny`], with this reason, from which the status code of the refusal follows.
    pub async fn deny_because(
        env: &TestEnv,
        (group, resource): (&str, &str),
        allowed: &str,
        (reason, message): (&str, &str),
        probe: &[&str],
    ) -> Self {
        let name = format!("{}-{}", env.namespace, resource.replace('/', "-"));
        let namespace = json!({ "matchLabels": { "kubernetes.io/metadata.name": env.namespace } });
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": name },
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": namespace,
                    "resourceRules": [{
                        "apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
                        "resources": [resource],
                    }],
                },
                "validations": [{ "expression": allowed, "message": message, "reason": reason }],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": name },
            "spec": { "policyName": name, "validationActions": ["Deny"] },
        });
        for object in [policy, binding] {
            env.cluster.kubectl_apply_text(&object.to_string()).await.unwrap();
        }
        eventually("the policy takes effect", DEADLINE, async || match env.kubectl(probe).await {
            Err(error) if error.contains(message) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        Self { name }
    }

    /// Removes the policy.
    pub async fn remove(self, env: &TestEnv) {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            env.cluster.kubectl(&["delete", kind, &self.name]).await.unwrap();
        }
    }
}
