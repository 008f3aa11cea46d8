//! What answers show of an app: whose it is, what is recorded of it, whether it is gone.

use super::*;

/// Records whether our tags are kept: an answer that shows none after they were sent, or after they were refused, tells
/// that they are not.
pub(super) fn learn_tags(status: &mut SpiceAppStatus, observed: &AppObserved, write: &AppWrite, app: &App) {
    // Not after a create: a reactivated app may keep what it had.
    let sent = matches!(write, AppWrite::Update { .. }) && write.marks();
    if app.tag(OWNER_TAG).is_none() && (sent || observed.tags_refused) {
        status.tags_unsupported = Some(true);
    }
}

/// Whether we have made the app, and not only adopted it.
pub(super) fn created(status: &SpiceAppStatus) -> bool {
    status.incarnation.as_deref().is_some_and(|incarnation| incarnation.starts_with("c-"))
}

/// Whether an app shows somebody else's tag that our own create has brought back with it.
pub(super) fn came_back(status: &SpiceAppStatus, app: &App) -> bool {
    let intent = status.create_intent.as_ref().filter(|_| status.id == Some(app.id));
    intent.is_some_and(|intent| {
        intent.reactivated_owner_tag.is_some() && intent.reactivated_owner_tag.as_deref() == app.tag(OWNER_TAG)
    })
}

/// What a look for an app whose id cannot be read came to.
pub(super) enum AbsenceCheck {
    /// It is certainly not there.
    Confirmed,
    /// It cannot be told yet, or is not so.
    Inconclusive(Outcome),
    /// So many are gone at once that another organization may be looked at.
    MassAbsence(String),
}

/// One 404 and a complete list without the id make an absence; a fresh write of our own may hide it from both.
pub(super) fn absence(input: &PlanInput<'_, SpiceApp>, id: i64) -> AbsenceCheck {
    let unclear =
        |message| AbsenceCheck::Inconclusive(Outcome::ReadFailed(Reason::RemoteUnavailable, message, Retry::Backoff));
    let list = match &input.observed.list {
        Some(Observed::Present(list)) => &list.value,
        Some(Observed::Unknown(error)) => return AbsenceCheck::Inconclusive(read_failed(error)),
        Some(Observed::Absent) | None => return unclear(format!("app {id} cannot be read")),
    };
    let listed = |id: i64| list.iter().any(|app| app.id == id);
    if listed(id) {
        return unclear(format!("app {id} cannot be read, though the list of apps has it"));
    }
    if input.is_within_settle_period() {
        return unclear(format!("app {id} cannot be read, but that it was deleted is not certain yet"));
    }
    let own = (!input.deleting()).then_some(id);
    let recorded: Vec<i64> = input.observed.siblings.iter().flatten().copied().chain(own).collect();
    let missing = recorded.iter().filter(|id| !listed(**id)).count();
    let accepted = match &input.observed.organization {
        Some(Observed::Present(organization)) => organization.accepted_missing_apps,
        _ => 0,
    };
    // More than three and more than a fifth: people delete a few apps, and a wrong credential shows none of them.
    if missing > 3 && missing * 5 > recorded.len() && missing > accepted {
        return AbsenceCheck::MassAbsence(format!(
            "{missing} of {} recorded apps are missing from the list of apps: this may be another organization; if they \
             were deleted, set the annotation {ACCEPT_MISSING_APPS}: \"{missing}\" on SpiceOrganization {}",
            recorded.len(),
            organization_name(input)
        ));
    }
    AbsenceCheck::Confirmed
}

/// The id of the app that is ours. One that was only observed has no incarnation, and is none to write to.
pub(super) fn recorded(status: &SpiceAppStatus) -> Option<i64> {
    status.id.filter(|_| status.incarnation.is_some())
}

/// A longer text is no endpoint or region, and status has to stay small; in bytes.
const LONGEST: usize = 2048;

/// Records what an answer shows of the app itself.
pub(super) fn attach(status: &mut SpiceAppStatus, observed: &AppObserved, app: &App) {
    status.id = Some(app.id);
    if app.tag(OWNER_TAG).is_some() {
        status.tags_unsupported = None;
    }
    status.incarnation = app.tag(INCARNATION_TAG).map(str::to_owned).or(status.incarnation.take());
    // A list shows neither; what an earlier answer showed then stays.
    let fits = |text: &&str| text.len() <= LONGEST;
    status.endpoint = app.endpoint().filter(fits).map(str::to_owned).or(status.endpoint.take());
    if let Some(Observed::Present(OrganizationView { portal: Some(page), .. })) = &observed.organization {
        status.url = Some(page.clone());
    }
    status.region = app
        .field(AppField::Region)
        .and_then(|region| Some(region.as_str().filter(fits)?.to_owned()))
        .or(status.region.take());
}

/// Whose an app is, by its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    Own,
    Unowned,
    Foreign,
}

pub(super) fn owner(app: &App, desired: &AppDesired) -> Ownership {
    match app.tag(OWNER_TAG) {
        None => Ownership::Unowned,
        Some(tag) if tag == desired.owner => Ownership::Own,
        Some(_) => Ownership::Foreign,
    }
}

pub(super) fn same_name(app: &App, desired: &AppDesired) -> bool {
    app.name.eq_ignore_ascii_case(&desired.name)
}
