//! A Retry-After of hours, on a clock that the test moves by hand: the broker is scripted, the API the simulator itself.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::SOON;
use common::scripted::{Scripted, State};
use common::story;
use flowlaunch::admit::bucket::Bucket;
use flowlaunch::admit::settings::Rate;
use flowlaunch::api::{Client, InputsField, Settings, Tokens};
use flowlaunch::broker::{Destination, Message, Properties};
use flowlaunch::job::OnUnknown;
use flowlaunch::lane::Lane;
use flowlaunch::metrics::{Broker, Metrics};
use flowlaunch::retry::{self, Policy};
use flowlaunch::simulator::{self, Simulator};
use flowlaunch::worker::{Parts, Worker};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const JOBS: usize = 200;
const TWO_HOURS: Duration = Duration::from_secs(7200);

/// Holds tokio's paused clock still while sockets are waited for. It would jump to the next timer whenever the runtime is
/// idle, as it is while a request is on its way; it does not while a blocking task runs. So one runs, until this is dropped.
struct Still(#[expect(dead_code, reason = "dropped, it lets the blocking task end")] mpsc::Sender<()>);

impl Still {
    fn hold() -> Self {
        let (release, held) = mpsc::channel();
        drop(tokio::task::spawn_blocking(move || held.recv()));
        Self(release)
    }
}

/// Lets everybody work, on a clock that stands, until it is so.
async fn until(what: &str, broker: &Scripted, mut look: impl FnMut(&State) -> bool) {
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
async fn settle() {
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
}

fn launches(sim: &Simulator) -> u64 {
    sim.stats()["launches"].as_u64().unwrap()
}

fn worker(sim: &Simulator, jobs: usize) -> (Arc<Scripted>, Worker) {
    let url = sim.url().parse().unwrap();
    let api = Settings {
        base_url: sim.url().parse().unwrap(),
        login_url: url,
        client_id: "demo".to_owned(),
        client_secret: "demo-secret".into(),
        inputs_field: InputsField::Inputs,
        timeout: Duration::from_secs(15),
        connect_timeout: Duration::from_secs(5),
        ca_file: None,
    };
    let messages = (0..jobs).map(|n| Message {
        body: story::job(&format!("job-{n}"), &story::flow(n)).to_string().into(),
        properties: Properties::default(),
    });
    let (broker, intake, observed, followed) = Scripted::start(messages);
    let parts = Parts {
        client: Client::new(&api).unwrap(),
        tokens: Arc::new(Tokens::new(&api, |_| ()).unwrap()),
        bucket: Bucket::new(Rate::Unlimited, 1).unwrap(),
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
        metrics: Arc::new(Metrics::new(Broker::Amqp).0),
        concurrency: 4,
        drain_timeout: Duration::from_secs(1),
    };
    tokio::spawn(broker.clone().run());
    (broker, Worker::new(parts, CancellationToken::new()))
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_two_hours_gives_the_jobs_back_and_consumes_again_shortly_before_it_opens() {
    let _still = Still::hold();
    let settings = json!({ "rate": "unlimited" });
    let sim = Simulator::start(simulator::Settings::default().patched(settings).unwrap()).unwrap();
    sim.set_rules(json!([{ "status": 429, "retryAfter": "hours", "first": 1 }]))
        .unwrap();
    let (broker, worker) = worker(&sim, JOBS);
    let began = tokio::time::Instant::now();
    tokio::spawn(worker.run());

    until("the throttled job's delay, and the rest given back", &broker, |state| {
        state.published.len() == 1 && state.unacked == 0 && !broker.consumes()
    })
    .await;
    let before = launches(&sim);
    assert!(before < 4, "what was under way was launched, and no more: {before}");
    {
        let state = broker.look();
        assert_eq!(state.ready.len(), JOBS - 1 - usize::try_from(before).unwrap());
        let (to, copy) = &state.published[0];
        assert!(
            matches!(to, Destination::Delay(Lane::Bulk, delay) if *delay >= TWO_HOURS),
            "{to:?}"
        );
        let ours = |name| copy.properties.headers.ours(name).unwrap().as_int();
        assert_eq!((ours("attempts"), ours("throttled")), (Some(0), Some(1)));
        // Each goes back once: it is not taken again meanwhile.
        assert!(state.ready.iter().all(|(_, count)| *count <= 1));
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "the clock stood still so far");

    for seconds in [60, 3600, 7190] {
        tokio::time::advance(began + Duration::from_secs(seconds) - tokio::time::Instant::now()).await;
        settle().await;
        assert!(!broker.consumes(), "it consumes after {seconds} s");
    }
    tokio::time::advance(Duration::from_secs(9)).await;
    until("jobs to be in hand", &broker, |state| state.unacked > 0).await;
    settle().await;
    assert_eq!(launches(&sim), before, "launched a second before it opens");

    tokio::time::advance(Duration::from_secs(1)).await;
    until("all to be launched", &broker, |state| {
        state.ready.is_empty() && state.unacked == 0
    })
    .await;
    assert_eq!(
        launches(&sim),
        JOBS as u64 - 1,
        "all but the one that waits in the ladder"
    );
    assert_eq!(broker.look().acked, JOBS);
    assert_eq!(broker.look().published.len(), 1);
}
