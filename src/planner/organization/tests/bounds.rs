//! Texts of the API in status have a bound.

use super::*;
use crate::planner::model::check_status_length;

const LENGTH: usize = 100_000;

/// Sets a text in the responses of the API.
type SetText = fn(&mut Fixture, String);

/// Many items that differ in their number.
fn many(item: impl Fn(usize) -> Value) -> Value {
    (0..1000).map(item).collect()
}

#[test]
fn every_text_in_the_status_of_an_organization_has_a_bound() {
    let cases: [(&str, SetText); 12] = [
        ("organization name", |it, long| it.organizations = Observed::Present(json!([{ "id": "1", "name": long }]))),
        ("name and ID of another organization", |it, long| {
            it.organizations = Observed::Present(json!([{ "id": &long[..253], "name": &long[..253] }]));
        }),
        ("names of many organizations", |it, long| {
            it.organizations = Observed::Present(many(|number| json!({ "id": number, "name": &long[..253] })));
        }),
        ("requested organization", |it, long| {
            it.object.spec.organization = Some(long);
            it.increment_generation();
        }),
        ("region", |it, long| it.regions = json!({ "regions": [{ "region": long, "isDefault": true }] })),
        ("name and provider of a region", |it, long| {
            it.regions = json!({ "regions": [{ "region": "a", "name": long, "provider": long }] });
        }),
        ("default region", |it, long| it.regions = json!({ "regions": [], "default": long })),
        ("many regions", |it, long| {
            let texts = &long[..253];
            it.regions = json!({ "regions": many(|_| json!({ "region": texts, "name": texts, "provider": texts })) });
        }),
        ("image", |it, long| it.image = long),
        ("error of the offers", |it, long| {
            it.offers = Observed::Unknown(ApiError::local(ErrorKind::Forbidden, long));
        }),
        ("error of the identity read", |it, long| {
            it.organizations = Observed::Unknown(ApiError::local(ErrorKind::Invalid, long));
        }),
        ("rejection of the credential", |it, long| {
            it.organizations = Observed::Unknown(ApiError::local(ErrorKind::Unauthorized, long));
        }),
    ];
    for (case, set_text) in cases {
        for is_bound in [false, true] {
            let mut fixture = Fixture::new();
            if is_bound {
                assert_eq!(fixture.reconcile(), Outcome::InSync);
            }
            set_text(&mut fixture, "x".repeat(LENGTH));
            // Another credential causes a check.
            fixture.secret.resource_version.push('1');
            fixture.first_credential = fixture.secret.clone();
            fixture.reconcile();
            assert!(!fixture.requests().is_empty(), "{case}");
            check_status_length(&fixture.status(), case);
        }
    }
}
