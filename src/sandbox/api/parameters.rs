//! Parameters of the query and the path. None of them rejects a request by itself: their rules come after 401 and 403.

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

/// The query of a request, by name; the first one of a name counts.
pub(super) struct QueryParameters(HashMap<String, String>);

/// A window over a list. A caller that asks for none gets the whole list, or the first page where the API is that old.
pub(super) struct PageRange {
    /// How many items to skip.
    offset: usize,
    /// How many items to show at most.
    limit: usize,
}

/// How many items a page has unless the caller says otherwise, and at most.
const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

impl PageRange {
    /// What is seen of a list through it.
    pub(super) fn slice<T>(&self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        items.into_iter().skip(self.offset).take(self.limit).collect()
    }
}

impl QueryParameters {
    /// A parameter as it was sent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// One of a closed set of words. The error means another word.
    pub(super) fn parse_choice<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, serde::de::value::Error> {
        self.get(name).map(|text| T::deserialize(text.into_deserializer())).transpose()
    }

    /// The page asked for: the whole list if neither `limit` nor `offset` is there.
    pub(super) fn parse_page(&self, switches: ApiSwitches) -> Result<PageRange, ErrorResponse> {
        let limit = match self.parse_number("limit", 1, MAX_LIMIT) {
            Err(_) if switches.clamp_pages => Some(DEFAULT_LIMIT),
            limit => limit?,
        };
        let offset = if switches.ignore_offset { None } else { self.parse_number("offset", 0, usize::MAX)? };
        let always = switches.clamp_pages || switches.profile == Profile::Legacy;
        let asked = always || limit.is_some() || offset.is_some();
        let most = if switches.clamp_pages { DEFAULT_LIMIT } else { MAX_LIMIT };
        let limit = if asked { limit.unwrap_or(DEFAULT_LIMIT).min(most) } else { usize::MAX };
        Ok(PageRange { offset: offset.unwrap_or(0), limit })
    }

    fn parse_number(&self, name: &str, minimum: usize, maximum: usize) -> Result<Option<usize>, ErrorResponse> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match parse_decimal(text) {
            Some(number) if (minimum..=maximum).contains(&number) => Ok(Some(number)),
            _ if maximum == usize::MAX => {
                Err(ErrorResponse::invalid_parameter(format!("{name} must be an integer of at least {minimum}")))
            }
            _ => {
                Err(ErrorResponse::invalid_parameter(format!("{name} must be an integer from {minimum} to {maximum}")))
            }
        }
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
            parameter("limit", "How many items to show at most. Without it and `offset` a list may be whole", limit),
            parameter("offset", "How many items to skip", offset),
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

/// What the routes call the parts of a path.
const APP_ID: &str = "appId";
const SECRET_NAME: &str = "secretName";

/// The id of an app in a path, not yet judged.
pub(super) struct AppIdParameter(Option<String>);

impl AppIdParameter {
    /// A positive number; anything else is 400.
    pub(super) fn read(&self) -> Result<u64, ErrorResponse> {
        let number = self.0.as_deref().and_then(parse_decimal::<u64>);
        // Identifiers are signed 64-bit on the wire of the clients there are.
        let number = number.filter(|number| *number > 0 && i64::try_from(*number).is_ok());
        number.ok_or_else(|| ErrorResponse::invalid_parameter("Invalid ID: must be a positive integer"))
    }
}

impl IntoParams for AppIdParameter {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let id = ParameterBuilder::new().name(APP_ID).parameter_in(ParameterIn::Path).required(Required::True);
        vec![id.schema(Some(integer_schema(1))).build()]
    }
}

fn integer_schema(minimum: usize) -> ObjectBuilder {
    let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
    ObjectBuilder::new().schema_type(Type::Integer).format(Some(format)).minimum(Some(minimum))
}

impl<S: Send + Sync> FromRequestParts<S> for AppIdParameter {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(path_segment(parts, state, APP_ID).await))
    }
}

/// The name of a secret in a path. No rule holds for it: a name that no secret can have is one that no secret has.
pub(super) struct SecretNameParameter(Option<String>);

impl SecretNameParameter {
    /// The name as text; 400 if it is none.
    pub(super) fn read(&self) -> Result<&str, ErrorResponse> {
        self.0.as_deref().ok_or_else(|| ErrorResponse::invalid_parameter("Invalid secret name: must be text"))
    }
}

impl IntoParams for SecretNameParameter {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let name = ParameterBuilder::new().name(SECRET_NAME).parameter_in(ParameterIn::Path).required(Required::True);
        vec![name.schema(Some(ObjectBuilder::new().schema_type(Type::String))).build()]
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SecretNameParameter {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(path_segment(parts, state, SECRET_NAME).await))
    }
}

/// A part of the path by the name that its route gives it, decoded. None if any part is not UTF-8.
async fn path_segment<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Option<String> {
    let Path(mut segments) = Path::<HashMap<String, String>>::from_request_parts(parts, state).await.ok()?;
    segments.remove(name)
}

/// Digits only: `parse` alone would take a plus sign.
fn parse_decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}
