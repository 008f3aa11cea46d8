//! Background tasks beside the reconciles.

pub(super) mod credential_finalizer;
pub(super) mod digest_key;
pub(super) mod secret_poller;
