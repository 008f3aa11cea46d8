//! `spice-cloud-operator sandbox`.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use crate::sandbox::{
    self, ApiSwitches, ConnectionInfo, CredentialKind, RateLimits, ResourceLimits, SandboxConfig, StartError,
    SubscriptionPlan,
};

/// Flags of the sandbox.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Address to listen on. Port 0 selects a free port. Anyone who can reach the port has full access
    #[arg(long, value_name = "IP:PORT", env = "SPICE_SANDBOX_ADDRESS", default_value = "127.0.0.1:8490")]
    address: SocketAddr,

    /// Format in which the sandbox prints its address and credentials to standard output at start
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    print_address: AddressFormat,

    /// YAML file with the initial organizations, users, credentials, plans and apps. A section that the file omits
    /// keeps its default
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,

    /// File that stores apps, secrets (as SHA-256) and credentials across restarts. Use one file per sandbox
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Serve HTTPS. Each start creates a new certificate authority and a certificate for localhost and the listen
    /// address. `--print-address json` includes the certificate of the authority
    #[arg(long)]
    tls: bool,

    /// Additional DNS name or IP address in the certificate. Repeatable
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_name: Vec<String>,

    /// File to which the sandbox writes the certificate of the authority, in PEM
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca_file: Option<PathBuf>,

    /// Lifetime of an access token that an OAuth client obtains, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    token_lifetime: u64,

    /// Maximum number of requests per user or OAuth client within the rate window. Further requests get 429
    #[arg(long, value_name = "COUNT", default_value_t = RateLimits::default().per_user)]
    user_rate: u32,

    /// Maximum number of requests per organization within the rate window. Further requests get 429
    #[arg(long, value_name = "COUNT", default_value_t = RateLimits::default().per_organization)]
    organization_rate: u32,

    /// Length of the sliding rate window, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    rate_window: u64,

    /// Omit the X-RateLimit-* and Retry-After headers
    #[arg(long)]
    omit_rate_limit_headers: bool,

    #[command(flatten)]
    switches: ApiSwitches,

    #[command(flatten)]
    plan: PlanArguments,
}

// Lines of at most 98 columns: the help is wrapped at 100 columns.
const AFTER_HELP: &str = r#"Without --seed and --state the sandbox starts without apps and keeps its state in memory. The
tokens are fake, the same at every start, and printed at start. An OAuth client exchanges its
secret for a token at POST /api/oauth/token. `spice login` gets the token of the first configured
session after its login page was opened. A revoked session is denied.

Endpoints in addition to the API under /v1:
  GET /openapi.json                     OpenAPI 3.1 document of the API
  GET /sandbox/journal?after=N&wait=MS  Requests that changed after revision N. Waits up to MS
                                        milliseconds for a change
  GET, POST, DELETE /sandbox/faults     List fault rules, add a fault rule, remove all fault rules
  DELETE /sandbox/faults/ID             Remove one fault rule
  GET /sandbox/state                    Apps, including deleted apps, and secrets as SHA-256
  POST /sandbox/apps/ID/VERB            Connect an app to a repository or disconnect it. Verbs:
                                        connect, disconnect
  GET /sandbox/credentials              Current credentials
  POST /sandbox/credentials/NAME/VERB   Change a credential. Verbs: revoke, expire, rotate (issue a
                                        new token or client secret)

Example of a fault rule. The next 2 requests that create an app get 503 after the sandbox has
created the app:

  curl -X POST http://127.0.0.1:8490/sandbox/faults -d '{
    "method": "POST", "route": "/v1/apps", "when": "after", "times": 2,
    "action": {"status": 503, "headers": {"Retry-After": "5"}, "body": {"error": "unavailable"}}
  }'

Fields of a fault rule (only action is required):
  method  HTTP method. Default: any method
  route   Route pattern as in the journal, or a prefix that ends in *. Default: any route
  when    before: the request has no effect. after: the request takes effect first.
          Default: before
  credential
          Name of the credential of the request. Default: any request
  times   Number of requests that the rule affects. Default: unlimited
  action  "close": close the connection without a response
          "hang": wait until the rule is removed
          {"delay": MS}: process the request late
          {"status": CODE}: send this response. Optional: delay, headers, and body (JSON) or text

The sandbox stops on SIGTERM and SIGINT."#;

/// Limits of every organization. A flag overrides the plan in the seed file.
#[derive(clap::Args)]
#[command(next_help_heading = "Plan")]
struct PlanArguments {
    /// Maximum number of live apps per organization. A further create gets 403
    #[arg(long, value_name = "COUNT")]
    max_apps: Option<u64>,

    /// Maximum number of replicas per app
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=10))]
    max_replicas: Option<u64>,

    /// Maximum number of CPUs per replica or executor
    #[arg(long, value_name = "COUNT", requires = "max_memory_gi")]
    max_cpu: Option<u64>,

    /// Maximum memory per replica or executor, in GiB
    #[arg(long, value_name = "COUNT", requires = "max_cpu")]
    max_memory_gi: Option<u64>,

    /// Reject image tags
    #[arg(long)]
    no_image_tags: bool,

    /// Reject a request for the images of the enterprise channel
    #[arg(long)]
    no_enterprise_images: bool,
}

impl Arguments {
    fn config(&self) -> Result<SandboxConfig, String> {
        let rate_limits = RateLimits {
            per_user: self.user_rate,
            per_organization: self.organization_rate,
            window: Duration::from_secs(self.rate_window),
            has_headers: !self.omit_rate_limit_headers,
        };
        let mut config = SandboxConfig {
            address: self.address,
            token_lifetime: Duration::from_secs(self.token_lifetime),
            rate_limits,
            switches: self.switches,
            state_file: self.state.clone(),
            tls: self.tls.then(|| self.tls_name.clone()),
            ..SandboxConfig::default()
        };
        if let Some(file) = &self.seed {
            let seed_error = |error: String| format!("--seed {}: {error}", file.display());
            let text = fs::read_to_string(file).map_err(|error| seed_error(error.to_string()))?;
            config.load_seed(&text).map_err(seed_error)?;
        }
        for organization in &mut config.organizations {
            self.plan.override_plan(&mut organization.plan);
        }
        Ok(config)
    }
}

impl PlanArguments {
    /// Replaces the limits of `plan` for which a flag is set.
    fn override_plan(&self, plan: &mut SubscriptionPlan) {
        plan.max_apps = self.max_apps.or(plan.max_apps);
        plan.max_replicas = self.max_replicas.unwrap_or(plan.max_replicas);
        let resources = self.max_cpu.zip(self.max_memory_gi);
        let resources = resources.map(|(max_cpu, max_memory_gi)| ResourceLimits { max_cpu, max_memory_gi });
        plan.resources = resources.or(plan.resources);
        plan.image_tags &= !self.no_image_tags;
        plan.enterprise_images &= !self.no_enterprise_images;
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum AddressFormat {
    /// One line of JSON
    Json,
    /// Human-readable lines
    Text,
}

/// Runs the sandbox until it receives SIGTERM or SIGINT.
pub(super) fn run(arguments: &Arguments) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("cannot start the runtime: {error}"))?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &Arguments) -> Result<(), String> {
    // Registered before the address is printed, because a reader of the address may send a signal at once.
    let signal_error = |error| format!("cannot listen for signals: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(signal_error)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signal_error)?;

    let running = sandbox::serve(arguments.config()?).await.map_err(|error| match error {
        StartError::State(error) => error,
        StartError::Tls(error) => format!("--tls: {error}"),
        other => format!("--address: {other}"),
    })?;
    if !running.address().ip().is_loopback() {
        #[expect(clippy::print_stderr, reason = "a warning for the user who started the sandbox")]
        {
            eprintln!("warning: other machines can reach {}, and the tokens are public", running.address());
        }
    }
    if let (Some(file), Some(authority)) = (&arguments.ca_file, &running.connection_info().ca) {
        fs::write(file, authority).map_err(|error| format!("--ca-file {}: {error}", file.display()))?;
    }
    print_line(&format_connection(arguments.print_address, running.connection_info())?)
        .map_err(|error| format!("cannot write to standard output: {error}"))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.shutdown().await;
    Ok(())
}

fn format_connection(format: AddressFormat, info: &ConnectionInfo) -> Result<String, String> {
    match format {
        AddressFormat::Json => {
            serde_json::to_string(info).map_err(|error| format!("cannot serialize the address: {error}"))
        }
        AddressFormat::Text => Ok(format_text(info)),
    }
}

fn format_text(ConnectionInfo { url, credentials, .. }: &ConnectionInfo) -> String {
    let mut lines = vec![format!("The sandbox listens on {url}"), String::new()];
    for credential in credentials {
        let scopes = credential.scopes.join(" ");
        let (name, organization) = (&credential.name, &credential.organization);
        let secret = match &credential.kind {
            CredentialKind::OauthClient { client_id, client_secret } => format!("{client_id} {client_secret}"),
            other => other.token().unwrap_or_default().to_owned(),
        };
        lines.push(format!("  {name:<16} {secret:<32} {scopes:<12} organization {organization}"));
    }
    if let Some(token) = credentials.iter().find_map(|credential| credential.kind.token()) {
        lines.push(String::new());
        lines.push(format!("Try:  curl -H 'Authorization: Bearer {token}' {url}/v1/apps"));
    }
    lines.join("\n")
}

/// Writes and flushes, because a parent process reads standard output through a pipe.
fn print_line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}
