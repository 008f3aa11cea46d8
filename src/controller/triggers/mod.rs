//! Which objects are reconciled when a watched object changes: one file a watched resource.

pub(super) mod config_map;
#[cfg(test)]
mod first_observation_tests;
pub(super) mod namespace;
pub(super) mod secret;
pub(super) mod spice_app;
pub(super) mod spice_organization;
pub(super) mod spice_secret;
