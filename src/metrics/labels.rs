//! The closed sets from which label values come.

use crate::lane::Lane;
use crate::outcome::{Class, Reason};

use super::family::Labels;

/// A set whose words stand in one label.
macro_rules! words {
    ($(#[doc = $about:literal])+ $set:ident, $label:literal: $($(#[doc = $help:literal])+ $value:ident = $word:literal,)*) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $set {
            $($(#[doc = $help])+ $value,)*
        }

        impl $set {
            /// Every value.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$value),*];

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }
        }

        impl Labels for $set {
            const COUNT: usize = Self::ALL.len();

            fn all() -> Vec<Self> {
                Self::ALL.to_vec()
            }

            fn index(self) -> usize {
                self as usize
            }

            fn labels(self) -> Vec<(&'static str, &'static str)> {
                vec![($label, self.as_str())]
            }
        }
    };
}

words! {
    /// Why a job went back through the delay ladder.
    DelayReason, "reason":
    /// The API asked for a pause.
    Throttled = "throttled",
    /// The API could not be reached.
    Unreachable = "unreachable",
    /// The API refused for the moment.
    Transient = "transient",
    /// Nobody knows whether it was launched.
    Unknown = "unknown",
    /// The API refused it, and the worker halted.
    Refused = "refused",
    /// This client may not launch it, and the worker halted.
    Forbidden = "forbidden",
    /// The credentials are not accepted.
    Unauthorized = "unauthorized",
    /// The API answered with a redirect.
    Misdirected = "misdirected",
    /// It is not due.
    NotBefore = "not_before",
    /// Its lane, flow or campaign is paused.
    Paused = "paused",
}

impl From<Class> for DelayReason {
    fn from(class: Class) -> Self {
        match class {
            Class::Throttled => Self::Throttled,
            Class::Unreachable => Self::Unreachable,
            Class::Transient => Self::Transient,
            Class::Unknown => Self::Unknown,
            Class::Refused => Self::Refused,
            Class::Forbidden => Self::Forbidden,
            Class::Unauthorized => Self::Unauthorized,
            Class::Misdirected => Self::Misdirected,
        }
    }
}

words! {
    /// Why a job was given back to the broker as it was.
    GiveBackReason, "reason":
    /// The worker is stopping.
    Shutdown = "shutdown",
    /// The gate is closed for long.
    Gate = "gate",
    /// The worker has halted.
    Halted = "halted",
    /// Its lane, flow or campaign is paused.
    Paused = "paused",
    /// The session with the broker ended: the broker took it back.
    SessionLost = "session_lost",
}

words! {
    /// Why the worker has halted.
    HaltReason, "reason":
    /// The credentials are not accepted.
    Unauthorized = "unauthorized",
    /// This client may not launch flow after flow.
    Forbidden = "forbidden",
    /// The API refused job after job.
    Refused = "refused",
    /// The address is not that of the API.
    Misdirected = "misdirected",
}

words! {
    /// What a request for a token came to.
    TokenResult, "result":
    /// A token.
    Ok = "ok",
    /// The client is not accepted.
    Refused = "refused",
    /// The login service asked for a pause.
    Throttled = "throttled",
    /// No answer, or none that can be read.
    Failed = "failed",
}

words! {
    /// What a look at an execution has seen.
    PollOutcome, "outcome":
    /// It runs.
    Running = "running",
    /// It has gone to its end.
    Completed = "completed",
    /// It has ended otherwise.
    Failed = "failed",
    /// The API knows of no such execution.
    Missing = "missing",
    /// The API asked for a pause.
    Throttled = "throttled",
    /// Nothing: no answer, or none that tells.
    Error = "error",
}

words! {
    /// How the following of an execution has ended.
    EndState, "state":
    /// It has gone to its end.
    Completed = "completed",
    /// It has ended otherwise.
    Failed = "failed",
    /// Nobody knows: given up.
    Unknown = "unknown",
}

words! {
    /// The queues whose length is reported.
    Queue, "queue":
    /// The lane of single launches.
    Normal = "normal",
    /// The lane of campaigns.
    Bulk = "bulk",
    /// Executions to look at.
    Track = "track",
    /// All of the delay ladder.
    Delayed = "delayed",
    /// The dead letters.
    Dead = "dead",
}

words! {
    /// The windows in which a job can be launched twice, as far as a worker can see them.
    Window, "window":
    /// Launched although it was delivered before: its worker died, or gave it back (the broker does not tell which).
    Redelivered = "redelivered",
    /// Launched again after an outcome that nobody knows.
    Relaunched = "relaunched",
    /// A copy was made, and the original could not be acknowledged.
    Copy = "copy",
    /// Its session with the broker ended while it was being launched.
    SessionLost = "session_lost",
}

words! {
    /// The kinds of broker.
    Broker, "broker":
    /// RabbitMQ.
    Amqp = "amqp",
    /// The embedded one.
    Sqlite = "sqlite",
}

/// What is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build(pub Broker);

impl Labels for Build {
    const COUNT: usize = Broker::COUNT;

    fn all() -> Vec<Self> {
        Broker::ALL.map(Self).to_vec()
    }

    fn index(self) -> usize {
        self.0.index()
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        vec![("version", env!("CARGO_PKG_VERSION")), ("broker", self.0.as_str())]
    }
}

impl Labels for Lane {
    const COUNT: usize = Self::ALL.len();

    fn all() -> Vec<Self> {
        Self::ALL.to_vec()
    }

    fn index(self) -> usize {
        self as usize
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        vec![("lane", self.as_str())]
    }
}

/// What a call of the launch API came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchOutcome {
    /// An execution.
    Launched,
    /// None.
    Failed(Class),
}

impl Labels for LaunchOutcome {
    const COUNT: usize = 1 + Class::ALL.len();

    fn all() -> Vec<Self> {
        std::iter::once(Self::Launched)
            .chain(Class::ALL.map(Self::Failed))
            .collect()
    }

    fn index(self) -> usize {
        match self {
            Self::Launched => 0,
            Self::Failed(class) => 1 + class as usize,
        }
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        let word = match self {
            Self::Launched => "launched",
            Self::Failed(class) => class.as_str(),
        };
        vec![("outcome", word)]
    }
}

/// How a job left the worker's hands: the verdict, with the reasons that it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Launched, and acknowledged.
    Launched,
    /// Its campaign is cancelled: acknowledged and not launched.
    Cancelled,
    /// Sent back with a delay.
    Delayed(DelayReason),
    /// Dead-lettered.
    Dead(Reason),
    /// Given back as it was.
    GivenBack(GiveBackReason),
}

impl Settled {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Launched => ("launched", "none"),
            Self::Cancelled => ("cancelled", "none"),
            Self::Delayed(reason) => ("delayed", reason.as_str()),
            Self::Dead(reason) => ("dead", reason.as_str()),
            Self::GivenBack(reason) => ("given_back", reason.as_str()),
        }
    }
}

impl Labels for Settled {
    const COUNT: usize = 2 + DelayReason::COUNT + Reason::ALL.len() + GiveBackReason::COUNT;

    fn all() -> Vec<Self> {
        [Self::Launched, Self::Cancelled]
            .into_iter()
            .chain(DelayReason::ALL.map(Self::Delayed))
            .chain(Reason::ALL.map(Self::Dead))
            .chain(GiveBackReason::ALL.map(Self::GivenBack))
            .collect()
    }

    fn index(self) -> usize {
        match self {
            Self::Launched => 0,
            Self::Cancelled => 1,
            Self::Delayed(reason) => 2 + reason as usize,
            Self::Dead(reason) => 2 + DelayReason::COUNT + reason as usize,
            Self::GivenBack(reason) => 2 + DelayReason::COUNT + Reason::ALL.len() + reason as usize,
        }
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        let (verdict, reason) = self.words();
        vec![("verdict", verdict), ("reason", reason)]
    }
}

/// The statuses that are told apart, with their words.
const STATUSES: [(u16, &str); 25] = [
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (301, "301"),
    (302, "302"),
    (307, "307"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (413, "413"),
    (415, "415"),
    (422, "422"),
    (425, "425"),
    (429, "429"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];

/// An HTTP status: one of the known ones, or `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(usize);

impl Status {
    /// The label for this status.
    pub fn of(status: u16) -> Self {
        Self(
            STATUSES
                .binary_search_by_key(&status, |(code, _)| *code)
                .unwrap_or(STATUSES.len()),
        )
    }
}

impl Labels for Status {
    const COUNT: usize = STATUSES.len() + 1;

    fn all() -> Vec<Self> {
        (0..Self::COUNT).map(Self).collect()
    }

    fn index(self) -> usize {
        self.0
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        vec![("status", STATUSES.get(self.0).map_or("other", |(_, word)| word))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order<L: Labels>() {
        assert_eq!(L::all().len(), L::COUNT);
        for (place, value) in L::all().into_iter().enumerate() {
            assert_eq!(value.index(), place, "{:?}", value.labels());
        }
    }

    #[test]
    fn every_set_is_in_the_order_of_its_index() {
        in_order::<()>();
        in_order::<Lane>();
        in_order::<LaunchOutcome>();
        in_order::<Settled>();
        in_order::<(Lane, Settled)>();
        in_order::<Status>();
        in_order::<Build>();
        in_order::<DelayReason>();
        in_order::<GiveBackReason>();
        in_order::<HaltReason>();
        in_order::<TokenResult>();
        in_order::<Queue>();
        in_order::<Window>();
        in_order::<PollOutcome>();
        in_order::<EndState>();
    }

    #[test]
    fn a_status_keeps_its_number_or_is_another() {
        for (code, word) in STATUSES {
            assert_eq!(Status::of(code).labels(), [("status", word)]);
            assert_eq!(code.to_string(), word);
        }
        assert_eq!(Status::of(418).labels(), [("status", "other")]);
    }

    #[test]
    fn every_class_delays_under_its_own_word() {
        for class in Class::ALL {
            assert_eq!(DelayReason::from(class).as_str(), class.as_str());
        }
    }
}
