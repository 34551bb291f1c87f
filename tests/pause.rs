//! The kill switch and cancelled campaigns, on both brokers: what is paused waits and spends nothing, what is cancelled is
//! never launched, and both outlive a restart of everything.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::story::{self, flow, job};
use common::wait::{LONG, eventually, until};
use common::worker::run;
use common::{Prefix, Sim, Worker, shared};
use flowlaunch::app;
use flowlaunch::config::Config;
use flowlaunch::control::Entry;
use serde_json::{Value, json};
use tempfile::TempDir;

macro_rules! on_both {
    ($($story:ident,)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(super::Stage::embedded().await).await;
            })*
        }

        mod rabbitmq {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(super::Stage::rabbitmq().await).await;
            })*
        }
    };
}

on_both! {
    a_pause_of_everything_outlives_a_restart_and_spends_nothing,
    a_paused_lane_waits_where_it_is_and_the_other_goes_on,
    jobs_of_a_paused_flow_are_put_aside_and_others_get_by,
    a_cancelled_campaign_is_never_launched_not_even_what_waits_in_delay_queues,
}

/// A broker, a simulator, and a worker's configuration.
struct Stage {
    sim: Sim,
    dir: TempDir,
    url: String,
    prefix: String,
    _prefix: Option<Prefix>,
}

impl Stage {
    async fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("jobs.db").display());
        Self::on(url, "flowlaunch".to_owned(), dir, None).await
    }

    async fn rabbitmq() -> Self {
        let node = shared();
        let prefix = Prefix::new(&node, "pause");
        let dir = tempfile::tempdir().unwrap();
        Self::on(node.url().to_owned(), prefix.name().to_owned(), dir, Some(prefix)).await
    }

    async fn on(url: String, prefix: String, dir: TempDir, keep: Option<Prefix>) -> Self {
        Self {
            sim: Sim::start().await,
            dir,
            url,
            prefix,
            _prefix: keep,
        }
    }

    async fn worker(&self) -> Worker {
        let builder = Worker::builder(&self.url, &self.prefix, &self.sim.base_url(), &self.sim.login_url());
        std::fs::write(self.config(), builder.toml()).unwrap();
        builder.set("retry.initial_delay", "20s").ready().await
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("flowlaunch.toml")
    }

    /// A command that must succeed; what it says.
    fn say(&self, args: &[&str]) -> String {
        let (code, said, error) = self.try_say(args, "");
        assert_eq!(code, 0, "{args:?}: {said}{error}");
        said
    }

    fn try_say(&self, args: &[&str], stdin: &str) -> (i32, String, String) {
        // In the folder with the worker's settings.
        run(args, self.dir.path(), stdin)
    }

    fn publish(&self, lane: &str, jobs: &[Value]) {
        let lines: Vec<_> = jobs.iter().map(Value::to_string).collect();
        let (code, said, error) = self.try_say(&["publish", "--lane", lane], &lines.join("\n"));
        assert_eq!(code, 0, "{said}{error}");
    }

    async fn cancel(&self, campaign: &str, run: u32) {
        let config = Config::load_from(Some(&self.config()), [], &[]).unwrap();
        let entry = Entry::Cancel {
            campaign: campaign.to_owned(),
            run,
            at: jiff::Timestamp::now(),
        };
        app::control::command(&config, &entry, |_| ()).await.unwrap();
    }

    /// Every job, launched once; their attempts were not touched.
    async fn assert_launched(&self, ids: &[String]) {
        story::launched(&self.sim, ids.len(), LONG).await;
        let launches = story::launches(&self.sim).await;
        let mut wanted = ids.to_vec();
        wanted.sort();
        assert_eq!(launches.keys().cloned().collect::<Vec<_>>(), wanted);
        assert!(launches.values().all(|times| times.len() == 1), "{launches:?}");
    }
}

async fn wait_paused(worker: &mut Worker, what: &str) {
    worker
        .wait_readyz("the pause to be known", |status, body| {
            status == 200 && body.contains(&format!("paused: {what}"))
        })
        .await;
}

fn jobs(name: &str, flow: &str, count: usize) -> (Vec<Value>, Vec<String>) {
    let ids: Vec<_> = (0..count).map(|n| format!("{name}-{n}")).collect();
    (ids.iter().map(|id| job(id, flow)).collect(), ids)
}

async fn settled(worker: &Worker, verdict: &str) -> f64 {
    let metrics = worker.metrics().await;
    metrics.get("flowlaunch_jobs_settled_total", &[("verdict", verdict)])
}

async fn a_pause_of_everything_outlives_a_restart_and_spends_nothing(stage: Stage) {
    let mut worker = stage.worker().await;
    let said = stage.say(&["pause", "--all", "--reason", "wrong announcement"]);
    assert!(said.contains("flowlaunch resume --all"), "{said}");
    wait_paused(&mut worker, "everything").await;
    let (bulk, mut ids) = jobs("bulk", &flow(1), 50);
    let (normal, more) = jobs("normal", &flow(2), 5);
    ids.extend(more);
    stage.publish("bulk", &bulk);
    stage.publish("normal", &normal);
    for _ in 0..2 {
        worker.kill();
        worker.start_again();
        worker.wait_ready().await;
        wait_paused(&mut worker, "everything").await;
        assert_eq!(worker.metrics().await.get("flowlaunch_jobs_received_total", &[]), 0.0);
    }
    assert!(story::launches(&stage.sim).await.is_empty());
    let listed = stage.say(&["pause", "--list"]);
    assert!(listed.contains("everything: wrong announcement"), "{listed}");
    // What is not paused cannot be resumed, and says what is.
    let (code, _, error) = stage.try_say(&["resume", "--lane", "bulk"], "");
    assert!(code == 1 && error.contains("everything"), "{error}");
    stage.say(&["resume", "--all"]);
    stage.assert_launched(&ids).await;
    assert_eq!(stage.say(&["pause", "--list"]), "Nothing is paused\n");
}

async fn a_paused_lane_waits_where_it_is_and_the_other_goes_on(stage: Stage) {
    let mut worker = stage.worker().await;
    stage.say(&["pause", "--lane", "bulk"]);
    wait_paused(&mut worker, "lane bulk").await;
    let (bulk, mut ids) = jobs("bulk", &flow(1), 50);
    let (normal, more) = jobs("normal", &flow(2), 50);
    stage.publish("bulk", &bulk);
    stage.publish("normal", &normal);
    stage.assert_launched(&more).await;
    until("the lane to wait where it is", LONG, async || {
        let metrics = worker.metrics().await;
        metrics.get("flowlaunch_queue_messages", &[("queue", "bulk")]) == 50.0
    })
    .await;
    let received = worker
        .metrics()
        .await
        .get("flowlaunch_jobs_received_total", &[("lane", "bulk")]);
    assert_eq!(received, 0.0, "nothing of it was taken");
    stage.say(&["resume", "--lane", "bulk"]);
    ids.extend(more);
    stage.assert_launched(&ids).await;
    assert_eq!(settled(&worker, "delayed").await, 0.0);
}

async fn jobs_of_a_paused_flow_are_put_aside_and_others_get_by(stage: Stage) {
    let mut worker = stage.worker().await;
    stage.say(&["pause", "--flow", &flow(1)]);
    wait_paused(&mut worker, "flow").await;
    let (paused, mut ids) = jobs("paused", &flow(1), 20);
    let (others, more) = jobs("other", &flow(2), 20);
    stage.publish("bulk", &paused);
    stage.publish("bulk", &others);
    stage.assert_launched(&more).await;
    until("all to be put aside", LONG, async || {
        let metrics = worker.metrics().await;
        let labels = [("verdict", "delayed"), ("reason", "paused")];
        metrics.get("flowlaunch_jobs_settled_total", &labels) >= 20.0
    })
    .await;
    stage.say(&["resume", "--flow", &flow(1)]);
    ids.extend(more);
    // Within a leg of 30 s.
    stage.assert_launched(&ids).await;
    assert_eq!(
        worker.metrics().await.get("flowlaunch_launch_attempts_total", &[]),
        40.0,
        "an attempt each"
    );
}

async fn a_cancelled_campaign_is_never_launched_not_even_what_waits_in_delay_queues(stage: Stage) {
    let mut worker = stage.worker().await;
    let of_run = |run: u32, count: usize, not_before: Option<String>| -> Vec<Value> {
        let one = |n: usize| {
            let mut job = job(&format!("spring:{run}:row-{n}"), &flow(1));
            job["campaign"] = json!("spring");
            job["notBefore"] = json!(not_before);
            job
        };
        (0..count).map(one).collect()
    };
    let later = jiff::Timestamp::now() + Duration::from_secs(20);
    stage.publish("bulk", &of_run(1, 20, Some(later.to_string())));
    until("all to be delayed", LONG, async || {
        settled(&worker, "delayed").await == 20.0
    })
    .await;
    stage.cancel("spring", 1).await;
    worker.kill();
    worker.start_again();
    worker.wait_ready().await;
    // The next run is another matter.
    stage.publish("bulk", &of_run(2, 10, None));
    let ids: Vec<_> = (0..10).map(|n| format!("spring:2:row-{n}")).collect();
    stage.assert_launched(&ids).await;
    eventually("all to be settled as cancelled", LONG, async || {
        match settled(&worker, "cancelled").await {
            20.0 => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
    stage.assert_launched(&ids).await;
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_read_what_is_paused_launches_nothing_and_says_so() {
    let (node, _own) = common::with_ctl().await;
    let prefix = Prefix::new(&node, "unread");
    let user = prefix.name().to_owned();
    let control = format!("{user}.control");
    node.ctl(&["add_user", &user, "secret"]);
    node.ctl(&["set_permissions", &user, ".*", ".*", ".*"]);
    let sim = Sim::start().await;
    let url = node.url().replace("guest:guest", &format!("{user}:secret"));
    let mut worker = Worker::builder(&url, &user, &sim.base_url(), &sim.login_url())
        .ready()
        .await;
    // A negative look-ahead: all but the control stream may be read.
    node.ctl(&[
        "set_permissions",
        &user,
        ".*",
        ".*",
        &format!("^(?!{}$)", control.replace('.', "\\.")),
    ]);
    node.ctl(&["close_all_user_connections", &user, "test"]);
    worker
        .wait_readyz("the unread stream to be told", |status, body| {
            status == 503 && body.contains("the control stream cannot be read")
        })
        .await;
    let amqp = common::Amqp::connect(node.url()).await;
    let (bodies, ids) = jobs("job", &flow(1), 10);
    story::publish(&amqp, &user, "normal", bodies).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(story::launches(&sim).await.is_empty());
    node.ctl(&["set_permissions", &user, ".*", ".*", ".*"]);
    story::launched(&sim, ids.len(), LONG).await;
    worker.wait_ready().await;
    node.ctl(&["delete_user", &user]);
}
