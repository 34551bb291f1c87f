//! RabbitMQ nodes: one shared by the tests that do it no harm, and a node of a test's own to stop, kill and restart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::amqp::Amqp;
use super::ports::Port;
use super::process::Process;
use super::wait::{LONG, eventually};

const NODE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/node");
const USE_TESTS_RUN: &str = "this test needs a RabbitMQ server: use tests/run";

/// Which RabbitMQ: as `tests/common/node` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The one on the machine, whatever its version: 3.10 on Debian 12.
    Machine,
    /// 4.0, in a folder of its own.
    Four,
    /// The official image.
    Docker,
}

impl Kind {
    /// The one that this run of the tests is about (`FLOWLAUNCH_TEST_RABBITMQ`).
    pub fn under_test() -> Self {
        match std::env::var("FLOWLAUNCH_TEST_RABBITMQ").as_deref() {
            Err(_) | Ok("3.10") => Self::Machine,
            Ok("4.0") => Self::Four,
            Ok("docker") => Self::Docker,
            Ok(other) => panic!("FLOWLAUNCH_TEST_RABBITMQ={other}: 3.10, 4.0 or docker"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Machine => "3.10",
            Self::Four => "4.0",
            Self::Docker => "docker",
        }
    }
}

/// A node that answers: where it is, and its command line tool when it is one of ours.
#[derive(Clone, Debug)]
pub struct Node {
    url: String,
    ours: Option<Ours>,
}

#[derive(Clone, Debug)]
struct Ours {
    kind: String,
    dir: PathBuf,
    port: String,
    epmd: String,
}

impl Node {
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `rabbitmqctl` on this node; its standard output. A node that was given to the tests by its URL has none.
    pub fn ctl(&self, args: &[&str]) -> String {
        self.try_ctl(args)
            .unwrap_or_else(|why| panic!("rabbitmqctl {args:?}: {why}"))
    }

    pub fn try_ctl(&self, args: &[&str]) -> Result<String, String> {
        let Some(ours) = &self.ours else {
            return Err(format!(
                "{}: the node behind the AMQP URL that was given has no rabbitmqctl here",
                self.url
            ));
        };
        let output = Command::new(NODE)
            .args(["ctl", &ours.kind])
            .arg(&ours.dir)
            .args([&ours.port, &ours.epmd])
            .args(args)
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(text + &String::from_utf8_lossy(&output.stderr))
        }
    }

    /// Is `rabbitmqctl` to be had for it?
    pub fn is_ours(&self) -> bool {
        self.ours.is_some()
    }
}

/// The node that `tests/run` started for all tests, or that it was given. A test keeps to a [`Prefix`] of its own there,
/// and does the node no harm.
pub fn shared() -> Node {
    let Ok(url) = std::env::var("FLOWLAUNCH_TEST_AMQP") else {
        panic!("{USE_TESTS_RUN}")
    };
    let ours = std::env::var("FLOWLAUNCH_TEST_NODE").ok().map(|node| {
        let parts: Vec<&str> = node.split('|').collect();
        let [kind, dir, port, epmd] = parts[..] else {
            panic!("FLOWLAUNCH_TEST_NODE={node}: KIND|DIR|PORT|EPMD")
        };
        Ours {
            kind: kind.to_owned(),
            dir: dir.into(),
            port: port.to_owned(),
            epmd: epmd.to_owned(),
        }
    });
    Node { url, ours }
}

/// A node that obeys `rabbitmqctl`: the shared one; where that was given by its URL, one of the test's own, which lasts as
/// long as it is kept.
pub async fn with_ctl() -> (Node, Option<Rabbit>) {
    let node = shared();
    if node.is_ours() {
        return (node, None);
    }
    let own = Rabbit::start().await;
    (own.node().clone(), Some(own))
}

/// A node of the test's own: its ports, data, log, cookie and epmd are nobody else's, and go with it.
pub struct Rabbit {
    // In the order in which they go: the node before its data.
    server: Option<Process>,
    epmd: Process,
    node: Node,
    kind: Kind,
    port: Port,
    dist: Port,
    epmd_port: Port,
    dir: TempDir,
}

impl Rabbit {
    /// Of the version under test.
    pub async fn start() -> Self {
        Self::start_with(Kind::under_test(), "").await
    }

    /// `conf` is a `rabbitmq.conf`; headers of 200 kB, say, need `frame_max = 1048576`, for a header frame cannot be cut.
    pub async fn start_with(kind: Kind, conf: &str) -> Self {
        let has = Command::new(NODE).args(["has", kind.name()]).output().unwrap();
        assert!(
            has.status.success(),
            "{}: {USE_TESTS_RUN}",
            String::from_utf8_lossy(&has.stderr).trim()
        );
        let place = Command::new(NODE).args(["place", kind.name()]).output().unwrap();
        let place = String::from_utf8(place.stdout).unwrap();
        let dir = tempfile::Builder::new()
            .prefix("flowlaunch-rabbit-")
            .tempdir_in(place.trim())
            .unwrap();
        std::fs::write(dir.path().join("rabbitmq.conf"), conf).unwrap();
        let (port, dist, epmd_port) = (Port::take(), Port::take(), Port::take());

        let epmd = Process::spawn(
            "epmd",
            Command::new(NODE).args(["epmd", kind.name(), &epmd_port.number().to_string()]),
            &dir.path().join("epmd.out"),
        );
        let node = Node {
            url: format!("amqp://guest:guest@127.0.0.1:{}/%2f", port.number()),
            ours: Some(Ours {
                kind: kind.name().to_owned(),
                dir: dir.path().to_owned(),
                port: port.number().to_string(),
                epmd: epmd_port.number().to_string(),
            }),
        };
        let mut rabbit = Self {
            server: None,
            epmd,
            node,
            kind,
            port,
            dist,
            epmd_port,
            dir,
        };
        rabbit.start_again().await;
        rabbit
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    pub fn url(&self) -> &str {
        self.node.url()
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// `rabbitmqctl` on this node; its standard output.
    pub fn ctl(&self, args: &[&str]) -> String {
        self.node.ctl(args)
    }

    /// Starts it on the same ports and data; returns when it answers AMQP.
    ///
    /// A 3.10 node that was killed within five seconds of declaring a quorum queue comes back with that queue leaderless
    /// (publishes and gets time out): a test waits before it kills.
    pub async fn start_again(&mut self) {
        assert!(self.server.is_none(), "the node runs");
        let mut server = Process::spawn(
            "rabbitmq-server",
            Command::new(NODE)
                .args(["start", self.kind.name()])
                .arg(self.dir.path())
                .args([
                    self.port.number().to_string(),
                    self.dist.number().to_string(),
                    self.epmd_port.number().to_string(),
                ]),
            &self.output(),
        );
        let what = format!("RabbitMQ {} on port {} to answer", self.kind.name(), self.port());
        let (url, output) = (self.node.url.clone(), self.output());
        eventually(&what, LONG, async || {
            assert!(server.is_running(), "RabbitMQ has ended: {}", tail(&output));
            let hello = tokio::time::timeout(Duration::from_secs(5), Amqp::try_connect(&url)).await;
            match hello {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            }
        })
        .await;
        self.server = Some(server);
    }

    /// An orderly stop.
    pub async fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.signal(Signal::SIGTERM);
            server.wait(LONG).await;
        }
    }

    /// SIGKILL, as a power cut would; the data stay.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            self.in_docker("kill");
            server.kill();
        }
    }

    /// It stands still: its connections stay, and nothing answers.
    pub fn freeze(&mut self) {
        self.in_docker("pause");
        self.server.as_mut().expect("the node runs").signal_all(Signal::SIGSTOP);
    }

    /// And goes on, as if nothing had been.
    pub fn thaw(&mut self) {
        self.server.as_mut().expect("the node runs").signal_all(Signal::SIGCONT);
        self.in_docker("unpause");
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// A container is not in our process group, nor its volume in our folder.
    fn in_docker(&self, command: &str) {
        if self.kind == Kind::Docker {
            let _ = Command::new(NODE)
                .args([command, self.kind.name(), &self.port().to_string()])
                .status();
        }
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of RabbitMQ's output\n{}", tail(&self.output()));
        }
        self.kill();
        self.in_docker("wipe");
    }
}

/// So few that what a failed test said itself is not pushed out of sight.
const TAIL: usize = 12;

/// The last lines of a file.
pub fn tail(path: &Path) -> String {
    let text = std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// A `broker.prefix` of the test's own on a node; what bears it is deleted at the end.
pub struct Prefix {
    name: String,
    node: Node,
}

impl Prefix {
    pub fn new(node: &Node, story: &str) -> Self {
        Self {
            name: unique_prefix(story),
            node: node.clone(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        let (node, name) = (self.node.clone(), self.name.clone());
        // A runtime cannot be entered twice by one thread, and this may be dropped within one.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let clean = super::amqp::delete_all(&node, &name);
            let done = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), clean).await });
            if !matches!(done, Ok(Ok(()))) {
                eprintln!("{name}.* stays behind on {}: {done:?}", node.url());
            }
        });
        let _ = cleaner.join();
    }
}

pub fn unique_prefix(story: &str) -> String {
    format!("t-{story}-{:08x}", rand::random::<u32>())
}
