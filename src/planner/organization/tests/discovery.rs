//! Discovery of regions, images and limits, and incomplete lists.

use super::*;

#[test]
fn a_response_of_a_proxy_does_not_remove_recorded_offers() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    let shown = fixture.status();
    assert!(shown.default_region.is_some() && shown.limits.is_some() && !shown.images.is_empty());
    for (kind, stays) in
        [(ErrorKind::NotFound { json: false }, true), (ErrorKind::Invalid, true), (ErrorKind::Forbidden, false)]
    {
        fixture.offers = Observed::Unknown(error(kind));
        fixture.secret.resource_version.push('1');
        assert_eq!(fixture.reconcile(), Outcome::InSync, "{kind:?}");
        let now = fixture.status();
        assert_eq!(now.default_region.is_some(), stays, "{kind:?}");
        assert_eq!((now.limits.is_some(), now.unavailable_paths.is_empty()), (stays, stays), "{kind:?}");
        assert_eq!(!now.images.is_empty(), stays, "{kind:?}");
    }
}

#[test]
fn an_offer_that_an_older_api_lacks_is_listed_and_keeps_ready() {
    for kind in [NO_SUCH_PATH, ErrorKind::NotFound { json: false }, ErrorKind::Forbidden, ErrorKind::Invalid] {
        let mut fixture = Fixture::new();
        fixture.offers = Observed::Unknown(error(kind));
        assert_eq!(fixture.reconcile(), Outcome::InSync, "{kind:?}");
        assert_eq!(fixture.status().unavailable_paths, ["/v1/regions", "/v1/container-images", "/v1/limits"]);
    }
    // Without the identity read, the regions must show that the credential is accepted.
    let mut fixture = Fixture::new();
    fixture.offers = Observed::Unknown(error(ErrorKind::Forbidden));
    fixture.organizations = Observed::Unknown(error(NO_SUCH_PATH));
    assert!(matches!(fixture.reconcile(), Outcome::WriteFailed(Reason::Forbidden, ..)));
}

#[test]
fn an_outage_after_the_identity_read_stops_further_reads() {
    for kind in [ErrorKind::Server, ErrorKind::Connect, ErrorKind::RateLimited { retry_after: None }] {
        let mut fixture = Fixture::new();
        fixture.offers = Observed::Unknown(error(kind));
        assert!(matches!(fixture.reconcile(), Outcome::WriteFailed(..)), "{kind:?}");
        assert_eq!(fixture.requests(), [OrganizationRead::Organizations, OrganizationRead::Regions], "{kind:?}");
    }
}

#[test]
fn an_incomplete_list_is_reported_without_a_request_until_it_is_complete() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.reconcile(), Outcome::InSync);
    let list = |path: &str, items_seen| IncompleteList { path: path.to_owned(), items_seen };
    let unknown = |items_seen| ListCompleteness::Unknown { items_seen };
    let (apps, secrets) = ("/v1/apps", "/v1/apps/7/secrets");
    for (read, recorded) in [
        (vec![(apps, unknown(20))], vec![list(apps, 20)]),
        (vec![(apps, unknown(40)), (secrets, unknown(20))], vec![list(apps, 40), list(secrets, 20)]),
        // The record of another process stays until this process has read the list.
        (vec![(apps, ListCompleteness::Complete)], vec![list(secrets, 20)]),
        (vec![], vec![list(secrets, 20)]),
        (vec![(secrets, ListCompleteness::Complete)], vec![]),
    ] {
        fixture.lists = read.into_iter().map(|(path, end)| (path.to_owned(), end)).collect();
        assert_eq!(fixture.reconcile(), Outcome::Skipped);
        assert_eq!((fixture.requests(), fixture.status().incomplete_lists), (Vec::new(), recorded));
    }
}
