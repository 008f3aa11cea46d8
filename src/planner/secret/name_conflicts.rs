//! Names that several SpiceSecrets of an app request, and the hand-over of a name from one to another.
//!
//! The oldest object owns a name. A secret counts as a third party's unless a status records that this operator set it.
//! Therefore an object releases a name only after the status of the next owner records the name, and the next owner
//! keeps the record as long as the hand-over may be in progress.

use std::collections::BTreeSet;

use super::input::{SecretInput, SiblingSecret};
use super::validate::check_name;
use crate::api::{SecretConflict, SecretEntry, SpiceSecretStatus};

/// The other SpiceSecrets of the app.
pub(super) fn siblings<'a>(input: &SecretInput<'a>) -> impl Iterator<Item = &'a SiblingSecret> + Clone {
    input.observed.siblings.iter().flatten().map(|other| &**other)
}

/// The sibling that owns a name before this object: the older one, or the one with the lower UID. A terminating sibling
/// owns its secrets until its end.
pub(super) fn current_owner<'a>(input: &SecretInput<'a>, name: &str) -> Option<&'a SiblingSecret> {
    let can_request = |other: &SiblingSecret| !other.deleting && !other.undecodable;
    let has_or_requests =
        |other: &&SiblingSecret| other.managed.contains(name) || (can_request(other) && other.requested.contains(name));
    siblings(input)
        .filter(has_or_requests)
        .filter(|other| takes_precedence(input, other))
        .min_by_key(|other| (other.created, &other.uid))
}

/// Returns true if a sibling is older than this object, or has the lower UID.
pub(super) fn takes_precedence(input: &SecretInput<'_>, other: &SiblingSecret) -> bool {
    let created = input.meta.creation_timestamp.as_ref().map(|time| time.0);
    (other.created, other.uid.as_str()) < (created, input.meta.uid.as_deref().unwrap_or_default())
}

/// The sibling that requests or has a secret of this object. If several do, one that acknowledged the name.
pub(super) fn competing_owner<'a>(input: &SecretInput<'a>, name: &str) -> Option<&'a SiblingSecret> {
    let requests = |other: &SiblingSecret| !other.undecodable && other.requested.contains(name);
    siblings(input)
        .filter(|other| !other.deleting)
        .filter(|other| requests(other) || other.managed.contains(name))
        .max_by_key(|other| other.acknowledged.contains(name))
}

/// Record of a name that a sibling owns.
pub(super) fn conflict_with(other: &SiblingSecret, name: &str) -> SecretConflict {
    let is_in = |names: &BTreeSet<String>| names.contains(name).then_some(true);
    SecretConflict {
        name: name.to_owned(),
        owned_by: other.object.clone(),
        present: is_in(&other.managed),
        adopted: is_in(&other.adopted),
    }
}

/// Records the names that a sibling has set, in every plan. The sibling releases a name only after this record
/// exists; without the record, this object could not distinguish the secret from one that a third party created.
pub(super) fn record_conflicts(input: &SecretInput<'_>, status: &mut SpiceSecretStatus) {
    // The names of an object that selects all keys are known from its records only.
    let names: Vec<String> = match input.desired.listed_keys() {
        Some(keys) => keys.iter().map(|(_, name)| name.clone()).collect(),
        None => status.conflicts.iter().map(|conflict| conflict.name.clone()).collect(),
    };
    for name in &names {
        let is_own = status.secrets.iter().any(|entry| entry.name == *name);
        let has_set = |other: &&SiblingSecret| other.managed.contains(name);
        let owner = current_owner(input, name).or_else(|| siblings(input).find(has_set));
        let Some(other) = owner.filter(|other| !is_own && has_set(other)) else { continue };
        status.conflicts.retain(|conflict| conflict.name != *name);
        status.conflicts.push(conflict_with(other, name));
    }
    status.conflicts.sort_by(|one, other| one.name.cmp(&other.name));
}

/// Returns true if status records the present owner of every name.
pub(super) fn conflicts_up_to_date(input: &SecretInput<'_>) -> bool {
    let recorded = |name: &String| input.status.conflicts.iter().find(|conflict| conflict.name == *name);
    let is_recorded = |name: &String, other: &SiblingSecret| recorded(name) == Some(&conflict_with(other, name));
    let is_right = |name: &String| match current_owner(input, name) {
        Some(other) => is_recorded(name, other),
        // Without an owner before this object, a record is right only for a name that this object no longer requests
        // and that a sibling may still hand over.
        None => recorded(name)
            .is_none_or(|_| !requests(input, name) && siblings(input).any(|other| is_recorded(name, other))),
    };
    let own = input.status.secrets.iter().map(|entry| &entry.name);
    own.chain(input.status.conflicts.iter().map(|conflict| &conflict.name)).all(is_right)
}

/// Returns true if the spec requests a name, as far as known without the Secret.
fn requests(input: &SecretInput<'_>, name: &str) -> bool {
    input.desired.listed_keys().is_none_or(|keys| keys.iter().any(|(_, requested)| requested == name))
}

/// Secrets that this object owns: those that it set, and those that were handed over and not set yet.
pub(super) fn owned_entries(input: &SecretInput<'_>) -> Vec<SecretEntry> {
    let entries = &input.status.secrets;
    let is_known = |name: &String| {
        entries.iter().any(|entry| entry.name == *name) || siblings(input).any(|other| other.managed.contains(name))
    };
    let handed_over =
        input.status.conflicts.iter().filter(|conflict| conflict.present == Some(true) && !is_known(&conflict.name));
    let as_entry = |conflict: &SecretConflict| SecretEntry {
        name: conflict.name.clone(),
        adopted: conflict.adopted,
        ..SecretEntry::default()
    };
    // An invalid name was written into the status by another client, and exists in no app.
    let all = entries.iter().cloned().chain(handed_over.map(as_entry));
    all.filter(|entry| check_name(&entry.name).is_ok()).collect()
}

/// Message for a release that waits.
pub(super) fn handover_message(other: &SiblingSecret, name: &str) -> String {
    format!("Waiting for SpiceSecret \"{}\" to acknowledge the hand-over of name \"{name}\"", other.object)
}

/// Returns true if the object must keep the record of a name that this object no longer requests: a hand-over may be in
/// progress, because the previous owner may have seen the request before it released the name.
pub(super) fn is_handover_pending(input: &SecretInput<'_>, conflict: &SecretConflict) -> bool {
    let mut siblings = siblings(input).filter(|other| !other.deleting);
    conflict.present == Some(true)
        && !siblings.any(|other| other.managed.contains(&conflict.name) && other.requested.contains(&conflict.name))
}
