//! Validation of SpiceOrganizations.

use serde_json::{Value, json};
use spice_cloud_operator::api::SpiceOrganization;

use super::check_creates;

/// Credentials with a personal access token in a key of a Secret.
fn personal_access_token(name: &str, key: &str) -> Value {
    json!({ "personalAccessToken": { "secretRef": { "name": name, "key": key } } })
}

/// Credentials with an OAuth client, whose reference has the additional fields.
fn oauth_client(mut reference: Value) -> Value {
    reference["name"] = json!("client");
    json!({ "oauthClient": { "secretRef": reference } })
}

/// A valid spec with additional fields.
fn spec_with(fields: Value) -> Value {
    let mut spec = json!({ "credentials": personal_access_token("token", "token") });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    spec
}

#[tokio::test]
async fn organization_endpoints_are_validated() {
    let endpoint = |url: &str| spec_with(json!({ "endpoint": url }));
    let token_endpoint = |url: &str| json!({ "credentials": oauth_client(json!({})), "tokenEndpoint": url });
    let key = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nMFake\n-----END PRIVATE KEY-----";
    check_creates::<SpiceOrganization>(&[
        ("default", spec_with(json!({})), &[]),
        ("default", endpoint("https://api.example/base"), &[]),
        ("default", endpoint("http://127.0.0.1:9"), &["spec.endpoint", "allowInsecureEndpoint"]),
        (
            "default",
            spec_with(json!({"endpoint": "http://127.0.0.1:9", "allowInsecureEndpoint": false})),
            &["spec.endpoint", "allowInsecureEndpoint"],
        ),
        ("default", spec_with(json!({"endpoint": "http://127.0.0.1:9", "allowInsecureEndpoint": true})), &[]),
        ("default", endpoint("api.spice.ai"), &["spec.endpoint", "absolute"]),
        ("default", endpoint("ftp://api.spice.ai"), &["spec.endpoint", "absolute"]),
        ("default", endpoint("https://user@api.spice.ai"), &["spec.endpoint", "absolute"]),
        ("default", endpoint("https://api.spice.ai?a=b"), &["spec.endpoint", "absolute"]),
        ("default", endpoint("https://api.spice.ai#a"), &["spec.endpoint", "absolute"]),
        ("default", token_endpoint("https://spice.example/api/oauth/token?a=b"), &[]),
        ("default", token_endpoint("spice.example"), &["spec.tokenEndpoint", "absolute"]),
        ("default", token_endpoint("https://user@spice.example"), &["spec.tokenEndpoint", "absolute"]),
        ("default", token_endpoint("http://127.0.0.1:9"), &["spec.tokenEndpoint", "allowInsecureEndpoint"]),
        (
            "default",
            spec_with(json!({"tokenEndpoint": "https://spice.example"})),
            &["spec.tokenEndpoint", "requires credentials.oauthClient"],
        ),
        ("default", spec_with(json!({"caBundle": "-----BEGIN CERTIFICATE-----"})), &[]),
        ("default", spec_with(json!({"caBundle": "none"})), &["spec.caBundle", "PEM"]),
        ("default", spec_with(json!({"caBundle": key})), &["spec.caBundle", "private key"]),
    ])
    .await;
}

#[tokio::test]
async fn organization_credentials_are_validated() {
    let session = json!({"sessionToken": {"secretRef": {"name": "token"}}});
    let mut both = session.clone();
    both["personalAccessToken"] = session["sessionToken"].clone();
    check_creates::<SpiceOrganization>(&[
        ("default", json!({}), &["spec.credentials", "Required"]),
        ("default", json!({"credentials": {}}), &["spec.credentials", "exactly one of"]),
        (
            "default",
            json!({"credentials": personal_access_token("token", "")}),
            &["spec.credentials.personalAccessToken.secretRef.key"],
        ),
        (
            "default",
            json!({"credentials": personal_access_token("token", "a b")}),
            &["spec.credentials.personalAccessToken.secretRef.key"],
        ),
        (
            "default",
            json!({"credentials": personal_access_token("", "token")}),
            &["spec.credentials.personalAccessToken.secretRef.name"],
        ),
        ("default", json!({"credentials": session}), &[]),
        ("default", json!({"credentials": {"personalAccessToken": {"secretRef": {"name": "token"}}}}), &[]),
        (
            "default",
            json!({"credentials": {"personalAccessToken": {}}}),
            &["spec.credentials.personalAccessToken.secretRef", "Required"],
        ),
        ("default", spec_with(json!({"credentials": both})), &["spec.credentials", "exactly one of"]),
        (
            "default",
            spec_with(json!({"credentials": {"personalAccessToken": {"secretRef": {"name": "../other/secrets/x"}}}})),
            &["spec.credentials.personalAccessToken.secretRef.name"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn organization_oauth_client_is_validated() {
    check_creates::<SpiceOrganization>(&[
        ("default", json!({"credentials": oauth_client(json!({}))}), &[]),
        ("default", json!({"credentials": oauth_client(json!({"clientIdKey": "id", "clientSecretKey": "s"}))}), &[]),
        (
            "default",
            json!({"credentials": oauth_client(json!({"clientIdKey": ""}))}),
            &["spec.credentials.oauthClient.secretRef.clientIdKey"],
        ),
        (
            "default",
            json!({"credentials": oauth_client(json!({"clientSecretKey": "a b"}))}),
            &["spec.credentials.oauthClient.secretRef.clientSecretKey"],
        ),
        (
            "default",
            json!({"credentials": {"oauthClient": {"secretRef": {}}}}),
            &["spec.credentials.oauthClient.secretRef.name", "Required"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn organization_access_budget_and_interval_are_validated() {
    let labels = json!({"matchLabels": {"team": "data"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]});
    let budget = |name: &str, value: i64| spec_with(json!({"requestBudget": {name: value}}));
    check_creates::<SpiceOrganization>(&[
        ("default", spec_with(json!({"allowedNamespaces": {"from": "Same"}})), &[]),
        ("default", spec_with(json!({"allowedNamespaces": {"from": "All"}})), &[]),
        ("default", spec_with(json!({"allowedNamespaces": {"from": "Some"}})), &["spec.allowedNamespaces.from", "All"]),
        ("default", spec_with(json!({"allowedNamespaces": {"from": "Selector", "selector": labels}})), &[]),
        ("default", spec_with(json!({"allowedNamespaces": {"from": "Selector"}})), &["selector must be set"]),
        (
            "default",
            spec_with(json!({"allowedNamespaces": {"from": "All", "selector": labels}})),
            &["selector must be set"],
        ),
        ("default", spec_with(json!({"adoption": "Never"})), &[]),
        ("default", spec_with(json!({"adoption": "Some"})), &["spec.adoption", "SameNamespace"]),
        ("default", spec_with(json!({"organization": "My.org_1-x"})), &[]),
        ("default", spec_with(json!({"organization": ""})), &["spec.organization"]),
        ("default", spec_with(json!({"organization": "my org"})), &["spec.organization"]),
        ("default", spec_with(json!({"requestBudget": {"account": "mine"}})), &[]),
        ("default", spec_with(json!({"requestBudget": {"account": ""}})), &["spec.requestBudget.account"]),
        ("default", budget("requestsPerMinute", 38), &[]),
        ("default", budget("requestsPerMinute", 37), &["spec.requestBudget", "at least 30 requests per minute"]),
        ("default", budget("requestsPerMinute", 9), &["spec.requestBudget.requestsPerMinute", "10"]),
        ("default", budget("requestsPerMinute", 1_000_001), &["spec.requestBudget.requestsPerMinute", "1000000"]),
        ("default", budget("reservePercent", 0), &[]),
        ("default", budget("reservePercent", 90), &[]),
        ("default", budget("reservePercent", 91), &["spec.requestBudget.reservePercent", "90"]),
        ("default", budget("reservePercent", -1), &["spec.requestBudget.reservePercent", "0"]),
        ("default", spec_with(json!({"interval": "1s"})), &[]),
        ("default", spec_with(json!({"interval": "999ms"})), &["spec.interval", "1s or more"]),
        ("default", spec_with(json!({"interval": "1d"})), &["spec.interval", "such as 90s"]),
    ])
    .await;
}

#[tokio::test]
async fn organization_namespace_selector_is_validated() {
    let selector =
        |selector: Value| spec_with(json!({"allowedNamespaces": {"from": "Selector", "selector": selector}}));
    let labels = |labels: Value| selector(json!({ "matchLabels": labels }));
    let required = |requirement: Value| selector(json!({ "matchExpressions": [requirement] }));
    let expressions = "spec.allowedNamespaces.selector.matchExpressions";
    let is_empty: &[&str] =
        &["spec.allowedNamespaces.selector: ", "name at least one label or expression, or set from: All"];
    let needs_values: &[&str] = &[expressions, "In or NotIn with values"];
    let many =
        |count: usize| (0..count).map(|n| json!({"key": format!("k{n}"), "operator": "Exists"})).collect::<Value>();
    check_creates::<SpiceOrganization>(&[
        ("default", selector(json!({})), is_empty),
        ("default", labels(json!({})), is_empty),
        ("default", selector(json!({"matchExpressions": []})), is_empty),
        ("default", selector(json!({"matchLabels": {}, "matchExpressions": []})), is_empty),
        ("default", selector(json!({"matchLabels": {"team": "data"}, "matchExpressions": []})), &[]),
        ("default", labels(json!({"example.com/team": "data"})), &[]),
        (
            "default",
            labels(json!({"": "data"})),
            &["spec.allowedNamespaces.selector.matchLabels", "no label can have this key"],
        ),
        (
            "default",
            labels(json!({"team ": "data"})),
            &["spec.allowedNamespaces.selector.matchLabels", "no label can have"],
        ),
        ("default", labels(json!({"team": "x".repeat(64)})), &["spec.allowedNamespaces.selector.matchLabels", "63"]),
        ("default", required(json!({"key": "team", "operator": "In", "values": ["data"]})), &[]),
        ("default", required(json!({"key": "team", "operator": "NotIn", "values": ["data"]})), &[]),
        ("default", required(json!({"key": "example.com/Team_1", "operator": "DoesNotExist"})), &[]),
        ("default", required(json!({"key": "team", "operator": "In"})), needs_values),
        ("default", required(json!({"key": "team", "operator": "In", "values": []})), needs_values),
        ("default", required(json!({"key": "team", "operator": "NotIn", "values": []})), needs_values),
        ("default", required(json!({"key": "team", "operator": "Exists", "values": ["data"]})), needs_values),
        ("default", required(json!({"key": "team", "operator": "Is", "values": ["data"]})), needs_values),
        ("default", required(json!({"key": "", "operator": "DoesNotExist"})), &[expressions]),
        ("default", required(json!({"key": "team ", "operator": "NotIn", "values": ["data"]})), &[expressions]),
        ("default", selector(json!({"matchExpressions": many(64)})), &[]),
        ("default", selector(json!({"matchExpressions": many(65)})), &[expressions, "64"]),
    ])
    .await;
}
