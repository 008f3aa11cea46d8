//! Comparison of endpoints.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// The canonical form of an endpoint. Two endpoints are the same service if their canonical forms are equal.
///
/// Scheme and host are in lower case, and IP addresses have their short form. The default port, final slashes and a final
/// dot of the host are removed. `localhost` and `[::1]` become `127.0.0.1`: one machine rarely serves two APIs at one port
/// of its loopback addresses. The letter case of the path does not change. From a text that is no URL, only final slashes
/// are removed.
pub fn canonical_endpoint(endpoint: &str) -> String {
    let canonical = Url::parse(endpoint).map_or_else(|_| endpoint.to_owned(), |url| canonical_host(url).into());
    canonical.trim_end_matches('/').to_owned()
}

fn canonical_host(mut url: Url) -> Url {
    let host = match url.host() {
        Some(Host::Domain("localhost" | "localhost.")) | Some(Host::Ipv6(Ipv6Addr::LOCALHOST)) => {
            Some(Ipv4Addr::LOCALHOST.to_string())
        }
        Some(Host::Domain(name)) => name.strip_suffix('.').map(str::to_owned),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => None,
    };
    // A host that the library rejects, such as an empty one, remains.
    let _ = host.map(|host| url.set_host(Some(&host)));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_endpoints_have_one_canonical_form() {
        for (canonical, spellings) in [
            (
                "https://api.example",
                &[
                    "https://api.example/",
                    "https://api.example//",
                    "https://API.Example",
                    "HTTPS://api.example",
                    "https://api.example:443",
                    "https://api.example:443/",
                    "https://api.example.",
                    "https://api.example/.",
                ][..],
            ),
            ("https://api.example:8443", &["https://API.example:08443/"]),
            ("http://api.example", &["http://api.example:80"]),
            ("https://api.example/Base", &["https://API.example/Base/", "https://api.example/other/../Base"]),
            ("https://xn--bcher-kva.example", &["https://bücher.example", "https://BÜCHER.example"]),
            ("https://[2001:db8::1]", &["https://[2001:0DB8:0:0:0:0:0:1]:443/", "https://[2001:db8::0:1]"]),
            ("http://192.0.2.1:9", &["http://192.0.2.1:9/", "http://3221225985:9"]),
            (
                "http://127.0.0.1:9",
                &["http://localhost:9", "http://LOCALHOST.:9/", "http://[::1]:9", "http://[0:0:0:0:0:0:0:1]:9"],
            ),
            ("no URL", &["no URL/"]),
        ] {
            assert_eq!(canonical_endpoint(canonical), canonical, "the canonical form is stable");
            for spelling in spellings {
                assert_eq!(canonical_endpoint(spelling), canonical, "{spelling}");
            }
        }
    }

    #[test]
    fn different_endpoints_have_different_canonical_forms() {
        let endpoints = [
            "https://api.example",
            "http://api.example",
            "https://api.example:80",
            "https://api.example:8443",
            "https://api.example/base",
            "https://api.example/BASE",
            "https://api.example/v2",
            "https://other.example",
            "https://example",
            "https://[2001:db8::1]",
            "https://[2001:db8::2]",
            "http://127.0.0.1:9",
            "http://127.0.0.1:8",
            "http://127.0.0.2:9",
            "http://my.localhost:9",
            "https://127.0.0.1:9",
        ];
        let mut canonical = endpoints.map(canonical_endpoint).to_vec();
        canonical.sort();
        canonical.dedup();
        assert_eq!(canonical.len(), endpoints.len(), "{canonical:?}");
    }
}
