//! URLs that are derived from the API endpoint: the token endpoint and the portal.

use reqwest::Url;

/// Default token endpoint of an API endpoint: on the portal host, or on the endpoint's own host if there is no portal.
pub fn token_endpoint(endpoint: &str) -> Option<String> {
    let mut url = portal_host(endpoint).or_else(|| Url::parse(endpoint).ok())?;
    url.path_segments_mut().ok()?.pop_if_empty().extend(["api", "oauth", "token"]);
    Some(url.into())
}

/// Portal page of an app, or `None` for an endpoint without a portal.
pub fn portal_url(endpoint: &str, organization: &str, app: &str) -> Option<String> {
    let mut url = portal_host(endpoint)?;
    url.path_segments_mut().ok()?.pop_if_empty().extend([organization, app]);
    Some(url.into())
}

/// URL of the portal host: the endpoint's host without the label `api`, or without `-api` at the end of a label.
///
/// The portal host receives the client secret. Therefore exactly one label changes, and never the last label: the host
/// `pay-api` of a cluster and the host `pay` are different services.
fn portal_host(endpoint: &str) -> Option<Url> {
    let mut url = Url::parse(endpoint).ok()?;
    let host = url.domain()?.to_owned();
    let (name, final_dot) = host.strip_suffix('.').map_or((host.as_str(), ""), |name| (name, "."));
    let (labels, last_label) = name.rsplit_once('.')?;
    let mut labels: Vec<&str> = labels.split('.').collect();
    if let Some(at) = labels.iter().position(|label| *label == "api") {
        labels.remove(at);
    } else {
        let (at, label) = labels.iter().enumerate().find_map(|(at, label)| {
            let label = label.strip_suffix("-api").filter(|label| !label.is_empty())?;
            Some((at, label))
        })?;
        labels[at] = label;
    }
    labels.push(last_label);
    url.set_host(Some(&format!("{}{final_dot}", labels.join(".")))).ok()?;
    url.set_path("");
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_endpoint_is_on_the_portal_host() {
        for (endpoint, expected) in [
            ("https://api.spice.ai", "https://spice.ai/api/oauth/token"),
            ("https://api.spice.ai/base/", "https://spice.ai/api/oauth/token"),
            ("https://staging.api.spice.ai", "https://staging.spice.ai/api/oauth/token"),
            ("https://dev-api.spice.ai:8443", "https://dev.spice.ai:8443/api/oauth/token"),
            ("http://127.0.0.1:9", "http://127.0.0.1:9/api/oauth/token"),
            ("http://localhost:9/base", "http://localhost:9/base/api/oauth/token"),
            ("http://api:9", "http://api:9/api/oauth/token"),
        ] {
            assert_eq!(token_endpoint(endpoint).as_deref(), Some(expected), "{endpoint}");
        }
        assert_eq!(token_endpoint("no URL"), None);
    }

    /// The host of the token endpoint receives the client secret.
    #[test]
    fn one_label_or_one_suffix_is_removed_from_the_host_of_the_endpoint() {
        for (host, expected) in [
            ("pay-api-api.example", "pay-api.example"),
            ("api-api.example", "api.example"),
            ("api.api.example", "api.example"),
            ("api.dev-api.example", "dev-api.example"),
            ("dev-api.pay-api.example", "dev.pay-api.example"),
            ("dev-api.api.example", "dev-api.example"),
            ("API.Spice.AI:443", "spice.ai"),
            ("Dev-API.spice.ai:8443", "dev.spice.ai:8443"),
            ("api.spice.ai.", "spice.ai."),
            ("api.bücher.example", "xn--bcher-kva.example"),
            // The rest of the label would be empty.
            ("-api.example", "-api.example"),
            // A host of one label, and the last label of a host, stay as they are.
            ("api", "api"),
            ("spice-api", "spice-api"),
            ("spice-api.", "spice-api."),
            ("spice.api", "spice.api"),
            ("spice.my-api", "spice.my-api"),
            // Only a whole label and the end of a label count.
            ("myapi.example", "myapi.example"),
            ("api2.example", "api2.example"),
            ("my-api-v2.example", "my-api-v2.example"),
            ("api-gateway.example", "api-gateway.example"),
            ("pay-apiapi.example", "pay-apiapi.example"),
            ("spice.example", "spice.example"),
            ("127.0.0.1:9", "127.0.0.1:9"),
            ("[2001:DB8::0:1]:9", "[2001:db8::1]:9"),
        ] {
            let expected = format!("https://{expected}/api/oauth/token");
            assert_eq!(token_endpoint(&format!("https://{host}")), Some(expected), "{host}");
        }
    }

    #[test]
    fn an_app_has_a_page_on_the_portal_host() {
        let page = portal_url("https://api.spice.ai", "a team", "my-app");
        assert_eq!(page.as_deref(), Some("https://spice.ai/a%20team/my-app"));
        assert_eq!(portal_url("http://127.0.0.1:9", "team", "my-app"), None);
    }
}
