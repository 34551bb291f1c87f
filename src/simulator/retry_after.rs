//! The forms in which a server says when to come back.

use super::answer::Answer;
use super::errors::error_saying;
use super::settings::{Dialect, RetryAfter};

/// When to come back, and how that is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ComeBack {
    pub(crate) form: RetryAfter,
    pub(crate) seconds: u64,
    /// The server's own clock, in seconds of the epoch.
    pub(crate) now_seconds: i64,
}

impl ComeBack {
    /// The message, with the number in it where it is said there.
    pub(crate) fn message(&self, message: &str) -> String {
        match self.form {
            RetryAfter::Message => format!("{message} Retry the request in [{}] seconds", self.seconds),
            RetryAfter::Seconds | RetryAfter::Date | RetryAfter::Absent | RetryAfter::Hours => message.to_owned(),
        }
    }

    /// The answer with the header, where it is said there.
    pub(crate) fn mark(&self, answer: Answer) -> Answer {
        match self.form {
            RetryAfter::Seconds | RetryAfter::Hours => answer.with("retry-after", self.seconds.to_string()),
            // `Date` is ours too, so that both are read off one clock, be it a wrong one.
            RetryAfter::Date => {
                let then = self.now_seconds.saturating_add_unsigned(self.seconds);
                answer
                    .with("retry-after", http_date(then))
                    .with("date", http_date(self.now_seconds))
            }
            RetryAfter::Message | RetryAfter::Absent => answer,
        }
    }
}

/// The 429 of the rate limit.
pub(crate) fn throttled(dialect: Dialect, come_back: ComeBack) -> Answer {
    let code = match come_back.form {
        RetryAfter::Message => "too.many.requests.retry.after",
        RetryAfter::Seconds | RetryAfter::Date | RetryAfter::Absent | RetryAfter::Hours => "too.many.requests",
    };
    let message = come_back.message("Rate limit exceeded the maximum.");
    come_back.mark(error_saying(dialect, 429, code, &message))
}

fn http_date(seconds: i64) -> String {
    let zero = jiff::Timestamp::UNIX_EPOCH;
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(zero)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}
