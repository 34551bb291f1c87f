//! What becomes of a request that has been read: who asks, under which limit, by which rule, and then its business.

use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::errors::{documented, error, error_saying, html_page};
use super::launch::Parsed;
use super::rate::Count;
use super::record::Mint;
use super::retry_after::{ComeBack, throttled};
use super::route::{Call, Target};
use super::rules::{Endpoint, Rule};
use super::settings::{Dialect, RetryAfter};
use super::state::State;
use super::stats::Ending;
use super::tokens::Stranger;

/// How an answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    Whole,
    Cut,
    /// Not at all.
    Reset,
}

/// What is to be done about a request.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) answer: Answer,
    pub(crate) leaves: Leaves,
    pub(crate) delay: Option<Duration>,
    /// The launch whose answer this is.
    pub(crate) launch: Option<u64>,
}

/// The normal course: the answer, and the launch if there was one.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) answer: Answer,
    pub(crate) launch: Option<u64>,
}

impl From<Answer> for Done {
    fn from(answer: Answer) -> Self {
        Self { answer, launch: None }
    }
}

impl From<Done> for Plan {
    fn from(done: Done) -> Self {
        Self {
            answer: done.answer,
            leaves: Leaves::Whole,
            delay: None,
            launch: done.launch,
        }
    }
}

impl State {
    /// Decides, records and counts.
    pub(crate) fn decide(&mut self, call: &Call<'_>) -> Plan {
        let parsed = matches!(call.target, Target::Launch).then(|| Parsed::read(call.body));
        let flow = parsed.as_ref().and_then(Parsed::flow_id);
        let mut mint = Mint::default();
        let mut plan = match call.target {
            Target::Token => {
                let rule = self.faults.pick(Endpoint::Token, None, call.now);
                self.under(rule, call.now, |state| {
                    let (answer, came_of_it) = state.token(call);
                    mint = came_of_it;
                    answer.into()
                })
            }
            Target::Launch | Target::Poll(_) | Target::Flows(_) | Target::Flow(_) => {
                self.api(call, parsed.as_ref(), flow)
            }
            Target::NoSuchMethod => Done::from(error(self.settings.dialect, 405)).into(),
            Target::Nothing => Done::from(error(self.settings.dialect, 404)).into(),
        };
        let ending = match plan.leaves {
            Leaves::Whole => Ending::Status(plan.answer.status),
            Leaves::Cut => Ending::Cut(plan.answer.status),
            Leaves::Reset => Ending::Reset,
        };
        self.count(call.target.endpoint(), flow, mint, ending, call.now);
        if self.settings.dialect == Dialect::Vendor && !plan.answer.is_correlated() {
            plan.answer = plan.answer.correlated(uuid::Uuid::new_v4().to_string());
        }
        plan
    }

    /// Counts a request, and records it.
    pub(crate) fn count(&mut self, endpoint: Endpoint, flow: Option<&str>, mint: Mint, ending: Ending, now: i64) {
        let most = self.settings.max_records;
        self.stats.count(endpoint, ending);
        match endpoint {
            Endpoint::Launch => self.record.asked(flow, ending.status(), now, most),
            Endpoint::Token => self.record.minted(mint, ending.status(), now, most),
            Endpoint::Flows | Endpoint::Poll | Endpoint::All => {}
        }
    }

    fn api(&mut self, call: &Call<'_>, parsed: Option<&Parsed<'_>>, flow: Option<&str>) -> Plan {
        let settings = self.settings.clone();
        self.stats.requests_peak.add(settings.window_us(), call.now);
        let limit = settings.limit(settings.rate);
        let admitted = match self
            .tokens
            .admit(call.authorization, settings.token_idle_seconds, limit, call.now)
        {
            Ok(admitted) => admitted,
            Err(stranger) => return Done::from(self.turn_away(stranger)).into(),
        };
        let mut plan = match admitted.count {
            Some(count) if !count.passed => Done::from(self.over_the_limit(count, call.now)).into(),
            _ => {
                let rule = self.faults.pick(call.target.endpoint(), flow, call.now);
                self.under(rule, call.now, |state| match call.target {
                    Target::Launch => state.launch(call, parsed, &admitted.tail),
                    Target::Poll(id) => state.poll(id, call.now).into(),
                    Target::Flow(id) => state.flow(id).into(),
                    Target::Flows(query) => state.flows(query).into(),
                    Target::Token | Target::NoSuchMethod | Target::Nothing => error(settings.dialect, 404).into(),
                })
            }
        };
        if let (true, Some(count), Some(limit)) = (settings.rate_headers, admitted.count, limit) {
            plan.answer = plan
                .answer
                .with("inin-ratelimit-count", count.used.to_string())
                .with("inin-ratelimit-allowed", limit.allowed.to_string())
                .with("inin-ratelimit-reset", whole_seconds(count.reset_us).to_string());
        }
        plan
    }

    fn turn_away(&self, stranger: Stranger) -> Answer {
        let dialect = self.settings.dialect;
        let say = |code, message| error_saying(dialect, 401, code, message).with("www-authenticate", "Bearer");
        match stranger {
            Stranger::Missing => say("authentication.required", "No authentication bearer token specified."),
            Stranger::Unknown => say("bad.credentials", "Invalid login credentials."),
            Stranger::Expired => say("credentials.expired", "The supplied credentials are expired."),
        }
    }

    fn over_the_limit(&self, count: Count, now: i64) -> Answer {
        let settings = &self.settings;
        let left = match settings.retry_after {
            RetryAfter::Hours => 7200,
            RetryAfter::Seconds | RetryAfter::Date | RetryAfter::Message | RetryAfter::Absent => {
                whole_seconds(count.reset_us)
            }
        };
        let seconds = settings.retry_after_seconds.unwrap_or(left);
        throttled(settings.dialect, self.come_back(settings.retry_after, seconds, now))
    }

    fn come_back(&self, form: RetryAfter, seconds: u64, now: i64) -> ComeBack {
        let now_us = self.record.time_us(now) + self.settings.clock_skew_seconds * 1_000_000;
        ComeBack {
            form,
            seconds,
            now_seconds: now_us.div_euclid(1_000_000),
        }
    }

    /// The normal course, as far as the rule leaves it.
    fn under(&mut self, rule: Option<Arc<Rule>>, now: i64, normal: impl FnOnce(&mut Self) -> Done) -> Plan {
        let Some(rule) = rule else {
            let done = normal(self);
            self.note(&done, true);
            return done.into();
        };
        let done = rule.still_launches().then(|| normal(self));
        let launch = done.as_ref().and_then(|done| done.launch);
        let delay = rule.delay_seconds.map(Duration::from_secs_f64);
        let (answer, leaves) = match (rule.status, rule.reset) {
            (Some(status), _) => (self.answer_of(&rule, status, now), Leaves::Whole),
            (None, Some(_)) => (Answer::empty(0), Leaves::Reset),
            (None, None) => {
                let answer = done.map_or_else(|| html_page(200), |done| done.answer);
                (answer, if rule.cut { Leaves::Cut } else { Leaves::Whole })
            }
        };
        if let Some(seq) = launch {
            self.record.answered(seq, answer.status, false);
        }
        // A slow answer counts as withheld until it leaves: the client may not wait for it.
        Plan {
            answer,
            leaves,
            delay,
            launch: launch.filter(|_| rule.is_only_slow()),
        }
    }

    fn note(&mut self, done: &Done, sent: bool) {
        if let Some(seq) = done.launch {
            self.record.answered(seq, done.answer.status, sent);
        }
    }

    fn answer_of(&self, rule: &Rule, status: u16, now: i64) -> Answer {
        let dialect = self.settings.dialect;
        let (code, message) = documented(status);
        let given = rule
            .retry_after
            .or(rule.retry_after_seconds.map(|_| RetryAfter::Seconds));
        let form = given.or((status == 429).then_some(self.settings.retry_after));
        let usual = if form == Some(RetryAfter::Hours) { 7200 } else { 3 };
        let seconds = rule
            .retry_after_seconds
            .or(self.settings.retry_after_seconds)
            .unwrap_or(usual);
        let come_back = form.map(|form| self.come_back(form, seconds, now));
        let mut answer = match (&rule.body, rule.html) {
            (Some(serde_json::Value::String(text)), _) if text.is_empty() => Answer::empty(status),
            (Some(serde_json::Value::String(text)), _) => Answer::new(status, "text/plain", text.clone().into()),
            (Some(json), _) => Answer::json(status, json),
            (None, true) => html_page(status),
            (None, false) if status < 400 => Answer::empty(status),
            (None, false) => {
                let message = rule.message.clone().unwrap_or_else(|| match &come_back {
                    Some(come_back) => come_back.message(message),
                    None => message.to_owned(),
                });
                error_saying(dialect, status, rule.code.as_deref().unwrap_or(code), &message)
            }
        };
        if let Some(come_back) = come_back {
            answer = come_back.mark(answer);
        }
        if (300..400).contains(&status) {
            answer = answer.with(
                "location",
                rule.location.as_deref().unwrap_or("https://login.example.invalid/"),
            );
        }
        rule.headers
            .iter()
            .fold(answer, |answer, (name, value)| answer.with(name, value))
    }
}

/// Rounded up: who comes back then is not turned away again.
fn whole_seconds(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0).div_ceil(1_000_000)
}
