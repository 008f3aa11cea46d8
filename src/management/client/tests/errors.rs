//! Errors of responses that quote the request.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::management::rate_limit::AccessMode;
use crate::management::types::{AppField, CODES, CreateApp, PutSecret, SCOPES, UpdateApp, without_server_text};

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

/// Words and texts of answers, besides codes and scopes.
const TEXTS: [&str; 16] = [
    "github",
    "scope",
    "insufficient",
    "repository",
    "error",
    "code",
    "connection",
    "hidden",
    "owner",
    "admin",
    "member",
    "role",
    "refused",
    "maximum app limit",
    "Insufficient scope. Required: apps:write",
    "You need the role admin in this organization",
];

/// Answers to a write.
const ANSWERS: [(u16, &str); 12] = [
    (400, r#"{"error":"1 invalid value"}"#),
    (402, r#"{"error":"Upgrade the plan","code":"plan_limit"}"#),
    (403, r#"{"error":"Insufficient scope. Required: apps:write"}"#),
    (403, r#"{"error":"no","code":"insufficient_scope"}"#),
    (403, r#"{"error":"no","code":"org_forbidden"}"#),
    (403, r#"{"error":"Organization has reached the maximum app limit"}"#),
    (403, r#"{"error":"Request refused","code":"plan_limit"}"#),
    (409, r#"{"error":"connected to github","code":"github_connected"}"#),
    (409, r#"{"error":"connected to a repository"}"#),
    (409, r#"{"error":"exists already"}"#),
    (200, r#"{"id":"en"}"#),
    (502, "connection refused"),
];

/// A code, a scope or a text of an answer, or a part of one.
fn word() -> impl Strategy<Value = String> {
    let texts = CODES.into_iter().chain(SCOPES).chain(TEXTS).collect::<Vec<_>>();
    let range = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    (prop::sample::select(texts), prop::option::of(range)).prop_map(|(text, range)| match range {
        None => text.to_owned(),
        Some((one, other)) => {
            let (one, other) = (one.index(text.len() + 1), other.index(text.len() + 1));
            text[one.min(other)..one.max(other)].to_owned()
        }
    })
}

/// The answer with the words in quotation marks before or after its text.
fn quoting(body: &str, words: [&str; 3], is_first: bool) -> String {
    let [name, tag, value] = words;
    let quoted = format!("dataset \"{name}\", tag \"{tag}\", value \"{value}\"");
    let add = |text: &str| if is_first { format!("{quoted}: {text}") } else { format!("{text}: {quoted}") };
    let mut answer: Value = serde_json::from_str(body).unwrap_or_default();
    match answer.get_mut("error") {
        Some(error) => {
            *error = json!(add(error.as_str().unwrap()));
            answer.to_string()
        }
        None => add(body),
    }
}

/// The errors without the text of the server.
fn without_text(errors: Vec<ApiError>) -> Vec<ApiError> {
    let without = |error: ApiError| ApiError { message: without_server_text(&error.message).into_owned(), ..error };
    errors.into_iter().map(without).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn words_of_a_request_change_no_error(
        words in [word(), word(), word()],
        (status, body) in prop::sample::select(&ANSWERS),
        is_first: bool,
    ) {
        let (words, neutral_words) = (words.each_ref().map(String::as_str), ["a", "b", "c"]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_, client) = Server::start(status, &[], body).await;
            let neutral = write_words(&client, neutral_words).await;
            prop_assert_eq!(&neutral, &write_words(&client, words).await);
            // The answer quotes the words.
            let (_, client) = Server::start(status, &[], quoting(body, neutral_words, is_first)).await;
            let neutral = without_text(write_words(&client, neutral_words).await);
            let (_, client) = Server::start(status, &[], quoting(body, words, is_first)).await;
            prop_assert_eq!(neutral, without_text(write_words(&client, words).await));
            Ok(())
        })?;
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
