//! Logs: text for a person at a terminal, JSON for machines, on the standard error.

use std::io::IsTerminal as _;

use serde::Deserialize;
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// How lines look.
    pub format: Format,
    /// Which lines there are.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For a person.
    Text,
    /// For machines: one object a line.
    Json,
}

impl Settings {
    /// What is wrong with the filter, if anything is.
    pub fn check(&self) -> Result<(), String> {
        filter(&self.filter).map(drop)
    }
}

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter cannot be read.
    #[error("log.filter: {0}")]
    Filter(String),
    /// Somebody else has begun.
    #[error(transparent)]
    Taken(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends the process' log lines to the standard error.
pub fn init(settings: &Settings) -> Result<(), InitError> {
    let terminal = std::io::stderr().is_terminal();
    let subscriber = subscriber(settings, terminal, std::io::stderr).map_err(InitError::Filter)?;
    Ok(subscriber.try_init()?)
}

/// A subscriber that writes anywhere; `terminal` says whether a person is there.
pub fn subscriber<W>(settings: &Settings, terminal: bool, writer: W) -> Result<impl Subscriber + Send + Sync, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let json = match settings.format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(false).boxed()
    } else {
        lines.with_ansi(terminal).with_target(false).boxed()
    };
    Ok(Registry::default()
        .with(filter(&settings.filter)?)
        .with(unspoken())
        .with(lines))
}

/// What no filter can ask for. A dependency's trace shows what goes over its wire: lapin's prints every frame, the login with
/// the broker's password and the bodies of jobs among them, and its warning of a message that came back prints that one's
/// body. Ours shows nothing that a log must not hold.
fn unspoken() -> Targets {
    Targets::new()
        .with_target(env!("CARGO_PKG_NAME"), LevelFilter::TRACE)
        .with_target("lapin", LevelFilter::ERROR)
        .with_default(LevelFilter::DEBUG)
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    // What lapin has to say comes to us as an error too, and is logged where it is handled. Who wants its own lines names
    // it.
    let quiet = if text.contains("lapin") { "" } else { "lapin=off," };
    EnvFilter::builder().parse(format!("{quiet}{text}")).map_err(|error| {
        format!("must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or such for modules: {error}")
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn log(format: Format, terminal: bool) -> String {
        let written = Written::default();
        let writer = written.clone();
        let settings = Settings {
            format,
            filter: "info".into(),
        };
        let subscriber = subscriber(&settings, terminal, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(job = "order-1", "launched");
            tracing::debug!("not shown");
        });
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_person_gets_text_and_a_machine_json() {
        for (format, terminal, json) in [
            (Format::Auto, true, false),
            (Format::Auto, false, true),
            (Format::Text, false, false),
            (Format::Json, true, true),
        ] {
            let line = log(format, terminal);
            assert_eq!(line.lines().count(), 1, "{line}");
            let parsed = serde_json::from_str::<serde_json::Value>(&line);
            assert_eq!(parsed.is_ok(), json, "{line}");
            if let Ok(parsed) = parsed {
                assert_eq!(
                    (&parsed["message"], &parsed["job"]),
                    (&"launched".into(), &"order-1".into())
                );
            }
        }
    }

    #[test]
    fn what_dependencies_trace_is_never_shown() {
        let written = Written::default();
        let writer = written.clone();
        let settings = Settings {
            format: Format::Json,
            filter: "trace,lapin::io_loop=trace".into(),
        };
        let subscriber = subscriber(&settings, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "flowlaunch::worker", "ours");
            tracing::debug!(target: "hyper_util::client", "theirs");
            tracing::trace!(target: "hyper_util::client", "a head");
            tracing::error!(target: "lapin::io_loop", "an error");
            tracing::warn!(target: "lapin::returned_messages", "a body");
            tracing::trace!(target: "lapin::io_loop", "a frame");
        });
        let shown = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        for said in ["ours", "theirs", "an error"] {
            assert!(shown.contains(said), "{said}: {shown}");
        }
        for hidden in ["a head", "a body", "a frame"] {
            assert!(!shown.contains(hidden), "{hidden}: {shown}");
        }
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        let settings = |filter: &str| Settings {
            format: Format::Auto,
            filter: filter.into(),
        };
        assert!(settings("warn,flowlaunch=debug").check().is_ok());
        assert!(settings("flowlaunch=loud").check().is_err());
    }
}
