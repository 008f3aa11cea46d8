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
    let update = UpdateApp(BTreeMap::from([(AppField::Spicepod, spicepod), (AppField::Tags, json!({ tag: tag }))]));
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
    let body = UpdateApp(BTreeMap::from([(AppField::Spicepod, json!({ "datasets": names }))]));
    let permit = client.acquire_permit(Priority::Edit, AccessMode::Write).await.unwrap();
    let error = client.update_app(7, &body, permit).await.unwrap_err();
    assert_eq!(error.message, format!("PUT /v1/apps/{{appId}}: 400 Bad Request: “{}”", quoted.trim()));
}
