//! Every metric, in one block. The comment on a metric is its help text; label values come from closed sets, and every
//! one of them is reported from the start, as zero: a rate over a series that was absent yesterday shows nothing.
//!
//! Handles are registered once, so that the hot path adds to a number and looks nothing up. No recorder is installed for
//! the whole process: whoever makes the metrics holds the means to render them, and tests make as many as they like.

mod campaign;
mod family;
mod labels;

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::lane::Lane;

pub use campaign::CampaignRows;
pub use family::{Family, InFlight};
pub use labels::{
    Broker, Build, DelayReason, EndState, GiveBackReason, HaltReason, LaunchOutcome, PollOutcome, Queue, Settled,
    Status, TokenResult, Window,
};

/// A call of the API: a quick answer takes tens of milliseconds, the time-out is 15 s unless configured otherwise.
const CALL_SECONDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0];
/// The wait for the rate limit: none for an urgent job, hours for the last one of a campaign.
const WAIT_SECONDS: [f64; 14] = [
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0,
];

family::catalogue! {
    /// Jobs that a worker took from a lane, redeliveries among them.
    jobs_received_total: Counter<Lane>,
    /// Jobs that left a worker's hands: launched, delayed, dead, cancelled, or given back to the broker. Received less settled is what is in hand.
    jobs_settled_total: Counter<(Lane, Settled)>,
    /// Calls of the launch API, by what they came to.
    launch_attempts_total: Counter<LaunchOutcome>,
    /// How long a call of the launch API took, by what it came to.
    launch_duration_seconds: Histogram<LaunchOutcome>,
    /// From the moment a job was due until its request was sent.
    job_wait_seconds: Histogram<Lane>,
    /// Answers of the launch API, by HTTP status.
    api_responses_total: Counter<Status>,
    /// Launch requests under way.
    in_flight: Gauge<()>,
    /// Launches per second that the rate limit allows; +Inf without a limit.
    limiter_rate: Gauge<()>,
    /// How much of the rate limit was used lately, from 0 to 1.
    limiter_utilization_ratio: Gauge<()>,
    /// 1 while the gate is closed: the API asked for a pause, or there is an outage.
    gate_closed: Gauge<()>,
    /// When the gate opens, as a Unix time; 0 while it is open.
    gate_opens_timestamp_seconds: Gauge<()>,
    /// 1 while the worker has halted for this reason: somebody has to mend the set-up.
    halted: Gauge<HaltReason>,
    /// Requests for an access token.
    token_requests_total: Counter<TokenResult>,
    /// When the access token expires, as a Unix time; 0 before there is one.
    token_expiry_timestamp_seconds: Gauge<()>,
    /// Messages in a queue of the broker: the same from every replica, so take the maximum and never the sum.
    queue_messages: Gauge<Queue>,
    /// Launches that may have been launched before, by the window in which that can happen.
    possible_duplicates_total: Counter<Window>,
    /// Results that were not confirmed in time; their jobs are done all the same.
    results_failed_total: Counter<()>,
    /// Launched executions that are to be followed to their end. Tracked less ended, summed over all workers, is what is followed now.
    executions_tracked_total: Counter<()>,
    /// Executions whose following has ended, by how: unknown is what was given up.
    executions_ended_total: Counter<EndState>,
    /// Looks at executions, by what they saw.
    track_polls_total: Counter<PollOutcome>,
    /// How much later than it was due a job last came out of the delay ladder.
    delay_lag_seconds: Gauge<()>,
    /// 1 while there is a session with the broker.
    broker_connected: Gauge<()>,
    /// Always 1 for what is running: its version, and the kind of its broker.
    build_info: Gauge<Build>,
}

/// Renders the metrics.
#[derive(Clone, Debug)]
pub struct Exporter(PrometheusHandle);

impl Exporter {
    /// The metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Moves histogram samples into their buckets. They pile up until somebody scrapes or calls this: do so every few
    /// seconds.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

fn recorder() -> PrometheusRecorder {
    let buckets = |builder: PrometheusBuilder, name: &str, bounds: &[f64]| {
        builder
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
            .expect("there are bounds")
    };
    let builder = buckets(
        PrometheusBuilder::new(),
        "flowlaunch_launch_duration_seconds",
        &CALL_SECONDS,
    );
    buckets(builder, "flowlaunch_job_wait_seconds", &WAIT_SECONDS).build_recorder()
}

impl Metrics {
    /// Every metric at zero, and the means to render them.
    pub fn new(broker: Broker) -> (Self, Exporter) {
        let recorder = recorder();
        (Self::of(&recorder, broker), Exporter(recorder.handle()))
    }

    /// The same, and the rows of a campaign by their state.
    pub fn with_campaign(
        broker: Broker,
        campaign: &str,
        states: impl IntoIterator<Item = &'static str>,
    ) -> (Self, CampaignRows, Exporter) {
        let recorder = recorder();
        let rows = CampaignRows::register(&recorder, campaign, states);
        (Self::of(&recorder, broker), rows, Exporter(recorder.handle()))
    }

    fn of(recorder: &PrometheusRecorder, broker: Broker) -> Self {
        let metrics = Self::register(recorder);
        metrics.build_info.of(Build(broker)).set(1.0);
        metrics
    }

    /// A job was taken from a lane.
    pub fn received(&self, lane: Lane) {
        self.jobs_received_total.of(lane).increment(1);
    }

    /// A job left our hands.
    pub fn settled(&self, lane: Lane, how: Settled) {
        self.jobs_settled_total.of((lane, how)).increment(1);
    }

    /// A call of the launch API ended.
    pub fn attempt(&self, outcome: LaunchOutcome, took: Duration) {
        self.launch_attempts_total.of(outcome).increment(1);
        self.launch_duration_seconds.of(outcome).record(took);
    }

    /// The API answered.
    pub fn response(&self, status: u16) {
        self.api_responses_total.of(Status::of(status)).increment(1);
    }

    /// A launch may be one too many.
    pub fn possible_duplicate(&self, window: Window) {
        self.possible_duplicates_total.of(window).increment(1);
    }

    /// An execution is followed no longer.
    pub fn ended(&self, state: EndState) {
        self.executions_ended_total.of(state).increment(1);
    }

    /// A request is under way until the returned value is dropped.
    pub fn flying(&self) -> InFlight {
        InFlight::new(&self.in_flight)
    }

    /// The worker has halted for this reason, or for none.
    pub fn halted_for(&self, reason: Option<HaltReason>) {
        for each in HaltReason::ALL {
            self.halted.of(each).set(f64::from(u8::from(reason == Some(each))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Class, Reason};

    /// The names that the project promises.
    const PROMISED: [&str; 23] = [
        "jobs_received_total",
        "jobs_settled_total",
        "launch_attempts_total",
        "launch_duration_seconds",
        "job_wait_seconds",
        "api_responses_total",
        "in_flight",
        "limiter_rate",
        "limiter_utilization_ratio",
        "gate_closed",
        "gate_opens_timestamp_seconds",
        "halted",
        "token_requests_total",
        "token_expiry_timestamp_seconds",
        "queue_messages",
        "possible_duplicates_total",
        "results_failed_total",
        "executions_tracked_total",
        "executions_ended_total",
        "track_polls_total",
        "delay_lag_seconds",
        "broker_connected",
        "build_info",
    ];

    #[test]
    fn every_promised_metric_is_reported_from_the_start_with_its_help() {
        let (_metrics, exporter) = Metrics::new(Broker::Sqlite);
        let text = exporter.render();
        for name in PROMISED {
            assert!(
                text.contains(&format!("# HELP flowlaunch_{name} ")),
                "{name} has no help:\n{text}"
            );
            let zero = text.lines().any(|line| {
                let series = line
                    .strip_prefix("flowlaunch_")
                    .and_then(|line| line.strip_prefix(name));
                series.is_some_and(|rest| rest.starts_with(['{', ' ', '_']) && rest.ends_with(" 0"))
            });
            assert!(zero, "{name} is not reported as zero:\n{text}");
        }
        assert_eq!(
            Metrics::NAMES.map(|name| name.trim_start_matches("flowlaunch_")),
            PROMISED
        );
    }

    #[test]
    fn every_label_value_is_reported_from_the_start() {
        let (_metrics, exporter) = Metrics::new(Broker::Amqp);
        let text = exporter.render();
        for class in Class::ALL {
            assert!(
                text.contains(&format!("flowlaunch_launch_attempts_total{{outcome=\"{class}\"}} 0")),
                "{class}"
            );
            assert!(text.contains(&format!(
                "flowlaunch_launch_duration_seconds_count{{outcome=\"{class}\"}} 0"
            )));
        }
        for line in [
            "flowlaunch_jobs_received_total{lane=\"bulk\"} 0",
            "flowlaunch_jobs_settled_total{lane=\"normal\",verdict=\"dead\",reason=\"expired\"} 0",
            "flowlaunch_jobs_settled_total{lane=\"bulk\",verdict=\"delayed\",reason=\"not_before\"} 0",
            "flowlaunch_jobs_settled_total{lane=\"bulk\",verdict=\"launched\",reason=\"none\"} 0",
            "flowlaunch_api_responses_total{status=\"other\"} 0",
            "flowlaunch_possible_duplicates_total{window=\"session_lost\"} 0",
            "flowlaunch_halted{reason=\"unauthorized\"} 0",
            "flowlaunch_executions_ended_total{state=\"unknown\"} 0",
            "flowlaunch_track_polls_total{outcome=\"missing\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let version = env!("CARGO_PKG_VERSION");
        assert!(
            text.contains(&format!(
                "flowlaunch_build_info{{version=\"{version}\",broker=\"amqp\"}} 1"
            )),
            "{text}"
        );
    }

    #[test]
    fn what_happens_is_counted_where_it_belongs() {
        let (metrics, exporter) = Metrics::new(Broker::Sqlite);
        metrics.settled(Lane::Bulk, Settled::Dead(Reason::Refused));
        metrics.attempt(LaunchOutcome::Failed(Class::Throttled), Duration::from_millis(30));
        metrics.response(429);
        metrics.response(418);
        metrics.halted_for(Some(HaltReason::Forbidden));
        let flying = metrics.flying();
        exporter.upkeep();
        let text = exporter.render();
        for line in [
            "flowlaunch_jobs_settled_total{lane=\"bulk\",verdict=\"dead\",reason=\"refused\"} 1",
            "flowlaunch_jobs_settled_total{lane=\"normal\",verdict=\"dead\",reason=\"refused\"} 0",
            "flowlaunch_launch_attempts_total{outcome=\"throttled\"} 1",
            "flowlaunch_launch_duration_seconds_bucket{outcome=\"throttled\",le=\"0.025\"} 0",
            "flowlaunch_launch_duration_seconds_bucket{outcome=\"throttled\",le=\"0.05\"} 1",
            "flowlaunch_api_responses_total{status=\"429\"} 1",
            "flowlaunch_api_responses_total{status=\"other\"} 1",
            "flowlaunch_halted{reason=\"forbidden\"} 1",
            "flowlaunch_in_flight 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        drop(flying);
        metrics.halted_for(None);
        let text = exporter.render();
        assert!(text.contains("flowlaunch_in_flight 0") && text.contains("flowlaunch_halted{reason=\"forbidden\"} 0"));
    }
}
