//! Tokens that end before they should, and an endpoint that gives none for a while: no job pays for it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use std::time::Duration;

use common::wait::until;
use common::{Amqp, LONG, Prefix, SOON, Sim, Worker, shared, story};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A worker, and what stands on both sides of it.
struct Rig {
    worker: Worker,
    sim: Sim,
    amqp: Amqp,
    prefix: Prefix,
}

impl Rig {
    async fn new(story: &str, sim: &[&str], rate: &str) -> Self {
        let sim = Sim::start_with(&[&["--rate", "unlimited"], sim].concat()).await;
        let login = sim.login_url();
        Self::with_login(story, sim, &login, rate).await
    }

    async fn with_login(story: &str, sim: Sim, login: &str, rate: &str) -> Self {
        let node = shared();
        let prefix = Prefix::new(&node, story);
        let worker = Worker::builder(node.url(), prefix.name(), &sim.base_url(), login)
            .set("limits.rate", rate)
            .ready()
            .await;
        let amqp = Amqp::connect(node.url()).await;
        Self {
            worker,
            sim,
            amqp,
            prefix,
        }
    }

    /// Publishes jobs that are numbered from `first` on.
    async fn publish(&self, first: usize, count: usize, more: &Value) {
        let jobs = (first..first + count).map(|n| {
            let mut job = story::job(&format!("job-{n}"), &story::flow(n % 7));
            job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            job
        });
        story::publish(&self.amqp, self.prefix.name(), "bulk", jobs).await;
    }

    /// All were launched, nobody paid, and there was one token request at a time; how many there were in all.
    async fn nobody_paid(&self, jobs: usize) -> usize {
        story::all_launched_at_the_first_attempt(&self.sim, &self.amqp, self.prefix.name(), jobs).await;
        assert_eq!(self.sim.stats().await["maxConcurrentTokenRequests"], 1);
        let metrics = self.worker.metrics().await;
        assert_eq!(metrics.get("flowlaunch_possible_duplicates_total", &[]), 0.0);
        self.sim.tokens().await.len()
    }

    async fn answers(&self, status: &str) -> u64 {
        self.sim.stats().await["requests"]["launch"][status]
            .as_u64()
            .unwrap_or(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_in_mid_run_is_renewed_in_time() {
    let rig = Rig::new("expiry", &["--token-life-seconds", "2"], "6000/min").await;
    let began = std::time::Instant::now();
    rig.publish(0, 800, &json!({})).await;
    story::launched(&rig.sim, 800, LONG).await;
    let took = began.elapsed();
    let tokens = rig.nobody_paid(800).await;
    let refused = rig.answers("401").await;
    println!("tokens of 2 s: {tokens} in {took:?}, {refused} calls came too late with one");
    assert!(tokens >= 3, "the run was too short to see one expire: {tokens}");
    // Each is used for 1.8 s, and the worker asked for the first before the clock here began.
    assert!(
        tokens as f64 <= took.as_secs_f64() / 1.8 + 2.0,
        "{tokens} tokens in {took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_dies_of_idleness_is_replaced_and_the_call_repeated() {
    let rig = Rig::new("idle", &["--token-idle-seconds", "1"], "unlimited").await;
    let now = jiff::Timestamp::now();
    for (batch, wait) in [0, 3, 6].into_iter().enumerate() {
        let due = now + Duration::from_secs(wait);
        rig.publish(batch * 20, 20, &json!({ "notBefore": due.to_string() }))
            .await;
    }
    let tokens = rig.nobody_paid(60).await;
    let refused = rig.answers("401").await;
    println!("three batches, idle between: {tokens} tokens, {refused} calls were answered 401");
    assert!(refused >= 2, "no token died of idleness");
    // A batch comes out of the ladder over a moment; however it falls, one token more a pause is enough.
    assert_eq!(tokens, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_revoked_under_64_concurrent_requests_cost_one_request_each() {
    let rig = Rig::new("revoked", &[], "unlimited").await;
    // Each of the first 64 is told so only when all are under way.
    rig.sim
        .set_rules(&json!([{ "status": 401, "first": 64, "delaySeconds": 2 }]))
        .await;
    rig.publish(0, 64, &json!({})).await;
    story::launched(&rig.sim, 64, LONG).await;
    assert_eq!(rig.answers("401").await, 64);
    assert_eq!(rig.sim.tokens().await.len(), 2, "64 callers, and one that mints");
    // And in mid-run, all slots in use.
    rig.sim.set_rules(&json!([{ "delaySeconds": 0.3 }])).await;
    rig.publish(64, 1200, &json!({})).await;
    for revoked in 1..=4 {
        story::launched(&rig.sim, revoked * 250, LONG).await;
        rig.sim.revoke_tokens().await;
    }
    let tokens = rig.nobody_paid(1264).await;
    let refused = rig.answers("401").await;
    assert_eq!(rig.sim.stats().await["maxConcurrentLaunches"], 64);
    println!(
        "4 revocations under 64 requests: {} more tokens, {} calls were answered 401",
        tokens - 2,
        refused - 64
    );
    assert_eq!(tokens, 2 + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_token_that_is_dead_as_well_is_no_reason_to_halt() {
    let rig = Rig::new("twice", &[], "unlimited").await;
    // The slow one is refused with the first token, and then with one that another caller had minted meanwhile.
    let slow = json!([{ "flowId": story::flow(0), "status": 401, "first": 2, "delaySeconds": 6 }]);
    rig.sim.set_rules(&slow).await;
    rig.publish(0, 1, &json!({})).await;
    until("the slow call to be under way", SOON, async || {
        rig.sim.stats().await["rules"][0]["hits"] == 1
    })
    .await;
    rig.sim.revoke_tokens().await;
    rig.publish(1, 1, &json!({})).await;
    story::launched(&rig.sim, 1, SOON).await;
    assert_eq!(rig.sim.stats().await["launches"], 1, "the slow one is still under way");
    let tokens = rig.nobody_paid(2).await;
    assert_eq!(tokens, 3);
    assert_eq!(rig.answers("401").await, 3);
    assert!(!rig.worker.log().contains("halted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_endpoints_own_rate_limit_is_waited_out() {
    // One token in 5 s.
    let limit = ["--token-rate", "12/min", "--window-seconds", "5"];
    let rig = Rig::new("token-rate", &limit, "6000/min").await;
    rig.publish(0, 600, &json!({})).await;
    for revoked in 1..=2 {
        story::launched(&rig.sim, revoked * 150, LONG).await;
        rig.sim.revoke_tokens().await;
    }
    let tokens = rig.nobody_paid(600).await;
    let limited = rig.sim.tokens().await;
    let limited = limited
        .iter()
        .filter(|asked| asked["error"] == "invalid_request")
        .count();
    println!("one token in 5 s, 2 revocations: {tokens} token requests, {limited} of them refused");
    assert!(limited >= 1, "the limit was never met");
    // Pauses of 1, 2, 4 s: three refusals a revocation. A call that was under way and is told 401 after the first of them
    // asks once more; at this rate there is hardly one.
    assert!(tokens <= 3 + 2 * (3 + 2), "{tokens} token requests");
    let metrics = rig.worker.metrics().await;
    let throttled = metrics.get("flowlaunch_token_requests_total", &[("result", "throttled")]);
    assert_eq!(throttled as usize, limited);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_fails_for_a_while_is_an_outage_that_spends_nothing() {
    let rig = Rig::new("token-500", &[], "6000/min").await;
    rig.publish(0, 600, &json!({})).await;
    story::launched(&rig.sim, 100, LONG).await;
    rig.sim
        .set_rules(&json!([{ "endpoint": "token", "status": 500 }]))
        .await;
    rig.sim.revoke_tokens().await;
    // Three tries: the outage is seen through, not just met.
    until("three refused token requests", SOON, async || {
        let asked = rig.sim.tokens().await;
        asked.iter().filter(|asked| asked["status"] == 500).count() >= 3
    })
    .await;
    let gate = rig.worker.metrics().await.get("flowlaunch_gate_closed", &[]);
    assert_eq!(gate, 1.0, "an outage closes the gate");
    rig.sim.clear_rules().await;
    let tokens = rig.nobody_paid(600).await;
    println!("500s from the token endpoint: {tokens} token requests in all");
    assert!(tokens <= 10, "{tokens} token requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_refuses_connections_is_an_outage_that_spends_nothing() {
    let sim = Sim::start().await;
    let mut door = Door::open(&sim.login_url()).await;
    let login = door.url();
    let rig = Rig::with_login("token-refused", sim, &login, "6000/min").await;
    rig.publish(0, 600, &json!({})).await;
    story::launched(&rig.sim, 100, LONG).await;
    door.shut();
    rig.sim.revoke_tokens().await;
    let failed = |wanted: f64| {
        move |metrics: &common::worker::Metrics| {
            metrics.get("flowlaunch_token_requests_total", &[("result", "failed")]) >= wanted
        }
    };
    let metrics = rig
        .worker
        .wait_metrics("flowlaunch_token_requests_total", SOON, failed(3.0))
        .await;
    assert_eq!(
        metrics.get("flowlaunch_gate_closed", &[]),
        1.0,
        "an outage closes the gate"
    );
    door.open_again().await;
    let tokens = rig.nobody_paid(600).await;
    assert_eq!(tokens, 2, "refused connections are no requests");
}

/// A way to a server, that can be shut: then connections are refused, and those there were are gone.
struct Door {
    port: u16,
    to: String,
    open: Option<AbortHandle>,
}

impl Door {
    async fn open(url: &str) -> Self {
        let mut door = Self {
            port: 0,
            to: url.strip_prefix("http://").unwrap().to_owned(),
            open: None,
        };
        door.open_again().await;
        door
    }

    async fn open_again(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let to = self.to.clone();
        let open = tokio::spawn(async move {
            let mut ways = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(&to).await.unwrap();
                ways.spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
            }
        });
        self.open = Some(open.abort_handle());
    }

    fn shut(&mut self) {
        self.open.take().unwrap().abort();
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
