//! Flags of `run`, one struct for each heading of `run --help`.
//!
//! Hidden flags exist for tests. Their help text starts with "Unstable.", and users do not need them.

use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args, ValueEnum};

use super::parsers::{default_organization, duration, namespace, object_name, positive_duration};
use crate::controller::{ResolvedOrganizationRef, Timings, display_duration};
use crate::management;
use crate::operator::OperatorError;

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::operator) enum LogFormat {
    /// One JSON object for each line.
    Json,
    /// Text.
    Human,
}

/// Format of the line on standard output that contains the address of the admin server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::operator) enum PrintAddress {
    /// One line of JSON: `{"admin": URL}`.
    Json,
}

/// Process, logs and scope.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "General")]
pub(in crate::operator) struct GeneralFlags {
    /// Address of the admin server (/livez, /readyz, /metrics). Port 0 selects a free port
    #[arg(long, env = "SPICE_OPERATOR_ADMIN_ADDRESS", default_value = "0.0.0.0:8080", value_name = "IP:PORT")]
    pub(in crate::operator) admin_address: SocketAddr,
    /// Identifies this cluster in owner tags, so that several clusters can share an account [default: UID of namespace
    /// kube-system]
    #[arg(long, env = "SPICE_OPERATOR_CLUSTER_ID", value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(in crate::operator) cluster_id: Option<String>,
    /// Namespace to reconcile [default: all namespaces]
    #[arg(long, env = "SPICE_OPERATOR_WATCH_NAMESPACE", value_name = "NAMESPACE", value_parser = namespace)]
    pub(in crate::operator) watch_namespace: Option<String>,
    /// SpiceOrganization of SpiceApps without `spec.organizationRef`, in namespaces without a SpiceOrganization named
    /// "default" [default: none]
    #[arg(long, env = "SPICE_OPERATOR_DEFAULT_ORGANIZATION", value_name = "NAMESPACE/NAME", value_parser = default_organization)]
    pub(in crate::operator) default_organization: Option<ResolvedOrganizationRef>,
    /// Format of the log lines on standard error
    #[arg(long, env = "SPICE_OPERATOR_LOG_FORMAT", value_enum, default_value = "json", value_name = "FORMAT")]
    pub(in crate::operator) log_format: LogFormat,
    /// Log level, or a list of targets and levels such as `info,spice_cloud_operator=debug`
    #[arg(long, env = "SPICE_OPERATOR_LOG_FILTER", default_value = "info", value_name = "FILTER", value_parser = NonEmptyStringValueParser::new())]
    pub(in crate::operator) log_filter: String,
    /// Format of a line on standard output with the URL of the admin server [default: no line]
    #[arg(long, env = "SPICE_OPERATOR_PRINT_ADDRESS", value_enum, value_name = "FORMAT")]
    pub(in crate::operator) print_address: Option<PrintAddress>,
    /// Time limit for in-flight requests after SIGTERM or SIGINT
    #[arg(long, env = "SPICE_OPERATOR_GRACEFUL_SHUTDOWN_TIMEOUT", default_value = "8s", value_parser = duration, value_name = "DURATION")]
    pub(in crate::operator) graceful_shutdown_timeout: Duration,
    /// Unstable. Interval between checks for the Kubernetes API and the CustomResourceDefinitions at startup
    #[arg(long, hide = true, env = "SPICE_OPERATOR_STARTUP_POLL_INTERVAL", default_value = "2s", value_parser = positive_duration, value_name = "DURATION")]
    pub(in crate::operator) startup_poll_interval: Duration,
    /// Unstable. Time for which a watch or the Lease may fail before /readyz reports a failure
    #[arg(long, hide = true, env = "SPICE_OPERATOR_READINESS_FAILURE_THRESHOLD", default_value = "1m", value_parser = positive_duration, value_name = "DURATION")]
    pub(in crate::operator) readiness_failure_threshold: Duration,
}

/// Leader election.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Leader election")]
pub(in crate::operator) struct LeaderElectionFlags {
    /// Leader election with a Lease, so that several replicas can run. If false, run one replica only
    #[arg(long, env = "SPICE_OPERATOR_LEADER_ELECT", default_value_t = true, action = ArgAction::Set, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(in crate::operator) leader_elect: bool,
    /// Name of the Lease
    #[arg(long, env = "SPICE_OPERATOR_LEADER_ELECT_RESOURCE_NAME", default_value = "spice-cloud-operator", value_name = "NAME", value_parser = object_name)]
    pub(super) leader_elect_resource_name: String,
    /// Namespace of the Lease and of the digest key Secret [default: namespace of the pod, or of the kubeconfig
    /// context]
    #[arg(long, env = "SPICE_OPERATOR_LEADER_ELECT_RESOURCE_NAMESPACE", value_name = "NAMESPACE", value_parser = namespace)]
    pub(super) leader_elect_resource_namespace: Option<String>,
    /// Time without a renewal after which another replica takes the Lease
    #[arg(long, env = "SPICE_OPERATOR_LEADER_ELECT_LEASE_DURATION", default_value = "15s", value_parser = positive_duration, value_name = "DURATION")]
    pub(super) leader_elect_lease_duration: Duration,
    /// Unstable. Time after its last renewal in which the leader still writes; shorter than the lease duration
    #[arg(long, hide = true, env = "SPICE_OPERATOR_LEADER_ELECT_RENEW_DEADLINE", default_value = "10s", value_parser = positive_duration, value_name = "DURATION")]
    pub(super) leader_elect_renew_deadline: Duration,
    /// Unstable. Interval for reading and renewing the Lease; less than half of the renew deadline
    #[arg(long, hide = true, env = "SPICE_OPERATOR_LEADER_ELECT_RETRY_PERIOD", default_value = "2s", value_parser = positive_duration, value_name = "DURATION")]
    pub(super) leader_elect_retry_period: Duration,
}

impl LeaderElectionFlags {
    /// Checks the durations against each other.
    pub(super) fn check(&self) -> Result<(), OperatorError> {
        let (lease_duration, renew_deadline, retry_period) =
            (self.leader_elect_lease_duration, self.leader_elect_renew_deadline, self.leader_elect_retry_period);
        if renew_deadline >= lease_duration {
            return Err(OperatorError::ElectionSettings(format!(
                "--leader-elect-renew-deadline ({}) must be shorter than --leader-elect-lease-duration ({})",
                display_duration(renew_deadline),
                display_duration(lease_duration)
            )));
        }
        if retry_period * 2 >= renew_deadline {
            return Err(OperatorError::ElectionSettings(format!(
                "--leader-elect-retry-period ({}) must be less than half of --leader-elect-renew-deadline ({})",
                display_duration(retry_period),
                display_duration(renew_deadline)
            )));
        }
        Ok(())
    }
}

/// Intervals, retries and safety margins of the reconcile loop.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Reconciliation")]
pub(in crate::operator) struct ReconciliationFlags {
    /// Minimum resync interval. The operator raises a shorter `spec.interval` to this value
    #[arg(long, env = "SPICE_OPERATOR_MIN_INTERVAL", default_value = "1m", value_parser = positive_duration, value_name = "DURATION")]
    min_interval: Duration,
    /// Resync interval of objects without `spec.interval`
    #[arg(long, env = "SPICE_OPERATOR_DEFAULT_INTERVAL", default_value = "10m", value_parser = positive_duration, value_name = "DURATION")]
    default_interval: Duration,
    /// Number of resync intervals without a successful read after which Ready becomes Unknown
    #[arg(long, env = "SPICE_OPERATOR_READY_UNKNOWN_AFTER_INTERVALS", default_value = "3", value_parser = clap::value_parser!(u32).range(1..), value_name = "COUNT")]
    ready_unknown_after_intervals: u32,
    /// Maximum delay between retries of a failing object. The delay doubles with each failure
    #[arg(long, env = "SPICE_OPERATOR_MAX_RETRY_DELAY", default_value = "30m", value_parser = positive_duration, value_name = "DURATION")]
    max_retry_delay: Duration,
    /// Unstable. Delay before the first retry of a failing object
    #[arg(long, hide = true, env = "SPICE_OPERATOR_MIN_RETRY_DELAY", default_value = "1s", value_parser = positive_duration, value_name = "DURATION")]
    min_retry_delay: Duration,
    /// Unstable. Minimum interval between checks of a stalled object
    #[arg(long, hide = true, env = "SPICE_OPERATOR_STALLED_RESYNC_INTERVAL", default_value = "10m", value_parser = positive_duration, value_name = "DURATION")]
    stalled_resync_interval: Duration,
    /// Unstable. Retry interval for writes that the API rejected, for example because of a plan limit
    #[arg(long, hide = true, env = "SPICE_OPERATOR_REJECTED_WRITE_RETRY_INTERVAL", default_value = "30m", value_parser = positive_duration, value_name = "DURATION")]
    rejected_write_retry_interval: Duration,
    /// Unstable. Maximum age of the read that an update or delete is based on
    #[arg(long, hide = true, env = "SPICE_OPERATOR_MAX_READ_AGE", default_value = "30s", value_parser = positive_duration, value_name = "DURATION")]
    pub(super) max_read_age: Duration,
    /// Unstable. Time after a write during which the operator ignores drift and missing objects, because reads may be
    /// stale
    #[arg(long, hide = true, env = "SPICE_OPERATOR_WRITE_SETTLE_PERIOD", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    write_settle_period: Duration,
    /// Unstable. Time limit for an unconfirmed create to become visible
    #[arg(long, hide = true, env = "SPICE_OPERATOR_CREATE_CONFIRMATION_TIMEOUT", default_value = "90s", value_parser = duration, value_name = "DURATION")]
    create_confirmation_timeout: Duration,
    /// Unstable. Maximum difference between the clocks of the Management API and of the operator
    #[arg(long, hide = true, env = "SPICE_OPERATOR_CLOCK_SKEW", default_value = "5m", value_parser = duration, value_name = "DURATION")]
    clock_skew: Duration,
    /// Unstable. Time for which the operator stops correcting a field after a correction loop
    #[arg(long, hide = true, env = "SPICE_OPERATOR_CORRECTION_LOOP_COOLDOWN", default_value = "24h", value_parser = positive_duration, value_name = "DURATION")]
    correction_loop_cooldown: Duration,
    /// Unstable. Time after which an update of an app without tag support contains the owner tags again
    #[arg(long, hide = true, env = "SPICE_OPERATOR_TAG_RETRY_INTERVAL", default_value = "24h", value_parser = duration, value_name = "DURATION")]
    tag_retry_interval: Duration,
    /// Unstable. Time for which a terminating SpiceApp waits for the deletion of its SpiceSecrets to arrive
    #[arg(long, hide = true, env = "SPICE_OPERATOR_DEPENDENT_DELETION_WAIT", default_value = "10s", value_parser = duration, value_name = "DURATION")]
    dependent_deletion_wait: Duration,
}

impl ReconciliationFlags {
    /// Timing settings of the planners.
    pub(super) fn timings(&self, credential_release_delay: Duration) -> Timings {
        Timings {
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
            tag_retry_interval: self.tag_retry_interval,
            dependent_deletion_wait: self.dependent_deletion_wait,
            credential_release_delay,
        }
    }
}

/// Kubernetes Secrets.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Secrets")]
pub(in crate::operator) struct SecretFlags {
    /// Finalizer on credential Secrets, which keeps a deleted Secret until the apps that need its credential are
    /// deleted. Requires the permission to patch Secrets. No effect with `--watch-secrets=false` or `--watch-namespace`
    #[arg(long, env = "SPICE_OPERATOR_PROTECT_CREDENTIAL_SECRETS", default_value_t = true, action = ArgAction::Set, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) protect_credential_secrets: bool,
    /// Watch on the metadata of Secrets. If false, the operator polls the referenced Secrets and does not need the
    /// permission to list Secrets
    #[arg(long, env = "SPICE_OPERATOR_WATCH_SECRETS", default_value_t = true, action = ArgAction::Set, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) watch_secrets: bool,
    /// Name of the Secret with the digest key, which protects the digests in the status of SpiceSecrets. The operator
    /// creates the Secret in the namespace of the Lease
    #[arg(long, env = "SPICE_OPERATOR_DIGEST_KEY_SECRET", default_value = "spice-cloud-operator-digest-key", value_name = "NAME", value_parser = object_name)]
    pub(super) digest_key_secret: String,
    /// Unstable. Time to keep the finalizer on a deleted credential Secret that nothing is using
    #[arg(long, hide = true, env = "SPICE_OPERATOR_CREDENTIAL_RELEASE_DELAY", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub(super) credential_release_delay: Duration,
    /// Unstable. Polling interval for referenced Secrets when `--watch-secrets=false`
    #[arg(long, hide = true, env = "SPICE_OPERATOR_SECRET_POLL_INTERVAL", default_value = "1m", value_parser = positive_duration, value_name = "DURATION")]
    pub(super) secret_poll_interval: Duration,
    /// Unstable. Interval for checking that the digest key Secret exists; the operator recreates a deleted Secret
    #[arg(long, hide = true, env = "SPICE_OPERATOR_DIGEST_KEY_CHECK_INTERVAL", default_value = "1m", value_parser = positive_duration, value_name = "DURATION")]
    pub(super) digest_key_check_interval: Duration,
}

/// Requests to the Management API.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Management API")]
pub(in crate::operator) struct ManagementApiFlags {
    /// Timeout of one Management API request
    #[arg(long, env = "SPICE_OPERATOR_REQUEST_TIMEOUT", default_value = "30s", value_parser = positive_duration, value_name = "DURATION")]
    request_timeout: Duration,
    /// Unstable. Timeout for connecting to the Management API and to the Kubernetes API
    #[arg(long, hide = true, env = "SPICE_OPERATOR_CONNECT_TIMEOUT", default_value = "10s", value_parser = positive_duration, value_name = "DURATION")]
    pub(in crate::operator) connect_timeout: Duration,
    /// Unstable. Time limit for retrying a failed read. Writes are not retried
    #[arg(long, hide = true, env = "SPICE_OPERATOR_READ_RETRY_TIMEOUT", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    read_retry_timeout: Duration,
    /// Unstable. Upper limit for a pause requested by the API (429, Retry-After, X-RateLimit-Reset)
    #[arg(long, hide = true, env = "SPICE_OPERATOR_MAX_RATE_LIMIT_PAUSE", default_value = "10m", value_parser = positive_duration, value_name = "DURATION")]
    max_rate_limit_pause: Duration,
    /// Unstable. Minimum interval between lists of an organization's apps; a list costs one request for every 100 apps
    #[arg(long, hide = true, env = "SPICE_OPERATOR_MIN_LIST_INTERVAL", default_value = "1s", value_parser = duration, value_name = "DURATION")]
    min_list_interval: Duration,
}

impl ManagementApiFlags {
    /// Settings of the Management API client. `max_read_age`: maximum age of a cached read.
    pub(super) fn settings(&self, max_read_age: Duration) -> management::ManagementSettings {
        management::ManagementSettings {
            connect_timeout: self.connect_timeout,
            request_timeout: self.request_timeout,
            read_retry_timeout: self.read_retry_timeout,
            max_rate_limit_pause: self.max_rate_limit_pause,
            min_list_interval: self.min_list_interval,
            read_cache_ttl: max_read_age,
        }
    }
}
