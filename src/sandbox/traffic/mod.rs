//! Journal, fault rules and rate limits.

pub(crate) mod faults;
pub(crate) mod journal;
pub(crate) mod rate_limits;
