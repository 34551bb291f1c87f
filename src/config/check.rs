//! What no single setting can tell: ranges, and settings that contradict each other.

use std::time::Duration;

use super::Origins;
use super::error::Fault;
use super::sections::Sections;
use super::units::format_duration;
use crate::broker::settings::{Kind, SecretUrl};

/// Queue names may have 255 bytes; this leaves room for what stands behind the prefix.
const MAX_PREFIX_BYTES: usize = 100;

/// RabbitMQ takes a job back that is not settled for half an hour: no single wait may come near that.
const LONGEST_CALL: Duration = Duration::from_secs(600);

pub(super) fn check(sections: &Sections, origins: &Origins) -> Vec<Fault> {
    let mut check = Check {
        origins,
        faults: Vec::new(),
    };
    check.contradictions();
    check.broker(sections);
    check.api(sections);
    check.numbers(sections);
    if let Err(message) = sections.log.check() {
        check.fault("log.filter", message);
    }
    check.faults
}

struct Check<'a> {
    origins: &'a Origins,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.faults.push(Fault::new(key, self.origins.source_of(key), message));
    }

    fn is_set(&self, key: &str) -> bool {
        self.origins.is_set(key)
    }

    fn contradictions(&mut self) {
        for (one, other) in [
            ("broker.url", "broker.url_file"),
            ("api.base_url", "api.region"),
            ("api.login_url", "api.region"),
            ("api.client_secret", "api.client_secret_file"),
        ] {
            if self.is_set(one) && self.is_set(other) {
                let there = self.origins.source_of(other);
                self.fault(one, format!("contradicts {other} (from {there}): set one of them"));
            }
        }
        for (one, other) in [
            ("api.base_url", "api.login_url"),
            ("api.login_url", "api.base_url"),
            ("broker.client_cert_file", "broker.client_key_file"),
            ("broker.client_key_file", "broker.client_cert_file"),
        ] {
            if self.is_set(one) && !self.is_set(other) {
                self.fault(one, format!("needs {other} too"));
            }
        }
    }

    fn broker(&mut self, sections: &Sections) {
        let broker = &sections.broker;
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !(1..=MAX_PREFIX_BYTES).contains(&broker.prefix.len()) || !broker.prefix.bytes().all(good) {
            let message = format!("must have 1 to {MAX_PREFIX_BYTES} letters, digits, dots, `_` or `-`");
            self.fault("broker.prefix", message);
        }
        if broker.url_file.is_none() {
            self.broker_url("broker.url", &SecretUrl::from(broker.url.as_str()));
        }
    }

    fn broker_url(&mut self, key: &str, url: &SecretUrl) {
        match url.kind() {
            Ok(Kind::Amqps) => {}
            Ok(Kind::Amqp | Kind::Sqlite(_)) => {
                for key in ["broker.ca_file", "broker.client_cert_file", "broker.client_key_file"] {
                    if self.is_set(key) {
                        self.fault(key, format!("is for amqps://, and the broker is {url}"));
                    }
                }
            }
            Err(message) => self.fault(key, message),
        }
    }

    fn api(&mut self, sections: &Sections) {
        let api = &sections.api;
        for (key, url) in [("api.base_url", &api.base_url), ("api.login_url", &api.login_url)] {
            if let Some(message) = url.as_deref().and_then(wrong_url) {
                self.fault(key, message);
            }
        }
        if api.base_url.is_none()
            && api.login_url.is_none()
            && let Err(fault) = super::api::addresses(api, self.origins)
        {
            self.faults.push(fault);
        }
        self.within("api.timeout", api.timeout, Duration::from_millis(100), LONGEST_CALL);
        self.within(
            "api.connect_timeout",
            api.connect_timeout,
            Duration::from_millis(10),
            LONGEST_CALL,
        );
        // Where nobody set it, the whole is the limit of the part.
        if api.connect_timeout > api.timeout && self.is_set("api.connect_timeout") {
            let whole = format_duration(api.timeout);
            self.fault(
                "api.connect_timeout",
                format!("is longer than api.timeout ({whole}), of which it is a part: lower it, or raise that"),
            );
        }
    }

    fn numbers(&mut self, sections: &Sections) {
        const DAY: Duration = Duration::from_secs(86_400);
        let limits = &sections.limits;
        self.between("limits.concurrency", limits.concurrency, 1, 10_000);
        self.between("limits.burst", limits.burst, 1, 10_000);
        if let Some((allowed, _)) = limits.rate.allowance()
            && f64::from(limits.burst) > allowed.max(1.0)
        {
            let message = format!(
                "is more than limits.rate ({}) allows in its window: lower the burst",
                limits.rate
            );
            self.fault("limits.burst", message);
        }
        let retry = &sections.retry;
        self.between("retry.max_attempts", retry.max_attempts, 1, crate::job::MAX_ATTEMPTS);
        self.between("retry.max_unknown", retry.max_unknown, 0, crate::job::MAX_ATTEMPTS);
        self.within(
            "retry.initial_delay",
            retry.initial_delay,
            Duration::from_millis(1),
            DAY,
        );
        self.within("retry.max_delay", retry.max_delay, Duration::from_millis(1), DAY);
        if retry.max_delay < retry.initial_delay {
            let first = format_duration(retry.initial_delay);
            self.fault(
                "retry.max_delay",
                format!("is shorter than retry.initial_delay ({first})"),
            );
        }
        self.within(
            "results.keep",
            sections.results.keep,
            Duration::from_secs(60),
            365 * DAY,
        );
        self.within(
            "worker.drain_timeout",
            sections.worker.drain_timeout,
            Duration::ZERO,
            LONGEST_CALL,
        );
    }

    fn between(&mut self, key: &str, value: u32, least: u32, most: u32) {
        if !(least..=most).contains(&value) {
            self.fault(key, format!("must be from {least} to {most}, not {value}"));
        }
    }

    fn within(&mut self, key: &str, value: Duration, least: Duration, most: Duration) {
        if !(least..=most).contains(&value) {
            let [value, least, most] = [value, least, most].map(format_duration);
            self.fault(key, format!("must be from {least} to {most}, not {value}"));
        }
    }
}

/// What is wrong with an address of the API. It is never shown: it may hold a password, and must not.
fn wrong_url(text: &str) -> Option<String> {
    match url::Url::parse(text) {
        Ok(url) => crate::api::wrong_address(&url).map(str::to_owned),
        Err(error) => Some(format!("is not a URL ({error}): it looks like https://HOST")),
    }
}

/// Checks a broker's URL that came from a file.
pub(super) fn url_from_file(sections: &Sections, origins: &Origins, url: &SecretUrl) -> Vec<Fault> {
    let mut check = Check {
        origins,
        faults: Vec::new(),
    };
    if sections.broker.url_file.is_some() {
        check.broker_url("broker.url_file", url);
    }
    check.faults
}
