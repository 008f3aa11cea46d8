//! OpenAPI document of the API.
//!
//! Each endpoint documents its own query parameters and responses. This module adds the path parameters, and the
//! responses, headers and parameters that the middleware and `AuthenticatedRequest` contribute to every endpoint.

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

use super::parameters::describe_path_parameter;
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
        description = "The part of the API that this sandbox implements. Clients should treat every field as optional.",
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
            let mut document_router = OpenApiRouter::new().routes(routes!(get_document));
            for (_, operation) in operations(document_router.get_openapi_mut()) {
                operation.operation_id = Some(format!("get_document_{number}"));
            }
            router.nest(path, document_router)
        },
    )
}

/// Returns this document.
#[utoipa::path(get, path = "", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn get_document(Extension(document): Extension<Arc<OpenApi>>) -> Json<OpenApi> {
    Json(OpenApi::clone(&document))
}

/// Returns all operations of a document with their paths.
pub(super) fn operations(document: &mut OpenApi) -> impl Iterator<Item = (&String, &mut Operation)> {
    document.paths.paths.iter_mut().flat_map(|(path, item)| {
        let each = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        each.into_iter().flatten().map(move |operation| (path, operation))
    })
}

/// An error response that several endpoints share.
struct CommonResponse {
    status: &'static str,
    name: &'static str,
    description: &'static str,
    /// Rate-limit headers of the response.
    headers: &'static [&'static str],
}

const INVALID: CommonResponse = CommonResponse {
    status: "400",
    name: "Invalid",
    description: "A header, a parameter or the body is invalid",
    headers: &rate_limits::COUNTED_HEADERS,
};
const UNAUTHENTICATED: CommonResponse = CommonResponse {
    status: "401",
    name: "Unauthenticated",
    description: "The credential is missing, unknown or expired",
    headers: &[],
};
const FORBIDDEN: CommonResponse = CommonResponse {
    status: "403",
    name: "Forbidden",
    description: "The scope, the role or the plan does not allow the request, or the organization is not accessible",
    headers: &rate_limits::COUNTED_HEADERS,
};
const NOT_FOUND: CommonResponse = CommonResponse {
    status: "404",
    name: "NotFound",
    description: "The app or the secret does not exist, or the app belongs to another organization",
    headers: &rate_limits::COUNTED_HEADERS,
};
const TOO_LARGE: CommonResponse = CommonResponse {
    status: "413",
    name: "TooLarge",
    description: "The body is larger than 1 MiB",
    headers: &rate_limits::COUNTED_HEADERS,
};
const TOO_MANY: CommonResponse = CommonResponse {
    status: "429",
    name: "TooMany",
    description: "A rate limit is exceeded",
    headers: &rate_limits::REJECTED_HEADERS,
};
const BROKEN: CommonResponse = CommonResponse {
    status: "500",
    name: "Broken",
    description: "Internal error",
    headers: &rate_limits::COUNTED_HEADERS,
};

/// Adds the shared parts to a document.
pub(super) fn complete_document(mut document: OpenApi, profile: Profile) -> OpenApi {
    let with_organizations = profile != Profile::Legacy;
    if with_organizations {
        let components = document.components.get_or_insert_default();
        components.parameters.insert(ORGANIZATION_HEADER.into(), organization_header().into());
    }
    if profile == Profile::Legacy {
        remove_code_property(&mut document);
    }
    for (path, operation) in operations(&mut document) {
        let is_rate_limited = is_rate_limited(path);
        for response in operation.responses.responses.values_mut().filter(|_| is_rate_limited) {
            if let RefOr::T(response) = response {
                response.headers = header_references(&rate_limits::COUNTED_HEADERS);
            }
        }
        let is_secured = operation.security.is_some();
        let in_path = path.split(['{', '}']).skip(1).step_by(2).map(|name| describe_path_parameter(name).into());
        let header = Ref::new(format!("#/components/parameters/{ORGANIZATION_HEADER}"));
        let header = (is_secured && with_organizations).then_some(RefOr::Ref(header));
        let parameters: Vec<_> = in_path.chain(header).collect();
        if !parameters.is_empty() {
            operation.parameters.get_or_insert_default().extend(parameters);
        }
        let responses = [
            (INVALID, is_secured),
            (UNAUTHENTICATED, is_secured),
            (FORBIDDEN, is_secured),
            (NOT_FOUND, path.contains('{')),
            (TOO_LARGE, operation.request_body.is_some()),
            (TOO_MANY, is_rate_limited),
            (BROKEN, is_secured),
        ];
        for (response, _) in responses.into_iter().filter(|(_, applies)| *applies) {
            // The endpoints without a credential document their own error responses.
            let reference = || Ref::from_response_name(response.name).into();
            operation.responses.responses.entry(response.status.into()).or_insert_with(reference);
        }
    }
    document
}

/// Removes the code from the error body, because the legacy API has no codes.
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

/// Shared headers and responses.
struct CommonComponents;

impl Modify for CommonComponents {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        components.headers.extend(rate_limits::describe_headers());
        for CommonResponse { name, description, headers, .. } in
            [INVALID, UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TOO_LARGE, TOO_MANY, BROKEN]
        {
            let schema = Ref::from_schema_name(ErrorBody::name());
            let body = ContentBuilder::new().schema(Some(schema)).build();
            let mut response =
                ResponseBuilder::new().description(description).content("application/json", body).build();
            response.headers = header_references(headers);
            components.responses.insert(name.into(), response.into());
        }
    }
}

/// Authentication schemes.
struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A personal access token, a session token, or an access token of an OAuth client"));
        let scopes = ALL_SCOPES.into_iter().chain(["*"]).map(|scope| (scope, ""));
        let flow = Flow::ClientCredentials(ClientCredentials::new(TOKEN_PATH, Scopes::from_iter(scopes)));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        components.add_security_scheme("oauth", SecurityScheme::OAuth2(OAuth2::new([flow])));
    }
}

/// Describes the organization header.
fn organization_header() -> Parameter {
    let handle = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-zA-Z0-9._-]+$"));
    ParameterBuilder::new()
        .name(ORGANIZATION_HEADER)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Handle of another organization that the credential can access"))
        .schema(Some(handle))
        .build()
}
