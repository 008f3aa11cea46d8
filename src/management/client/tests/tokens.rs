//! Access tokens of requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Lock};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode as Code};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{budgets, client_of, client_with};
use crate::management::client::{Client, ClientConfig};
use crate::management::credential::Credential;
use crate::management::rate_limit::{AccessMode, Priority};
use crate::management::types::ErrorKind;
use crate::management::urls::token_endpoint;

/// An API with a token endpoint. The API accepts every token except revoked ones.
#[derive(Default)]
struct FakeApi {
    granted: AtomicUsize,
    calls: Lock<Vec<String>>,
    bodies: Lock<Vec<Value>>,
    revoked: Lock<Vec<String>>,
    token_response: Lock<Option<(u16, Value)>>,
    token_headers: Lock<Vec<(&'static str, &'static str)>>,
    expires_in: Lock<Option<u64>>,
    organization: Lock<Option<String>>,
}

async fn grant(State(api): State<Arc<FakeApi>>, Json(body): Json<Value>) -> (Code, HeaderMap, Json<Value>) {
    api.bodies.lock().unwrap().push(body);
    let header =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let headers = api.token_headers.lock().unwrap().iter().map(header).collect();
    if let Some((status, body)) = api.token_response.lock().unwrap().clone() {
        return (Code::from_u16(status).unwrap(), headers, Json(body));
    }
    let number = api.granted.fetch_add(1, Ordering::SeqCst) + 1;
    let expires_in = *api.expires_in.lock().unwrap();
    let token = format!("fake-{number}");
    (Code::OK, headers, Json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": expires_in })))
}

async fn serve_api(State(api): State<Arc<FakeApi>>, headers: HeaderMap) -> (Code, Json<Value>) {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    *api.organization.lock().unwrap() = text("x-org-name");
    let token = text("authorization").unwrap_or_default().replace("Bearer ", "");
    api.calls.lock().unwrap().push(token.clone());
    let is_revoked = api.revoked.lock().unwrap().iter().any(|revoked| *revoked == token || revoked == "*");
    let status = if is_revoked { Code::UNAUTHORIZED } else { Code::OK };
    (status, Json(json!({ "error": format!("{token} is no good"), "regions": [] })))
}

async fn start() -> (Arc<FakeApi>, String) {
    let api = Arc::new(FakeApi::default());
    let router = Router::new()
        .route("/api/oauth/token", post(grant))
        .route("/v1/regions", get(serve_api))
        .route("/v1/apps/{id}", delete(serve_api))
        .with_state(Arc::clone(&api));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (api, url)
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

fn calls(api: &FakeApi) -> Vec<String> {
    std::mem::take(&mut api.calls.lock().unwrap())
}

#[tokio::test]
async fn concurrent_requests_share_one_token_that_is_fetched_on_demand() {
    let (api, url) = start().await;
    let client = Arc::new(client(&url));
    assert!(api.bodies.lock().unwrap().is_empty(), "no request needed a token yet");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = Arc::clone(&client);
        tasks.spawn(async move { client.regions(Priority::Check).await.unwrap() });
    }
    tasks.join_all().await;
    assert_eq!(calls(&api), ["fake-1"; 20]);
    let expected = json!({
        "grant_type": "client_credentials", "client_id": "fake-client", "client_secret": "fake-client-secret",
    });
    assert_eq!(*api.bodies.lock().unwrap(), [expected]);
    assert_eq!(api.organization.lock().unwrap().as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_rejected_token_is_replaced_once_and_a_second_rejection_is_reported() {
    let (api, url) = start().await;
    let client = client(&url);
    client.regions(Priority::Check).await.unwrap();
    api.revoked.lock().unwrap().push("fake-1".to_owned());
    client.regions(Priority::Check).await.unwrap();
    assert_eq!(calls(&api), ["fake-1", "fake-1", "fake-2"]);
    api.revoked.lock().unwrap().push("*".to_owned());
    for expected in [vec!["fake-2", "fake-3"], vec!["fake-4"]] {
        let error = client.regions(Priority::Check).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthorized);
        assert!(!error.message.contains("fake"), "{error}");
        assert_eq!(calls(&api), expected);
    }
}

#[tokio::test]
async fn a_write_with_a_rejected_token_is_not_sent_again_in_this_reconcile() {
    let (api, url) = start().await;
    let client = client(&url);
    client.regions(Priority::Check).await.unwrap();
    api.revoked.lock().unwrap().push("fake-1".to_owned());
    let permit = client.acquire_permit(Priority::Edit, AccessMode::Write).await.unwrap();
    let error = client.delete_app(1, permit).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(error.proves_not_applied());
    let permit = client.acquire_permit(Priority::Edit, AccessMode::Write).await.unwrap();
    client.delete_app(1, permit).await.unwrap();
    assert_eq!(calls(&api), ["fake-1", "fake-1", "fake-2"]);
}

#[tokio::test]
async fn a_token_is_renewed_before_its_expiry() {
    for (expires_in, renewed_after) in [(0, 15), (1, 15), (60, 30), (3600, 3540)] {
        let (api, url) = start().await;
        *api.expires_in.lock().unwrap() = Some(expires_in);
        let client = client(&url);
        for _ in 0..5 {
            client.regions(Priority::Check).await.unwrap();
        }
        advance(renewed_after - 5).await;
        client.regions(Priority::Check).await.unwrap();
        assert_eq!(calls(&api), ["fake-1"; 6], "{expires_in}");
        advance(5).await;
        client.regions(Priority::Check).await.unwrap();
        assert_eq!(calls(&api), ["fake-2"], "{expires_in}");
    }
}

#[tokio::test]
async fn a_token_that_expired_while_its_request_was_queued_is_not_sent() {
    let (api, url) = start().await;
    *api.expires_in.lock().unwrap() = Some(60);
    let client = client(&url);
    client.regions(Priority::Check).await.unwrap();
    let mut running = Vec::new();
    let queued = loop {
        let mut next = Box::pin(client.acquire_permit(Priority::Edit, AccessMode::Write));
        tokio::select! {
            biased;
            permit = &mut next => running.push(permit.unwrap()),
            () = std::future::ready(()) => break next,
        }
    };
    advance(61).await;
    drop(running);
    client.delete_app(1, queued.await.unwrap()).await.unwrap();
    assert_eq!(calls(&api), ["fake-1", "fake-2"]);
}

#[tokio::test]
async fn an_excessive_lifetime_is_limited() {
    let (api, url) = start().await;
    *api.expires_in.lock().unwrap() = Some(u64::MAX);
    let client = client(&url);
    client.regions(Priority::Check).await.unwrap();
    client.regions(Priority::Check).await.unwrap();
    assert_eq!(calls(&api), ["fake-1", "fake-1"]);
}

#[tokio::test]
async fn a_rejection_by_the_token_endpoint_differs_from_a_failure() {
    let (api, url) = start().await;
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
        *api.token_response.lock().unwrap() = Some((status, body.clone()));
        let error = client.regions(Priority::Check).await.unwrap_err();
        assert_eq!(error.kind, expected, "{status} {body}");
        assert!(error.proves_not_applied(), "{error}");
        assert!(!error.message.contains("fake"), "{error}");
        assert!(error.message.starts_with(&format!("POST {url}/api/oauth/token: ")), "{error}");
        assert_eq!(calls(&api), [""; 0], "nothing is sent without a token");
    }
    *api.token_response.lock().unwrap() = None;
    client.regions(Priority::Check).await.unwrap();
}

/// Advances the clock, which then continues.
async fn advance(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_pause_that_the_token_endpoint_requests_is_observed() {
    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let rate_limited = |kind: ErrorKind| matches!(kind, ErrorKind::RateLimited { retry_after: Some(_) });
    let unavailable = |kind: ErrorKind| kind == ErrorKind::Connect;
    type Case = (u16, Vec<(&'static str, &'static str)>, fn(ErrorKind) -> bool);
    let cases: [Case; 5] = [
        (429, vec![("retry-after", "500")], rate_limited),
        (429, vec![("retry-after", "Sun, 06 Nov 1994 08:57:57 GMT"), DATE], rate_limited),
        (429, vec![("x-ratelimit-reset", "784112277"), DATE], rate_limited),
        (503, vec![("retry-after", "500")], unavailable),
        // The longest pause is 600 s.
        (429, vec![("retry-after", "99999999999999")], rate_limited),
    ];
    for (status, headers, is_expected) in cases {
        let case = format!("{status} {headers:?}");
        let (api, url) = start().await;
        *api.token_response.lock().unwrap() = Some((status, json!({})));
        *api.token_headers.lock().unwrap() = headers;
        let client = client(&url);
        let first = client.regions(Priority::Check).await.unwrap_err();
        for _ in 0..3 {
            advance(100).await;
            let error = client.regions(Priority::Check).await.unwrap_err();
            assert!(is_expected(error.kind) && error.message == first.message, "{case}: {error:?}");
        }
        assert_eq!(api.bodies.lock().unwrap().len(), 1, "{case}");
        advance(302).await;
        client.regions(Priority::Check).await.unwrap_err();
        assert_eq!(api.bodies.lock().unwrap().len(), 2, "{case}");
    }
}

#[tokio::test]
async fn a_valid_token_is_used_while_token_requests_pause() {
    let (api, url) = start().await;
    let client = client(&url);
    *api.expires_in.lock().unwrap() = Some(1000);
    client.regions(Priority::Check).await.unwrap();
    *api.token_response.lock().unwrap() = Some((429, json!({})));
    *api.token_headers.lock().unwrap() = vec![("retry-after", "500")];
    // The token must be renewed 60 s before its expiry.
    advance(950).await;
    client.regions(Priority::Check).await.unwrap();
    advance(40).await;
    client.regions(Priority::Check).await.unwrap();
    assert_eq!((calls(&api), api.bodies.lock().unwrap().len()), (vec!["fake-1".to_owned(); 3], 2));
    advance(20).await;
    let error = client.regions(Priority::Check).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::RateLimited { retry_after: Some(_) }), "{error:?}");
    assert_eq!(api.bodies.lock().unwrap().len(), 2, "the pause has not ended");
}

#[tokio::test]
async fn a_pause_of_token_requests_applies_to_every_connection_of_the_account() {
    let (api, url) = start().await;
    *api.token_response.lock().unwrap() = Some((429, json!({})));
    *api.token_headers.lock().unwrap() = vec![("retry-after", "500")];
    let budgets = budgets();
    let endpoint_of = |url: &str| token_endpoint(url).unwrap();
    let other = endpoint_of("http://127.0.0.1:9");
    for (secret, endpoint, is_paused) in [
        ("fake-1", endpoint_of(&url), true),
        ("fake-2", endpoint_of(&url), true),
        ("fake-2", other, false),
        ("fake-1", endpoint_of(&url), true),
    ] {
        let credential =
            Credential::Client { id: "fake-client".to_owned(), secret: secret.into(), token_endpoint: endpoint };
        let config = ClientConfig { endpoint: url.clone(), organization: None, ca_bundle: None, credential };
        // Each connection replaces the previous one.
        let error = client_with(config, &budgets).unwrap().regions(Priority::Check).await.unwrap_err();
        assert_eq!(matches!(error.kind, ErrorKind::RateLimited { .. }), is_paused, "{error:?}");
        assert_eq!(api.bodies.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_static_token_is_sent_and_never_replaced() {
    let (api, url) = start().await;
    let client = connect(&url, Credential::Token("fake-own".into()));
    client.regions(Priority::Check).await.unwrap();
    api.revoked.lock().unwrap().push("*".to_owned());
    assert_eq!(client.regions(Priority::Check).await.unwrap_err().kind, ErrorKind::Unauthorized);
    assert_eq!(calls(&api), ["fake-own", "fake-own"]);
    assert!(api.bodies.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_bundle_without_certificates_is_rejected_before_any_request() {
    for bundle in
        ["", "none", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        let config = ClientConfig {
            endpoint: "https://api.example".to_owned(),
            organization: None,
            ca_bundle: Some(bundle.to_owned()),
            credential: Credential::Token("fake".into()),
        };
        let error = client_of(config).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{bundle}");
    }
}
