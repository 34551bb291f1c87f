//! A folder with a configuration, a simulator, and what a command said.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::common::worker::run;
use super::common::{Sim, Worker, flowlaunch};

pub(crate) const FLOW: &str = "5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b";

pub(crate) struct Place {
    pub(crate) sim: Sim,
    folder: TempDir,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Holds the words to be on standard error, broken over lines or not.
    pub(crate) fn complains(&self, words: &[&str]) {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not said: {self:?}");
        }
    }

    pub(crate) fn fits(&self) {
        let long: Vec<_> = self.out.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{long:#?}");
    }
}

impl Place {
    pub(crate) async fn new() -> Self {
        Self::with(&["--rate", "unlimited"]).await
    }

    /// With other arguments of the simulator.
    pub(crate) async fn with(args: &[&str]) -> Self {
        let place = Self {
            sim: Sim::start_with(args).await,
            folder: tempfile::tempdir().unwrap(),
        };
        // Short pauses: it is not the waiting that is tested.
        let settings = Worker::builder("sqlite:jobs.db", "t", &place.sim.base_url(), &place.sim.login_url())
            .set("retry.initial_delay", "20ms")
            .toml();
        place.write("flowlaunch.toml", &settings);
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, "")
    }

    pub(crate) fn run_with(&self, args: &[&str], stdin: &str) -> Said {
        let (code, out, err) = run(args, self.path(), stdin);
        assert!(!err.contains("panicked"), "{args:?}: {err}");
        Said { code, out, err }
    }

    /// `flowlaunch launch` of the flow.
    pub(crate) fn launch(&self, more: &[&str]) -> Said {
        self.run(&[&["launch", "--flow-id", FLOW], more].concat())
    }

    /// The command, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = flowlaunch();
        command.args(args).current_dir(self.path());
        command
    }
}
