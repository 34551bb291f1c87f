//! What all connections share: one lock, held for microseconds, so that limits, rules and record agree on an order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use super::door::Door;
use super::faults::Faults;
use super::lines::Which;
use super::rate::Counter;
use super::record::Record;
use super::rules::{Endpoint, Rule};
use super::settings::{Dialect, Settings};
use super::stats::{Gauge, Stats};
use super::tokens::Tokens;

/// One simulator, as its connections see it.
pub(crate) struct Shared {
    state: Mutex<State>,
    started: Instant,
    pub(crate) launches: Gauge,
    pub(crate) token_requests: Gauge,
    pub(crate) door: Door,
    /// Control has a listener of its own, so that it is reachable while the data port is closed.
    pub(crate) control_apart: bool,
}

/// What is behind the lock.
pub(crate) struct State {
    pub(crate) settings: Arc<Settings>,
    pub(crate) faults: Faults,
    pub(crate) tokens: Tokens,
    pub(crate) token_counter: Counter,
    pub(crate) record: Record,
    pub(crate) stats: Stats,
}

impl Shared {
    pub(crate) fn new(settings: Settings, rules: Vec<Rule>, control_apart: bool) -> Self {
        let mut faults = Faults::default();
        faults.set(rules, settings.seed, 0);
        let state = State {
            settings: Arc::new(settings),
            faults,
            tokens: Tokens::default(),
            token_counter: Counter::default(),
            record: Record::new(jiff::Timestamp::now().as_microsecond()),
            stats: Stats::default(),
        };
        Self {
            state: Mutex::new(state),
            started: Instant::now(),
            launches: Gauge::default(),
            token_requests: Gauge::default(),
            door: Door::default(),
            control_apart,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves counters at worst one short; going on serves the tests better than poison.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the simulator started. One clock for limits, rules and record: it never goes back.
    pub(crate) fn now(&self) -> i64 {
        self.started.elapsed().as_micros() as i64
    }

    /// Everything that is counted.
    pub(crate) fn stats(&self) -> Value {
        let up_seconds = self.started.elapsed().as_secs_f64();
        let state = self.lock();
        let (record, stats) = (&state.record, &state.stats);
        json!({
            "launches": record.launched(),
            "launchRecordsDropped": record.dropped(),
            "requests": {
                "launch": stats.of(Endpoint::Launch),
                "token": stats.of(Endpoint::Token),
                "poll": stats.of(Endpoint::Poll),
                "flows": stats.of(Endpoint::Flows),
                "other": stats.of(Endpoint::All),
            },
            "tokensAlive": state.tokens.living(),
            "maxConcurrentLaunches": self.launches.most(),
            "maxConcurrentTokenRequests": self.token_requests.most(),
            "maxRequestsInWindow": stats.requests_peak.most(),
            "maxLaunchesInWindow": stats.launches_peak.most(),
            "windowSeconds": state.settings.window_seconds,
            "rules": state.faults.tallies(),
            "upSeconds": up_seconds,
        })
    }
}

impl State {
    /// Lines of a log; see `Record::page`.
    pub(crate) fn page(&self, which: Which, after: u64, most: usize) -> (String, u64) {
        self.record.page(which, after, most, self.id_prefix())
    }

    /// What stands before the UUID of an execution id.
    pub(crate) fn id_prefix(&self) -> &'static str {
        match self.settings.dialect {
            Dialect::User => "exec-",
            Dialect::Vendor => "",
        }
    }
}
