//! Admission webhook that refuses writes in the namespace of one test, with any status code. An admission policy knows
//! only four codes.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{Json, Router, serve::Listener};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    eventually::{DEADLINE, eventually},
    test_env::TestEnv,
};

/// An admission webhook, in effect until [`AdmissionWebhook::remove`].
pub struct AdmissionWebhook {
    name: String,
    server: JoinHandle<()>,
}

impl AdmissionWebhook {
    /// Refuses updates of `resource` of the group `group` in the namespace of `env`, with this code and message, if the
    /// CEL expression `denied` holds. Returns when `probe`, the arguments of a kubectl command that the webhook
    /// refuses, fails.
    pub async fn deny(
        env: &TestEnv,
        (group, resource): (&str, &str),
        denied: &str,
        (code, message): (u16, &str),
        probe: &[&str],
    ) -> Self {
        let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let listener = TlsListener::new(&key).await;
        let url = format!("https://{}", listener.local_addr().unwrap());
        let status = json!({ "code": code, "message": message });
        let refuse = move |Json(review): Json<Value>| async move {
            let response = json!({ "uid": review["request"]["uid"], "allowed": false, "status": status });
            Json(json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response }))
        };
        let server = tokio::spawn(async { axum::serve(listener, Router::new().fallback(refuse)).await.unwrap() });
        let name = format!("{}-{}", env.namespace, resource.replace('/', "-"));
        let authority = json!(k8s_openapi::ByteString(key.cert.pem().into_bytes()));
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": name },
            "webhooks": [{
                "name": "refuse.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": { "url": url, "caBundle": authority },
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": env.namespace } },
                "rules": [{
                    "apiGroups": [group], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": [resource],
                }],
                "matchConditions": [{ "name": "denied", "expression": denied }],
            }],
        });
        env.cluster.kubectl_apply_text(&configuration.to_string()).await.unwrap();
        eventually("the webhook takes effect", DEADLINE, async || match env.kubectl(probe).await {
            Err(error) if error.contains(message) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        Self { name, server }
    }

    /// Removes the webhook.
    pub async fn remove(self, env: &TestEnv) {
        env.cluster.kubectl(&["delete", "validatingwebhookconfiguration", &self.name]).await.unwrap();
        self.server.abort();
    }
}

/// Listener for connections with TLS.
struct TlsListener(TcpListener, TlsAcceptor);

impl TlsListener {
    async fn new(key: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Self {
        let private_key = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private_key.into())
            .unwrap();
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap(), TlsAcceptor::from(Arc::new(config)))
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.0).await;
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}
