//! Faults of the whole account or set-up: the worker halts, says why, dead-letters no backlog, and works on by itself.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use common::account::{account, dead_count, dead_letters, jobs, launched, wait_launched};
use common::jobs::apply_topology;
use common::wait::eventually;
use common::worker::Builder;
use common::{Amqp, LONG, Node, Prefix, Sim, Worker, shared, story};
use serde_json::{Value, json};

const JOBS: usize = 5_000;
/// So many are launched, of a few seconds' work, before something breaks "half-way".
const BEFORE: usize = 500;

/// What happens to the worker's token when something breaks half-way.
#[derive(Clone, Copy, PartialEq)]
enum Token {
    Lives,
    Dies,
}

struct Rig {
    node: Node,
    prefix: Prefix,
    sim: Sim,
    amqp: Amqp,
}

impl Rig {
    /// All jobs lie in the lane: published while a worker runs, they could be done before "half-way" is noticed.
    async fn new(name: &str) -> Self {
        let node = shared();
        let prefix = Prefix::new(&node, name);
        apply_topology(&node, prefix.name());
        let amqp = Amqp::connect(node.url()).await;
        amqp.publish_all(&format!("{prefix}.jobs"), "bulk", jobs("job", JOBS))
            .await;
        Self {
            node,
            prefix,
            sim: Sim::start().await,
            amqp,
        }
    }

    /// Not at full speed, so that "half-way" is half-way.
    fn builder(&self) -> Builder {
        let (base, login) = (self.sim.base_url(), self.sim.login_url());
        Worker::builder(self.node.url(), self.prefix.name(), &base, &login).set("limits.rate", "500/s")
    }

    /// Red, and the metric says why too.
    async fn wait_halted(&self, worker: &mut Worker, reason: &str, says: &str) {
        let red = |status: u16, body: &str| status == 503 && body.contains(&format!("halted ({reason})"));
        worker
            .wait_readyz(
                &format!("the worker to be halted ({reason}) and to say {says:?}"),
                |status, body| red(status, body) && body.contains(says),
            )
            .await;
        self.wait_empty_handed(worker).await;
        let metrics = worker.metrics().await;
        assert_eq!(metrics.get("flowlaunch_halted", &[("reason", reason)]), 1.0);
        assert_eq!(
            metrics.get("flowlaunch_halted", &[]),
            1.0,
            "one reason: {:?}",
            metrics.lines("flowlaunch_halted")
        );
        assert_eq!(metrics.get("flowlaunch_in_flight", &[]), 0.0);
    }

    async fn wait_empty_handed(&self, worker: &Worker) {
        eventually("all jobs to be given back", LONG, async || {
            let metrics = worker.metrics().await;
            let received = metrics.get("flowlaunch_jobs_received_total", &[]);
            let settled = metrics.get("flowlaunch_jobs_settled_total", &[]);
            if received == settled {
                Ok(())
            } else {
                Err((received, settled))
            }
        })
        .await;
    }

    /// The set-up has been mended: the rest is launched without anybody touching the worker, and every job is one launch or
    /// one of at most `most_dead` dead letters.
    async fn assert_resumes(&self, worker: &mut Worker, most_dead: usize) {
        let dead_when_mended = dead_count(&self.amqp, self.prefix.name()).await;
        assert!(dead_when_mended <= most_dead, "{dead_when_mended} dead letters");
        worker.wait_ready().await;
        wait_launched(&self.sim, JOBS - dead_when_mended).await;
        let metrics = worker
            .wait_metrics("flowlaunch_jobs_settled_total", LONG, |metrics| {
                let done = ["launched", "dead"]
                    .map(|verdict| metrics.get("flowlaunch_jobs_settled_total", &[("verdict", verdict)]));
                done.iter().sum::<f64>() >= JOBS as f64
            })
            .await;
        assert_eq!(metrics.get("flowlaunch_halted", &[]), 0.0);
        let dead = dead_letters(&self.amqp, self.prefix.name()).await;
        assert_eq!(dead.len(), dead_when_mended, "none more died after that");
        account("job", JOBS, &launched(&self.sim).await, &dead);
        println!("{}: {} of {JOBS} dead-lettered", self.prefix, dead.len());
        worker.term();
        assert_eq!(worker.wait_exit().await, 0);
    }

    /// The first probe is one real job, and it is given back.
    async fn assert_the_probe_harms_nothing(&self, worker: &Worker) {
        let (asked, dead) = (
            self.sim.requests().await.len(),
            dead_count(&self.amqp, self.prefix.name()).await,
        );
        eventually("a probe", LONG, async || {
            let now = self.sim.requests().await.len();
            if now > asked { Ok(()) } else { Err(now) }
        })
        .await;
        self.wait_empty_handed(worker).await;
        assert_eq!(self.sim.requests().await.len(), asked + 1);
        assert_eq!(dead_count(&self.amqp, self.prefix.name()).await, dead);
    }

    /// Something else than the API answers, from half-way on until the worker has halted; its token dies as well, or not.
    async fn something_else_answers(&self, answer: Value, dies: Token, reason: &str, says: &str, most_dead: usize) {
        let mut worker = self.builder().ready().await;
        story::launched(&self.sim, BEFORE, LONG).await;
        self.sim.set_rules(&json!([answer])).await;
        if dies == Token::Dies {
            self.sim.revoke_tokens().await;
        }
        self.wait_halted(&mut worker, reason, says).await;
        // Without a token the probe does not get as far as a launch.
        if most_dead > 0 && dies == Token::Lives {
            self.assert_the_probe_harms_nothing(&worker).await;
        }
        self.sim.clear_rules().await;
        self.assert_resumes(&mut worker, most_dead).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_halts_dead_letters_nothing_and_is_mended_by_itself() {
    let rig = Rig::new("secret").await;
    let mut worker = rig.builder().client("demo", "another-secret").spawn();
    rig.wait_halted(&mut worker, "unauthorized", "client_secret").await;
    assert!(rig.sim.launches().await.is_empty());
    rig.sim
        .patch_settings(&json!({ "clientSecret": "another-secret" }))
        .await;
    rig.assert_resumes(&mut worker, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_removed_half_way_halts_after_ten_dead_letters_at_most_and_is_mended_by_itself() {
    let rig = Rig::new("role").await;
    let mut worker = rig.builder().ready().await;
    story::launched(&rig.sim, BEFORE, LONG).await;
    let permissions = rig.sim.settings().await["permissions"].clone();
    rig.sim.patch_settings(&json!({ "permissions": [] })).await;
    rig.wait_halted(&mut worker, "forbidden", "architect:flow:launch").await;
    rig.sim.patch_settings(&json!({ "permissions": permissions })).await;
    rig.assert_resumes(&mut worker, 10).await;
}

/// Side by side, since each waits for a probe.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_url_that_answers_404_301_or_a_page_halts_after_twenty_dead_letters_at_most_and_is_mended_by_itself() {
    let elsewhere = "https://login.example.org/start";
    // What it answers, the reason, a word of what it says, and how many may die of it.
    let answers = [
        (json!({ "status": 404, "html": true }), "refused", "HTTP 404", 20),
        (
            json!({ "status": 301, "location": elsewhere }),
            "misdirected",
            "api.base_url",
            0,
        ),
        (json!({ "status": 200, "html": true }), "misdirected", "api.base_url", 0),
    ];
    let stories = answers.into_iter().map(async |(answer, reason, says, most_dead)| {
        let rig = Rig::new(reason).await;
        rig.something_else_answers(answer, Token::Lives, reason, says, most_dead)
            .await;
    });
    futures_util::future::join_all(stories).await;
}

/// Every path of the wrong host answers so, the token endpoint too.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_answers_404_301_or_a_page_to_everything_halts_dead_letters_nothing_and_is_mended_by_itself() {
    let answers = [
        json!({ "endpoint": "all", "status": 404, "html": true }),
        json!({ "endpoint": "all", "status": 301, "location": "https://login.example.org/" }),
        json!({ "endpoint": "all", "status": 200, "html": true }),
    ];
    let stories = answers.into_iter().map(async |answer| {
        let rig = Rig::new("elsewhere").await;
        rig.sim.set_rules(&json!([answer])).await;
        let mut worker = rig.builder().spawn();
        rig.wait_halted(&mut worker, "misdirected", "login_url").await;
        assert!(
            rig.sim.requests().await.is_empty(),
            "no launch was tried without a token"
        );
        rig.sim.clear_rules().await;
        rig.assert_resumes(&mut worker, 0).await;
    });
    futures_util::future::join_all(stories).await;
}

/// The same from half-way on: whatever the first of them came to, the token is dead as well, and no other is to be had.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_answers_404_301_or_a_page_to_everything_in_mid_run_halts_too_and_is_mended_by_itself() {
    let elsewhere = "https://login.example.org/";
    let answers = [
        (json!({ "endpoint": "all", "status": 404, "html": true }), 20),
        (json!({ "endpoint": "all", "status": 301, "location": elsewhere }), 0),
        (json!({ "endpoint": "all", "status": 200, "html": true }), 0),
    ];
    let stories = answers.into_iter().map(async |(answer, most_dead)| {
        let rig = Rig::new("mid-run").await;
        rig.something_else_answers(answer, Token::Dies, "misdirected", "login_url", most_dead)
            .await;
    });
    futures_util::future::join_all(stories).await;
}
