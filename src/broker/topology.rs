//! The broker's objects: queue names, the delay ladder, arguments. Plain data, no I/O.
//!
//! # The delay ladder
//!
//! A queue delivers in its own order, so a message with a long TTL holds up a short one behind it. The ladder has one
//! queue per *level*, each with one fixed TTL (0.25 s times a power of two), so within a queue all leave in the order in
//! which they came. A delay is written in binary into the routing key (`0.…0.1.0.1.normal`, the highest level first);
//! the exchange of each level sends a message either into its queue, which dead-letters to the next exchange after its
//! TTL, or straight on. NServiceBus and kombu delay in the same manner.

use std::time::Duration;

use super::Lane;

/// The ladder's unit: the TTL of level 0.
pub const UNIT: Duration = Duration::from_millis(250);

/// Levels of the ladder: the highest alone delays for 36 h, more than the longest pause that the API may name (24 h).
pub const LEVELS: usize = 20;

/// Delays up to this are one leg, rounded up; longer ones are rounded down, and what remains is delayed again.
pub const LAST_LEG: Duration = Duration::from_secs(30);

/// At most so many hops a leg: each costs the broker a write.
const SET_BITS: u32 = 4;

/// Give-backs and crashes after which the broker dead-letters a message by itself.
pub const DELIVERY_LIMIT: i64 = 20;

/// How far a canary's leg reaches: it passes every level that retries use (seven set bits, 31.75 s).
pub const CANARY: Leg = Leg { units: 0b111_1111 };

/// One passage through the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    units: u32,
}

impl Leg {
    /// The leg for a delay: at least the delay when that is 30 s or less (and less than 2 s more), less than it
    /// otherwise. Never none: the shortest is one unit.
    pub fn new(delay: Duration) -> Self {
        let longest = (1_u32 << LEVELS) - 1;
        if delay <= LAST_LEG {
            let units = u32::try_from(delay.as_millis().div_ceil(UNIT.as_millis())).unwrap_or(longest);
            Self {
                units: round_up(units.max(1)),
            }
        } else {
            let units = u32::try_from(delay.as_millis() / UNIT.as_millis()).unwrap_or(longest);
            Self {
                units: round_down(units.min(longest)),
            }
        }
    }

    /// How long it takes.
    pub fn duration(self) -> Duration {
        UNIT * self.units
    }

    /// The level at which a message enters.
    pub fn level(self) -> usize {
        self.units.ilog2() as usize
    }

    /// The routing key: the bits, highest level first, and where the message is due.
    pub fn routing_key(self, due: &str) -> String {
        let mut key = String::with_capacity(2 * LEVELS + due.len());
        for level in (0..LEVELS).rev() {
            key.push(if self.units >> level & 1 == 1 { '1' } else { '0' });
            key.push('.');
        }
        key.push_str(due);
        key
    }
}

/// The next number up with at most four set bits.
fn round_up(units: u32) -> u32 {
    let mut rounded = units;
    while rounded.count_ones() > SET_BITS {
        // Adding the lowest set bit carries it away: never more set bits than before.
        rounded += 1 << rounded.trailing_zeros();
    }
    rounded
}

/// The next number down with at most four set bits.
fn round_down(units: u32) -> u32 {
    let mut rounded = units;
    while rounded.count_ones() > SET_BITS {
        rounded &= rounded - 1;
    }
    rounded
}

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

    /// Where the ladder ends: the lanes, and the canary's own short queue, which can never fill up and jam.
    fn due(&mut self, names: &Names) {
        self.exchange(names.due(), Routing::Topic, vec![alternate(names)]);
        for lane in Lane::ALL {
            self.bind(names.due(), Target::Queue(names.lane(lane)), &format!("#.{lane}"));
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
        for lane in Lane::ALL {
            self.queue(
                names.lane(lane),
                vec![
                    quorum(),
                    int("x-delivery-limit", DELIVERY_LIMIT),
                    text("x-dead-letter-exchange", names.dead()),
                    text("x-dead-letter-strategy", "at-least-once"),
                    text("x-overflow", "reject-publish"),
                ],
            );
            self.bind(names.jobs(), Target::Queue(names.lane(lane)), lane.as_str());
        }
    }

    fn streams(&mut self, names: &Names, keep: Duration) {
        self.exchange(names.results(), Routing::Topic, vec![]);
        self.queue(
            names.results_log(),
            vec![
                text("x-queue-type", "stream"),
                text("x-max-age", format!("{}s", keep.as_secs())),
                int("x-stream-max-segment-size-bytes", 50_000_000),
            ],
        );
        self.bind(names.results(), Target::Queue(names.results_log()), "#");
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_last_leg_is_never_early_and_late_by_less_than_two_seconds(ms in 0_u64..=30_000) {
            let delay = Duration::from_millis(ms);
            let leg = Leg::new(delay);
            prop_assert!(leg.duration() >= delay.max(UNIT));
            prop_assert!(leg.duration() <= delay + Duration::from_secs(2));
            prop_assert!(leg.units.count_ones() <= SET_BITS);
        }

        #[test]
        fn a_long_leg_is_never_late_and_covers_most_of_the_way(ms in 30_001_u64..=40_000_000_000) {
            let delay = Duration::from_millis(ms);
            let leg = Leg::new(delay);
            prop_assert!(leg.duration() <= delay);
            prop_assert!(leg.units.count_ones() <= SET_BITS);
            let most = delay.min(Duration::from_secs(3 * 86_400)) * 7 / 8;
            prop_assert!(leg.duration() + UNIT >= most);
        }

        #[test]
        fn legs_add_up_to_any_delay(secs in 0_u64..=90_000) {
            // The worker delays again by what remains, until nothing does.
            let mut left = Duration::from_secs(secs);
            let mut legs = 0;
            while !left.is_zero() {
                left = left.saturating_sub(Leg::new(left).duration());
                legs += 1;
            }
            prop_assert!(legs <= 8, "{legs} legs");
        }
    }

    #[test]
    fn the_key_reads_highest_level_first() {
        let leg = Leg::new(Duration::from_millis(1250));
        assert_eq!(leg.duration(), Duration::from_millis(1250));
        assert_eq!(leg.level(), 2);
        assert!(leg.routing_key("bulk").ends_with("0.1.0.1.bulk"));
        assert_eq!(leg.routing_key("bulk").split('.').count(), LEVELS + 1);
    }

    #[test]
    fn every_level_leads_on_and_every_exchange_of_the_path_has_an_alternate() {
        let names = Names::new("t");
        let topology = Topology::new(&names, Duration::from_secs(60));
        for exchange in &topology.exchanges {
            let has = exchange.arguments.iter().any(|(name, _)| *name == "alternate-exchange");
            assert_eq!(
                has,
                exchange.name != names.dead() && exchange.name != names.results(),
                "{}",
                exchange.name
            );
        }
        for level in 0..LEVELS {
            let own: Vec<_> = topology
                .bindings
                .iter()
                .filter(|b| b.from == names.delay(level))
                .collect();
            assert_eq!(own.len(), 2, "level {level}");
        }
        assert_eq!(topology.queues.len(), LEVELS + 2 + 1 + 1 + 2);
    }
}
