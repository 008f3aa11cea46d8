//! Remote writes of a SpiceApp, and the changes that follow from their results.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::fields::{self, ManagedField};
use super::input::AppObserved;
use super::ownership::{is_reactivated_foreign, mark_untagged, record_app, untagged_event};
use crate::api::{SpiceApp, SpiceAppStatus};
use crate::management::types::{ApiError, App, AppField, CreateApp, ErrorKind, MAX_RECORDED_LENGTH, UpdateApp};
use crate::planner::errors::{self, ApiOperation};
use crate::planner::observation::{Observation, Observed, WriteResult};
use crate::planner::outcome::{EventRecord, Outcome};
use crate::planner::remote_app::OWNER_TAG;
use crate::planner::resource::RemoteWrite;
use crate::planner::schedule::{self, Timings};

/// Maximum difference between the creation time and the server time of a new app: the resolution of `Date`, and a
/// second for the API.
const SERVER_TIME_MARGIN: Duration = Duration::from_secs(2);

/// A remote write of a SpiceApp.
#[derive(Clone, Debug, PartialEq)]
pub enum AppWrite {
    /// `POST`: creates the app, or reactivates a deleted app of the same name.
    Create {
        /// Body.
        body: CreateApp,
        /// Managed fields in the body.
        managed: Vec<ManagedField>,
        /// True if an earlier attempt under the same intent may have taken effect, so that a rejection proves nothing.
        repeated: bool,
        /// True if this is the first attempt without the operator's tags.
        first_untagged: bool,
        /// The object's owner tag, in the body or not.
        owner: String,
        /// Time of the decision, which the intent records.
        intended_at: Timestamp,
        /// An app created before this time was deleted and is now reactivated, if the response shows no server time.
        reactivated_if_before: Timestamp,
    },
    /// `PUT` of the fields that differ.
    Update {
        /// ID of the app.
        id: i64,
        /// Start of the read that the update is based on.
        based_on: Timestamp,
        /// Body.
        body: UpdateApp,
        /// Managed fields in the body.
        managed: Vec<ManagedField>,
        /// Fields that the update clears and that are then no longer managed.
        cleared: Vec<String>,
        /// Fields that another client changed and that the update corrects.
        corrected: Vec<String>,
        /// True if the update sets the owner tags on an app without any.
        sets_owner_tags: bool,
        /// True if a response without the owner tags marks the app for the first time.
        may_mark: bool,
    },
    /// `PUT` of all tags but the operator's, before the object is deleted and the app stays. Best effort.
    RemoveOwnerTags {
        /// ID of the app.
        id: i64,
        /// Start of the read that the update is based on.
        based_on: Timestamp,
        /// The tags of others.
        body: UpdateApp,
    },
    /// `DELETE`.
    Delete {
        /// ID of the app.
        id: i64,
        /// Start of the read that the delete is based on.
        based_on: Timestamp,
    },
}

impl AppWrite {
    /// ID of the app; none for a create.
    pub fn id(&self) -> Option<i64> {
        match self {
            Self::Create { .. } => None,
            Self::Update { id, .. } | Self::RemoveOwnerTags { id, .. } | Self::Delete { id, .. } => Some(*id),
        }
    }

    fn sends_spicepod(&self) -> bool {
        matches!(self, Self::Update { body, .. } if body.0.contains_key(&AppField::Spicepod))
    }

    /// Returns true if the write sets the owner tags on an app without any.
    pub(super) fn sets_owner_tags(&self) -> bool {
        match self {
            Self::Create { body, .. } => body.tags.contains_key(OWNER_TAG),
            Self::Update { sets_owner_tags, .. } => *sets_owner_tags,
            Self::RemoveOwnerTags { .. } | Self::Delete { .. } => false,
        }
    }

    /// Returns true if the reconcile continues after this error: without the owner tags, or without the spicepod.
    fn continues_after(&self, error: &ApiError) -> bool {
        self.sets_owner_tags() && may_concern_tags(error) || self.sends_spicepod() && errors::is_repository_error(error)
    }
}

impl RemoteWrite<SpiceApp> for AppWrite {
    /// The app in the response; none after a delete.
    type Response = Option<App>;

    fn operation(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Update { .. } => "update",
            Self::RemoveOwnerTags { .. } => "remove_owner_tags",
            Self::Delete { .. } => "delete",
        }
    }

    fn apply(&self, status: &mut SpiceAppStatus, observed: &mut AppObserved, result: &WriteResult<Option<App>>) {
        match (self, &result.result) {
            (Self::Create { .. }, Ok(Some(app))) => {
                self.apply_create(status, observed, app, result);
                observed.app = Some(Observed::Present(shown(app, result)));
            }
            (Self::Update { managed, cleared, .. }, Ok(Some(app))) => {
                status.last_applied.retain(|path, _| !cleared.contains(path));
                status.last_applied.extend(fields::observed_after_send(managed, app));
                if !is_reactivated_foreign(status, app) {
                    status.create_intent = None;
                }
                record_app(status, observed, app);
                record_tag_support(status, observed, self.sets_owner_tags(), app, result.started_at);
                observed.owner_tags_restored = true;
                observed.app = Some(Observed::Present(shown(app, result)));
            }
            (Self::RemoveOwnerTags { .. }, _) => observed.owner_tags_removed = true,
            (Self::Delete { .. }, Ok(_)) => {
                (status.id, status.create_intent) = (None, None);
                observed.deleted = true;
            }
            (_, Err(error)) => self.apply_error(status, observed, error),
            (_, Ok(None)) => {}
        }
    }

    fn outcome_of_error(&self, error: &ApiError, timings: &Timings) -> Option<Outcome> {
        if self.continues_after(error) {
            return None;
        }
        match self {
            Self::Create { .. } | Self::Update { .. } => {
                Some(errors::call_failed(error, ApiOperation::Write, "apps:write", timings))
            }
            Self::RemoveOwnerTags { .. } => None,
            Self::Delete { .. } => Some(errors::call_failed(error, ApiOperation::Delete, "apps:delete", timings)),
        }
    }

    fn corrected_paths(&self, _: &Option<App>) -> Vec<String> {
        match self {
            Self::Update { corrected, .. } => corrected.clone(),
            Self::Create { .. } | Self::RemoveOwnerTags { .. } | Self::Delete { .. } => Vec::new(),
        }
    }

    fn success_events(&self, response: &Option<App>) -> Vec<EventRecord> {
        let may_mark = match self {
            Self::Create { first_untagged, .. } => *first_untagged,
            Self::Update { may_mark, .. } => *may_mark,
            Self::RemoveOwnerTags { .. } | Self::Delete { .. } => false,
        };
        let untagged = response.iter().filter(|app| may_mark && app.tag(OWNER_TAG).is_none());
        untagged.map(|app| untagged_event(&app.name)).collect()
    }

    fn must_persist_immediately(&self) -> bool {
        matches!(self, Self::Create { .. })
    }
}

impl AppWrite {
    fn apply_create(
        &self,
        status: &mut SpiceAppStatus,
        observed: &mut AppObserved,
        app: &App,
        result: &WriteResult<Option<App>>,
    ) {
        let Self::Create { managed, reactivated_if_before, owner, .. } = self else { return };
        let foreign_tag = app.tag(OWNER_TAG).filter(|tag| owner != tag && tag.len() <= MAX_RECORDED_LENGTH);
        let foreign_tag = foreign_tag.map(str::to_owned);
        // An app that the create reactivated is the object's own under any tag. Until the app shows the owner tag, the
        // intent records this.
        status.create_intent = status.create_intent.take().filter(|_| foreign_tag.is_some());
        if let Some(intent) = &mut status.create_intent {
            intent.reactivated_owner_tag = foreign_tag;
        }
        status.last_applied = fields::accepted_fields(managed, app);
        // Both times are the server's, so the difference between the clocks has no effect.
        observed.reactivated = app.created_at().is_some_and(|at| match result.server_started_at {
            Some(started_at) => schedule::elapsed(at, started_at) > SERVER_TIME_MARGIN,
            None => at < *reactivated_if_before,
        });
        status.reactivated_at = result.server_started_at.filter(|_| observed.reactivated).map(MicroTime);
        record_app(status, observed, app);
        record_tag_support(status, observed, false, app, result.started_at);
    }

    fn apply_error(&self, status: &mut SpiceAppStatus, observed: &mut AppObserved, error: &ApiError) {
        if self.sets_owner_tags() && may_concern_tags(error) {
            observed.tags_rejected = true;
        }
        observed.repository_connected |= self.sends_spicepod() && errors::is_repository_error(error);
        let Self::Create { repeated, first_untagged, .. } = self else { return };
        if proves_not_created(error) {
            // Nothing was created, so a deletion needs no search for an app.
            if !repeated {
                status.create_intent = None;
            }
            // Without an app, whether the API keeps tags is not known.
            if !repeated || *first_untagged {
                (status.tags_unsupported, status.tags_tried_at) = (None, None);
            }
        }
        if !repeated
            && error.kind == ErrorKind::Conflict
            && let Some(intent) = &mut status.create_intent
        {
            intent.name_conflict = Some(true);
        }
    }
}

fn shown(app: &App, result: &WriteResult<Option<App>>) -> Observation<App> {
    Observation { value: app.clone(), started_at: result.started_at }
}

/// Returns true if a create with this error certainly created nothing. A name conflict does not show which client took
/// the name: a proxy may have sent the request twice.
fn proves_not_created(error: &ApiError) -> bool {
    error.proves_not_applied() && !matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound { .. })
}

/// Returns true if a rejection may concern the operator's tags and nothing else. The operator then repeats the write
/// without these tags. A missing scope or role, and the page of a proxy, do not concern the tags.
fn may_concern_tags(error: &ApiError) -> bool {
    match error.kind {
        ErrorKind::Invalid => error.is_json,
        ErrorKind::Forbidden => error.is_json && !errors::is_authorization_error(error),
        ErrorKind::CredentialMissing
        | ErrorKind::Unauthorized
        | ErrorKind::NotFound { .. }
        | ErrorKind::Conflict
        | ErrorKind::RateLimited { .. }
        | ErrorKind::PaymentRequired
        | ErrorKind::Rejected
        | ErrorKind::Server
        | ErrorKind::Connect
        | ErrorKind::OutcomeUnknown
        | ErrorKind::InvalidResponse
        | ErrorKind::IncompleteList { .. }
        | ErrorKind::Cancelled => false,
    }
}

/// Records whether the API keeps tags. A response without tags after an update that sent tags (`update_sent_tags`), or
/// after a rejection of tags, shows that the API does not. A create that sent tags shows nothing, because a reactivated
/// app may keep its old tags.
fn record_tag_support(
    status: &mut SpiceAppStatus,
    observed: &AppObserved,
    update_sent_tags: bool,
    app: &App,
    at: Timestamp,
) {
    if app.tag(OWNER_TAG).is_none() && (update_sent_tags || observed.tags_rejected) {
        mark_untagged(status, Some(at), at);
    }
}
