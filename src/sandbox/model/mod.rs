//! Apps, secrets and the rules of their fields.

pub(crate) mod app;
pub(crate) mod images;
pub(crate) mod placement;
pub(crate) mod profile;
pub(crate) mod resources;
pub(crate) mod secret;
pub(crate) mod spicepod;
pub(crate) mod tags;
