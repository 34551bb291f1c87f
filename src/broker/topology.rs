//! The broker's objects: their names, arguments and bindings. Plain data, no I/O.

use std::time::Duration;

use super::ladder::{LEVELS, UNIT};
use super::{Lane, Source};

/// Give-backs and crashes after which the broker dead-letters a message by itself.
pub const DELIVERY_LIMIT: i64 = 20;

/// The names under one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

#[expect(missing_docs, reason = "each is the name of the object that it is called after")]
impl Names {
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }
    pub fn jobs(&self) -> String {
        format!("{}.jobs", self.prefix)
    }
    pub fn lane(&self, lane: Lane) -> String {
        format!("{}.jobs.{lane}", self.prefix)
    }
    pub fn track(&self) -> String {
        format!("{}.track", self.prefix)
    }
    pub fn source(&self, source: Source) -> String {
        match source {
            Source::Lane(lane) => self.lane(lane),
            Source::Track => self.track(),
        }
    }
    pub fn delay(&self, level: usize) -> String {
        format!("{}.delay.{level:02}", self.prefix)
    }
    pub fn due(&self) -> String {
        format!("{}.due", self.prefix)
    }
    pub fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }
    pub fn results(&self) -> String {
        format!("{}.results", self.prefix)
    }
    pub fn results_in(&self) -> String {
        format!("{}.results.in", self.prefix)
    }
    pub fn results_log(&self) -> String {
        format!("{}.results.log", self.prefix)
    }
    pub fn control(&self) -> String {
        format!("{}.control", self.prefix)
    }
    pub fn canary(&self) -> String {
        format!("{}.canary", self.prefix)
    }
}

/// An argument's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
}

/// Arguments by name.
pub type Arguments = Vec<(&'static str, Argument)>;

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are AMQP's own")]
pub enum Routing {
    Direct,
    Fanout,
    Topic,
}

/// A durable exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// How it routes.
    pub routing: Routing,
    /// Its arguments.
    pub arguments: Arguments,
}

/// A durable queue (or stream).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its arguments, the type among them.
    pub arguments: Arguments,
}

/// From an exchange to a queue or to another exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The exchange that it leads from.
    pub from: String,
    /// Where it leads.
    pub to: Target,
    /// The routing pattern.
    pub pattern: String,
}

/// Where a binding leads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Target {
    Queue(String),
    Exchange(String),
}

/// Everything that stands on the broker, in an order in which it can be declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Exchanges: each only after its alternate exchange.
    pub exchanges: Vec<Exchange>,
    /// Queues and streams.
    pub queues: Vec<Queue>,
    /// Bindings.
    pub bindings: Vec<Binding>,
}

impl Topology {
    /// The topology under `names`; results are kept for `keep`.
    pub fn new(names: &Names, keep: Duration) -> Self {
        let mut topology = Self {
            exchanges: Vec::new(),
            queues: Vec::new(),
            bindings: Vec::new(),
        };
        topology.dead(names);
        topology.due(names);
        topology.ladder(names);
        topology.jobs(names);
        topology.streams(names, keep);
        topology
    }

    /// The dead letters come first: everything else refers to them.
    fn dead(&mut self, names: &Names) {
        self.exchange(names.dead(), Routing::Fanout, vec![]);
        // So high that browsing (each look counts) never loses one. Without a limit 4.0 drops a message after 21
        // looks; with -1, 3.10 drops it at the first.
        self.queue(names.dead(), vec![quorum(), int("x-delivery-limit", 1_000_000_000)]);
        self.bind(names.dead(), Target::Queue(names.dead()), "");
    }

    /// Where the ladder ends: the lanes, the executions that are looked at next, and the canary's own short queue, which
    /// can never fill up and jam.
    fn due(&mut self, names: &Names) {
        self.exchange(names.due(), Routing::Topic, vec![alternate(names)]);
        for source in Source::ALL {
            self.bind(names.due(), Target::Queue(names.source(source)), &format!("#.{source}"));
        }
        self.queue(
            names.canary(),
            vec![
                quorum(),
                int("x-max-length", 100),
                text("x-overflow", "drop-head"),
                int("x-message-ttl", 600_000),
                int("x-delivery-limit", DELIVERY_LIMIT),
            ],
        );
        self.bind(names.due(), Target::Queue(names.canary()), "#.canary");
    }

    fn ladder(&mut self, names: &Names) {
        for level in 0..LEVELS {
            let next = if level == 0 {
                names.due()
            } else {
                names.delay(level - 1)
            };
            let place = "*.".repeat(LEVELS - 1 - level);
            // With at-least-once dead-lettering one missing destination jams a queue for all; the alternate exchange
            // takes what nobody else does.
            self.exchange(names.delay(level), Routing::Topic, vec![alternate(names)]);
            self.queue(
                names.delay(level),
                vec![
                    quorum(),
                    int(
                        "x-message-ttl",
                        i64::try_from(UNIT.as_millis() << level).unwrap_or(i64::MAX),
                    ),
                    text("x-dead-letter-exchange", next.clone()),
                    text("x-dead-letter-strategy", "at-least-once"),
                    text("x-overflow", "reject-publish"),
                    int("x-delivery-limit", DELIVERY_LIMIT),
                ],
            );
            self.bind(
                names.delay(level),
                Target::Queue(names.delay(level)),
                &format!("{place}1.#"),
            );
            self.bind(names.delay(level), Target::Exchange(next), &format!("{place}0.#"));
        }
    }

    fn jobs(&mut self, names: &Names) {
        self.exchange(names.jobs(), Routing::Direct, vec![alternate(names)]);
        for source in Source::ALL {
            self.queue(
                names.source(source),
                vec![
                    quorum(),
                    int("x-delivery-limit", DELIVERY_LIMIT),
                    text("x-dead-letter-exchange", names.dead()),
                    text("x-dead-letter-strategy", "at-least-once"),
                    text("x-overflow", "reject-publish"),
                ],
            );
        }
        for lane in Lane::ALL {
            self.bind(names.jobs(), Target::Queue(names.lane(lane)), lane.as_str());
        }
    }

    fn streams(&mut self, names: &Names, keep: Duration) {
        self.exchange(names.results(), Routing::Topic, vec![]);
        // Workers publish here. Routing by topic costs a 3.10 broker 20 us a result, and 6 while nobody has bound anything
        // there: so the log, which takes them all, hangs on a fanout before it.
        self.exchange(names.results_in(), Routing::Fanout, vec![]);
        self.bind(names.results_in(), Target::Exchange(names.results()), "");
        self.queue(
            names.results_log(),
            vec![
                text("x-queue-type", "stream"),
                text("x-max-age", format!("{}s", keep.as_secs())),
                int("x-stream-max-segment-size-bytes", 50_000_000),
            ],
        );
        self.bind(names.results_in(), Target::Queue(names.results_log()), "");
        // Retention works per segment: with the default of 500 MB nothing would ever age out.
        self.queue(
            names.control(),
            vec![
                text("x-queue-type", "stream"),
                text("x-max-age", "30D"),
                int("x-stream-max-segment-size-bytes", 1_000_000),
            ],
        );
    }

    fn exchange(&mut self, name: String, routing: Routing, arguments: Arguments) {
        self.exchanges.push(Exchange {
            name,
            routing,
            arguments,
        });
    }

    fn queue(&mut self, name: String, arguments: Arguments) {
        self.queues.push(Queue { name, arguments });
    }

    fn bind(&mut self, from: String, to: Target, pattern: &str) {
        self.bindings.push(Binding {
            from,
            to,
            pattern: pattern.to_owned(),
        });
    }
}

fn int(name: &'static str, value: i64) -> (&'static str, Argument) {
    (name, Argument::Int(value))
}

fn text(name: &'static str, value: impl Into<String>) -> (&'static str, Argument) {
    (name, Argument::Text(value.into()))
}

fn quorum() -> (&'static str, Argument) {
    text("x-queue-type", "quorum")
}

fn alternate(names: &Names) -> (&'static str, Argument) {
    text("alternate-exchange", names.dead())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_leads_on_and_every_exchange_of_the_path_has_an_alternate() {
        let names = Names::new("t");
        let topology = Topology::new(&names, Duration::from_secs(60));
        for exchange in &topology.exchanges {
            let has = exchange.arguments.iter().any(|(name, _)| *name == "alternate-exchange");
            let without = [names.dead(), names.results(), names.results_in()];
            assert_eq!(has, !without.contains(&exchange.name), "{}", exchange.name);
        }
        for level in 0..LEVELS {
            let own: Vec<_> = topology
                .bindings
                .iter()
                .filter(|b| b.from == names.delay(level))
                .collect();
            assert_eq!(own.len(), 2, "level {level}");
        }
        assert_eq!(topology.queues.len(), LEVELS + 3 + 1 + 1 + 2);
    }
}
