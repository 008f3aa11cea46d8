//! What goes over the wire, and what is made of what comes back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use tokio::net::TcpListener;

use super::{Client, ClientConfig, Settings};
use crate::management::auth::Credential;
use crate::management::rate_limit::{AccountKey, Budgets, Quota};
use crate::management::types::{ApiError, ErrorKind};
use crate::management::{Metrics, Priority};

/// A client that waits for nothing and repeats nothing.
pub(in crate::management) fn client_of(target: ClientConfig) -> Result<Client, ApiError> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let wait = Duration::from_secs(10);
    let settings = Settings {
        connect_timeout: wait,
        request_timeout: wait,
        read_retry_timeout: Duration::ZERO,
        max_rate_limit_pause: wait,
        min_list_interval: wait,
        keep_reads: wait,
    };
    let key = AccountKey::new(&target.endpoint, None, &target.credential);
    let quota = Quota::of_account(1_000_000, 0);
    let budget = Arc::new(Budgets::new(wait, Metrics::default()).account(key, &target.endpoint, quota));
    Client::new(target, budget, &settings, Metrics::default())
}

/// A server that answers everything in one way, and keeps what it was asked.
#[derive(Clone)]
struct Server {
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(
        status: u16,
        headers: &'static [(&'static str, &'static str)],
        body: impl Into<Vec<u8>>,
    ) -> (Self, Client) {
        let server = Self { status, headers, body: body.into(), asked: Arc::default() };
        let router = Router::new().fallback(answer).with_state(server.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/base/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let credential = Credential::Token("fake-token".into());
        let target = ClientConfig { endpoint, organization: None, ca_bundle: None, credential };
        (server, client_of(target).unwrap())
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response<Body> {
    let header = |name| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
    let message = [request.method().as_str(), request.uri().path(), header("user-agent"), header("accept-encoding")];
    server.asked.lock().unwrap().push(message.join(" "));
    let answer = Response::builder().status(StatusCode::from_u16(server.status).unwrap());
    let answer = server.headers.iter().fold(answer, |answer, (name, value)| answer.header(*name, *value));
    answer.body(Body::from(server.body)).unwrap()
}

#[tokio::test]
async fn a_request_says_who_sends_it_and_is_sent_below_the_endpoints_path() {
    let (server, client) = Server::start(200, &[], r#"{"regions":[],"default":null}"#).await;
    client.regions(Priority::Check).await.unwrap();
    let expected = concat!("GET /base/v1/regions spice-cloud-operator/", env!("CARGO_PKG_VERSION"), " gzip");
    assert_eq!(server.asked(), [expected]);
}

/// `{"regions":[],"default":"us-west-2"}`.
#[rustfmt::skip]
const GZIP: &[u8] = &[31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 42, 74, 77, 207, 204, 207, 43, 86, 178, 138, 142, 213, 81, 74, 73, 77, 75, 44, 205, 41, 81, 178, 82, 42, 45, 214, 45, 79, 45, 46, 209, 53, 82, 170, 5, 0, 95, 251, 111, 146, 36, 0, 0, 0];

#[tokio::test]
async fn a_compressed_answer_is_read() {
    let (_, client) = Server::start(200, &[("content-encoding", "gzip")], GZIP).await;
    let regions = client.regions(Priority::Check).await.unwrap().value;
    assert_eq!(regions.default.as_deref(), Some("us-west-2"));
}

/// A good status with a body that says nothing, and a bad one with any body, fail with a kind and with words of ours.
#[tokio::test]
async fn bodies_of_every_kind_are_survived() {
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
        (418, "", ErrorKind::InvalidResponse),
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
async fn unknown_fields_and_values_are_carried() {
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
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn an_answer_about_another_app_says_nothing_of_the_one_asked_for() {
    let (_, client) = Server::start(200, &[], r#"{"id":8,"name":"other"}"#).await;
    assert_eq!(client.app(7, Priority::Check).await.unwrap_err().kind, ErrorKind::InvalidResponse);
}
