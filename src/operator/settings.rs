//! The settings of `run`: each a flag and an environment variable, with a default that is right for production.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use jiff::SignedDuration;

use super::Error;
use super::lease::Election;
use crate::controller::{self, Identity, KeyPlace, Waits};
use crate::management;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Human,
}

/// What is printed on standard output once the operator listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Announce {
    /// One JSON line with the admin server's URL.
    Json,
}

/// Settings of the operator. Durations are written like `90s`, `10m` or `1h30m`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Address of the admin server: /livez, /readyz, /metrics. Port 0 takes a free one.
    #[arg(long, env = "SPICE_OPERATOR_ADMIN_ADDRESS", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub admin_address: SocketAddr,
    /// Tells this cluster's apps from those of others that use the same account [default: uid of namespace kube-system].
    #[arg(long, env = "SPICE_OPERATOR_CLUSTER_ID", value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub cluster_id: Option<String>,
    /// Watch the objects of this namespace only [default: all namespaces].
    #[arg(long, env = "SPICE_OPERATOR_WATCH_NAMESPACE", value_name = "NAMESPACE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub watch_namespace: Option<String>,
    /// How log lines look; they go to standard error.
    #[arg(long, env = "SPICE_OPERATOR_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// Which log lines are written: a level, or a list such as `info,spice_cloud_operator=debug`.
    #[arg(long, env = "SPICE_OPERATOR_LOG_FILTER", default_value = "info", value_name = "FILTER")]
    pub log_filter: String,
    /// Print a line on standard output once the admin server listens.
    #[arg(long, env = "SPICE_OPERATOR_ANNOUNCE", value_enum)]
    pub announce: Option<Announce>,

    /// Write only while holding a Lease, so that several replicas can run. Without it, never run two.
    #[arg(long, env = "SPICE_OPERATOR_LEADER_ELECT", default_value_t = true, action = ArgAction::Set, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub leader_elect: bool,
    /// Name of the Lease.
    #[arg(long, env = "SPICE_OPERATOR_LEASE_NAME", default_value = "spice-cloud-operator", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub lease_name: String,
    /// Namespace of the Lease [default: the one that the operator runs in, or that of the kubeconfig's context].
    #[arg(long, env = "SPICE_OPERATOR_LEASE_NAMESPACE", value_name = "NAMESPACE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub lease_namespace: Option<String>,
    /// How long the others wait for a renewal before one of them takes the Lease.
    #[arg(long, env = "SPICE_OPERATOR_LEASE_DURATION", default_value = "15s", value_parser = wait, value_name = "DURATION")]
    pub lease_duration: Duration,
    /// How long after its last renewal the holder still writes; shorter than the duration of the Lease.
    #[arg(long, env = "SPICE_OPERATOR_LEASE_RENEW_DEADLINE", default_value = "10s", value_parser = wait, value_name = "DURATION")]
    pub lease_renew_deadline: Duration,
    /// How often the Lease is looked at and renewed; less than half of the deadline.
    #[arg(long, env = "SPICE_OPERATOR_LEASE_RETRY_PERIOD", default_value = "2s", value_parser = wait, value_name = "DURATION")]
    pub lease_retry_period: Duration,

    /// Least interval between two checks of an object; a shorter `spec.interval` is raised to it.
    #[arg(long, env = "SPICE_OPERATOR_MIN_INTERVAL", default_value = "1m", value_parser = wait, value_name = "DURATION")]
    pub min_interval: Duration,
    /// Interval between two checks of an object whose spec names none.
    #[arg(long, env = "SPICE_OPERATOR_DEFAULT_INTERVAL", default_value = "10m", value_parser = wait, value_name = "DURATION")]
    pub default_interval: Duration,
    /// Intervals without an observation after which Ready becomes Unknown.
    #[arg(long, env = "SPICE_OPERATOR_MISSED_INTERVALS", default_value = "3", value_parser = clap::value_parser!(u32).range(1..), value_name = "COUNT")]
    pub missed_intervals: u32,
    /// Least time between two looks at an object that waits for a person.
    #[arg(long, env = "SPICE_OPERATOR_TERMINAL_RECHECK", default_value = "10m", value_parser = wait, value_name = "DURATION")]
    pub terminal_recheck: Duration,
    /// When to repeat a write that the API refused for a cause that no read can show to be gone.
    #[arg(long, env = "SPICE_OPERATOR_REFUSED_WRITE_REPEAT", default_value = "30m", value_parser = wait, value_name = "DURATION")]
    pub refused_write_repeat: Duration,
    /// First wait after a failure; it doubles with each.
    #[arg(long, env = "SPICE_OPERATOR_BACKOFF_MIN", default_value = "1s", value_parser = wait, value_name = "DURATION")]
    pub backoff_min: Duration,
    /// Longest wait after failures in a row.
    #[arg(long, env = "SPICE_OPERATOR_BACKOFF_MAX", default_value = "30m", value_parser = wait, value_name = "DURATION")]
    pub backoff_max: Duration,
    /// How old the answer may be that a write by id rests on.
    #[arg(long, env = "SPICE_OPERATOR_EVIDENCE", default_value = "30s", value_parser = wait, value_name = "DURATION")]
    pub evidence: Duration,
    /// How long after its own write the operator believes in no absence and no drift.
    #[arg(long, env = "SPICE_OPERATOR_QUIET_AFTER_WRITE", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub quiet_after_write: Duration,
    /// How long a create whose outcome is unknown may still take effect.
    #[arg(long, env = "SPICE_OPERATOR_CREATE_SETTLES", default_value = "90s", value_parser = duration, value_name = "DURATION")]
    pub create_settles: Duration,
    /// How far the clocks of the Management API and of the operator may be apart.
    #[arg(long, env = "SPICE_OPERATOR_CLOCK_SKEW", default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub clock_skew: Duration,
    /// How long a field is left alone that had to be put back again and again.
    #[arg(long, env = "SPICE_OPERATOR_FIGHT_PAUSE", default_value = "24h", value_parser = wait, value_name = "DURATION")]
    pub fight_pause: Duration,

    /// Put a finalizer on the Secrets that hold credentials, so that one deleted together with apps stays until they are
    /// gone. Needs the permission to patch Secrets.
    #[arg(long, env = "SPICE_OPERATOR_HOLD_CREDENTIALS", default_value_t = true, action = ArgAction::Set, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub hold_credentials: bool,
    /// How long such a Secret is held after its deletion while nothing that needs it is being deleted.
    #[arg(long, env = "SPICE_OPERATOR_CREDENTIAL_RELEASE", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub credential_release: Duration,
    /// Watch Secrets (their metadata) for a change of a credential. Without it each Secret that is named is read now and
    /// then, which needs no permission to list them.
    #[arg(long, env = "SPICE_OPERATOR_WATCH_SECRETS", default_value_t = true, action = ArgAction::Set, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub watch_secrets: bool,
    /// How often each of them is read without the watch.
    #[arg(long, env = "SPICE_OPERATOR_SECRET_POLL", default_value = "1m", value_parser = wait, value_name = "DURATION")]
    pub secret_poll: Duration,

    /// Name of the Secret, in the namespace of the Lease, that keeps the key of the digests in the status of SpiceSecrets. It is
    /// made when there is none.
    #[arg(long, env = "SPICE_OPERATOR_DIGEST_KEY_SECRET", default_value = "spice-cloud-operator-digest-key", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub digest_key_secret: String,
    /// How often it is looked whether that Secret is there; one that was deleted is put back.
    #[arg(long, env = "SPICE_OPERATOR_DIGEST_KEY_POLL", default_value = "1m", value_parser = wait, value_name = "DURATION")]
    pub digest_key_poll: Duration,

    /// Longest time to a connection.
    #[arg(long, env = "SPICE_OPERATOR_CONNECT_TIMEOUT", default_value = "10s", value_parser = wait, value_name = "DURATION")]
    pub connect_timeout: Duration,
    /// Longest time for one Management API request.
    #[arg(long, env = "SPICE_OPERATOR_REQUEST_TIMEOUT", default_value = "30s", value_parser = wait, value_name = "DURATION")]
    pub request_timeout: Duration,
    /// How long after a read of the Management API was first sent it may be sent again; writes never are.
    #[arg(long, env = "SPICE_OPERATOR_RETRY_WITHIN", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub retry_within: Duration,
    /// Longest pause of an account that asks for one (429, Retry-After, X-RateLimit-Reset), whatever it says.
    #[arg(long, env = "SPICE_OPERATOR_LONGEST_PAUSE", default_value = "10m", value_parser = wait, value_name = "DURATION")]
    pub longest_pause: Duration,
    /// Least time between two lists of an organization's apps: a list costs a request for every 100 apps, and serves all
    /// who wait for it.
    #[arg(long, env = "SPICE_OPERATOR_LIST_GAP", default_value = "1s", value_parser = duration, value_name = "DURATION")]
    pub list_gap: Duration,
    /// How long calls in hand may go on after SIGTERM.
    #[arg(long, env = "SPICE_OPERATOR_SHUTDOWN_GRACE", default_value = "8s", value_parser = duration, value_name = "DURATION")]
    pub shutdown_grace: Duration,
    /// How often to look for what is missing at start: the Kubernetes API, the CustomResourceDefinitions.
    #[arg(long, env = "SPICE_OPERATOR_START_POLL", default_value = "2s", value_parser = wait, value_name = "DURATION")]
    pub start_poll: Duration,
    /// How long a watch, or the Lease, may fail before /readyz says that this process is not ready.
    #[arg(long, env = "SPICE_OPERATOR_UNREADY_AFTER", default_value = "1m", value_parser = wait, value_name = "DURATION")]
    pub unready_after: Duration,
}

impl Settings {
    /// The part that the election needs. `namespace`: the one that the operator runs in.
    pub(super) fn election(&self, namespace: &str) -> Result<Election, Error> {
        let (duration, deadline, period) = (self.lease_duration, self.lease_renew_deadline, self.lease_retry_period);
        if deadline >= duration {
            let words =
                format!("--lease-renew-deadline ({deadline:?}) must be shorter than --lease-duration ({duration:?})");
            return Err(Error::Election(words));
        }
        if period * 2 >= deadline {
            let words = format!(
                "--lease-retry-period ({period:?}) must be less than half of --lease-renew-deadline ({deadline:?})"
            );
            return Err(Error::Election(words));
        }
        // In a pod the host's name is the pod's; the rest tells a restarted container from the one before.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "operator".to_owned());
        Ok(Election {
            name: self.lease_name.clone(),
            namespace: self.own_namespace(namespace),
            identity: format!("{host}_{}", uuid::Uuid::new_v4()),
            lease_duration: duration,
            renew_deadline: deadline,
            retry_period: period,
        })
    }

    /// Where the operator keeps what is its own. `namespace`: the one that it runs in.
    fn own_namespace(&self, namespace: &str) -> String {
        self.lease_namespace.clone().unwrap_or_else(|| namespace.to_owned())
    }

    /// The part that the controllers need. `namespace`: the one that the operator runs in.
    pub(super) fn controllers(&self, identity: Identity, namespace: &str) -> controller::Settings {
        controller::Settings {
            identity,
            waits: Waits {
                default_interval: self.default_interval,
                min_interval: self.min_interval,
                missed_intervals: self.missed_intervals,
                terminal_recheck: self.terminal_recheck,
                refused_write_repeat: self.refused_write_repeat,
                backoff_min: self.backoff_min,
                backoff_max: self.backoff_max,
                evidence: self.evidence,
                quiet_after_write: self.quiet_after_write,
                create_settles: self.create_settles,
                clock_skew: self.clock_skew,
                fight_pause: self.fight_pause,
                credential_release: self.credential_release,
            },
            management: management::Settings {
                connect_timeout: self.connect_timeout,
                request_timeout: self.request_timeout,
                retry_within: self.retry_within,
                longest_pause: self.longest_pause,
                list_gap: self.list_gap,
                keep_reads: self.evidence,
            },
            watch_namespace: self.watch_namespace.clone(),
            definition_poll: self.start_poll,
            unready_after: self.unready_after,
            digest_key: KeyPlace { namespace: self.own_namespace(namespace), name: self.digest_key_secret.clone() },
            digest_key_poll: self.digest_key_poll,
            hold_credentials: self.hold_credentials,
            secret_poll: (!self.watch_secrets).then_some(self.secret_poll),
        }
    }
}

/// Longer waits cannot be added to every clock.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn duration(text: &str) -> Result<Duration, String> {
    let explain = || "a duration such as 90s, 10m or 1h30m is needed".to_owned();
    let parsed: SignedDuration = text.parse().map_err(|_| explain())?;
    let parsed = Duration::try_from(parsed).map_err(|_| explain())?;
    if parsed > LONGEST_WAIT { Err("at most 87600h, ten years, can be waited".to_owned()) } else { Ok(parsed) }
}

/// A duration that would make a loop of what it is to space out, if it were nothing.
fn wait(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("a duration above zero is needed".to_owned()),
        wait => Ok(wait),
    }
}
