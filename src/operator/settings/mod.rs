//! Settings of `run`. Each setting is a flag and an environment variable. The defaults suit production.

mod flags;
mod parsers;

use clap::Args;

use super::OperatorError;
use super::lease::ElectionSettings;
use crate::controller::{self, DigestKeyRef, Identity};
use flags::{GeneralFlags, LeaderElectionFlags, ManagementApiFlags, ReconciliationFlags, SecretFlags};
pub(super) use flags::{LogFormat, PrintAddress};

/// Settings of the operator process.
#[derive(Clone, Debug, Args)]
pub struct OperatorSettings {
    #[command(flatten)]
    pub(super) general: GeneralFlags,
    #[command(flatten)]
    pub(super) leader_election: LeaderElectionFlags,
    #[command(flatten)]
    pub(super) reconciliation: ReconciliationFlags,
    #[command(flatten)]
    pub(super) secrets: SecretFlags,
    #[command(flatten)]
    pub(super) management_api: ManagementApiFlags,
}

impl OperatorSettings {
    /// Settings of the leader election. `own_namespace`: the namespace that the operator runs in.
    pub(super) fn election(&self, own_namespace: &str) -> Result<ElectionSettings, OperatorError> {
        self.leader_election.check()?;
        let flags = &self.leader_election;
        // In a pod, HOSTNAME is the name of the pod. The UUID distinguishes a restarted container from its predecessor.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "operator".to_owned());
        Ok(ElectionSettings {
            namespace: self.resource_namespace(own_namespace),
            name: flags.leader_elect_resource_name.clone(),
            identity: format!("{host}_{}", uuid::Uuid::new_v4()),
            lease_duration: flags.leader_elect_lease_duration,
            renew_deadline: flags.leader_elect_renew_deadline,
            retry_period: flags.leader_elect_retry_period,
        })
    }

    /// Settings of the controllers. `own_namespace`: the namespace that the operator runs in.
    pub(super) fn controllers(&self, identity: Identity, own_namespace: &str) -> controller::Settings {
        let Self { general, reconciliation, secrets, management_api, .. } = self;
        controller::Settings {
            identity,
            timings: reconciliation.timings(secrets.credential_release_delay),
            management: management_api.settings(reconciliation.max_read_age),
            watch_namespace: general.watch_namespace.clone(),
            default_organization: general.default_organization.clone(),
            startup_poll_interval: general.startup_poll_interval,
            readiness_failure_threshold: general.readiness_failure_threshold,
            digest_key: DigestKeyRef {
                namespace: self.resource_namespace(own_namespace),
                name: secrets.digest_key_secret.clone(),
            },
            digest_key_check_interval: secrets.digest_key_check_interval,
            // A copy of a Secret keeps the finalizer, so the operator must see every Secret to release a copy.
            protect_credential_secrets: secrets.protect_credential_secrets
                && secrets.watch_secrets
                && general.watch_namespace.is_none(),
            secret_poll_interval: (!secrets.watch_secrets).then_some(secrets.secret_poll_interval),
        }
    }

    /// Namespace of the Lease and of the digest key.
    fn resource_namespace(&self, own_namespace: &str) -> String {
        self.leader_election.leader_elect_resource_namespace.clone().unwrap_or_else(|| own_namespace.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command, FromArgMatches};

    use super::*;

    const HIDDEN_PREFIX: &str = "Unstable.";

    fn command() -> Command {
        OperatorSettings::augment_args(Command::new("run"))
    }

    fn help(arg: &Arg) -> String {
        arg.get_help().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn at_most_20_flags_are_shown_and_all_others_are_marked_unstable() {
        let command = command();
        let (hidden, shown): (Vec<_>, Vec<_>) = command.get_arguments().partition(|arg| arg.is_hide_set());
        assert!(shown.len() <= 20 && !hidden.is_empty(), "{} flags are shown", shown.len());
        for arg in shown {
            assert!(!help(arg).starts_with(HIDDEN_PREFIX), "{arg}");
            assert!(arg.get_help_heading().is_some(), "{arg} has no heading");
        }
        for arg in hidden {
            assert!(help(arg).starts_with(HIDDEN_PREFIX), "{arg}: {}", help(arg));
        }
    }

    #[test]
    fn each_flag_has_the_environment_variable_of_its_name() {
        for arg in command().get_arguments() {
            let flag = arg.get_long().expect("each setting is a flag");
            let expected = format!("SPICE_OPERATOR_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(expected.as_str()), "--{flag}");
        }
    }

    #[test]
    fn no_help_text_is_empty_or_ends_with_a_period() {
        for arg in command().get_arguments() {
            let help = help(arg);
            assert!(!help.is_empty() && !help.ends_with('.'), "{arg}: {help}");
        }
    }

    fn settings(args: &[&str]) -> OperatorSettings {
        let matches = command().no_binary_name(true).get_matches_from(args);
        OperatorSettings::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn the_timings_of_the_election_must_fit() {
        let error = |args: &[&str]| settings(args).election("here").map(drop).unwrap_err().to_string();
        assert!(settings(&[]).election("here").is_ok());
        let too_short = error(&["--leader-elect-lease-duration=10s"]);
        assert!(too_short.starts_with("--leader-elect-renew-deadline (10s) must be shorter than"), "{too_short}");
        let too_long = error(&["--leader-elect-retry-period=5s"]);
        assert!(too_long.starts_with("--leader-elect-retry-period (5s) must be less than half of"), "{too_long}");
    }

    #[test]
    fn the_default_timings_are_the_defaults_of_the_flags() {
        let identity = Identity { cluster_id: "test".to_owned() };
        assert_eq!(settings(&[]).controllers(identity, "own").timings, controller::Timings::default());
    }

    #[test]
    fn credential_secrets_get_the_finalizer_only_where_the_operator_sees_every_secret() {
        for (args, expected) in [
            (&[][..], true),
            (&["--protect-credential-secrets=false"], false),
            (&["--watch-secrets=false"], false),
            (&["--watch-namespace=team"], false),
        ] {
            let identity = Identity { cluster_id: "test".to_owned() };
            assert_eq!(settings(args).controllers(identity, "own").protect_credential_secrets, expected, "{args:?}");
        }
    }

    #[test]
    fn the_lease_and_the_digest_key_are_in_the_namespace_of_the_operator_unless_a_flag_names_another() {
        let identity = || Identity { cluster_id: "test".to_owned() };
        for (args, namespace) in [(&[][..], "own"), (&["--leader-elect-resource-namespace=other"], "other")] {
            let settings = settings(args);
            assert_eq!(settings.election("own").unwrap().lease(), format!("{namespace}/spice-cloud-operator"));
            assert_eq!(settings.controllers(identity(), "own").digest_key.namespace, namespace);
        }
    }
}
