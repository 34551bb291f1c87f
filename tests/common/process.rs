//! A process of the test's own, which never outlives it.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::wait::eventually;

pub struct Process {
    name: String,
    child: Child,
    leash: Child,
}

impl Process {
    /// Starts it as the leader of a process group, so that what it starts goes with it. Standard output and error go to
    /// the end of `output`.
    pub fn spawn(name: &str, command: &mut Command, output: &Path) -> Self {
        let file = std::fs::File::options().create(true).append(true).open(output).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        // A test that is killed drops nothing; but its end of this pipe closes.
        let leash = Command::new("sh")
            .args([
                "-c",
                "cat >/dev/null; kill -s KILL -- \"-$1\"",
                "leash",
                &child.id().to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            name: name.to_owned(),
            child,
            leash,
        }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// To the process itself, not to its group.
    pub fn signal(&mut self, signal: Signal) {
        // Once it has been waited for, its number may be another's.
        if self.is_running() {
            kill(Pid::from_raw(self.pid()), signal).unwrap();
        }
    }

    /// To the process and all that it started.
    pub fn signal_all(&mut self, signal: Signal) {
        if self.is_running() {
            killpg(Pid::from_raw(self.pid()), signal).unwrap();
        }
    }

    /// SIGKILL to the whole group, as a power cut would; returns when it is gone.
    pub fn kill(&mut self) {
        if self.is_running() {
            let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }

    pub async fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        eventually(&what, deadline, async || {
            self.child.try_wait().unwrap().ok_or("it runs")
        })
        .await
    }
}

/// As a shell counts: 128 and the signal for one that a signal ended.
pub fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        // The leash first: it would kill by a number that is free again. What the leader left behind goes with `kill`
        // while the leader runs; one that has ended by itself has ended its children, or they are in the group still.
        let _ = self.leash.kill();
        let _ = self.leash.wait();
        self.kill();
    }
}
