//! The next step of a plan of a SpiceSecret: a read, or the plan.

use super::input::{SecretInput, SecretRead};
use crate::api::SpiceSecret;
use crate::planner::outcome::Outcome;
use crate::planner::resource::Plan;

/// The next step of a plan.
pub(super) enum Next {
    /// A read comes first.
    Read(SecretRead),
    /// The plan is complete.
    Plan(Box<Plan<SpiceSecret>>),
}

impl Next {
    pub(super) fn into_read(self) -> Option<SecretRead> {
        match self {
            Self::Read(read) => Some(read),
            Self::Plan(_) => None,
        }
    }

    /// The plan. A read that is still missing here was requested too often without a result.
    pub(super) fn into_plan(self, input: &SecretInput<'_>) -> Plan<SpiceSecret> {
        match self {
            Self::Plan(plan) => *plan,
            Self::Read(_) => input.no_op(Outcome::InProgress("Reading the current state".to_owned())),
        }
    }
}

impl From<Plan<SpiceSecret>> for Next {
    fn from(plan: Plan<SpiceSecret>) -> Self {
        Self::Plan(Box::new(plan))
    }
}

pub(super) fn no_op(input: &SecretInput<'_>, outcome: Outcome) -> Next {
    input.no_op(outcome).into()
}

pub(super) fn release(input: &SecretInput<'_>) -> Next {
    input.release().into()
}
