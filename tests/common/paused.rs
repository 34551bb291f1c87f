//! A worker on a clock that the test moves by hand: the broker is scripted, the API the simulator itself.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use flowlaunch::admit::bucket::Bucket;
use flowlaunch::admit::settings::Rate;
use flowlaunch::api::{Client, InputsField, Settings, Tokens};
use flowlaunch::broker::{Message, Properties};
use flowlaunch::job::OnUnknown;
use flowlaunch::metrics::{Broker, Exporter, Metrics};
use flowlaunch::retry::{self, Policy};
use flowlaunch::simulator::Simulator;
use flowlaunch::worker::{Parts, Worker};
use tokio_util::sync::CancellationToken;

use super::SOON;
use super::scripted::{Scripted, State};
use super::story;

/// How long a request of the worker's may take.
pub const ANSWER: Duration = Duration::from_secs(15);

/// Holds tokio's paused clock still while sockets are waited for. It would jump to the next timer whenever the runtime is
/// idle, as it is while a request is on its way; it does not while a blocking task runs. So one runs, until this is dropped.
pub struct Still(#[expect(dead_code, reason = "dropped, it lets the blocking task end")] mpsc::Sender<()>);

impl Still {
    pub fn hold() -> Self {
        let (release, held) = mpsc::channel();
        drop(tokio::task::spawn_blocking(move || held.recv()));
        Self(release)
    }
}

/// Lets everybody work, on a clock that stands, until it is so.
pub async fn until(what: &str, broker: &Scripted, mut look: impl FnMut(&State) -> bool) {
    let began = Instant::now();
    loop {
        let seen = {
            let state = broker.look();
            if look(&state) {
                return;
            }
            (state.ready.len(), state.unacked)
        };
        assert!(
            began.elapsed() < SOON,
            "waited for {what}; ready and unacknowledged: {seen:?}"
        );
        tokio::task::yield_now().await;
    }
}

/// Lets everybody work who can.
pub async fn settle() {
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
}

/// A worker of four slots, so many jobs in its broker, and what its metrics are read from.
pub fn worker(sim: &Simulator, jobs: usize, rate: Rate) -> (Arc<Scripted>, Worker, Exporter) {
    let api = Settings {
        base_url: sim.url().parse().unwrap(),
        login_url: sim.url().parse().unwrap(),
        client_id: "demo".to_owned(),
        client_secret: "demo-secret".into(),
        inputs_field: InputsField::Inputs,
        timeout: ANSWER,
        connect_timeout: Duration::from_secs(5),
        ca_file: None,
    };
    let messages = (0..jobs).map(|n| Message {
        body: story::job(&format!("job-{n}"), &story::flow(n)).to_string().into(),
        properties: Properties::default(),
    });
    let (broker, intake, observed, followed) = Scripted::start(messages);
    let (metrics, exporter) = Metrics::new(Broker::Amqp);
    let parts = Parts {
        client: Client::new(&api).unwrap(),
        tokens: Arc::new(Tokens::new(&api, |_| ()).unwrap()),
        bucket: Bucket::new(rate, 1).unwrap(),
        policy: Policy::new(&retry::Settings {
            max_attempts: 8,
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(300),
            on_unknown: OnUnknown::Relaunch,
            max_unknown: 1,
        }),
        publisher: broker.clone(),
        observed,
        intake,
        followed,
        results: false,
        metrics: Arc::new(metrics),
        concurrency: 4,
        drain_timeout: Duration::from_secs(1),
    };
    tokio::spawn(broker.clone().run());
    (broker, Worker::new(parts, CancellationToken::new()), exporter)
}
