//! Reads the credential of a SpiceOrganization from its Secret.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use secrecy::SecretString;

use crate::api::{OAuthClient, SourceVersion, SpiceOrganization};
use crate::controller::cluster::call::{format_kube_error, with_timeout};
use crate::management::types::{ApiError, ErrorKind};
use crate::management::{Credential, token_endpoint};
use crate::planner::credential_not_found_message;

/// Reads the credential of an organization. Returns the version of the Secret too.
///
/// # Errors
/// `CredentialMissing`, naming the Secret and the key; `Connect` if the read fails; `Invalid` if the spec lacks a token
/// endpoint.
pub(in crate::controller) async fn read(
    kubernetes: &Client,
    organization: &SpiceOrganization,
) -> Result<(Credential, SourceVersion), ApiError> {
    let credentials = &organization.spec.credentials;
    let name = credentials.secret_name().unwrap_or_default();
    let secrets: Api<Secret> =
        Api::namespaced(kubernetes.clone(), organization.namespace().as_deref().unwrap_or_default());
    let secret = with_timeout(secrets.get_opt(name)).await.map_err(|error| {
        let message = format!("Failed to read Secret \"{name}\": {}", format_kube_error(&error));
        ApiError::local(ErrorKind::Connect, message)
    })?;
    let Some(secret) = secret else {
        return Err(missing(credential_not_found_message(name)));
    };
    let version = SourceVersion::of("Secret", &secret.metadata);
    let credential = match (credentials.token(), &credentials.oauth_client) {
        (Some(token), _) => Credential::Token(value(&secret, name, &token.key)?.into()),
        (None, Some(client)) => oauth_client(organization, client, &secret)?,
        (None, None) => return Err(missing("spec.credentials is empty".to_owned())),
    };
    Ok((credential, version))
}

fn oauth_client(
    organization: &SpiceOrganization,
    client: &OAuthClient,
    secret: &Secret,
) -> Result<Credential, ApiError> {
    let reference = &client.secret_ref;
    let id = value(secret, &reference.name, &reference.client_id_key)?.to_owned();
    let secret = SecretString::from(value(secret, &reference.name, &reference.client_secret_key)?);
    let derived = || token_endpoint(&organization.spec.endpoint);
    let token_endpoint = organization.spec.token_endpoint.clone().or_else(derived).ok_or_else(|| {
        ApiError::local(
            ErrorKind::Invalid,
            "The token endpoint cannot be derived from spec.endpoint; set spec.tokenEndpoint",
        )
    })?;
    Ok(Credential::Client { id, secret, token_endpoint })
}

/// Value of a key of a Secret, without surrounding whitespace.
fn value<'a>(secret: &'a Secret, name: &str, key: &str) -> Result<&'a str, ApiError> {
    let Some(bytes) = secret.data.as_ref().and_then(|data| data.get(key)) else {
        return Err(missing(format!("Secret \"{name}\" has no key \"{key}\"")));
    };
    let text = std::str::from_utf8(&bytes.0).unwrap_or_default().trim();
    if bytes.0.iter().all(u8::is_ascii_whitespace) {
        return Err(missing(format!("Secret \"{name}\": key \"{key}\" is empty")));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!(
            "Secret \"{name}\": key \"{key}\" has a character that no credential contains; use printable ASCII without spaces"
        );
        return Err(missing(message));
    }
    Ok(text)
}

fn missing(message: String) -> ApiError {
    ApiError::local(ErrorKind::CredentialMissing, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(data: &[(&str, &str)]) -> Secret {
        let data =
            data.iter().map(|(key, value)| ((*key).to_owned(), k8s_openapi::ByteString(value.as_bytes().into())));
        Secret { data: Some(data.collect()), ..Secret::default() }
    }

    fn organization(client: &serde_json::Value) -> SpiceOrganization {
        let spec = json!({ "endpoint": "https://api.example", "credentials": { "oauthClient": client } });
        SpiceOrganization::new("default", serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn an_oauth_client_is_read_from_its_keys_and_a_missing_key_is_named() {
        let named = json!({ "secretRef": { "name": "client", "clientIdKey": "id", "clientSecretKey": "s" } });
        let open = json!({ "secretRef": { "name": "client" } });
        for (client, data, expected) in [
            (&named, vec![("id", " fake-id\n"), ("s", "fake\n")], Ok("https://example/api/oauth/token")),
            (&named, vec![("id", "fake-id")], Err("key \"s\"")),
            (&named, vec![("s", "fake")], Err("key \"id\"")),
            (&named, vec![("id", " "), ("s", "fake")], Err("key \"id\"")),
            (&open, vec![("client-id", "fake-id"), ("client-secret", "fake")], Ok("https://example/api/oauth/token")),
            (&open, vec![("client-id", "fake-id")], Err("key \"client-secret\"")),
            (&open, vec![("client-secret", "fake")], Err("key \"client-id\"")),
            (&named, vec![("id", "fake-id"), ("s", "two words")], Err("key \"s\"")),
        ] {
            let organization = organization(client);
            let client = organization.spec.credentials.oauth_client.as_ref().unwrap();
            match (oauth_client(&organization, client, &secret(&data)), expected) {
                (Ok(Credential::Client { id, token_endpoint, .. }), Ok(url)) => {
                    assert_eq!((id.as_str(), token_endpoint.as_str()), ("fake-id", url));
                }
                (Err(error), Err(word)) => {
                    assert_eq!(error.kind, ErrorKind::CredentialMissing);
                    assert!(error.message.contains(word), "{error}");
                }
                (found, expected) => panic!("{found:?}, not {expected:?}"),
            }
        }
    }
}
