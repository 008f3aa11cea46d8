//! The kinds: how each observes and acts. One file a kind.

mod app;
mod organization;
mod secret;
