//! The operator as a child process, and its metrics.

use std::{collections::BTreeMap, path::Path, process::Command, sync::Arc};

use serde::Deserialize;

use super::{
    eventually::{DEADLINE, poll},
    process::Child,
    run_dir::RunDir,
};

/// A running operator. A drop stops the process.
pub struct Operator {
    child: Child,
    admin: String,
    http: reqwest::Client,
}

/// First line of the output of `--print-address json`.
#[derive(Deserialize)]
struct PrintedAddress {
    admin: String,
}

impl Operator {
    /// Starts `program run` with additional `args` and `environment` as the user of the kubeconfig file. The process
    /// does not inherit proxy variables, because all servers are local. A test of proxies sets them in `environment`.
    pub async fn start(
        run: &Arc<RunDir>,
        program: &Path,
        kubeconfig: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args(["run", "--print-address", "json", "--admin-address", "127.0.0.1:0"]).args(args);
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        command.env("KUBECONFIG", kubeconfig).envs(environment.iter().copied());
        let child = Child::start(run, "operator", &command)?;
        let PrintedAddress { admin } = child.wait_for_first_line().await?;
        let http = reqwest::Client::builder().no_proxy().build().map_err(|e| format!("HTTP client: {e}"))?;
        Ok(Self { child, admin: admin.trim_end_matches('/').to_owned(), http })
    }

    /// Waits until `/readyz` succeeds.
    pub async fn wait_until_ready(&self) -> Result<(), String> {
        poll("the operator is ready", DEADLINE, async || match self.child.exit_status() {
            Some(status) => Ok(Err(self.child.exit_report(status))),
            None => self.get_body("readyz").await.map(|_| Ok(())),
        })
        .await?
    }

    /// Waits until `/readyz` fails with a text that contains `cause`.
    pub async fn wait_until_unready(&self, cause: &str) -> Result<(), String> {
        poll(&format!("readyz fails with {cause:?}"), DEADLINE, async || match self.get("readyz").await? {
            (503, text) if text.contains(cause) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await
    }

    /// Reads the metrics.
    pub async fn metrics(&self) -> Result<Metrics, String> {
        Metrics::parse(&self.get_body("metrics").await?)
    }

    /// Returns the number of finished reconciles of a kind.
    pub async fn reconciles(&self, kind: &str) -> Result<u64, String> {
        Ok(self.metrics().await?.reconciles(kind) as u64)
    }

    /// Waits until the operator has finished `at_least` reconciles of a kind.
    pub async fn wait_for_reconciles(&self, kind: &str, at_least: u64) -> Result<(), String> {
        poll(&format!("{at_least} reconciles of {kind}"), DEADLINE, async || {
            let reconciles = self.reconciles(kind).await?;
            if reconciles >= at_least { Ok(()) } else { Err(format!("{reconciles} so far")) }
        })
        .await
    }

    /// Returns the base URL of the admin server without a trailing slash.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Returns the log: one JSON object per line.
    pub fn log(&self) -> String {
        self.child.log()
    }

    /// Returns the process.
    pub fn process(&self) -> &Child {
        &self.child
    }

    /// Sends SIGKILL and waits for the end of the process.
    pub fn kill(self) -> Result<(), String> {
        self.child.kill().map(drop)
    }

    /// Sends SIGTERM and waits until the operator logs that it waits for in-flight requests.
    pub async fn begin_shutdown(&self) -> Result<(), String> {
        self.child.terminate()?;
        poll("the operator logs its shutdown", DEADLINE, async || {
            if self.log().contains("Shutting down; waiting for in-flight requests") {
                Ok(())
            } else {
                Err("no such log line".to_owned())
            }
        })
        .await
    }

    /// Waits for the end of the process and returns its exit code.
    pub async fn wait_for_exit(&self) -> Result<Option<i32>, String> {
        Ok(self.child.wait(DEADLINE).await?.code())
    }

    /// Sends SIGTERM and waits for the end of the process. Returns its exit code.
    pub async fn terminate(self) -> Result<Option<i32>, String> {
        self.child.terminate()?;
        self.wait_for_exit().await
    }

    /// Keeps the process running after the end of this process.
    pub fn detach(self) {
        self.child.detach();
    }

    /// Sends a GET request to the admin server. Returns the status code and the body.
    pub async fn get(&self, path: &str) -> Result<(u16, String), String> {
        let url = format!("{}/{path}", self.admin);
        let response = self.http.get(&url).timeout(DEADLINE).send().await.map_err(|e| format!("{e:?}"))?;
        let status = response.status().as_u16();
        Ok((status, response.text().await.map_err(|e| format!("{url}: {e}"))?))
    }

    async fn get_body(&self, path: &str) -> Result<String, String> {
        match self.get(path).await? {
            (200, body) => Ok(body),
            (status, body) => Err(format!("{path}: {status}: {body}")),
        }
    }
}

/// Samples of the Prometheus text format.
#[derive(Debug, PartialEq)]
pub struct Metrics(Vec<Sample>);

#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Parses the text format. The error contains the invalid line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| parse_sample(line).ok_or_else(|| format!("not a sample: {line}")))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns the sum of all samples of `name` with at least these labels, or 0 without a match.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matches = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        };
        self.0.iter().filter(matches).map(|sample| sample.value).sum()
    }

    /// Returns the number of reconciles of a kind.
    pub fn reconciles(&self, kind: &str) -> f64 {
        self.sum("spice_operator_reconciles_total", &[("kind", kind)])
    }
}

/// Parses `name{label="value",...} number [timestamp]`. In a value, `\`, `"` and line ends are escaped.
fn parse_sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = parse_quoted(after)?;
            labels.insert(key.trim().to_owned(), value);
            rest = after.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Parses text up to the closing quote. Returns the unescaped value and the remaining text.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            _ => value.push(c),
        }
    }
    None
}
