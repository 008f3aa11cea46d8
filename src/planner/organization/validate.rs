//! Validates the spec of a SpiceOrganization. Repeats the checks of the schema, because an older schema may have
//! accepted the object, and a credential must not be sent to an endpoint that the current schema rejects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::api::{Credentials, NamespacesFrom, RequestBudget, SpiceOrganizationSpec};
use crate::management::types::parse_ca_bundle;

/// Minimum number of requests per minute after the reserve. With fewer, a read could be too old by the time that the
/// write based on it is sent.
const MIN_REQUESTS_PER_MINUTE: u64 = 30;

/// Error of an invalid spec; names the field.
pub fn organization_problem(spec: &SpiceOrganizationSpec) -> Option<String> {
    let check = || {
        endpoint("spec.endpoint", &spec.endpoint, spec)?;
        if let Some(url) = &spec.token_endpoint {
            endpoint("spec.tokenEndpoint", url, spec)?;
            if spec.credentials.oauth_client.is_none() {
                return Err("spec.tokenEndpoint requires credentials.oauthClient".to_owned());
            }
        }
        spec.ca_bundle.as_deref().map_or(Ok(()), |bundle| parse_ca_bundle(bundle).map(drop))?;
        credentials(&spec.credentials)?;
        spec.organization.as_deref().map_or(Ok(()), handle)?;
        spec.request_budget.as_ref().map_or(Ok(()), budget)?;
        let Some(allowed) = &spec.allowed_namespaces else { return Ok(()) };
        match &allowed.selector {
            Some(selector) if allowed.from == NamespacesFrom::Selector => requirements(selector),
            None if allowed.from != NamespacesFrom::Selector => Ok(()),
            _ => Err("spec.allowedNamespaces.selector must be set if and only if from is Selector".to_owned()),
        }
    };
    check().err()
}

fn endpoint(field: &str, url: &str, spec: &SpiceOrganizationSpec) -> Result<(), String> {
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(format!("{field} must be an absolute http or https URL"));
    }
    if url.starts_with("http://") && spec.allow_insecure_endpoint != Some(true) {
        return Err(format!(
            "{field} uses http. To send the credential unencrypted, set spec.allowInsecureEndpoint: true"
        ));
    }
    if url.contains(['@', '#']) || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("{field} must not contain a user, a fragment or white space"));
    }
    Ok(())
}

fn credentials(credentials: &Credentials) -> Result<(), String> {
    let Credentials { personal_access_token, oauth_client, session_token } = credentials;
    let set = [personal_access_token.is_some(), oauth_client.is_some(), session_token.is_some()];
    if set.into_iter().filter(|is_set| *is_set).count() != 1 {
        let message = "spec.credentials: exactly one of personalAccessToken, oauthClient and sessionToken must be set";
        return Err(message.to_owned());
    }
    Ok(())
}

/// Checks the organization handle, which is sent in a header.
fn handle(organization: &str) -> Result<(), String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if organization.is_empty() || !organization.chars().all(is_allowed) {
        return Err("spec.organization must be letters, digits, dots, underscores and hyphens".to_owned());
    }
    Ok(())
}

fn budget(budget: &RequestBudget) -> Result<(), String> {
    let left = u64::from(100_u32.saturating_sub(budget.reserve_percent()));
    if u64::from(budget.requests_per_minute()) * left < MIN_REQUESTS_PER_MINUTE * 100 {
        return Err(format!(
            "spec.requestBudget: requestsPerMinute minus reservePercent must leave at least {MIN_REQUESTS_PER_MINUTE} requests per minute"
        ));
    }
    Ok(())
}

fn requirements(selector: &LabelSelector) -> Result<(), String> {
    let LabelSelector { match_labels, match_expressions } = selector;
    // An empty selector matches every namespace, which a template can produce by mistake.
    if match_labels.iter().flatten().next().is_none() && match_expressions.iter().flatten().next().is_none() {
        let problem = "name at least one label or expression, or set from: All";
        return Err(format!("spec.allowedNamespaces.selector: {problem}"));
    }
    let labels = selector.match_labels.iter().flatten().map(|(key, _)| key);
    let required = selector.match_expressions.iter().flatten().map(|requirement| &requirement.key);
    if let Some(key) = labels.chain(required).find(|key| !is_label_key(key)) {
        return Err(format!("spec.allowedNamespaces.selector: {key:?} is not a valid label key"));
    }
    for requirement in selector.match_expressions.iter().flatten() {
        let has_values = requirement.values.as_ref().is_some_and(|values| !values.is_empty());
        let is_valid = match requirement.operator.as_str() {
            "In" | "NotIn" => has_values,
            "Exists" | "DoesNotExist" => !has_values,
            _ => false,
        };
        if !is_valid {
            return Err(format!(
                "spec.allowedNamespaces.selector: the requirement on {:?} must use In or NotIn with values, or Exists or \
                 DoesNotExist without values",
                requirement.key
            ));
        }
    }
    Ok(())
}

/// Returns true if a label can have this key. A requirement on another key matches every namespace or none.
fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_part = |part: &str, max, allowed: fn(char) -> bool| {
        let is_edge = |letter: char| letter.is_ascii_alphanumeric() && allowed(letter);
        (1..=max).contains(&part.len())
            && part.chars().all(allowed)
            && part.starts_with(is_edge)
            && part.ends_with(is_edge)
    };
    let is_prefix = |prefix| is_part(prefix, 253, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c));
    prefix.is_none_or(is_prefix) && is_part(name, 63, |c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(changes: &Value) -> SpiceOrganizationSpec {
        let mut spec = json!({
            "endpoint": "https://api.example",
            "credentials": { "personalAccessToken": { "secretRef": { "name": "token" } } },
        });
        let fields = changes.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn an_invalid_spec_is_rejected_with_the_field() {
        let token = json!({ "secretRef": { "name": "token", "key": "token" } });
        let allowed = |selector: Value| json!({ "allowedNamespaces": { "from": "Selector", "selector": selector } });
        let required = |requirement: Value| allowed(json!({ "matchExpressions": [requirement] }));
        let empty_selector =
            Some("spec.allowedNamespaces.selector: name at least one label or expression, or set from: All");
        let private_key = "-----BEGIN PRIVATE KEY-----\nMFake\n-----END PRIVATE KEY-----";
        for (changes, problem) in [
            (json!({}), None),
            (json!({ "endpoint": "http://api.example", "allowInsecureEndpoint": true }), None),
            (json!({ "endpoint": "http://api.example" }), Some("spec.endpoint uses http")),
            (json!({ "endpoint": "ftp://api.example" }), Some("spec.endpoint must be an absolute")),
            (json!({ "endpoint": "https://me@api.example" }), Some("spec.endpoint must not contain a user")),
            (json!({ "tokenEndpoint": "https://site.example/token" }), Some("spec.tokenEndpoint requires")),
            (json!({ "caBundle": "none" }), Some("spec.caBundle contains no PEM certificate")),
            (json!({ "caBundle": private_key }), Some("spec.caBundle contains a private key in PEM block 1. ")),
            (json!({ "credentials": {} }), Some("spec.credentials: exactly one")),
            (
                json!({ "credentials": { "personalAccessToken": token, "sessionToken": token } }),
                Some("spec.credentials: exactly one"),
            ),
            (json!({ "credentials": { "oauthClient": { "secretRef": { "name": "client" } } } }), None),
            (json!({ "organization": "mine\r\nX-Other: 1" }), Some("spec.organization must be")),
            (json!({ "requestBudget": { "requestsPerMinute": 30, "reservePercent": 0 } }), None),
            (json!({ "requestBudget": { "requestsPerMinute": 30 } }), Some("spec.requestBudget: ")),
            (json!({ "requestBudget": { "reservePercent": 97 } }), None),
            (json!({ "requestBudget": { "reservePercent": 100 } }), Some("spec.requestBudget: ")),
            (json!({ "allowedNamespaces": { "from": "Selector" } }), Some("spec.allowedNamespaces.selector must")),
            (required(json!({ "key": "team", "operator": "In", "values": ["data"] })), None),
            (required(json!({ "key": "team", "operator": "In" })), Some("the requirement on \"team\"")),
            (required(json!({ "key": "team", "operator": "In", "values": [] })), Some("the requirement on \"team\"")),
            (required(json!({ "key": "team", "operator": "Is" })), Some("the requirement on \"team\"")),
            (required(json!({ "key": "example.com/Team_1", "operator": "Exists" })), None),
            (allowed(json!({})), empty_selector),
            (allowed(json!({ "matchLabels": {} })), empty_selector),
            (allowed(json!({ "matchExpressions": [] })), empty_selector),
            (allowed(json!({ "matchLabels": {}, "matchExpressions": [] })), empty_selector),
            (allowed(json!({ "matchLabels": { "team": "data" }, "matchExpressions": [] })), None),
            (allowed(json!({ "matchLabels": { "": "data" } })), Some("\"\" is not a valid label key")),
            (allowed(json!({ "matchLabels": { "team ": "data" } })), Some("\"team \" is not a valid label key")),
            (required(json!({ "key": "", "operator": "DoesNotExist" })), Some("\"\" is not a valid label key")),
            (required(json!({ "key": "a/b/c", "operator": "Exists" })), Some("\"a/b/c\" is not a valid label key")),
            (required(json!({ "key": "A/b", "operator": "Exists" })), Some("\"A/b\" is not a valid label key")),
        ] {
            let found = organization_problem(&spec(&changes));
            match problem {
                None => assert_eq!(found, None, "{changes}"),
                Some(message) => {
                    assert!(found.as_ref().is_some_and(|found| found.contains(message)), "{changes}: {found:?}")
                }
            }
        }
    }
}
