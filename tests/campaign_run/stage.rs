//! A broker, a simulator, a folder with the settings, and runs of a campaign in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::process::{Process, exit_code};
use crate::common::wait::{LONG, eventually};
use crate::common::worker::{Builder, Worker, flowlaunch, run};
use crate::common::{Prefix, Sim, shared};

pub(crate) const FLOW: &str = "5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b";

/// Each story on both brokers.
macro_rules! on_both {
    ($($story:ident,)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(crate::stage::Stage::embedded().await).await;
            })*
        }

        mod rabbitmq {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(crate::stage::Stage::rabbitmq().await).await;
            })*
        }
    };
}
pub(crate) use on_both;

pub(crate) struct Stage {
    pub(crate) sim: Sim,
    pub(crate) dir: TempDir,
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) on_rabbitmq: bool,
    settings: BTreeMap<String, String>,
    _prefix: Option<Prefix>,
}

impl Stage {
    pub(crate) async fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("jobs.db").display());
        Self::on(url, "flowlaunch".to_owned(), dir, None, Sim::start().await)
    }

    pub(crate) async fn rabbitmq() -> Self {
        let node = shared();
        let prefix = Prefix::new(&node, "campaign");
        let dir = tempfile::tempdir().unwrap();
        let (url, name) = (node.url().to_owned(), prefix.name().to_owned());
        Self::on(url, name, dir, Some(prefix), Sim::start().await)
    }

    fn on(url: String, prefix: String, dir: TempDir, keep: Option<Prefix>, sim: Sim) -> Self {
        let stage = Self {
            on_rabbitmq: keep.is_some(),
            sim,
            dir,
            url,
            prefix,
            settings: BTreeMap::new(),
            _prefix: keep,
        };
        stage.write();
        stage
    }

    /// A setting more, for whoever starts from now on.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.settings.insert(key.to_owned(), value.into().to_string());
        self.write();
        self
    }

    fn write(&self) {
        let mut text = self.builder().toml();
        for (key, value) in &self.settings {
            text = text
                .lines()
                .filter(|line| !line.starts_with(&format!("{key} =")))
                .map(|line| format!("{line}\n"))
                .collect();
            text += &format!("{key} = {value}\n");
        }
        std::fs::write(self.dir.path().join("flowlaunch.toml"), text).unwrap();
    }

    fn builder(&self) -> Builder {
        Worker::builder(&self.url, &self.prefix, &self.sim.base_url(), &self.sim.login_url())
    }

    /// A worker elsewhere, with the same settings.
    pub(crate) fn worker(&self) -> Worker {
        let mut builder = self.builder();
        for (key, value) in &self.settings {
            builder = builder.set(key, serde_json::from_str::<Value>(value).unwrap());
        }
        builder.spawn()
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `id,n` rows.
    pub(crate) fn rows(&self, rows: usize) -> &'static str {
        let mut text = "id,n\n".to_owned();
        for n in 0..rows {
            text += &format!("row-{n},{n}\n");
        }
        self.file("rows.csv", &text);
        "rows.csv"
    }

    /// Any command in the folder, to its end.
    pub(crate) fn ask(&self, args: &[&str]) -> (i32, String, String) {
        run(args, self.dir.path(), "")
    }

    /// A run of `rows.csv` as campaign `spring`, with these arguments too.
    pub(crate) fn campaign(&self, args: &[&str]) -> Campaign {
        let mut command = flowlaunch();
        command
            .args([
                "campaign",
                "run",
                "rows.csv",
                "--name",
                "spring",
                "--key",
                "id",
                "--flow-id",
                FLOW,
            ])
            .args(args);
        self.start("campaign", &mut command)
    }

    /// Any command in the folder, to be watched; what it says goes to the end of NAME.log.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> Campaign {
        let output = self.dir.path().join(format!("{name}.log"));
        Campaign {
            process: Process::spawn(name, command.current_dir(self.dir.path()), &output),
            output,
        }
    }

    /// `campaign status --json`; `None` while there is no journal or no such run.
    pub(crate) fn status(&self) -> Option<Value> {
        let (code, out, _) = self.ask(&["campaign", "status", "spring", "--json"]);
        (code == 0).then(|| serde_json::from_str(&out).unwrap())
    }

    /// Every line of the report.
    pub(crate) fn report(&self) -> Vec<Value> {
        let (code, out, said) = self.ask(&["campaign", "report", "spring", "--format", "jsonl"]);
        assert_eq!(code, 0, "{said}");
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How many launches the simulator accepted.
    pub(crate) async fn launched(&self) -> u64 {
        self.sim.stats().await["launches"].as_u64().unwrap()
    }

    pub(crate) async fn wait_launched(&self, wanted: u64) {
        eventually(&format!("{wanted} launches"), LONG, async || {
            let launched = self.launched().await;
            if launched >= wanted { Ok(()) } else { Err(launched) }
        })
        .await;
    }

    /// How often each `n` was launched, by the simulator's own record.
    pub(crate) async fn launches_by_row(&self) -> BTreeMap<u64, usize> {
        let mut by_row = BTreeMap::new();
        for launch in self.sim.launches().await {
            let n = launch["inputs"]["n"].as_str().unwrap().parse().unwrap();
            *by_row.entry(n).or_default() += 1;
        }
        by_row
    }
}

/// A running `flowlaunch campaign run`, killed when it is dropped.
pub(crate) struct Campaign {
    pub(crate) process: Process,
    output: PathBuf,
}

impl Campaign {
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    /// SIGTERM; how it ended.
    pub(crate) async fn term(&mut self) -> i32 {
        self.process.signal(nix::sys::signal::Signal::SIGTERM);
        self.wait().await
    }

    pub(crate) async fn wait(&mut self) -> i32 {
        self.wait_for(LONG).await
    }

    pub(crate) async fn wait_for(&mut self, deadline: Duration) -> i32 {
        exit_code(self.process.wait(deadline).await)
    }

    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }
}
