//! The OpenAPI document, at its three addresses (contract, sections 5 and 12).
//!
//! What an endpoint takes and answers is said where it is; here is what holds for all of them, because the gateway or
//! `AuthenticatedRequest` sees to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::{Extension, Json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{ClientCredentials, Flow, HttpAuthScheme, HttpBuilder, OAuth2, Scopes, SecurityScheme};
use utoipa::openapi::{OpenApi, Ref, RefOr, Required};
use utoipa::{Modify, OpenApi as _, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paths::{DOCUMENT_PATHS, TOKEN_PATH, is_rate_limited};

use crate::sandbox::auth::identity::ORGANIZATION_HEADER;
use crate::sandbox::auth::scopes::ALL_SCOPES;
use crate::sandbox::model::profile::Profile;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::traffic::rate_limits;
use crate::sandbox::wire::error::ErrorBody;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Spice.ai Cloud Management API (sandbox)",
        description = "What this sandbox serves of the API. Clients should take every field as optional.",
    ),
    servers((url = "/")),
    components(schemas(ErrorBody)),
    modifiers(&SecuritySchemes, &CommonComponents),
)]
struct DocumentBase;

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    DOCUMENT_PATHS.iter().zip(1..).fold(
        OpenApiRouter::with_openapi(DocumentBase::openapi()),
        |router, (path, number)| {
            let mut one = OpenApiRouter::new().routes(routes!(get_document));
            for operation in operations(one.get_openapi_mut()) {
                operation.operation_id = Some(format!("get_document_{number}"));
            }
            router.nest(path, one)
        },
    )
}

/// Shows this document.
#[utoipa::path(get, path = "", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn get_document(Extension(document): Extension<Arc<OpenApi>>) -> Json<OpenApi> {
    Json(OpenApi::clone(&document))
}

/// Every operation of a document.
pub(super) fn operations(document: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    operations_with_paths(document).map(|(_, operation)| operation)
}

/// The same, each with its path.
fn operations_with_paths(document: &mut OpenApi) -> impl Iterator<Item = (&String, &mut Operation)> {
    document.paths.paths.iter_mut().flat_map(|(path, item)| {
        let each = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        each.into_iter().flatten().map(move |operation| (path, operation))
    })
}

/// A refusal that looks the same wherever it comes.
struct CommonResponse {
    status: &'static str,
    name: &'static str,
    why: &'static str,
    /// Which of the headers it has: it was counted, or the count was too high.
    headers: &'static [&'static str],
}

const UNAUTHENTICATED: CommonResponse = CommonResponse {
    status: "401",
    name: "Unauthenticated",
    why: "The credential is missing, unknown or expired",
    headers: &[],
};
const FORBIDDEN: CommonResponse = CommonResponse {
    status: "403",
    name: "Forbidden",
    why: "A scope, a role or the plan does not allow it, or the organization is out of reach",
    headers: &rate_limits::COUNTED_HEADERS,
};
const TOO_LARGE: CommonResponse = CommonResponse {
    status: "413",
    name: "TooLarge",
    why: "The body is larger than 1 MiB",
    headers: &rate_limits::COUNTED_HEADERS,
};
const TOO_MANY: CommonResponse = CommonResponse {
    status: "429",
    name: "TooMany",
    why: "Too many requests",
    headers: &rate_limits::REJECTED_HEADERS,
};
const BROKEN: CommonResponse = CommonResponse {
    status: "500",
    name: "Broken",
    why: "Something is wrong with the service",
    headers: &rate_limits::COUNTED_HEADERS,
};

/// Adds to a document what does not depend on the endpoint.
pub(super) fn complete_document(mut document: OpenApi, profile: Profile) -> OpenApi {
    let with_organizations = profile != Profile::Legacy;
    if with_organizations {
        let components = document.components.get_or_insert_default();
        components.parameters.insert(ORGANIZATION_HEADER.into(), organization_header().into());
    }
    if profile == Profile::Legacy {
        remove_code_property(&mut document);
    }
    for (path, operation) in operations_with_paths(&mut document) {
        let is_rate_limited = is_rate_limited(path);
        for response in operation.responses.responses.values_mut().filter(|_| is_rate_limited) {
            if let RefOr::T(response) = response {
                response.headers = header_references(&rate_limits::COUNTED_HEADERS);
            }
        }
        let is_secured = operation.security.is_some();
        if is_secured && with_organizations {
            let header = Ref::new(format!("#/components/parameters/{ORGANIZATION_HEADER}"));
            operation.parameters.get_or_insert_default().push(RefOr::Ref(header));
        }
        let refusals = [
            (UNAUTHENTICATED, is_secured),
            (FORBIDDEN, is_secured),
            (TOO_LARGE, operation.request_body.is_some()),
            (TOO_MANY, is_rate_limited),
            (BROKEN, is_secured),
        ];
        for (refusal, _) in refusals.into_iter().filter(|(_, comes)| *comes) {
            // The token endpoint has words of its own for some of them.
            let response = || Ref::from_response_name(refusal.name).into();
            operation.responses.responses.entry(refusal.status.into()).or_insert_with(response);
        }
    }
    document
}

/// Takes out of the error body what the first API did not have, as the gateway does with each refusal.
fn remove_code_property(document: &mut OpenApi) {
    let schemas = document.components.as_mut().map(|components| &mut components.schemas);
    if let Some(RefOr::T(Schema::Object(error))) = schemas.and_then(|schemas| schemas.get_mut(&*ErrorBody::name())) {
        error.properties.remove("code");
    }
}

fn header_references(headers: &[&str]) -> BTreeMap<String, RefOr<Header>> {
    let reference = |name| RefOr::Ref(Ref::new(format!("#/components/headers/{name}")));
    headers.iter().map(|name| ((*name).to_owned(), reference(name))).collect()
}

/// What the operations refer to.
struct CommonComponents;

impl Modify for CommonComponents {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        components.headers.extend(rate_limits::describe_headers());
        for CommonResponse { name, why, headers, .. } in [UNAUTHENTICATED, FORBIDDEN, TOO_LARGE, TOO_MANY, BROKEN] {
            let schema = Ref::from_schema_name(ErrorBody::name());
            let body = ContentBuilder::new().schema(Some(schema)).build();
            let mut response = ResponseBuilder::new().description(why).content("application/json", body).build();
            response.headers = header_references(headers);
            components.responses.insert(name.into(), response.into());
        }
    }
}

/// The kinds of credential.
struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A personal access token, the token of a session, or one that an OAuth client got"));
        let scopes = ALL_SCOPES.into_iter().chain(["*"]).map(|scope| (scope, ""));
        let flow = Flow::ClientCredentials(ClientCredentials::new(TOKEN_PATH, Scopes::from_iter(scopes)));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        components.add_security_scheme("oauth", SecurityScheme::OAuth2(OAuth2::new([flow])));
    }
}

/// The header, as the document of the API has it.
fn organization_header() -> Parameter {
    let handle = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-zA-Z0-9._-]+$"));
    ParameterBuilder::new()
        .name(ORGANIZATION_HEADER)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The handle of another organization that the credential reaches"))
        .schema(Some(handle))
        .build()
}
