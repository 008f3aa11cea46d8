//! `spice-cloud-operator sandbox`.

use std::io::Write;
use std::net::SocketAddr;

use clap::ValueEnum;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::sandbox::{self, Config};

/// Settings of the sandbox.
#[derive(clap::Args)]
#[command(
    after_help = "It holds everything in memory and knows only its own credentials, whose tokens say that they are fake.\n\
    GET /sandbox/journal tells what was asked of it; GET /sandbox/state, what it holds."
)]
pub(super) struct Arguments {
    /// Address to listen on. Port 0 takes a free one.
    #[arg(long, env = "SPICE_SANDBOX_ADDRESS", default_value = "127.0.0.1:8490", value_name = "ADDRESS")]
    address: SocketAddr,
    /// What to print on standard output once it listens.
    #[arg(long, value_enum, default_value = "text")]
    announce: Announce,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Announce {
    /// For people.
    Text,
    /// One JSON line: the URL, and every credential.
    Json,
}

/// Runs the sandbox until it is told to stop.
pub(super) fn run(arguments: &Arguments) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &Arguments) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| format!("cannot start: {error}"))?;
    let config = Config::new(arguments.address);
    let running = sandbox::serve(config.clone())
        .await
        .map_err(|error| format!("--address: cannot listen on {}: {error}", arguments.address))?;
    print(&announcement(&running.url(), &config, arguments.announce));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    running.stop().await;
    Ok(())
}

fn announcement(url: &str, config: &Config, form: Announce) -> String {
    if form == Announce::Json {
        let Config { organizations, credentials, .. } = config;
        return json!({ "url": url, "organizations": organizations, "credentials": credentials }).to_string();
    }
    let mut text = format!("The sandbox Management API listens on {url}\n");
    for credential in &config.credentials {
        let scopes = credential.scopes.join(" ");
        text.push_str(&format!("  {:<9} {:<28} {scopes}\n", credential.name, credential.token));
    }
    let token = config.credentials.first().map_or("", |credential| &credential.token);
    text.push_str(&format!("Try: curl -H 'Authorization: Bearer {token}' {url}/v1/apps"));
    text
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever started it may not care to read.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
