//! A stand-in for the API, for tests, demos and staging. Imports nothing of ours: types shared with the client would
//! let one mistake pass on both sides.
//!
//! One port serves token endpoint, API and, under `/_sim/`, control. It plays either description of the API
//! ([`Dialect`]), keeps a rate limit of its own, misbehaves by [`Rule`], and keeps a record of every launch that it
//! accepted: what really happened, against which a client is judged.

mod answer;
mod args;
mod control;
mod decide;
mod door;
mod errors;
mod faults;
mod fields;
mod flows;
mod launch;
mod lines;
mod log;
mod poll;
mod rate;
mod record;
mod retry_after;
mod route;
mod rules;
mod serve;
mod server;
mod settings;
mod state;
mod stats;
mod token;
mod tokens;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::anyhow;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use args::Args;
pub use fields::FieldError;
pub use rate::{Rate, Window};
pub use rules::{Endpoint, FlowIds, Reset, Rule, Since, read_rules};
pub use settings::{Dialect, Flow, RetryAfter, Settings};

use server::Server;
use state::Shared;

/// How a simulator starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// How it behaves.
    pub settings: Settings,
    /// How it misbehaves.
    pub rules: Vec<Rule>,
    /// Where it serves; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where it serves control, if not there too.
    pub control: Option<SocketAddr>,
}

impl Default for Start {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            settings: Settings::default(),
            rules: Vec::new(),
            listen,
            control: None,
        }
    }
}

/// A simulator that runs in this process. It stops when dropped.
pub struct Simulator {
    url: String,
    control_url: String,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl Simulator {
    /// Starts one on a free port of this host, control on the same. Needs a tokio runtime with I/O and time.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        Self::begin(Start {
            settings,
            ..Start::default()
        })
    }

    /// Starts one as told.
    pub fn begin(start: Start) -> anyhow::Result<Self> {
        start.settings.check()?;
        let (listener, address) = bind(start.listen, "--listen")?;
        let control = start.control.map(|address| bind(address, "--control")).transpose()?;
        let shared = Arc::new(Shared::new(start.settings, start.rules, control.is_some()));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let server = Server {
            shared: shared.clone(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(server.clone().run_data(listener, address));
        let url = format!("http://{address}");
        let mut control_url = url.clone();
        if let Some((listener, address)) = control {
            tasks.spawn(server.run_control(listener));
            control_url = format!("http://{address}");
        }
        Ok(Self {
            url,
            control_url,
            shared,
            tasks,
            stop: stop.drop_guard(),
        })
    }

    /// Where it serves: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it serves control; the same unless it has a listener of its own.
    pub fn control_url(&self) -> &str {
        &self.control_url
    }

    /// `PUT /_sim/rules` without the round trip.
    pub fn set_rules(&self, rules: Value) -> Result<(), FieldError> {
        self.shared.set_rules(rules)
    }

    /// `PATCH /_sim/settings` without the round trip.
    pub fn patch(&self, settings: Value) -> Result<(), FieldError> {
        self.shared.patch(settings)
    }

    /// `GET /_sim/stats` without the round trip.
    pub fn stats(&self) -> Value {
        self.shared.stats()
    }

    /// Stops: no new connections, those that are idle close, those that are not get a second.
    pub async fn stop(self) {
        self.stop.disarm().cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// [`serve`] as the arguments say.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    serve(args.into_start()?, shutdown).await
}

/// Serves until `shutdown`; one line on stdout says where.
pub async fn serve(start: Start, shutdown: CancellationToken) -> anyhow::Result<()> {
    let simulator = Simulator::begin(start)?;
    let mut line = format!("simulator listening on {}", simulator.url());
    if simulator.control_url() != simulator.url() {
        line += &format!(", control on {}", simulator.control_url());
    }
    // Whoever started it may not read what it says; that is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{line}");
    shutdown.cancelled().await;
    simulator.stop().await;
    Ok(())
}

fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let bound = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((TcpListener::from_std(listener)?, address))
    };
    bound().map_err(|error| anyhow!("cannot listen on {address}: {error}; choose another address or port with {flag}"))
}
