//! The image's entry point: it starts the program in its own place, and refuses what would work on a queue without a broker.

use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::repository;

/// The commands that touch no queue: all others want their broker named in a container.
const WITHOUT_BROKER: [&str; 8] = [
    "demo",
    "simulator",
    "launch",
    "flows",
    "completions",
    "man",
    "schema",
    "help",
];

/// A folder to be started in, with a `flowlaunch` that says who it is and what it was told.
struct Container(TempDir);

impl Container {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Written by a process of its own: a file that this one still holds open, or another thread's child does, cannot
        // be executed.
        let write = "printf '#!/bin/sh\\necho \"$$ $*\"\\n' >flowlaunch && chmod +x flowlaunch";
        let written = Command::new("sh")
            .args(["-c", write])
            .current_dir(folder.path())
            .status();
        assert!(written.unwrap().success());
        Self(folder)
    }

    /// Starts the image's entry point; also its process id.
    fn start(&self, args: &[&str], environment: &[(&str, &str)]) -> (u32, Output) {
        let path = format!("{}:/usr/bin:/bin", self.0.path().display());
        let child = Command::new(repository().join("deploy/entrypoint.sh"))
            .args(args)
            .env_clear()
            .env("PATH", path)
            .envs(environment.iter().copied())
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        (child.id(), child.wait_with_output().unwrap())
    }

    fn runs(&self, args: &[&str], environment: &[(&str, &str)]) {
        let (pid, output) = self.start(args, environment);
        let said = String::from_utf8(output.stdout).unwrap();
        // The same process: a signal to the container's first process reaches it.
        assert_eq!(said, format!("{pid} {}\n", args.join(" ")), "{args:?} {environment:?}");
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}");
    }

    fn refuses(&self, args: &[&str], environment: &[(&str, &str)]) {
        let (_, output) = self.start(args, environment);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "{args:?} was started");
        assert!(said.starts_with("flowlaunch: no broker is named: set FLOWLAUNCH_BROKER__URL_FILE"));
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// The names of all commands.
fn commands() -> Vec<String> {
    let line = flowlaunch::cli::command_line();
    line.get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect()
}

#[test]
fn in_a_container_whatever_works_on_a_queue_wants_its_broker_named() {
    let container = Container::new();
    let (alone, queued): (Vec<String>, Vec<String>) = commands()
        .into_iter()
        .partition(|name| WITHOUT_BROKER.contains(&name.as_str()));
    assert!(alone.len() >= 6, "{alone:?}");
    for name in ["worker", "publish", "topology", "check"] {
        assert!(queued.iter().any(|known| known == name), "{name} is no command");
    }
    for name in &queued {
        container.refuses(&[name], &[]);
        container.refuses(&[name, "--set", "limits.rate=1/s"], &[("FLOWLAUNCH_BROKER__URL", "")]);
        container.runs(&[name], &[("FLOWLAUNCH_BROKER__URL", "amqp://rabbitmq")]);
        container.runs(&[name], &[("FLOWLAUNCH_BROKER__URL_FILE", "/run/secrets/broker_url")]);
        container.runs(&[name, "--config", "/etc/flowlaunch.toml"], &[]);
        container.runs(&[name, "--config=/etc/flowlaunch.toml"], &[]);
        container.runs(&[name, "--set", "broker.url=amqp://rabbitmq"], &[]);
        container.runs(&[name, "--help"], &[]);
        container.runs(&[name, "-h"], &[]);
    }
    // A flag in front changes nothing.
    container.refuses(&["--set", "limits.rate=1/s", "worker"], &[]);
    container.refuses(&[], &[]);
    for name in &alone {
        container.runs(&[name, "--json"], &[]);
    }
    for args in [&["--help"][..], &["-h"], &["--version"], &["-V"], &["help", "worker"]] {
        container.runs(args, &[]);
    }
    std::fs::write(container.0.path().join("flowlaunch.toml"), "").unwrap();
    container.runs(&["worker"], &[]);
}
