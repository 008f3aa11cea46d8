//! Query and path parameters. The extractors never reject a request, because parameter errors come after 401 and 403.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, IntoDeserializer};
use url::form_urlencoded;
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

use crate::sandbox::model::profile::{ApiSwitches, Profile};
use crate::sandbox::wire::error::ErrorResponse;

/// Query parameters by name. The first value of a repeated parameter counts.
pub(super) struct QueryParameters(HashMap<String, String>);

/// Part of a list.
pub(super) struct PageRange {
    offset: usize,
    limit: usize,
}

/// Default and maximum number of items per page.
const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

impl PageRange {
    /// Returns the items in this range.
    pub(super) fn slice<T>(&self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        items.into_iter().skip(self.offset).take(self.limit).collect()
    }
}

impl QueryParameters {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Parses a value of a closed set, or returns 400 with the `choices`.
    pub(super) fn parse_choice<T: DeserializeOwned>(
        &self,
        name: &str,
        choices: &str,
    ) -> Result<Option<T>, ErrorResponse> {
        let parse = |text: &str| T::deserialize(text.into_deserializer());
        let choice: Result<_, serde::de::value::Error> = self.get(name).map(parse).transpose();
        choice.map_err(|_| ErrorResponse::invalid_parameter(format!("{name} must be {choices}")))
    }

    /// Parses `limit` and `offset`. Without both, the range is the whole list, or the first page in the legacy API.
    pub(super) fn parse_page(&self, switches: ApiSwitches) -> Result<PageRange, ErrorResponse> {
        let limit = match self.parse_number("limit", 1, MAX_LIMIT) {
            Err(_) if switches.clamp_pages => Some(DEFAULT_LIMIT),
            limit => limit?,
        };
        let offset = if switches.ignore_offset { None } else { self.parse_number("offset", 0, usize::MAX)? };
        let always_paginated = switches.clamp_pages || switches.profile == Profile::Legacy;
        let is_paginated = always_paginated || limit.is_some() || offset.is_some();
        let max_limit = if switches.clamp_pages { DEFAULT_LIMIT } else { MAX_LIMIT };
        let limit = if is_paginated { limit.unwrap_or(DEFAULT_LIMIT).min(max_limit) } else { usize::MAX };
        Ok(PageRange { offset: offset.unwrap_or(0), limit })
    }

    fn parse_number(&self, name: &str, minimum: usize, maximum: usize) -> Result<Option<usize>, ErrorResponse> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = parse_decimal(text).filter(|number| (minimum..=maximum).contains(number));
        let range = match maximum {
            usize::MAX => format!("of at least {minimum}"),
            _ => format!("from {minimum} to {maximum}"),
        };
        let error = || ErrorResponse::invalid_parameter(format!("{name} must be an integer {range}"));
        number.map(Some).ok_or_else(error)
    }
}

impl IntoParams for PageRange {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = integer_schema(1).maximum(Some(MAX_LIMIT)).default(Some(DEFAULT_LIMIT.into()));
        let offset = integer_schema(0).default(Some(0.into()));
        let parameter = |name: &str, text: &str, schema: ObjectBuilder| {
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query);
            parameter.required(Required::False).description(Some(text)).schema(Some(schema)).build()
        };
        vec![
            parameter(
                "limit",
                "Maximum number of items. Without `limit` and `offset` the response may contain the whole list",
                limit,
            ),
            parameter("offset", "Number of items to skip", offset),
        ]
    }
}

impl<S: Send + Sync> FromRequestParts<S> for QueryParameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let mut query = HashMap::new();
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            query.entry(name.into_owned()).or_insert(value.into_owned());
        }
        Ok(Self(query))
    }
}

/// Path parameters by name. `None`: a part of the path is not UTF-8.
pub(super) struct PathParameters(Option<HashMap<String, String>>);

/// Names of the path parameters in routes.
const APP_ID: &str = "appId";
const SECRET_NAME: &str = "secretName";

impl PathParameters {
    /// Returns the ID of the app, or 400 if it is not a positive integer.
    pub(super) fn app_id(&self) -> Result<u64, ErrorResponse> {
        let number = self.get(APP_ID).and_then(parse_decimal::<u64>);
        // Clients read identifiers as signed 64-bit integers.
        let number = number.filter(|number| *number > 0 && i64::try_from(*number).is_ok());
        number.ok_or_else(|| ErrorResponse::invalid_parameter("Invalid ID: must be a positive integer"))
    }

    /// Returns the name of the secret, or 400 if the name is not UTF-8. The caller then returns 404 for an invalid
    /// name, because no secret has the name.
    pub(super) fn secret_name(&self) -> Result<&str, ErrorResponse> {
        let name = self.get(SECRET_NAME);
        name.ok_or_else(|| ErrorResponse::invalid_parameter("Invalid secret name: must be text"))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.as_ref()?.get(name).map(String::as_str)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathParameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let segments = Path::from_request_parts(parts, state).await.ok();
        Ok(Self(segments.map(|Path(segments)| segments)))
    }
}

/// Describes a path parameter for the OpenAPI document.
pub(super) fn describe_path_parameter(name: &str) -> Parameter {
    let schema = if name == APP_ID { integer_schema(1) } else { ObjectBuilder::new().schema_type(Type::String) };
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
    parameter.schema(Some(schema)).build()
}

fn integer_schema(minimum: usize) -> ObjectBuilder {
    let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
    ObjectBuilder::new().schema_type(Type::Integer).format(Some(format)).minimum(Some(minimum))
}

/// Parses digits only, because `parse` also accepts a plus sign.
fn parse_decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}
