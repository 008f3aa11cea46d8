//! Who has a name of which several objects ask for, and how it passes from one to another.
//!
//! The older object has it. A secret is somebody else's unless a status says that one of ours has set it; so whoever lets go
//! of one waits until the status of the other says so, and whoever has noted that keeps the note as long as the secret may be
//! passing on.

use super::validate::{KeySelection, SelectedKeys, check_name};
use super::*;
use crate::api::SecretConflict;

/// The object that goes before us for a name: the older, then the one of the lower uid. One that is being deleted holds what
/// it has until it is gone.
pub(super) fn holder<'a>(input: &SecretInput<'a>, name: &str) -> Option<&'a SiblingSecret> {
    let asks_no_more = |other: &SiblingSecret| other.deleting || other.undecodable;
    let asks =
        |other: &&SiblingSecret| other.set.contains(name) || (!asks_no_more(other) && other.named.contains(name));
    others(input)
        .filter(asks)
        .filter(|other| is_before_us(input, other))
        .min_by_key(|other| (other.created, &other.uid))
}

/// Whether another object is older than this one, or else has the lower uid.
pub(super) fn is_before_us(input: &SecretInput<'_>, other: &SiblingSecret) -> bool {
    let created = input.meta.creation_timestamp.as_ref().map(|time| time.0);
    (other.created, other.uid.as_str()) < (created, input.meta.uid.as_deref().unwrap_or_default())
}

pub(super) fn held_by(other: &SiblingSecret, name: &str) -> SecretConflict {
    let told = |names: &BTreeSet<String>| names.contains(name).then_some(true);
    SecretConflict {
        name: name.to_owned(),
        owned_by: other.object.clone(),
        present: told(&other.set),
        adopted: told(&other.adopted),
    }
}

/// Whatever else becomes of a visit, status says which names another object has set: that one lets go of them only then, and
/// nothing else tells later that they are no stranger's.
pub(super) fn note_held(input: &SecretInput<'_>, status: &mut SpiceSecretStatus) {
    // Of one that takes all keys, nothing else tells without its source what it asks for.
    let names: Vec<String> = match &input.desired.spec {
        Ok(KeySelection { keys: SelectedKeys::These(keys), .. }) => keys.iter().map(|(_, name)| name.clone()).collect(),
        Ok(KeySelection { keys: SelectedKeys::All, .. }) | Err(_) => {
            status.conflicts.iter().map(|held| held.name.clone()).collect()
        }
    };
    for name in &names {
        let is_recorded = status.secrets.iter().any(|entry| entry.name == *name);
        let other = others(input).find(|other| other.set.contains(name));
        let Some(other) = holder(input, name).or(other).filter(|other| !is_recorded && other.set.contains(name)) else {
            continue;
        };
        status.conflicts.retain(|held| held.name != *name);
        status.conflicts.push(held_by(other, name));
    }
    status.conflicts.sort_by(|one, other| one.name.cmp(&other.name));
}

/// Whether status says of every name who has it now.
pub(super) fn is_told_rightly(input: &SecretInput<'_>) -> bool {
    let told = |name: &String| input.status.conflicts.iter().find(|held| held.name == *name);
    let has = |name: &String, other: &SiblingSecret| told(name) == Some(&held_by(other, name));
    let is_right = |name: &String| match holder(input, name) {
        Some(other) => has(name, other),
        // It is ours to set; or it was asked for once, and whoever has it may still let go of it.
        None => told(name).is_none_or(|_| !asks(input, name) && others(input).any(|other| has(name, other))),
    };
    input
        .status
        .secrets
        .iter()
        .map(|entry| &entry.name)
        .chain(input.status.conflicts.iter().map(|held| &held.name))
        .all(is_right)
}

/// The other SpiceSecrets of the app.
pub(super) fn others<'a>(input: &SecretInput<'a>) -> impl Iterator<Item = &'a SiblingSecret> + Clone {
    input.observed.others.iter().flatten().map(|other| &**other)
}

/// Whether a name is asked for, as far as that can be told without the source.
fn asks(input: &SecretInput<'_>, name: &str) -> bool {
    match &input.desired.spec {
        Ok(KeySelection { keys: SelectedKeys::These(keys), .. }) => keys.iter().any(|(_, asked)| asked == name),
        Ok(KeySelection { keys: SelectedKeys::All, .. }) | Err(_) => true,
    }
}

/// The object that wants what we have, if there is one: then it is left to that one.
pub(super) fn claimant<'a>(input: &SecretInput<'a>, name: &str) -> Option<&'a SiblingSecret> {
    let asks = |other: &SiblingSecret| !other.undecodable && other.named.contains(name);
    let claims = |other: &&SiblingSecret| asks(other) || other.set.contains(name);
    // Of several, one that knows already whose it is.
    others(input).filter(|other| !other.deleting).filter(claims).max_by_key(|other| other.knows.contains(name))
}

/// What is ours: what we have set, and what has passed on to us without being set by us yet.
pub(super) fn own(input: &SecretInput<'_>) -> Vec<SecretEntry> {
    let entries = &input.status.secrets;
    let is_had = |name: &String| {
        entries.iter().any(|entry| entry.name == *name) || others(input).any(|other| other.set.contains(name))
    };
    let passed_on = input.status.conflicts.iter().filter(|held| held.present == Some(true) && !is_had(&held.name));
    let as_entry = |held: &SecretConflict| SecretEntry {
        name: held.name.clone(),
        adopted: held.adopted,
        ..SecretEntry::default()
    };
    // What can be no name was written into the status by somebody, and is in no app.
    let all = entries.iter().cloned().chain(passed_on.map(as_entry));
    all.filter(|entry| check_name(&entry.name).is_ok()).collect()
}

/// A release that waits.
pub(super) fn waiting_for(other: &SiblingSecret, name: &str) -> String {
    format!("waiting for SpiceSecret {} to take note of {name}, which it asks for too", other.object)
}

/// Whether a note is to be kept of a name that is not asked for any more: the secret has passed on to us, or may be passing
/// on now, because whoever has it and asks for it no longer may have seen us ask.
pub(super) fn is_passing_on(input: &SecretInput<'_>, held: &SecretConflict) -> bool {
    let mut others = others(input).filter(|other| !other.deleting);
    held.present == Some(true)
        && !others.any(|other| other.set.contains(&held.name) && other.named.contains(&held.name))
}
