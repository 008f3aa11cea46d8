use super::*;
use crate::management::client::tests::client_of;
use crate::management::{Client, ClientConfig, token_endpoint};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode as Code};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::Value;
use std::sync::Mutex as Lock;
use std::sync::atomic::AtomicUsize;

/// An API and a token endpoint in one, which take any token but those that were revoked.
#[derive(Clone, Default)]
struct Twin(Arc<Inner>);

#[derive(Default)]
struct Inner {
    granted: AtomicUsize,
    calls: Lock<Vec<String>>,
    bodies: Lock<Vec<Value>>,
    revoked: Lock<Vec<String>>,
    token_answer: Lock<Option<(u16, Value)>>,
    expires_in: Lock<Option<u64>>,
    organization: Lock<Option<String>>,
}

async fn grant(State(twin): State<Twin>, Json(body): Json<Value>) -> (Code, Json<Value>) {
    twin.0.bodies.lock().unwrap().push(body);
    if let Some((status, body)) = twin.0.token_answer.lock().unwrap().clone() {
        return (Code::from_u16(status).unwrap(), Json(body));
    }
    let number = twin.0.granted.fetch_add(1, Ordering::SeqCst) + 1;
    let expires_in = *twin.0.expires_in.lock().unwrap();
    let token = format!("fake-{number}");
    (Code::OK, Json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": expires_in })))
}

async fn serve_api(State(twin): State<Twin>, headers: HeaderMap) -> (Code, Json<Value>) {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    *twin.0.organization.lock().unwrap() = text("x-org-name");
    let token = text("authorization").unwrap_or_default().replace("Bearer ", "");
    twin.0.calls.lock().unwrap().push(token.clone());
    let refused = twin.0.revoked.lock().unwrap().iter().any(|revoked| *revoked == token || revoked == "*");
    let status = if refused { Code::UNAUTHORIZED } else { Code::OK };
    (status, Json(json!({ "error": format!("{token} is no good"), "regions": [] })))
}

async fn twin() -> (Twin, String) {
    let twin = Twin::default();
    let router = Router::new()
        .route("/api/oauth/token", post(grant))
        .route("/v1/regions", get(serve_api))
        .route("/v1/apps/{id}", delete(serve_api))
        .with_state(twin.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (twin, url)
}

fn client(url: &str) -> Client {
    let credential = Credential::Client {
        id: "fake-client".to_owned(),
        secret: "fake-client-secret".into(),
        token_endpoint: token_endpoint(url).unwrap(),
    };
    connect(url, credential)
}

fn connect(url: &str, credential: Credential) -> Client {
    let organization = Some("mine".to_owned());
    client_of(ClientConfig { endpoint: url.to_owned(), organization, ca_bundle: None, credential }).unwrap()
}

fn calls(twin: &Twin) -> Vec<String> {
    std::mem::take(&mut twin.0.calls.lock().unwrap())
}

#[tokio::test]
async fn one_token_is_asked_for_however_many_need_it_and_not_before() {
    let (twin, url) = twin().await;
    let client = Arc::new(client(&url));
    assert!(twin.0.bodies.lock().unwrap().is_empty(), "nobody needed one yet");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = Arc::clone(&client);
        tasks.spawn(async move { client.regions(Priority::Check).await.unwrap() });
    }
    tasks.join_all().await;
    assert_eq!(calls(&twin), ["fake-1"; 20]);
    let expected = json!({
        "grant_type": "client_credentials", "client_id": "fake-client", "client_secret": "fake-client-secret",
    });
    assert_eq!(*twin.0.bodies.lock().unwrap(), [expected]);
    assert_eq!(twin.0.organization.lock().unwrap().as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_a_second_refusal_is_told() {
    let (twin, url) = twin().await;
    let client = client(&url);
    client.regions(Priority::Check).await.unwrap();
    twin.0.revoked.lock().unwrap().push("fake-1".to_owned());
    client.regions(Priority::Check).await.unwrap();
    assert_eq!(calls(&twin), ["fake-1", "fake-1", "fake-2"]);
    twin.0.revoked.lock().unwrap().push("*".to_owned());
    for expected in [vec!["fake-2", "fake-3"], vec!["fake-4"]] {
        let error = client.regions(Priority::Check).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthorized);
        assert!(!error.message.contains("fake"), "{error}");
        assert_eq!(calls(&twin), expected);
    }
}

#[tokio::test]
async fn a_write_whose_token_is_refused_is_not_sent_again_in_this_visit() {
    let (twin, url) = twin().await;
    let client = client(&url);
    client.regions(Priority::Check).await.unwrap();
    twin.0.revoked.lock().unwrap().push("fake-1".to_owned());
    let permit = client.permit(Priority::Edit, AccessMode::Write).await.unwrap();
    let error = client.delete_app(1, permit).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(error.proves_not_applied());
    let permit = client.permit(Priority::Edit, AccessMode::Write).await.unwrap();
    client.delete_app(1, permit).await.unwrap();
    assert_eq!(calls(&twin), ["fake-1", "fake-1", "fake-2"]);
}

#[tokio::test]
async fn a_token_is_replaced_ahead_of_its_expiry_and_used_on_if_that_fails() {
    let (twin, url) = twin().await;
    *twin.0.expires_in.lock().unwrap() = Some(0);
    let client = client(&url);
    client.regions(Priority::Check).await.unwrap();
    *twin.0.expires_in.lock().unwrap() = Some(3600);
    client.regions(Priority::Check).await.unwrap();
    client.regions(Priority::Check).await.unwrap();
    // The first one was dead when its turn to be sent came, and so was the next.
    assert_eq!(calls(&twin), ["fake-2", "fake-3", "fake-3"]);
}

#[tokio::test]
async fn a_lifetime_that_no_clock_holds_is_survived() {
    let (twin, url) = twin().await;
    *twin.0.expires_in.lock().unwrap() = Some(u64::MAX);
    let client = client(&url);
    client.regions(Priority::Check).await.unwrap();
    client.regions(Priority::Check).await.unwrap();
    assert_eq!(calls(&twin), ["fake-1", "fake-1"]);
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_is_told_from_one_that_does_not_work() {
    let (twin, url) = twin().await;
    let client = client(&url);
    for (status, body, expected) in [
        (401, json!({ "error": "invalid_client: fake-client-secret" }), ErrorKind::Unauthorized),
        (400, json!({ "error": "invalid_scope" }), ErrorKind::Unauthorized),
        (429, json!({}), ErrorKind::RateLimited { retry_after: None }),
        (500, json!({}), ErrorKind::Connect),
        (404, json!("<html>"), ErrorKind::Connect),
        (200, json!({}), ErrorKind::Connect),
        (200, json!({ "access_token": "fake", "token_type": "mac" }), ErrorKind::Connect),
        (200, json!({ "access_token": "two words" }), ErrorKind::Connect),
    ] {
        *twin.0.token_answer.lock().unwrap() = Some((status, body.clone()));
        let error = client.regions(Priority::Check).await.unwrap_err();
        assert_eq!(error.kind, expected, "{status} {body}");
        assert!(error.proves_not_applied(), "{error}");
        assert!(!error.message.contains("fake"), "{error}");
        assert_eq!(calls(&twin), [""; 0], "nothing is sent without a token");
    }
    *twin.0.token_answer.lock().unwrap() = None;
    client.regions(Priority::Check).await.unwrap();
}

#[tokio::test]
async fn a_token_of_its_own_is_sent_as_it_is_and_never_replaced() {
    let (twin, url) = twin().await;
    let client = connect(&url, Credential::Token("fake-own".into()));
    client.regions(Priority::Check).await.unwrap();
    twin.0.revoked.lock().unwrap().push("*".to_owned());
    assert_eq!(client.regions(Priority::Check).await.unwrap_err().kind, ErrorKind::Unauthorized);
    assert_eq!(calls(&twin), ["fake-own", "fake-own"]);
    assert!(twin.0.bodies.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_bundle_without_certificates_is_refused_before_anything_is_sent() {
    for bundle in
        ["", "none", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        let target = ClientConfig {
            endpoint: "https://api.example".to_owned(),
            organization: None,
            ca_bundle: Some(bundle.to_owned()),
            credential: Credential::Token("fake".into()),
        };
        let error = client_of(target).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{bundle}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let credential = Credential::Client {
        id: "id".to_owned(),
        secret: "fake-client-secret".into(),
        token_endpoint: "https://spice.example".to_owned(),
    };
    let token = Token::new("fake-token".into(), false);
    assert!(!format!("{credential:?} {token:?}").contains("fake"));
}
