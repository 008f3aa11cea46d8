//! State that this process keeps between reconciles.

pub(super) mod caches;
pub(super) mod cancellation;
pub(super) mod connections;
pub(super) mod context;
pub(super) mod credentials;
pub(super) mod index_keys;
pub(super) mod key_index;
pub(super) mod kinds;
pub(super) mod object_states;
pub(super) mod recorded_apps;
pub(super) mod reference_index;
pub(super) mod secret_names;
pub(super) mod settings;
#[cfg(test)]
pub(super) mod test_context;
