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
fn portal_host(endpoint: &str) -> Option<Url> {
    let mut url = Url::parse(endpoint).ok()?;
    let host = url.host_str()?.to_owned();
    let mut labels: Vec<&str> = host.split('.').collect();
    if let Some(at) = labels.iter().position(|label| *label == "api").filter(|_| labels.len() > 1) {
        labels.remove(at);
    } else {
        let label = labels.iter_mut().find(|label| label.len() > 4 && label.ends_with("-api"))?;
        *label = label.trim_end_matches("-api");
    }
    url.set_host(Some(&labels.join("."))).ok()?;
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

    #[test]
    fn an_app_has_a_page_on_the_portal_host() {
        let page = portal_url("https://api.spice.ai", "a team", "my-app");
        assert_eq!(page.as_deref(), Some("https://spice.ai/a%20team/my-app"));
        assert_eq!(portal_url("http://127.0.0.1:9", "team", "my-app"), None);
    }
}
