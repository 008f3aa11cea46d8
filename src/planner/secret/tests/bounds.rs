//! Texts of the API in status have a bound.

use super::*;
use crate::planner::model::check_status_length;
use crate::planner::remote_app::INCARNATION_TAG;

/// A text of the API.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ApiText {
    AppName,
    AppTag(&'static str),
    ListedName,
    ListedTime,
    WrittenName,
    WrittenTime,
    ReadError(ErrorKind),
    /// Error of one secret of a batch.
    SecretError(ErrorKind),
    /// Error of a batch.
    BatchError(ErrorKind),
}

/// A fixture whose API returns one long text.
struct LongText {
    fixture: Fixture,
    text: ApiText,
    long: String,
}

impl LongText {
    fn secret(&self, name: &str, time: &str) -> RemoteSecret {
        let is_in = |texts: [ApiText; 2]| texts.contains(&self.text);
        let name = if is_in([ApiText::ListedName, ApiText::WrittenName]) { &self.long } else { name };
        let time = if is_in([ApiText::ListedTime, ApiText::WrittenTime]) { &self.long } else { time };
        serde_json::from_value(json!({ "name": name, "updated_at": time })).unwrap()
    }

    fn error(&self, kind: ErrorKind) -> ApiError {
        ApiError::local(kind, self.long.clone())
    }
}

impl Deref for LongText {
    type Target = Subject<SpiceSecret>;

    fn deref(&self) -> &Self::Target {
        &self.fixture
    }
}

impl DerefMut for LongText {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.fixture
    }
}

impl Model<SpiceSecret> for LongText {
    fn observe(&mut self, read: &SecretRead, observed: &mut SecretObserved) {
        self.fixture.observe(read, observed);
        if let Some(Observed::Present(list)) = &mut observed.list
            && matches!(self.text, ApiText::ListedName | ApiText::ListedTime)
        {
            let shown = self.secret("TOKEN", "");
            list.value = Arc::new([("TOKEN".to_owned(), self.secret("TOKEN", "")), (shown.name.clone(), shown)].into());
        }
    }

    fn carry_out(&mut self, write: &SecretWrite) -> Result<SecretResponse, ApiError> {
        let mut response = self.fixture.respond(write)?;
        for (_, result) in &mut response {
            match (self.text, &result) {
                (ApiText::BatchError(kind), _) => return Err(self.error(kind)),
                (ApiText::SecretError(kind), _) => *result = Err(self.error(kind)),
                (ApiText::WrittenName | ApiText::WrittenTime, Ok(WrittenSecret::Set(shown))) => {
                    *result =
                        Ok(WrittenSecret::Set(self.secret(&shown.name, shown.updated_at.as_deref().unwrap_or(""))));
                }
                _ => {}
            }
        }
        Ok(response)
    }
}

#[test]
fn every_text_in_the_status_of_a_secret_has_a_bound() {
    let kinds = [ErrorKind::Invalid, ErrorKind::Forbidden, ErrorKind::Unauthorized, ErrorKind::OutcomeUnknown];
    let errors = kinds
        .into_iter()
        .flat_map(|kind| [ApiText::ReadError(kind), ApiText::SecretError(kind), ApiText::BatchError(kind)]);
    let texts = [
        ApiText::AppName,
        ApiText::AppTag(OWNER_TAG),
        ApiText::AppTag(INCARNATION_TAG),
        ApiText::ListedName,
        ApiText::ListedTime,
        ApiText::WrittenName,
        ApiText::WrittenTime,
    ];
    for text in texts.into_iter().chain(errors) {
        for drift_policy in ["Report", "Correct"] {
            let mut spec = one("TOKEN");
            spec["driftPolicy"] = json!(drift_policy);
            let mut fixture = Fixture::settled(spec, &[("key", "old")]);
            fixture.set_in_portal("TOKEN", "other");
            let long = "x".repeat(100_000);
            let owner = digest::owner(&identity(), "team", "my-app");
            let mut remote_app = json!({ "id": APP, "name": "my-app", "tags": { OWNER_TAG: owner } });
            match text {
                ApiText::AppName => remote_app["name"] = json!(long),
                ApiText::AppTag(tag) => remote_app["tags"][tag] = json!(long),
                ApiText::ReadError(kind) => fixture.read_error = Some(ApiError::local(kind, long.clone())),
                _ => {}
            }
            fixture.remote_app = serde_json::from_value(remote_app).unwrap();
            let mut model = LongText { fixture, text, long };
            let mut shows_text = false;
            // The drift, another value, and the deletion.
            for step in 0..3 {
                match step {
                    0 => {}
                    1 => model.fixture.set_source(values(&[("key", "new")])),
                    _ => model.delete(),
                }
                reconcile(&mut model);
                check_status_length(&model.status(), &format!("{text:?}, {drift_policy}, step {step}"));
                shows_text |= json!(model.status()).to_string().contains(&model.long[..1000]);
                model.advance(660);
            }
            let is_error = matches!(text, ApiText::ReadError(_) | ApiText::SecretError(_) | ApiText::BatchError(_));
            assert_eq!(shows_text, is_error, "{text:?}, {drift_policy}");
        }
    }
}
