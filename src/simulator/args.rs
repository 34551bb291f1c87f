//! The command line of the simulator.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use super::Start;
use super::rate::{Rate, Window};
use super::rules::read_rules;
use super::settings::{Dialect, Flow, RetryAfter, Settings};

/// Serve a stand-in for the Genesys Cloud API, for tests, demos and staging; nothing is really launched.
///
/// It keeps a rate limit of its own, misbehaves by rule, and keeps a record of every launch. Everything can be changed
/// while it runs, over its control API: `curl http://127.0.0.1:8080/_sim` lists what there is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to serve token endpoint and API; point base_url and login_url of a client at it. Port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Where to serve the control API (/_sim/), if not on the same port: it then stays reachable while the data port
    /// is closed
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,

    /// Which description of the API to play
    #[arg(long, value_enum, default_value = "user")]
    dialect: Dialect,

    /// Requests allowed per token: 300/min, 5/s, 18000/h or unlimited
    #[arg(long, value_name = "RATE", default_value = "300/min")]
    rate: Rate,

    /// How they are counted
    #[arg(long, value_enum, default_value = "fixed")]
    window: Window,

    /// Length of the window; shorter makes tests faster and allows as many fewer requests in each
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    window_seconds: f64,

    /// How a 429 says when to come back
    #[arg(long, value_enum, value_name = "FORM", default_value = "seconds")]
    retry_after: RetryAfter,

    /// The number of seconds it says, instead of what is really left of the window
    #[arg(long, value_name = "SECONDS")]
    retry_after_seconds: Option<u64>,

    /// Send inin-ratelimit-count, inin-ratelimit-allowed and inin-ratelimit-reset with every answer
    #[arg(long)]
    rate_headers: bool,

    /// Status of a successful launch [default: 201 for user, 200 for vendor]
    #[arg(long, value_name = "STATUS")]
    launch_status: Option<u16>,

    /// The client id that the token endpoint accepts
    #[arg(long, value_name = "ID", default_value = "demo")]
    client_id: String,

    /// Its secret; not a real one, it guards nothing
    #[arg(long, value_name = "TEXT", default_value = "demo-secret")]
    client_secret: String,

    /// Life of a token (its expires_in)
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    token_life_seconds: u64,

    /// A token unused for so long dies (900 in HIPAA organisations) [default: never]
    #[arg(long, value_name = "SECONDS")]
    token_idle_seconds: Option<f64>,

    /// Token requests allowed; more are answered 400 "rate limit exceeded"
    #[arg(long, value_name = "RATE", default_value = "unlimited")]
    token_rate: Rate,

    /// A JSON array of the flows that exist, [{"id", "name", "type", "inputSchema"}, …]; others answer 404 [default: any UUID is a
    /// flow]
    #[arg(long, value_name = "FILE")]
    flows: Option<PathBuf>,

    /// A JSON array of rules by which to misbehave, as for PUT /_sim/rules:
    /// [{"status": 503, "share": 0.05}, {"reset": "afterBody", "launches": true, "every": 100}]
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,

    /// How long an execution runs before it has completed or failed
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    run_seconds: f64,

    /// Share of executions that fail, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    fail_share: f64,

    /// Seed of every random choice, so that a run repeats
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Launches kept on record; the oldest go first, and the stats say how many went
    #[arg(long, value_name = "NUMBER", default_value_t = 2_000_000)]
    max_records: usize,

    /// Bytes of inputs kept on record, likewise
    #[arg(long, value_name = "BYTES", default_value_t = 2_000_000_000)]
    max_record_bytes: u64,
}

impl Args {
    /// How it starts; an error is one of the arguments or of a file that they name.
    pub fn into_start(self) -> anyhow::Result<Start> {
        let flows: Option<Vec<Flow>> = match &self.flows {
            Some(path) => {
                let flows = serde_json::from_value(read(path)?);
                Some(flows.with_context(|| format!("{}: not a list of flows", path.display()))?)
            }
            None => None,
        };
        let rules = match &self.rules {
            Some(path) => read_rules(read(path)?).with_context(|| format!("in the rules of {}", path.display()))?,
            None => Vec::new(),
        };
        let settings = Settings {
            dialect: self.dialect,
            rate: self.rate,
            window: self.window,
            window_seconds: self.window_seconds,
            retry_after: self.retry_after,
            retry_after_seconds: self.retry_after_seconds,
            rate_headers: self.rate_headers,
            launch_status: self.launch_status,
            client_id: self.client_id,
            client_secret: self.client_secret,
            token_life_seconds: self.token_life_seconds,
            token_idle_seconds: self.token_idle_seconds,
            token_rate: self.token_rate,
            flows,
            run_seconds: self.run_seconds,
            fail_share: self.fail_share,
            seed: self.seed,
            max_records: self.max_records,
            max_record_bytes: self.max_record_bytes,
            ..Settings::default()
        };
        settings.check()?;
        Ok(Start {
            settings,
            rules,
            listen: self.listen,
            control: self.control,
        })
    }
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}
