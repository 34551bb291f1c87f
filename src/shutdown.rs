//! How the process is asked to end: the first signal begins an orderly end, the second ends it at once.

use std::future::Future;

use tokio_util::sync::CancellationToken;

/// What asks the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: a person pressed Ctrl-C.
    Interrupt,
    /// SIGTERM: an orchestrator or `kill`.
    Terminate,
    /// SIGHUP: the terminal is gone.
    HangUp,
}

impl Signal {
    /// The exit code of a process that the signal ends at once, as shells count it.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::HangUp => 129,
        }
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        }
    }
}

/// Where signals come from; a parameter, so that tests can send them.
pub trait Signals {
    /// The next one.
    fn next(&mut self) -> impl Future<Output = Signal> + Send;
}

/// The signals of this process. From here on they no longer end it by themselves.
#[cfg(unix)]
#[derive(Debug)]
pub struct ProcessSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// Absent where it was ignored from the start: `nohup` means that the process is to go on.
    hang_up: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl ProcessSignals {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: match ignores_hang_up() {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
        })
    }
}

#[cfg(unix)]
impl Signals for ProcessSignals {
    async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.terminate.recv() => Signal::Terminate,
            Some(()) = async { self.hang_up.as_mut()?.recv().await } => Signal::HangUp,
            else => std::future::pending().await,
        }
    }
}

/// Whether whoever started this process had it ignore SIGHUP, by what proc(5) says.
#[cfg(unix)]
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // The lowest bit is signal 1.
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1))
}

/// Runs `work` to its end; returns what it came to, and the signal that asked it to end, if one did. The first signal
/// cancels `stop`, upon which the work ends in its own time; the second one is returned at once, and the work is dropped
/// where it stands. It exits with [`Signal::exit_code`] then.
pub async fn run<T>(
    work: impl Future<Output = T>,
    stop: &CancellationToken,
    mut signals: impl Signals,
) -> Result<(T, Option<Signal>), Signal> {
    tokio::pin!(work);
    let first = tokio::select! {
        done = &mut work => return Ok((done, None)),
        signal = signals.next() => signal,
    };
    tracing::info!(signal = first.as_str(), "stopping; a second signal ends at once");
    stop.cancel();
    tokio::select! {
        done = &mut work => Ok((done, Some(first))),
        second = signals.next() => {
            tracing::warn!(signal = second.as_str(), "ended at once: what was in hand returns to its queue by itself");
            Err(second)
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    impl Signals for mpsc::UnboundedReceiver<Signal> {
        async fn next(&mut self) -> Signal {
            match self.recv().await {
                Some(signal) => signal,
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test]
    async fn work_that_ends_by_itself_needs_no_signal() {
        let stop = CancellationToken::new();
        let (_send, signals) = mpsc::unbounded_channel();
        assert_eq!(run(async { 7 }, &stop, signals).await, Ok((7, None)));
        assert!(!stop.is_cancelled());
    }

    #[tokio::test]
    async fn the_first_signal_lets_the_work_end_in_its_own_time() {
        let stop = CancellationToken::new();
        let (send, signals) = mpsc::unbounded_channel();
        send.send(Signal::Terminate).unwrap();
        let work = async {
            stop.cancelled().await;
            tokio::task::yield_now().await;
            "drained"
        };
        assert_eq!(
            run(work, &stop, signals).await,
            Ok(("drained", Some(Signal::Terminate)))
        );
    }

    #[tokio::test]
    async fn the_second_signal_ends_at_once() {
        let stop = CancellationToken::new();
        let (send, signals) = mpsc::unbounded_channel();
        let work = async {
            send.send(Signal::Interrupt).unwrap();
            stop.cancelled().await;
            send.send(Signal::Interrupt).unwrap();
            std::future::pending::<()>().await;
        };
        let ended = run(work, &stop, signals).await;
        assert_eq!(ended.map_err(Signal::exit_code), Err(130));
        assert_eq!(Signal::Terminate.exit_code(), 143);
    }
}
