//! `flowlaunch simulator` as a process: the API that the tests talk to, and the oracle that they ask.

use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use super::http;
use super::ports::Port;
use super::process::Process;
use super::rabbit::tail;
use super::wait::{LONG, eventually};
use super::worker::flowlaunch;

/// A running simulator. Its control has a port of its own, so that it answers whatever the API is told to do.
pub struct Sim {
    process: Option<Process>,
    api: Port,
    control: Port,
    args: Vec<String>,
    dir: TempDir,
}

impl Sim {
    /// No rate limit of its own.
    pub async fn start() -> Self {
        Self::start_with(&["--rate", "unlimited"]).await
    }

    /// With other arguments of `flowlaunch simulator`; its rate is then 300/min, unless they say otherwise.
    pub async fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("flowlaunch-sim-").tempdir().unwrap();
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut sim = Self {
            process: None,
            api: Port::take(),
            control: Port::take(),
            args,
            dir,
        };
        sim.start_again().await;
        sim
    }

    /// On the same ports, with an empty record.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "the simulator runs");
        let output = self.dir.path().join("out");
        let _ = std::fs::remove_file(&output);
        let mut command = flowlaunch();
        command
            .args(["simulator", "--listen", &format!("127.0.0.1:{}", self.api.number())])
            .args(["--control", &format!("127.0.0.1:{}", self.control.number())])
            .args(&self.args)
            .current_dir(self.dir.path());
        let mut process = Process::spawn("flowlaunch simulator", &mut command, &output);
        eventually("the simulator to listen", LONG, async || {
            assert!(process.is_running(), "the simulator has ended: {}", tail(&output));
            let said = std::fs::read_to_string(&output).unwrap_or_default();
            if said.contains("simulator listening on http://") {
                Ok(())
            } else {
                Err(said)
            }
        })
        .await;
        self.process = Some(process);
    }

    /// From here on connections are refused; the record is gone with it.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api.number())
    }

    /// The token endpoint's host: the same.
    pub fn login_url(&self) -> String {
        self.base_url()
    }

    pub fn control_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.control.number())
    }

    /// Every launch that it accepted, in order.
    pub async fn launches(&self) -> Vec<Value> {
        self.json_lines("/_sim/launches").await
    }

    /// Every launch request, refused ones too.
    pub async fn requests(&self) -> Vec<Value> {
        self.json_lines("/_sim/requests").await
    }

    /// Every token request.
    pub async fn tokens(&self) -> Vec<Value> {
        self.json_lines("/_sim/tokens").await
    }

    /// Forgets launches and launch requests.
    pub async fn forget(&self) {
        self.control(Method::DELETE, "/_sim/launches", &Value::Null).await;
    }

    /// No token that it gave out is known from now on.
    pub async fn revoke_tokens(&self) {
        self.control(Method::POST, "/_sim/revoke", &Value::Null).await;
    }

    /// Connections to the API are refused while it is shut; the record stays.
    pub async fn set_open(&self, open: bool) {
        self.control(Method::PUT, "/_sim/listener", &serde_json::json!({ "open": open }))
            .await;
    }

    pub async fn stats(&self) -> Value {
        self.control(Method::GET, "/_sim/stats", &Value::Null).await
    }

    pub async fn rules(&self) -> Value {
        self.control(Method::GET, "/_sim/rules", &Value::Null).await
    }

    pub async fn set_rules(&self, rules: &Value) {
        self.control(Method::PUT, "/_sim/rules", rules).await;
    }

    pub async fn clear_rules(&self) {
        self.control(Method::DELETE, "/_sim/rules", &Value::Null).await;
    }

    pub async fn settings(&self) -> Value {
        self.control(Method::GET, "/_sim/settings", &Value::Null).await
    }

    pub async fn patch_settings(&self, changes: &Value) {
        self.control(Method::PATCH, "/_sim/settings", changes).await;
    }

    /// Any call of the control API; its answer as JSON, `Null` for an empty one.
    pub async fn control(&self, method: Method, path: &str, body: &Value) -> Value {
        let text = self.text(method, path, body).await;
        if text.trim().is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    async fn json_lines(&self, path: &str) -> Vec<Value> {
        let text = self.text(Method::GET, path, &Value::Null).await;
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{path}: {error}: {line}")))
            .collect()
    }

    async fn text(&self, method: Method, path: &str, body: &Value) -> String {
        let answer = http::with_json(method.clone(), &(self.control_url() + path), body).await;
        let (status, text) = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
        text
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the end of the simulator's output\n{}",
                tail(&self.dir.path().join("out"))
            );
        }
    }
}
