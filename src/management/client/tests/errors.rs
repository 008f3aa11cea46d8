//! Errors of responses that quote the request.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::management::rate_limit::AccessMode;
use crate::management::types::{AppField, CreateApp, PutSecret, UpdateApp};

/// Writes a create, an update and a secret with these words. Returns the errors.
async fn write_words(client: &Client, [name, tag, value]: [&str; 3]) -> Vec<ApiError> {
    let permit = async || client.acquire_permit(Priority::Edit, AccessMode::Write).await.unwrap();
    let create = CreateApp {
        name: "my-app".to_owned(),
        visibility: "private".to_owned(),
        region: None,
        cname: None,
        cluster_name: None,
        description: Some(name.to_owned()),
        tags: BTreeMap::from([(tag.to_owned(), tag.to_owned())]),
    };
    let spicepod = json!({ "datasets": [{ "name": name }] });
    let update = UpdateApp(BTreeMap::from([
        (AppField::Spicepod, spicepod.into()),
        (AppField::Tags, json!({ tag: tag }).into()),
    ]));
    let secret = PutSecret { name: "TOKEN".to_owned(), value: value.to_owned().into() };
    vec![
        client.create_app(&create, permit().await).await.unwrap_err(),
        client.update_app(7, &update, permit().await).await.unwrap_err(),
        client.put_secret(7, &secret, permit().await).await.unwrap_err(),
    ]
}

/// Words of error codes, scopes and messages.
const WORDS: [&str; 14] = [
    "github",
    "github_connected",
    "scope",
    "insufficient",
    "insufficient_scope",
    "apps:write",
    "apps",
    "repository",
    "error",
    "code",
    "en",
    "1",
    "connection",
    "hidden",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn words_of_a_request_change_no_error(
        words in [prop::sample::select(&WORDS), prop::sample::select(&WORDS), prop::sample::select(&WORDS)],
        (status, body) in prop::sample::select(&[
            (409, r#"{"error":"connected to github","code":"github_connected"}"#),
            (409, r#"{"error":"connected to a repository"}"#),
            (403, r#"{"error":"Insufficient scope. Required: apps:write"}"#),
            (403, r#"{"error":"no","code":"insufficient_scope"}"#),
            (400, r#"{"error":"1 invalid value"}"#),
            (200, r#"{"id":"en"}"#),
            (502, "connection refused"),
        ]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (neutral, found) = runtime.block_on(async {
            let (_, client) = Server::start(status, &[], body).await;
            (write_words(&client, ["a", "b", "c"]).await, write_words(&client, words).await)
        });
        prop_assert_eq!(neutral, found);
    }
}

#[tokio::test]
async fn no_part_of_a_secret_value_is_shown() {
    let value = "first line of the value\nlast line of the value";
    for quoted in [value, "last line of the value", "of the value", "value"] {
        for (status, body) in [
            (400, json!({ "error": format!("bad: {quoted}"), "code": quoted }).to_string()),
            (422, json!({ "error": "bad", "details": { "fieldErrors": { "value": [quoted] } } }).to_string()),
            (502, quoted.to_owned()),
            (200, json!({ "name": quoted }).to_string()),
            (200, quoted.to_owned()),
        ] {
            let (_, client) = Server::start(status, &[], body).await;
            let error = write_words(&client, ["a", "b", value]).await.pop().unwrap();
            assert!(!error.message.replace("secret value", "").contains("value"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_error_is_independent_of_the_number_of_sent_strings() {
    let names: Vec<Value> = (0..36_000).map(|number| json!({ "name": format!("d{number}") })).collect();
    let quoted: String = (0..50).map(|number| format!("d{number} ")).collect();
    let (_, client) = Server::start(400, &[], json!({ "error": quoted }).to_string()).await;
    let body = UpdateApp(BTreeMap::from([(AppField::Spicepod, json!({ "datasets": names }).into())]));
    let permit = client.acquire_permit(Priority::Edit, AccessMode::Write).await.unwrap();
    let error = client.update_app(7, &body, permit).await.unwrap_err();
    assert_eq!(error.message, format!("PUT /v1/apps/{{appId}}: 400 Bad Request: “{}”", quoted.trim()));
}

#[tokio::test]
async fn a_redirect_names_its_target_host_and_the_field_to_correct() {
    for (location, target) in [
        ("https://user:fake-password@other.example/path?fake=1", "https://other.example"),
        ("//other.example:8443/path", "http://other.example:8443"),
        ("mailto:fake@other.example", "no host"),
        ("http://[", "no host"),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let (server, client) = Server::start(status, &[("location", location)], "fake page").await;
            let error = client.regions(Priority::Check).await.unwrap_err();
            assert_eq!((error.kind, server.requests().len()), (ErrorKind::InvalidResponse, 1));
            assert!(error.message.contains(&format!("redirects to {target}, ")), "{error}");
            assert!(error.message.contains("Correct spec.endpoint") && !error.message.contains("fake"), "{error}");
        }
    }
    let (_, client) = Server::start(307, &[("location", "https://fake-value-of-a-secret.example/")], "").await;
    let errors = write_words(&client, ["a", "b", "c"]).await;
    let shown = errors.iter().filter(|error| error.message.contains("fake-value-of-a-secret")).count();
    assert_eq!(shown, errors.len() - 1, "the target of the call with a secret is hidden: {errors:?}");
}

#[tokio::test]
async fn a_redirect_of_the_token_endpoint_names_its_field() {
    let (server, _) = Server::start(302, &[("location", "https://sign-in.example/")], "").await;
    let credential = Credential::Client {
        id: "id".to_owned(),
        secret: "fake-secret".into(),
        token_endpoint: format!("{}/token", server.url),
    };
    let endpoint = server.url.clone();
    let client = client_of(ClientConfig { endpoint, organization: None, ca_bundle: None, credential }).unwrap();
    let error = client.regions(Priority::Check).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Connect);
    assert!(error.message.contains("redirects to another address, "), "{error}");
    assert!(error.message.contains("Correct spec.tokenEndpoint"), "{error}");
}

#[tokio::test]
async fn a_deletion_is_complete_after_the_documented_responses_only() {
    let page = "<html>Sign in</html>";
    for (status, body, is_complete) in [
        (204, "", true),
        (200, "", true),
        (200, " \n", true),
        (200, "{}", true),
        (202, r#"{"status":"deleting"}"#, true),
        (200, page, false),
        (200, "deleted", false),
        (202, page, false),
        (201, "", false),
        (203, "{}", false),
        (206, "{}", false),
    ] {
        let (_, client) = Server::start(status, &[], body).await;
        let permit = async || client.acquire_permit(Priority::Edit, AccessMode::Write).await.unwrap();
        let app = client.delete_app(7, permit().await).await.map(drop);
        let secret = client.delete_secret(7, "TOKEN", permit().await).await.map(drop);
        for result in [app, secret] {
            assert_eq!(result.is_ok(), is_complete, "{status} {body}");
            let error = result.err();
            assert!(error.is_none_or(|error| error.kind == ErrorKind::InvalidResponse && !error.proves_not_applied()));
        }
    }
}

#[tokio::test]
async fn a_success_status_with_another_body_is_no_success() {
    for (body, expected) in [
        ("<html>Sign in</html>", "a page instead of JSON, for example a sign-in page. Correct spec.endpoint"),
        ("", "no body"),
        ("{}", "does not match the API documentation"),
        (r#"{"error":"no"}"#, "does not match the API documentation"),
    ] {
        let (_, client) = Server::start(200, &[], body).await;
        let mut errors = write_words(&client, ["a", "b", "c"]).await;
        errors.push(client.app(7, Priority::Check).await.unwrap_err());
        errors.push(client.apps(Priority::Check).await.unwrap_err());
        errors.push(client.regions(Priority::Check).await.unwrap_err());
        errors.push(client.organizations(Priority::Check).await.unwrap_err());
        for error in errors {
            assert_eq!(error.kind, ErrorKind::InvalidResponse, "{body}");
            assert!(error.message.contains(expected), "{error}");
        }
    }
    let (_, client) = Server::start(200, &[], "<html>Sign in</html>").await;
    assert!(client.health(Priority::Check).await.is_err());
}

#[tokio::test]
async fn a_refusal_without_a_readable_body_is_a_refusal() {
    // An invalid gzip body stands for a body that is cut.
    for (status, kind) in [(400, ErrorKind::Invalid), (413, ErrorKind::Invalid), (402, ErrorKind::PaymentRequired)] {
        let (_, client) = Server::start(status, &[("content-encoding", "gzip")], "no gzip").await;
        let permit = client.acquire_permit(Priority::Edit, AccessMode::Write).await.unwrap();
        let error = client.delete_app(7, permit).await.unwrap_err();
        assert!(error.kind == kind && error.proves_not_applied(), "{status}: {error:?}");
    }
}

#[tokio::test]
async fn refused_headers_name_the_size_of_the_credential() {
    let (_, client) = Server::start(431, &[], "").await;
    let error = client.regions(Priority::Check).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Rejected);
    assert!(error.message.contains("The credential has 10 bytes"), "{error}");
}

/// A page of 100 new apps with long descriptions for each offset.
async fn endless_page(request: Request) -> String {
    let query = request.uri().query().unwrap_or_default();
    let offset = query.split('&').find_map(|part| part.strip_prefix("offset=")).unwrap_or("0");
    let first: usize = offset.parse().unwrap();
    let description = "x".repeat(70_000);
    let apps: Vec<_> = (first..first + 100)
        .map(|id| json!({ "id": id + 1, "name": format!("app-{id}"), "description": description }))
        .collect();
    json!({ "apps": apps }).to_string()
}

#[tokio::test]
async fn an_endless_list_ends_at_a_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(endless_page)).await });
    let credential = Credential::Token("fake-token".into());
    let client = client_of(ClientConfig { endpoint, organization: None, ca_bundle: None, credential }).unwrap();
    let error = client.apps(Priority::Check).await.unwrap_err();
    assert_eq!(error.message, "GET /v1/apps: the list is longer than 64 MiB");
}
