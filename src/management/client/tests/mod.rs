//! Requests and responses on the wire.

mod errors;
#[cfg(feature = "sandbox")]
mod tls;
mod tokens;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use jiff::Timestamp;
use tokio::net::TcpListener;

use super::{Client, ClientConfig, ManagementSettings};
use crate::management::credential::Credential;
use crate::management::metrics::ApiMetrics;
use crate::management::rate_limit::{AccessMode, AccountKey, Budgets, Priority, Quota};
use crate::management::types::{ApiError, CreateApp, ErrorKind};

fn budgets() -> Budgets {
    Budgets::new(Duration::from_secs(600), ApiMetrics::default())
}

/// A client with a large request budget and without retries.
fn client_of(config: ClientConfig) -> Result<Client, ApiError> {
    client_with(config, &budgets())
}

fn client_with(config: ClientConfig, budgets: &Budgets) -> Result<Client, ApiError> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let timeout = Duration::from_secs(10);
    let settings = ManagementSettings {
        connect_timeout: timeout,
        request_timeout: timeout,
        read_retry_timeout: Duration::ZERO,
        max_rate_limit_pause: timeout,
        min_list_interval: timeout,
        read_cache_ttl: timeout,
    };
    let key = AccountKey::new(&config.endpoint, None, &config.credential);
    let quota = Quota::new(1_000_000, 0);
    let budget = Arc::new(budgets.account(key, &config.endpoint, quota));
    Client::new(config, budget, &settings, ApiMetrics::default())
}

/// A server that returns the same response to every request and records the requests.
#[derive(Clone)]
struct Server {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    requests: Arc<Mutex<Vec<String>>>,
    url: String,
}

impl Server {
    async fn start(status: u16, headers: &[(&'static str, &'static str)], body: impl Into<Vec<u8>>) -> (Self, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let endpoint = format!("{url}/base/");
        let server = Self { status, headers: headers.to_vec(), body: body.into(), requests: Arc::default(), url };
        let router = Router::new().fallback(respond).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let credential = Credential::Token("fake-token".into());
        let config = ClientConfig { endpoint, organization: None, ca_bundle: None, credential };
        (server, client_of(config).unwrap())
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn respond(State(server): State<Server>, request: Request) -> Response<Body> {
    let header = |name| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
    let summary = [request.method().as_str(), request.uri().path(), header("user-agent"), header("accept-encoding")];
    server.requests.lock().unwrap().push(summary.join(" "));
    let response = Response::builder().status(StatusCode::from_u16(server.status).unwrap());
    let response = server.headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    response.body(Body::from(server.body)).unwrap()
}

#[tokio::test]
async fn a_request_has_the_user_agent_and_extends_the_path_of_the_endpoint() {
    let (server, client) = Server::start(200, &[], r#"{"regions":[],"default":null}"#).await;
    client.regions(Priority::Check).await.unwrap();
    let expected = concat!("GET /base/v1/regions spice-cloud-operator/", env!("CARGO_PKG_VERSION"), " gzip");
    assert_eq!(server.requests(), [expected]);
}

/// `{"regions":[],"default":"us-west-2"}`.
#[rustfmt::skip]
const GZIP: &[u8] = &[31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 42, 74, 77, 207, 204, 207, 43, 86, 178, 138, 142, 213, 81, 74, 73, 77, 75, 44, 205, 41, 81, 178, 82, 42, 45, 214, 45, 79, 45, 46, 209, 53, 82, 170, 5, 0, 95, 251, 111, 146, 36, 0, 0, 0];

#[tokio::test]
async fn a_compressed_response_is_decoded() {
    let (_, client) = Server::start(200, &[("content-encoding", "gzip")], GZIP).await;
    let regions = client.regions(Priority::Check).await.unwrap().value;
    assert_eq!(regions.default.as_deref(), Some("us-west-2"));
}

#[tokio::test]
async fn invalid_bodies_and_error_codes_become_errors_without_html() {
    let page = "<!DOCTYPE html><html><body>Not found</body></html>";
    for (status, body, kind) in [
        (200, "", ErrorKind::InvalidResponse),
        (200, "{}", ErrorKind::InvalidResponse),
        (200, "fine", ErrorKind::InvalidResponse),
        (200, page, ErrorKind::InvalidResponse),
        (404, "", ErrorKind::NotFound { json: false }),
        (404, page, ErrorKind::NotFound { json: false }),
        (404, r#"{"error":"App with ID 7 not found"}"#, ErrorKind::NotFound { json: true }),
        (400, "{}", ErrorKind::Invalid),
        (403, "no", ErrorKind::Forbidden),
        (409, page, ErrorKind::Conflict),
        (402, page, ErrorKind::PaymentRequired),
        (405, page, ErrorKind::Rejected),
        (408, page, ErrorKind::Server),
        (413, page, ErrorKind::Invalid),
        (415, "no", ErrorKind::Rejected),
        (418, "", ErrorKind::Rejected),
        (425, "", ErrorKind::Server),
        (451, page, ErrorKind::Rejected),
        (500, "null", ErrorKind::Server),
        (502, page, ErrorKind::Server),
    ] {
        let (_, client) = Server::start(status, &[], body).await;
        let error = client.app(7, Priority::Check).await.unwrap_err();
        assert_eq!(error.kind, kind, "{status} {body}");
        assert!(error.message.starts_with("GET /v1/apps/{appId}: ") && !error.message.contains('<'), "{error}");
    }
}

#[tokio::test]
async fn unknown_fields_and_values_are_accepted() {
    let body =
        r#"{"id":7,"name":"my-app","visibility":"secret","tier":{"new":[1]},"config":{"update_channel":"weekly"}}"#;
    let (_, client) = Server::start(200, &[], body).await;
    let app = client.app(7, Priority::Check).await.unwrap().value;
    assert_eq!((app.id, app.name.as_str()), (7, "my-app"));
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_token() {
    let (server, client) = Server::start(307, &[("location", "http://127.0.0.1:9/elsewhere")], "").await;
    assert_eq!(client.regions(Priority::Check).await.unwrap_err().kind, ErrorKind::InvalidResponse);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_response_about_another_app_is_rejected() {
    let (_, client) = Server::start(200, &[], r#"{"id":8,"name":"other"}"#).await;
    assert_eq!(client.app(7, Priority::Check).await.unwrap_err().kind, ErrorKind::InvalidResponse);
}

#[tokio::test]
async fn a_create_returns_the_time_of_its_start_by_the_clock_of_the_server() {
    let body = CreateApp {
        name: "my-app".to_owned(),
        visibility: "private".to_owned(),
        region: None,
        cname: None,
        cluster_name: None,
        description: None,
        tags: BTreeMap::new(),
    };
    // The server adds its own date only if the response has none.
    for (date, seconds) in [("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)), ("soon", None)] {
        let headers: &'static [_] = Box::leak(Box::new([("date", date)]));
        let (_, client) = Server::start(201, headers, r#"{"id":7,"name":"my-app"}"#).await;
        let permit = client.acquire_permit(Priority::Edit, AccessMode::Write).await.unwrap();
        let created = client.create_app(&body, permit).await.unwrap().value;
        let date = seconds.map(|seconds| Timestamp::from_second(seconds).unwrap());
        assert_eq!(created.server_started_at.is_some(), date.is_some());
        if let (Some(started_at), Some(date)) = (created.server_started_at, date) {
            let timeout = jiff::SignedDuration::from_secs(10);
            assert!(started_at <= date && started_at >= date - timeout, "{started_at}");
        }
    }
}
