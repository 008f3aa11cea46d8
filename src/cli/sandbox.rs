//! `spice-cloud-operator sandbox`.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use crate::sandbox::{
    self, Announcement, Config, CredentialKind, Plan, Profile, RateLimits, Reactivation, ResourceLimits, StartError,
    Switches, TagRule,
};

/// Settings of the sandbox.
#[derive(clap::Args)]
#[command(after_help = "\
Without --seed and --state the server starts empty and keeps everything in memory. Its tokens are fake, always the same,
and printed at start; an OAuth client exchanges its secret at POST /api/oauth/token. `spice login` is let in as the
first session there is once its page was opened, or refused if that session was revoked.

Beside the API under /v1 it serves:
  GET /openapi.json                     what the API is, as OpenAPI 3.1
  GET /sandbox/journal?after=N&wait=MS  what arrived after revision N; waits up to MS milliseconds for it
  GET, POST, DELETE /sandbox/faults     rules that let requests fail, hang, come late or answer nonsense
  GET /sandbox/state                    what is stored, deleted apps included; secrets as SHA-256
  POST /sandbox/apps/ID/VERB            connect (its spicepod comes from a repository) or disconnect
  GET /sandbox/credentials              the credentials as they are now
  POST /sandbox/credentials/NAME/VERB   revoke, expire or rotate (give another token or client secret)

It ends on SIGTERM and SIGINT.")]
pub(super) struct Arguments {
    /// Where to listen. Port 0 takes a free one. Beyond loopback anyone who reaches the port has full access.
    #[arg(long, value_name = "IP:PORT", env = "SPICE_SANDBOX_ADDRESS", default_value = "127.0.0.1:8490")]
    address: SocketAddr,

    /// How to say on standard output where it listens and which credentials it knows.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    announce: Announce,

    /// A YAML file of organizations, users, credentials, plans and apps to begin with; a section that it lacks stays as
    /// it is by default.
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,

    /// Keep apps, their secrets (as SHA-256) and credentials in this file, which survives whatever ends the process. For
    /// one sandbox at a time.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Speak TLS. The certificate, for localhost and the address it listens on, is new at each start; so is the
    /// authority that signs it, whose certificate is part of the announcement in JSON.
    #[arg(long)]
    tls: bool,

    /// Another name or address that the certificate is for.
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_name: Vec<String>,

    /// Where to write the certificate of the authority, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca_file: Option<PathBuf>,

    /// How long a token that an OAuth client gets lives, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    token_lifetime: u64,

    /// How many requests a user, or an OAuth client, may make within the window; more get 429.
    #[arg(long, value_name = "COUNT", default_value_t = RateLimits::default().per_user)]
    user_rate: u32,

    /// How many requests may be made to one organization within the window.
    #[arg(long, value_name = "COUNT", default_value_t = RateLimits::default().per_organization)]
    organization_rate: u32,

    /// The length of both windows, in seconds. They slide: it is the requests of the last so many seconds that count.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    rate_window: u64,

    /// Do not say in headers how things stand with the rate limits, nor when to come again.
    #[arg(long)]
    no_rate_headers: bool,

    #[command(flatten)]
    behaviour: Behaviour,

    #[command(flatten)]
    limits: Limits,
}

/// How the API behaves where its sources disagree.
#[derive(clap::Args)]
#[command(next_help_heading = "Behaviour")]
struct Behaviour {
    /// Which age of the API to be.
    #[arg(long, value_name = "PROFILE", default_value = "current")]
    profile: Profile,

    /// Never put more than 20 items on a page, and refuse no `limit`.
    #[arg(long)]
    clamp_pages: bool,

    /// Answer every page with the first one.
    #[arg(long)]
    ignore_offset: bool,

    /// Keep a spicepod without what is empty in it, and with its version and kind.
    #[arg(long)]
    normalise_spicepod: bool,

    /// Refuse an image tag that the stable channel does not list, to apps that are on it.
    #[arg(long)]
    published_tags: bool,

    /// What becomes of tags.
    #[arg(long, value_name = "RULE", default_value = "keep")]
    tags: TagRule,

    /// What a create does to the deleted app that it brings back.
    #[arg(long, value_name = "RULE", default_value = "apply")]
    reactivation: Reactivation,

    /// Ask for `config:read` and `config:write` where the configuration of an app is concerned.
    #[arg(long)]
    config_scopes: bool,

    /// Show when a secret was changed with microseconds to whoever sets it, and to the second to whoever reads it.
    #[arg(long)]
    mixed_precision: bool,
}

/// What the plan of every organization includes, whatever the seed says of it.
#[derive(clap::Args)]
#[command(next_help_heading = "Plan")]
struct Limits {
    /// How many live apps an organization may have; more get 403.
    #[arg(long, value_name = "COUNT")]
    max_apps: Option<u64>,

    /// How many replicas an app may have.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=10))]
    max_replicas: Option<u64>,

    /// How many CPUs a replica or an executor of an app may have.
    #[arg(long, value_name = "COUNT", requires = "max_memory_gi")]
    max_cpu: Option<u64>,

    /// How many gibibytes of memory it may have.
    #[arg(long, value_name = "COUNT", requires = "max_cpu")]
    max_memory_gi: Option<u64>,

    /// Refuse image tags.
    #[arg(long)]
    no_image_tags: bool,

    /// Refuse to list the images of the enterprise channel.
    #[arg(long)]
    no_enterprise_images: bool,
}

impl Arguments {
    fn config(&self) -> Result<Config, String> {
        let rate_limits = RateLimits {
            per_user: self.user_rate,
            per_organization: self.organization_rate,
            window: Duration::from_secs(self.rate_window),
            headers: !self.no_rate_headers,
        };
        let mut config = Config {
            address: self.address,
            token_lifetime: Duration::from_secs(self.token_lifetime),
            rate_limits,
            switches: self.behaviour.switches(),
            state: self.state.clone(),
            tls: self.tls.then(|| self.tls_name.clone()),
            ..Config::default()
        };
        if let Some(file) = &self.seed {
            let refused = |error: String| format!("--seed {}: {error}", file.display());
            let text = fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
            config.seed(&text).map_err(refused)?;
        }
        for organization in &mut config.organizations {
            self.limits.narrow(&mut organization.plan);
        }
        Ok(config)
    }
}

impl Behaviour {
    fn switches(&self) -> Switches {
        let &Self {
            profile,
            clamp_pages,
            ignore_offset,
            normalise_spicepod,
            published_tags,
            tags,
            reactivation,
            config_scopes,
            mixed_precision,
        } = self;
        Switches {
            profile,
            clamp_pages,
            ignore_offset,
            normalise_spicepod,
            published_tags,
            tags,
            reactivation,
            config_scopes,
            mixed_precision,
        }
    }
}

impl Limits {
    fn narrow(&self, plan: &mut Plan) {
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
enum Announce {
    /// One line of JSON.
    Json,
    /// A few lines for people.
    Text,
}

/// Runs the sandbox until it is told to stop.
pub(super) fn run(arguments: &Arguments) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("cannot start the runtime: {error}"))?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &Arguments) -> Result<(), String> {
    // Before the announcement: whoever reads it may send a signal at once.
    let unheard = |error| format!("cannot listen for signals: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(unheard)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;

    let running = sandbox::serve(arguments.config()?).await.map_err(|error| match error {
        StartError::State(error) => error,
        StartError::Tls(error) => format!("--tls: {error}"),
        other => format!("--address: {other}"),
    })?;
    if !running.address().ip().is_loopback() {
        #[expect(clippy::print_stderr, reason = "a warning to whoever started it")]
        {
            eprintln!("warning: other machines can reach {}, and its tokens are no secret", running.address());
        }
    }
    if let (Some(file), Some(authority)) = (&arguments.ca_file, &running.announcement().ca) {
        fs::write(file, authority).map_err(|error| format!("--ca-file {}: {error}", file.display()))?;
    }
    print(&announcement(arguments.announce, running.announcement())?)
        .map_err(|error| format!("cannot write to standard output: {error}"))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.shutdown().await;
    Ok(())
}

fn announcement(format: Announce, announcement: &Announcement) -> Result<String, String> {
    match format {
        Announce::Json => {
            serde_json::to_string(announcement).map_err(|error| format!("cannot write the announcement: {error}"))
        }
        Announce::Text => Ok(text(announcement)),
    }
}

fn text(Announcement { url, credentials, .. }: &Announcement) -> String {
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

/// One line or a few, there when this returns: whoever waits for them reads through a pipe.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}
