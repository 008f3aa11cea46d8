//! The request budget: every request to the API needs a permit of the rate limiter.
//!
//! Each account has a token bucket that starts empty (`bucket`), behind a priority queue (`queue`). An account pauses
//! if a response requires a pause (`headers`, `account`). Above the accounts, each organization has a bucket of its own
//! (`organization`). `budgets` decides which connections share an account. A dropped wait leaves the queue.

mod account;
mod bucket;
mod budget;
mod budgets;
mod headers;
mod organization;
mod priority;
mod queue;
mod quota;
#[cfg(test)]
mod tests;

pub use budget::{Budget, RateLimitPermit};
pub use budgets::{AccountKey, Budgets};
pub(super) use headers::RateLimitHeaders;
pub use priority::{AccessMode, Priority};
pub use quota::Quota;
