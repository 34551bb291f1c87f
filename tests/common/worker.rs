//! The program under test, as a process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::http;
use super::ports::Port;
use super::process::{Process, exit_code};
use super::rabbit::tail;
use super::wait::{LONG, SOON, eventually};

/// The binary, with nothing of the tests' environment that it could take for its configuration.
pub fn flowlaunch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowlaunch"));
    for (name, _) in std::env::vars_os() {
        let ours = name.to_string_lossy().starts_with("FLOWLAUNCH_");
        if ours || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// A configuration file in the making, and how the worker is started.
pub struct Builder {
    settings: BTreeMap<String, Value>,
    env: Vec<(String, String)>,
}

impl Builder {
    /// Any key, as `flowlaunch.toml` has it: `.set("retry.max_attempts", 3)`.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.settings.insert(key.to_owned(), value.into());
        self
    }

    pub fn client(self, id: &str, secret: &str) -> Self {
        self.set("api.client_id", id).set("api.client_secret", secret)
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The file's text. Dotted keys, and JSON's literals are TOML's for all that a setting can be.
    pub fn toml(&self) -> String {
        self.settings
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect()
    }

    /// Starts it, without waiting until it is ready.
    pub fn spawn(self) -> Worker {
        let dir = tempfile::Builder::new().prefix("flowlaunch-worker-").tempdir().unwrap();
        let admin = Port::take();
        let builder = self.set("admin.listen", format!("127.0.0.1:{}", admin.number()));
        std::fs::write(dir.path().join("flowlaunch.toml"), builder.toml()).unwrap();
        let mut worker = Worker {
            process: None,
            admin,
            env: builder.env,
            dir,
        };
        worker.start_again();
        worker
    }

    /// Starts it and waits until `/readyz` says 200.
    pub async fn ready(self) -> Worker {
        let mut worker = self.spawn();
        worker.wait_ready().await;
        worker
    }
}

/// A running `flowlaunch worker`, killed when it is dropped.
pub struct Worker {
    process: Option<Process>,
    admin: Port,
    env: Vec<(String, String)>,
    dir: TempDir,
}

impl Worker {
    /// The simulator's client, no rate limit, JSON logs; everything else as the defaults have it.
    pub fn builder(broker_url: &str, prefix: &str, base_url: &str, login_url: &str) -> Builder {
        Builder {
            settings: BTreeMap::new(),
            env: Vec::new(),
        }
        .set("broker.url", broker_url)
        .set("broker.prefix", prefix)
        .set("api.base_url", base_url)
        .set("api.login_url", login_url)
        .client("demo", "demo-secret")
        .set("limits.rate", "unlimited")
        .set("log.format", "json")
    }

    /// The same configuration and port again, the log goes on.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the worker runs");
        let mut command = flowlaunch();
        command
            .arg("worker")
            .arg("--config")
            .arg(self.config())
            .current_dir(self.dir.path());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::spawn("flowlaunch worker", &mut command, &self.log_path()));
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("flowlaunch.toml")
    }

    pub fn pid(&self) -> i32 {
        self.process.as_ref().expect("the worker runs").pid()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin.number())
    }

    /// Status and body of `/readyz`; `None` while nothing listens.
    pub async fn readyz(&self) -> Option<(u16, String)> {
        self.get("/readyz").await.ok()
    }

    pub async fn get(&self, path: &str) -> Result<(u16, String), String> {
        http::get(&(self.admin_url() + path)).await
    }

    pub async fn wait_ready(&mut self) {
        self.wait_readyz("the worker to be ready", |status, _| status == 200)
            .await;
    }

    /// Waits until `/readyz` is as wanted; answers its body.
    pub async fn wait_readyz(&mut self, what: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        eventually(what, LONG, async || {
            assert!(self.is_running(), "the worker has ended: {}", tail(&self.log_path()));
            match self.readyz().await {
                Some((status, body)) if wanted(status, &body) => Ok(body),
                seen => Err(seen),
            }
        })
        .await
    }

    pub async fn metrics(&self) -> Metrics {
        let (status, text) = self.get("/metrics").await.unwrap();
        assert_eq!(status, 200, "{text}");
        Metrics::parse(&text)
    }

    /// Waits until the metrics are as wanted; answers them. Names what it saw of `name` when they never are.
    pub async fn wait_metrics(&self, name: &str, deadline: Duration, wanted: impl Fn(&Metrics) -> bool) -> Metrics {
        eventually(&format!("{name} to be as wanted"), deadline, async || {
            let (_, text) = self.get("/metrics").await.map_err(|error| vec![error])?;
            let metrics = Metrics::parse(&text);
            if wanted(&metrics) {
                Ok(metrics)
            } else {
                Err(metrics.lines(name))
            }
        })
        .await
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// All that it wrote, standard output and error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap()).into_owned()
    }

    /// The log's lines that are JSON.
    pub fn log_lines(&self) -> Vec<Value> {
        self.log()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// SIGKILL; `start_again` follows.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    pub fn term(&mut self) {
        self.signal(Signal::SIGTERM);
    }

    pub fn signal(&mut self, signal: Signal) {
        self.process.as_mut().expect("the worker runs").signal(signal);
    }

    /// Waits for its end; the exit code as a shell has it.
    pub async fn wait_exit(&mut self) -> i32 {
        let mut process = self.process.take().expect("the worker runs");
        exit_code(process.wait(SOON).await)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of the worker's log\n{}", tail(&self.log_path()));
        }
    }
}

/// A scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
    line: String,
}

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self {
            samples: lines
                .map(|line| Sample::parse(line).unwrap_or_else(|| panic!("no sample: {line}")))
                .collect(),
        }
    }

    /// The sum of all samples of that name that bear those labels; 0 when there is none.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let bears = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        };
        self.samples.iter().filter(bears).map(|sample| sample.value).sum()
    }

    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    /// The lines of one metric, for messages.
    pub fn lines(&self, name: &str) -> Vec<String> {
        self.samples
            .iter()
            .filter(|sample| sample.name == name)
            .map(|sample| sample.line.clone())
            .collect()
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let (head, value) = line.rsplit_once(' ')?;
        let (name, labels) = match head.split_once('{') {
            Some((name, rest)) => (name, labels(rest.strip_suffix('}')?)?),
            None => (head, BTreeMap::new()),
        };
        Some(Self {
            name: name.to_owned(),
            labels,
            value: value.parse().ok()?,
            line: line.to_owned(),
        })
    }
}

/// `key="value",…`, with `\"`, `\\` and `\n` within the values.
fn labels(text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.insert(key.trim_start_matches(',').to_owned(), value);
        rest = &after[end + 1..];
    }
    Some(labels)
}

/// A command of the binary to its end, standard input given: exit code, standard output, standard error.
pub fn run(args: &[&str], folder: &Path, stdin: &str) -> (i32, String, String) {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = flowlaunch()
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    // It may end without having read all of it: then the pipe breaks, and that is its answer's business.
    let feeder = std::thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (exit_code(output.status), text(&output.stdout), text(&output.stderr))
}
