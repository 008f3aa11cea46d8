//! The settings of `run`: each a flag and an environment variable, with a default that is right for production.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use jiff::SignedDuration;

use super::Error;
use super::lease::Election;
use crate::controller::{self, DigestKeyRef, Identity, Timings};
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
pub enum PrintAddress {
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
    #[arg(long, env = "SPICE_OPERATOR_PRINT_ADDRESS", value_enum)]
    pub print_address: Option<PrintAddress>,

    /// Write only while holding a Lease, so that several replicas can run. Without it, never run two.
    #[arg(long, env = "SPICE_OPERATOR_LEADER_ELECT", default_value_t = true, action = ArgAction::Set, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub leader_elect: bool,
    /// Name of the Lease.
    #[arg(long, env = "SPICE_OPERATOR_LEADER_ELECT_RESOURCE_NAME", default_value = "spice-cloud-operator", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub leader_elect_resource_name: String,
    /// Namespace of the Lease [default: the one that the operator runs in, or that of the kubeconfig's context].
    #[arg(long, env = "SPICE_OPERATOR_LEADER_ELECT_RESOURCE_NAMESPACE", value_name = "NAMESPACE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub leader_elect_resource_namespace: Option<String>,
    /// How long the others wait for a renewal before one of them takes the Lease.
    #[arg(long, env = "SPICE_OPERATOR_LEADER_ELECT_LEASE_DURATION", default_value = "15s", value_parser = wait, value_name = "DURATION")]
    pub leader_elect_lease_duration: Duration,
    /// How long after its last renewal the holder still writes; shorter than the duration of the Lease.
    #[arg(long, env = "SPICE_OPERATOR_LEADER_ELECT_RENEW_DEADLINE", default_value = "10s", value_parser = wait, value_name = "DURATION")]
    pub leader_elect_renew_deadline: Duration,
    /// How often the Lease is looked at and renewed; less than half of the deadline.
    #[arg(long, env = "SPICE_OPERATOR_LEADER_ELECT_RETRY_PERIOD", default_value = "2s", value_parser = wait, value_name = "DURATION")]
    pub leader_elect_retry_period: Duration,

    /// Least interval between two checks of an object; a shorter `spec.interval` is raised to it.
    #[arg(long, env = "SPICE_OPERATOR_MIN_INTERVAL", default_value = "1m", value_parser = wait, value_name = "DURATION")]
    pub min_interval: Duration,
    /// Interval between two checks of an object whose spec names none.
    #[arg(long, env = "SPICE_OPERATOR_DEFAULT_INTERVAL", default_value = "10m", value_parser = wait, value_name = "DURATION")]
    pub default_interval: Duration,
    /// Intervals without an observation after which Ready becomes Unknown.
    #[arg(long, env = "SPICE_OPERATOR_READY_UNKNOWN_AFTER_INTERVALS", default_value = "3", value_parser = clap::value_parser!(u32).range(1..), value_name = "COUNT")]
    pub ready_unknown_after_intervals: u32,
    /// Least time between two looks at an object that waits for a person.
    #[arg(long, env = "SPICE_OPERATOR_STALLED_RESYNC_INTERVAL", default_value = "10m", value_parser = wait, value_name = "DURATION")]
    pub stalled_resync_interval: Duration,
    /// When to repeat a write that the API refused for a cause that no read can show to be gone.
    #[arg(long, env = "SPICE_OPERATOR_REJECTED_WRITE_RETRY_INTERVAL", default_value = "30m", value_parser = wait, value_name = "DURATION")]
    pub rejected_write_retry_interval: Duration,
    /// First wait after a failure; it doubles with each.
    #[arg(long, env = "SPICE_OPERATOR_MIN_RETRY_DELAY", default_value = "1s", value_parser = wait, value_name = "DURATION")]
    pub min_retry_delay: Duration,
    /// Longest wait after failures in a row.
    #[arg(long, env = "SPICE_OPERATOR_MAX_RETRY_DELAY", default_value = "30m", value_parser = wait, value_name = "DURATION")]
    pub max_retry_delay: Duration,
    /// How old the answer may be that a write by id rests on.
    #[arg(long, env = "SPICE_OPERATOR_MAX_READ_AGE", default_value = "30s", value_parser = wait, value_name = "DURATION")]
    pub max_read_age: Duration,
    /// How long after its own write the operator believes in no absence and no drift.
    #[arg(long, env = "SPICE_OPERATOR_WRITE_SETTLE_PERIOD", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub write_settle_period: Duration,
    /// How long a create whose outcome is unknown may still take effect.
    #[arg(long, env = "SPICE_OPERATOR_CREATE_CONFIRMATION_TIMEOUT", default_value = "90s", value_parser = duration, value_name = "DURATION")]
    pub create_confirmation_timeout: Duration,
    /// How far the clocks of the Management API and of the operator may be apart.
    #[arg(long, env = "SPICE_OPERATOR_CLOCK_SKEW", default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub clock_skew: Duration,
    /// How long a field is left alone that had to be put back again and again.
    #[arg(long, env = "SPICE_OPERATOR_CORRECTION_LOOP_COOLDOWN", default_value = "24h", value_parser = wait, value_name = "DURATION")]
    pub correction_loop_cooldown: Duration,

    /// Put a finalizer on the Secrets that hold credentials, so that one deleted together with apps stays until they are
    /// gone. Needs the permission to patch Secrets.
    #[arg(long, env = "SPICE_OPERATOR_PROTECT_CREDENTIAL_SECRETS", default_value_t = true, action = ArgAction::Set, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub protect_credential_secrets: bool,
    /// How long such a Secret is held after its deletion while nothing that needs it is being deleted.
    #[arg(long, env = "SPICE_OPERATOR_CREDENTIAL_RELEASE_DELAY", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub credential_release_delay: Duration,
    /// Watch Secrets (their metadata) for a change of a credential. Without it each Secret that is named is read now and
    /// then, which needs no permission to list them.
    #[arg(long, env = "SPICE_OPERATOR_WATCH_SECRETS", default_value_t = true, action = ArgAction::Set, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub watch_secrets: bool,
    /// How often each of them is read without the watch.
    #[arg(long, env = "SPICE_OPERATOR_SECRET_POLL_INTERVAL", default_value = "1m", value_parser = wait, value_name = "DURATION")]
    pub secret_poll_interval: Duration,

    /// Name of the Secret, in the namespace of the Lease, that keeps the key of the digests in the status of SpiceSecrets. It is
    /// made when there is none.
    #[arg(long, env = "SPICE_OPERATOR_DIGEST_KEY_SECRET", default_value = "spice-cloud-operator-digest-key", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub digest_key_secret: String,
    /// How often it is looked whether that Secret is there; one that was deleted is put back.
    #[arg(long, env = "SPICE_OPERATOR_DIGEST_KEY_CHECK_INTERVAL", default_value = "1m", value_parser = wait, value_name = "DURATION")]
    pub digest_key_check_interval: Duration,

    /// Longest time to a connection.
    #[arg(long, env = "SPICE_OPERATOR_CONNECT_TIMEOUT", default_value = "10s", value_parser = wait, value_name = "DURATION")]
    pub connect_timeout: Duration,
    /// Longest time for one Management API request.
    #[arg(long, env = "SPICE_OPERATOR_REQUEST_TIMEOUT", default_value = "30s", value_parser = wait, value_name = "DURATION")]
    pub request_timeout: Duration,
    /// How long after a read of the Management API was first sent it may be sent again; writes never are.
    #[arg(long, env = "SPICE_OPERATOR_READ_RETRY_TIMEOUT", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub read_retry_timeout: Duration,
    /// Longest pause of an account that asks for one (429, Retry-After, X-RateLimit-Reset), whatever it says.
    #[arg(long, env = "SPICE_OPERATOR_MAX_RATE_LIMIT_PAUSE", default_value = "10m", value_parser = wait, value_name = "DURATION")]
    pub max_rate_limit_pause: Duration,
    /// Least time between two lists of an organization's apps: a list costs a request for every 100 apps, and serves all
    /// who wait for it.
    #[arg(long, env = "SPICE_OPERATOR_MIN_LIST_INTERVAL", default_value = "1s", value_parser = duration, value_name = "DURATION")]
    pub min_list_interval: Duration,
    /// How long calls in hand may go on after SIGTERM.
    #[arg(long, env = "SPICE_OPERATOR_GRACEFUL_SHUTDOWN_TIMEOUT", default_value = "8s", value_parser = duration, value_name = "DURATION")]
    pub graceful_shutdown_timeout: Duration,
    /// How often to look for what is missing at start: the Kubernetes API, the CustomResourceDefinitions.
    #[arg(long, env = "SPICE_OPERATOR_STARTUP_POLL_INTERVAL", default_value = "2s", value_parser = wait, value_name = "DURATION")]
    pub startup_poll_interval: Duration,
    /// How long a watch, or the Lease, may fail before /readyz says that this process is not ready.
    #[arg(long, env = "SPICE_OPERATOR_READINESS_FAILURE_THRESHOLD", default_value = "1m", value_parser = wait, value_name = "DURATION")]
    pub readiness_failure_threshold: Duration,
}

impl Settings {
    /// The part that the election needs. `namespace`: the one that the operator runs in.
    pub(super) fn election(&self, namespace: &str) -> Result<Election, Error> {
        let (duration, deadline, period) =
            (self.leader_elect_lease_duration, self.leader_elect_renew_deadline, self.leader_elect_retry_period);
        if deadline >= duration {
            let words = format!(
                "--leader-elect-renew-deadline ({deadline:?}) must be shorter than --leader-elect-lease-duration ({duration:?})"
            );
            return Err(Error::Election(words));
        }
        if period * 2 >= deadline {
            let words = format!(
                "--leader-elect-retry-period ({period:?}) must be less than half of --leader-elect-renew-deadline ({deadline:?})"
            );
            return Err(Error::Election(words));
        }
        // In a pod the host's name is the pod's; the rest tells a restarted container from the one before.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "operator".to_owned());
        Ok(Election {
            name: self.leader_elect_resource_name.clone(),
            namespace: self.own_namespace(namespace),
            identity: format!("{host}_{}", uuid::Uuid::new_v4()),
            lease_duration: duration,
            renew_deadline: deadline,
            retry_period: period,
        })
    }

    /// Where the operator keeps what is its own. `namespace`: the one that it runs in.
    fn own_namespace(&self, namespace: &str) -> String {
        self.leader_elect_resource_namespace.clone().unwrap_or_else(|| namespace.to_owned())
    }

    /// The part that the controllers need. `namespace`: the one that the operator runs in.
    pub(super) fn controllers(&self, identity: Identity, namespace: &str) -> controller::Settings {
        controller::Settings {
            identity,
            timings: Timings {
                default_interval: self.default_interval,
                min_interval: self.min_interval,
                ready_unknown_after_intervals: self.ready_unknown_after_intervals,
                stalled_resync_interval: self.stalled_resync_interval,
                rejected_write_retry_interval: self.rejected_write_retry_interval,
                min_retry_delay: self.min_retry_delay,
                max_retry_delay: self.max_retry_delay,
                max_read_age: self.max_read_age,
                write_settle_period: self.write_settle_period,
                create_confirmation_timeout: self.create_confirmation_timeout,
                clock_skew: self.clock_skew,
                correction_loop_cooldown: self.correction_loop_cooldown,
                credential_release_delay: self.credential_release_delay,
            },
            management: management::ManagementSettings {
                connect_timeout: self.connect_timeout,
                request_timeout: self.request_timeout,
                read_retry_timeout: self.read_retry_timeout,
                max_rate_limit_pause: self.max_rate_limit_pause,
                min_list_interval: self.min_list_interval,
                read_cache_ttl: self.max_read_age,
            },
            watch_namespace: self.watch_namespace.clone(),
            startup_poll_interval: self.startup_poll_interval,
            readiness_failure_threshold: self.readiness_failure_threshold,
            digest_key: DigestKeyRef { namespace: self.own_namespace(namespace), name: self.digest_key_secret.clone() },
            digest_key_check_interval: self.digest_key_check_interval,
            protect_credential_secrets: self.protect_credential_secrets,
            secret_poll_interval: (!self.watch_secrets).then_some(self.secret_poll_interval),
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
