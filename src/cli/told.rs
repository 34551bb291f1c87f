//! What became of a person's own call, in words: what happened, and what to do about it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::direct::Call;
use crate::outcome::{Class, Failure};

/// Told on standard error, where a program that reads the result does not look.
pub(super) fn waiting(call: Call, failure: &Failure, pause: Duration) {
    let what = match call {
        Call::Launch => "nothing was launched yet: ",
        Call::List => "",
        Call::Look => "it goes on, and cannot be looked at just now: ",
    };
    let seconds = pause.as_secs_f64().ceil();
    let why = failure.to_string();
    hint(&format!(
        "{what}{}. Trying again in {seconds:.0} s",
        why.trim_end_matches('.')
    ));
}

/// A launch that failed: was it launched or not, and what to do.
pub(super) fn launch(flow: &str, failure: &Failure, tries: u32) -> String {
    match failure.class {
        // Its own words say that it may have been launched.
        Class::Unknown => format!("flow {flow}: {failure}"),
        Class::Throttled
        | Class::Unreachable
        | Class::Transient
        | Class::Refused
        | Class::Forbidden
        | Class::Unauthorized
        | Class::Misdirected => format!("nothing was launched (flow {flow}{}): {}", tried(tries), later(failure)),
    }
}

/// A read that failed.
pub(super) fn read(what: &str, failure: &Failure, tries: u32) -> String {
    match tries {
        1 => format!("{what}: {}", later(failure)),
        _ => format!("{what}{}: {}", tried(tries), later(failure)),
    }
}

fn tried(tries: u32) -> String {
    match tries {
        1 => String::new(),
        _ => format!(", tried {tries} times"),
    }
}

/// With what is left to do where nothing is to be mended.
fn later(failure: &Failure) -> Failure {
    let passes = matches!(failure.class, Class::Transient | Class::Unreachable | Class::Throttled);
    Failure {
        fix: failure.fix.or(passes.then_some("Try again later")),
        ..failure.clone()
    }
}

/// The same for a program.
pub(super) fn as_json(failure: &Failure) -> Value {
    json!({
        "class": failure.class.as_str(),
        "status": failure.status,
        "code": failure.code,
        "message": failure.message,
        "fix": later(failure).fix,
        "correlationId": failure.correlation_id,
    })
}

/// The form of [`as_json`] for what no answer of the API says.
pub(super) fn our_own(class: &str, message: &str) -> Value {
    json!({ "class": class, "status": null, "code": null, "message": message, "fix": null, "correlationId": null })
}

#[expect(clippy::print_stderr, reason = "a word to the person at the terminal")]
pub(super) fn hint(text: &str) {
    eprintln!("flowlaunch: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_that_failed_says_whether_it_was_launched() {
        for class in Class::ALL {
            let failure = Failure {
                fix: (class == Class::Unknown).then_some("It may have been launched"),
                ..Failure::new(class, "why")
            };
            let said = launch("f", &failure, 1);
            assert_eq!(said.contains("nothing was launched"), class != Class::Unknown, "{said}");
            assert_eq!(
                said.contains("may have been launched"),
                class == Class::Unknown,
                "{said}"
            );
        }
        let busy = launch("f", &Failure::new(Class::Transient, "busy"), 4);
        assert_eq!(
            busy,
            "nothing was launched (flow f, tried 4 times): busy. Try again later"
        );
    }
}
