//! Remote writes of a SpiceSecret, and the changes that follow from their results.

use jiff::Timestamp;

use super::entries;
use super::input::SecretObserved;
use crate::api::{SecretEntry, SpiceSecret, SpiceSecretStatus};
use crate::management::types::{ApiError, PutSecret, RemoteSecret};
use crate::planner::errors::{self, ApiOperation};
use crate::planner::messages::list_items;
use crate::planner::observation::WriteResult;
use crate::planner::outcome::{EventRecord, Outcome};
use crate::planner::resource::RemoteWrite;
use crate::planner::schedule::Timings;

/// Maximum number of secrets in one batch, so that the read behind the batch does not expire while the batch is sent.
pub(super) const MAX_BATCH: usize = 50;

/// Maximum number of names in a message.
const MAX_SHOWN_NAMES: usize = 16;

/// Why a secret is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetCause {
    /// The app has no such secret of this object yet.
    Create,
    /// The secret exists and is adopted: its value is overwritten.
    Adopt,
    /// The value in the Kubernetes Secret changed.
    Rotate,
    /// Another client changed or deleted the secret.
    Correct,
}

/// A secret to set.
#[derive(Clone, Debug, PartialEq)]
pub struct SetSecret {
    /// Body.
    pub body: PutSecret,
    /// Entry to record after the write; the response adds the time.
    pub entry: SecretEntry,
    /// True if the entry was first recorded by the plan with this write, so that the app cannot have the secret yet.
    pub first: bool,
    /// Why the secret is set.
    pub cause: SetCause,
}

/// A remote write of a SpiceSecret: a batch of idempotent writes.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretWrite {
    /// `POST` for each secret.
    Set {
        /// ID of the app.
        app: i64,
        /// Start of the read that showed the owner of the app.
        based_on: Timestamp,
        /// The secrets.
        secrets: Vec<SetSecret>,
    },
    /// `DELETE` for each name.
    Delete {
        /// ID of the app.
        app: i64,
        /// Start of the read that showed the owner of the app.
        based_on: Timestamp,
        /// The names.
        names: Vec<String>,
    },
}

/// A successful write of one secret.
#[derive(Clone, Debug, PartialEq)]
pub enum WrittenSecret {
    /// The secret was set.
    Set(RemoteSecret),
    /// The secret was deleted.
    Deleted,
    /// The secret to delete did not exist.
    Missing,
}

/// Result of each write of a batch, by name, as far as the batch was sent.
pub type SecretResponse = Vec<(String, Result<WrittenSecret, ApiError>)>;

impl SecretWrite {
    /// ID of the app.
    pub fn app(&self) -> i64 {
        match self {
            Self::Set { app, .. } | Self::Delete { app, .. } => *app,
        }
    }

    /// Start of the read that showed the owner of the app.
    pub fn based_on(&self) -> Timestamp {
        match self {
            Self::Set { based_on, .. } | Self::Delete { based_on, .. } => *based_on,
        }
    }

    /// First name of the batch.
    fn first_name(&self) -> Option<&str> {
        match self {
            Self::Set { secrets, .. } => secrets.first().map(|set| set.body.name.as_str()),
            Self::Delete { names, .. } => names.first().map(String::as_str),
        }
    }

    /// The secrets to set; none for a delete.
    pub(super) fn sets(&self) -> &[SetSecret] {
        match self {
            Self::Set { secrets, .. } => secrets,
            Self::Delete { .. } => &[],
        }
    }

    fn apply_success(
        &self,
        status: &mut SpiceSecretStatus,
        observed: &mut SecretObserved,
        name: &String,
        written: &WrittenSecret,
    ) {
        match (self, written) {
            (Self::Set { app, secrets, .. }, WrittenSecret::Set(shown)) => {
                let Some(set) = secrets.iter().find(|set| set.body.name == *name) else { return };
                status.app_id = Some(*app);
                let entry = SecretEntry { updated_at: shown.updated_at.clone(), ..set.entry.clone() };
                entries::record(&mut status.secrets, entry);
                status.drift.retain(|drifted| drifted != name);
                observed.set.insert(name.clone());
            }
            (Self::Delete { .. }, _) => {
                status.secrets.retain(|entry| entry.name != *name);
                status.conflicts.retain(|conflict| conflict.name != *name);
                if status.secrets.is_empty() {
                    status.applied_secrets = None;
                }
                observed.deleted = true;
            }
            (Self::Set { .. }, WrittenSecret::Deleted | WrittenSecret::Missing) => {}
        }
    }

    fn apply_error(&self, status: &mut SpiceSecretStatus, name: &String, error: &ApiError) {
        let Some(set) = self.sets().iter().find(|set| set.body.name == *name) else { return };
        if !error.proves_not_applied() {
            // The app may have the old value or the new one: without a digest, the next reconcile sets the secret
            // again.
            let known = status.secrets.iter_mut().filter(|entry| entry.name == *name);
            known.for_each(|entry| entry.digest = None);
        } else if set.first {
            status.secrets.retain(|entry| entry.name != *name);
        }
    }
}

impl RemoteWrite<SpiceSecret> for SecretWrite {
    type Response = SecretResponse;

    fn operation(&self) -> &'static str {
        match self {
            Self::Set { .. } => "set",
            Self::Delete { .. } => "delete",
        }
    }

    fn apply(
        &self,
        status: &mut SpiceSecretStatus,
        observed: &mut SecretObserved,
        result: &WriteResult<SecretResponse>,
    ) {
        let response = match &result.result {
            Ok(response) => response.clone(),
            Err(error) => self.first_name().map(|name| (name.to_owned(), Err(error.clone()))).into_iter().collect(),
        };
        for (name, result) in &response {
            match result {
                Ok(written) => self.apply_success(status, observed, name, written),
                Err(error) => {
                    self.apply_error(status, name, error);
                    observed.failed.insert(name.clone(), error.clone());
                }
            }
        }
        // The batch ended before these, so the app cannot have them.
        let is_sent = |name: &String| response.iter().any(|(sent, _)| sent == name);
        for set in self.sets().iter().filter(|set| set.first && !is_sent(&set.body.name)) {
            status.secrets.retain(|entry| entry.name != set.body.name);
        }
    }

    fn outcome_of_error(&self, error: &ApiError, timings: &Timings) -> Option<Outcome> {
        let operation = match self {
            Self::Set { .. } => ApiOperation::Write,
            Self::Delete { .. } => ApiOperation::Delete,
        };
        let outcome = errors::call_failed(error, operation, "secrets:write", timings);
        Some(match self.first_name() {
            Some(name) => with_name(name, outcome),
            None => outcome,
        })
    }

    fn corrected_paths(&self, response: &SecretResponse) -> Vec<String> {
        let is_correction =
            |name: &String| self.sets().iter().any(|set| set.cause == SetCause::Correct && set.body.name == *name);
        let corrected = response.iter().filter(|(name, result)| result.is_ok() && is_correction(name));
        corrected.map(|(name, _)| name.clone()).collect()
    }

    fn affected_names(&self, result: &WriteResult<SecretResponse>) -> Vec<String> {
        // A write that had no effect starts no settle period: a missing secret counts as missing.
        let may_be_applied = |error: Option<&ApiError>| error.is_none_or(|error| !error.proves_not_applied());
        match &result.result {
            Ok(response) => {
                let affected = response.iter().filter(|(_, result)| may_be_applied(result.as_ref().err()));
                affected.map(|(name, _)| name.clone()).collect()
            }
            Err(error) => {
                self.first_name().filter(|_| may_be_applied(Some(error))).map(str::to_owned).into_iter().collect()
            }
        }
    }

    fn success_events(&self, response: &SecretResponse) -> Vec<EventRecord> {
        let is_written = |name: &str| response.iter().any(|(written, result)| written == name && result.is_ok());
        let event =
            |make: fn(&'static str, &str, String) -> EventRecord, action, reason, text: &str, names: Vec<&str>| {
                (!names.is_empty()).then(|| make(action, reason, format!("{text} {}", name_list(names.into_iter()))))
            };
        let sets = self.sets().iter().filter(|set| is_written(&set.body.name));
        let set_for =
            |cause| sets.clone().filter(|set| set.cause == cause).map(|set| set.body.name.as_str()).collect::<Vec<_>>();
        let empty = sets.clone().filter(|set| set.body.value.is_empty()).map(|set| set.body.name.as_str()).collect();
        let deleted = match self {
            Self::Delete { .. } => {
                let is_deleted = |result: &Result<WrittenSecret, ApiError>| {
                    result.as_ref().is_ok_and(|it| *it == WrittenSecret::Deleted)
                };
                let deleted = response.iter().filter(|(_, result)| is_deleted(result));
                deleted.map(|(name, _)| name.as_str()).collect()
            }
            Self::Set { .. } => Vec::new(),
        };
        let events = [
            event(EventRecord::normal, "Create", "Created", "Created secret", set_for(SetCause::Create)),
            event(EventRecord::normal, "Adopt", "Adopted", "Adopted secret", set_for(SetCause::Adopt)),
            event(EventRecord::normal, "Update", "Rotated", "Set new value of secret", set_for(SetCause::Rotate)),
            event(EventRecord::warning, "Correct", "DriftCorrected", "Corrected drift:", set_for(SetCause::Correct)),
            event(EventRecord::warning, "Update", "EmptyValue", "The value is empty:", empty),
            event(EventRecord::normal, "Delete", "Deleted", "Deleted secret", deleted),
        ];
        events.into_iter().flatten().collect()
    }
}

/// Adds the name of a secret to the message of a failed write.
pub(super) fn with_name(name: &str, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::WriteFailed(reason, message, retry) => {
            Outcome::WriteFailed(reason, format!("App secret \"{name}\": {message}"), retry)
        }
        other => other,
    }
}

pub(super) fn name_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    list_items(names, MAX_SHOWN_NAMES)
}
