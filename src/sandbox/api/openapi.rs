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
use crate::sandbox::traffic::rate_limits::{COUNTED_HEADERS, REJECTED_HEADERS, describe_headers};
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

/// Error responses that several endpoints share: status, name, description, rate-limit headers.
const COMMON_RESPONSES: [(&str, &str, &str, &[&str]); 7] = [
    ("400", "Invalid", "A header, a parameter or the body is invalid", &COUNTED_HEADERS),
    ("401", "Unauthenticated", "The credential is missing, unknown or expired", &[]),
    ("403", "Forbidden", "The scope, the role, the plan or the organization forbids the request", &COUNTED_HEADERS),
    ("404", "NotFound", "The app or the secret does not exist in the organization", &COUNTED_HEADERS),
    ("413", "TooLarge", "The body is larger than 1 MiB", &COUNTED_HEADERS),
    ("429", "TooMany", "A rate limit is exceeded", &REJECTED_HEADERS),
    ("500", "Broken", "Internal error", &COUNTED_HEADERS),
];

/// Adds the shared parts to a document.
pub(super) fn complete_document(mut document: OpenApi, profile: Profile) -> OpenApi {
    match profile {
        Profile::Legacy => remove_code_property(&mut document),
        Profile::Current => {
            let components = document.components.get_or_insert_default();
            components.parameters.insert(ORGANIZATION_HEADER.into(), organization_header().into());
        }
    }
    for (path, operation) in operations(&mut document) {
        complete_operation(path, operation, profile);
    }
    document
}

fn complete_operation(path: &str, operation: &mut Operation, profile: Profile) {
    let is_rate_limited = is_rate_limited(path);
    for response in operation.responses.responses.values_mut().filter(|_| is_rate_limited) {
        if let RefOr::T(response) = response {
            response.headers = header_references(&COUNTED_HEADERS);
        }
    }
    let is_secured = operation.security.is_some();
    let in_path = path.split(['{', '}']).skip(1).step_by(2).map(|name| describe_path_parameter(name).into());
    let header = Ref::new(format!("#/components/parameters/{ORGANIZATION_HEADER}"));
    let header = (is_secured && profile != Profile::Legacy).then_some(RefOr::Ref(header));
    let parameters: Vec<_> = in_path.chain(header).collect();
    if !parameters.is_empty() {
        operation.parameters.get_or_insert_default().extend(parameters);
    }
    for (status, name, ..) in COMMON_RESPONSES {
        let applies = match status {
            "404" => path.contains('{'),
            "413" => operation.request_body.is_some(),
            "429" => is_rate_limited,
            _ => is_secured,
        };
        if applies {
            // The endpoints without a credential document their own error responses.
            let reference = || Ref::from_response_name(name).into();
            operation.responses.responses.entry(status.into()).or_insert_with(reference);
        }
    }
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
        components.headers.extend(describe_headers());
        for (_, name, description, headers) in COMMON_RESPONSES {
            let schema = Ref::from_schema_name(ErrorBody::name());
            let body = ContentBuilder::new().schema(Some(schema)).build();
            let mut response =
                ResponseBuilder::new().description(description).content("application/json", body).build();
            response.headers = header_references(headers);
            components.responses.insert(name.into(), response.into());
        }
    }
}

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
