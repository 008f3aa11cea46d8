//! What a SpiceOrganization asks for, checked once more: the API server has checked it, but perhaps by an older
//! definition, and a credential must not leave for a place that nobody allowed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::api::{Credentials, NamespacesFrom, RequestBudget, SpiceOrganizationSpec};

/// Requests a minute that have to be left: with fewer, a read and the write that rests on it would not fit into the time
/// for which the read is believed.
const LEAST_SHARE: u64 = 30;

/// What is wrong with a spec, naming the field, if anything is.
pub fn organization_problem(spec: &SpiceOrganizationSpec) -> Option<String> {
    let check = || {
        endpoint("spec.endpoint", &spec.endpoint, spec)?;
        if let Some(url) = &spec.token_endpoint {
            endpoint("spec.tokenEndpoint", url, spec)?;
            if spec.credentials.oauth_client.is_none() {
                return Err("spec.tokenEndpoint is for credentials.oauthClient only".to_owned());
            }
        }
        credentials(&spec.credentials)?;
        spec.organization.as_deref().map_or(Ok(()), handle)?;
        spec.request_budget.as_ref().map_or(Ok(()), budget)?;
        let Some(allowed) = &spec.allowed_namespaces else { return Ok(()) };
        match &allowed.selector {
            Some(selector) if allowed.from == NamespacesFrom::Selector => requirements(selector),
            None if allowed.from != NamespacesFrom::Selector => Ok(()),
            _ => Err("spec.allowedNamespaces.selector must be set if from is Selector, and only then".to_owned()),
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
            "{field} is plain http: set spec.allowInsecureEndpoint to true to send the credential unencrypted"
        ));
    }
    if url.contains(['@', '#']) || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("{field} must hold no user, fragment or white space"));
    }
    Ok(())
}

fn credentials(credentials: &Credentials) -> Result<(), String> {
    let Credentials { personal_access_token, oauth_client, session_token } = credentials;
    let named = [personal_access_token.is_some(), oauth_client.is_some(), session_token.is_some()];
    if named.into_iter().filter(|one| *one).count() != 1 {
        let message = "spec.credentials: exactly one of personalAccessToken, oauthClient and sessionToken must be set";
        return Err(message.to_owned());
    }
    Ok(())
}

/// It goes into a header.
fn handle(organization: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if organization.is_empty() || !organization.chars().all(plain) {
        return Err("spec.organization must be letters, digits, dots, underscores and hyphens".to_owned());
    }
    Ok(())
}

fn budget(budget: &RequestBudget) -> Result<(), String> {
    let left = u64::from(100_u32.saturating_sub(budget.reserve_percent()));
    if u64::from(budget.requests_per_minute()) * left < LEAST_SHARE * 100 {
        return Err(format!(
            "spec.requestBudget: requestsPerMinute less reservePercent leaves fewer than {LEAST_SHARE} requests a minute"
        ));
    }
    Ok(())
}

fn requirements(selector: &LabelSelector) -> Result<(), String> {
    for requirement in selector.match_expressions.iter().flatten() {
        let valued = requirement.values.as_ref().is_some_and(|values| !values.is_empty());
        let fits = match requirement.operator.as_str() {
            "In" | "NotIn" => valued,
            "Exists" | "DoesNotExist" => !valued,
            _ => false,
        };
        if !fits {
            return Err(format!(
                "spec.allowedNamespaces.selector: the requirement on {:?} is none of In or NotIn with values, Exists or \
                 DoesNotExist without",
                requirement.key
            ));
        }
    }
    Ok(())
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
    fn what_an_older_definition_let_in_is_named() {
        let token = json!({ "secretRef": { "name": "token", "key": "token" } });
        let allowed = |selector: Value| json!({ "allowedNamespaces": { "from": "Selector", "selector": selector } });
        let required = |requirement: Value| allowed(json!({ "matchExpressions": [requirement] }));
        for (changes, problem) in [
            (json!({}), None),
            (json!({ "endpoint": "http://api.example", "allowInsecureEndpoint": true }), None),
            (json!({ "endpoint": "http://api.example" }), Some("spec.endpoint is plain http")),
            (json!({ "endpoint": "ftp://api.example" }), Some("spec.endpoint must be an absolute")),
            (json!({ "endpoint": "https://me@api.example" }), Some("spec.endpoint must hold no user")),
            (json!({ "tokenEndpoint": "https://site.example/token" }), Some("spec.tokenEndpoint is for")),
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
            (required(json!({ "key": "team", "operator": "Is" })), Some("the requirement on \"team\"")),
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
