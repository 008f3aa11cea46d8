//! The operator as a process.

use std::{collections::BTreeMap, path::Path, process::Command, sync::Arc};

use serde::Deserialize;

use super::{
    eventually::{DEADLINE, poll},
    process::Child,
    run_dir::RunDir,
};

/// A running operator. Ends when dropped.
pub struct Operator {
    child: Child,
    admin: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Announcement {
    admin: String,
}

impl Operator {
    /// Starts `program run` with `args` and `environment` added, as whoever the kubeconfig file names. Proxies of the
    /// environment do not reach it, as all it talks to is local; a test about proxies names them in `environment`.
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
        let Announcement { admin } = child.announcement().await?;
        let http = reqwest::Client::builder().no_proxy().build().map_err(|e| format!("HTTP client: {e}"))?;
        Ok(Self { child, admin: admin.trim_end_matches('/').to_owned(), http })
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) -> Result<(), String> {
        poll("the operator is ready", DEADLINE, async || match self.child.ended() {
            Some(status) => Ok(Err(self.child.exit_report(status))),
            None => self.get("readyz").await.map(|_| Ok(())),
        })
        .await?
    }

    /// Waits until it says that it is not ready, and names this.
    pub async fn unready(&self, what: &str) -> Result<(), String> {
        poll(&format!("not ready for want of {what}"), DEADLINE, async || match self.answer("readyz").await? {
            (503, text) if text.contains(what) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await
    }

    /// Its metrics now.
    pub async fn metrics(&self) -> Result<Metrics, String> {
        Metrics::parse(&self.get("metrics").await?)
    }

    /// Where its admin server listens, without a slash at the end.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// What it logged: one JSON object a line.
    pub fn log(&self) -> String {
        self.child.log()
    }

    /// The process.
    pub fn process(&self) -> &Child {
        &self.child
    }

    /// SIGKILL: it stops between two instructions. Returns when it is gone.
    pub fn kill(self) -> Result<(), String> {
        self.child.kill().map(drop)
    }

    /// Tells it to stop, and waits until it waits for its calls in hand.
    pub async fn begins_to_stop(&self) -> Result<(), String> {
        self.child.terminate()?;
        poll("it says that it stops", DEADLINE, async || {
            if self.log().contains("Shutting down; waiting for in-flight requests") {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await
    }

    /// SIGTERM: it stops as it does in a cluster. Returns its exit code when it is gone.
    pub async fn terminate(self) -> Result<Option<i32>, String> {
        self.child.terminate()?;
        Ok(self.child.wait(DEADLINE).await?.code())
    }

    /// Lets it run on after our own end.
    pub fn detach(self) {
        self.child.detach();
    }

    /// What its admin server answers: the status code and the text.
    pub async fn answer(&self, path: &str) -> Result<(u16, String), String> {
        let url = format!("{}/{path}", self.admin);
        let answer = self.http.get(&url).timeout(DEADLINE).send().await.map_err(|e| format!("{e:?}"))?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.map_err(|e| format!("{url}: {e}"))?))
    }

    async fn get(&self, path: &str) -> Result<String, String> {
        match self.answer(path).await? {
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
    /// Reads the text format; an error names the line that is not in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| sample(line).ok_or_else(|| format!("not a sample: {line}")))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The sum of all samples of `name` that have these labels, whatever others they have; 0 if there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        };
        self.0.iter().filter(has).map(|sample| sample.value).sum()
    }

    /// How often objects of this kind have been reconciled.
    pub fn reconciles(&self, kind: &str) -> f64 {
        self.sum("spice_operator_reconciles_total", &[("kind", kind)])
    }
}

/// `name{label="value",...} number [timestamp]`; a value may hold any character, with `\`, `"` and line ends escaped.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.trim().to_owned(), value);
            rest = after.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Text up to its closing quote, unescaped, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
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
