//! What happened: every launch accepted, every launch request, every token request. Tests judge a client by it.
//!
//! Built to hold a million launches: a record is some fifty bytes and the inputs as they came.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::log::{Log, Names};

/// What a client asked for, as it asked.
#[derive(Clone, Debug)]
pub(crate) struct Order<'a> {
    pub(crate) flow_id: &'a str,
    pub(crate) name: Option<&'a str>,
    pub(crate) flow_version: Option<&'a str>,
    pub(crate) inputs: Option<&'a RawValue>,
}

/// Name and version, as given.
type Labels = (Option<Box<str>>, Option<Box<str>>);

#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) at: i64,
    pub(crate) flow: u32,
    pub(crate) token: u32,
    pub(crate) inputs: Option<Box<str>>,
    /// Boxed, because most launches have neither.
    pub(crate) labels: Option<Box<Labels>>,
    pub(crate) status: u16,
    pub(crate) sent: bool,
}

#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) at: i64,
    pub(crate) flow: Option<u32>,
    pub(crate) status: u16,
}

#[derive(Debug)]
pub(crate) struct Minted {
    pub(crate) at: i64,
    pub(crate) status: u16,
    pub(crate) mint: Mint,
}

/// What came of a token request, where it got as far as that: an error, or a token, named by its tail.
#[derive(Debug, Default)]
pub(crate) struct Mint {
    pub(crate) error: Option<&'static str>,
    pub(crate) token: Option<Arc<str>>,
}

impl Launch {
    fn bytes(&self) -> u64 {
        self.inputs.as_deref().map_or(0, str::len) as u64
    }
}

/// All that is on record.
#[derive(Debug)]
pub(crate) struct Record {
    /// Microseconds of the epoch at which the simulator's clock stood at zero.
    pub(crate) epoch_us: i64,
    pub(crate) run: u64,
    pub(crate) launches: Log<Launch>,
    /// Bytes of the inputs in `launches`.
    pub(crate) bytes: u64,
    pub(crate) asked: Log<Asked>,
    pub(crate) minted: Log<Minted>,
    pub(crate) names: Names,
}

/// What a poll needs to know of an execution.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) seq: u64,
    pub(crate) launched_at: i64,
    pub(crate) flow_id: String,
    pub(crate) name: Option<String>,
    pub(crate) flow_version: Option<String>,
}

impl Record {
    pub(crate) fn new(epoch_us: i64) -> Self {
        Self {
            epoch_us,
            run: uuid::Uuid::new_v4().as_u64_pair().0,
            launches: Log::default(),
            bytes: 0,
            asked: Log::default(),
            minted: Log::default(),
            names: Names::default(),
        }
    }

    /// Records a launch as accepted; its sequence number. Its answer counts as withheld until `sent`.
    pub(crate) fn launch(&mut self, order: &Order<'_>, token: &str, now: i64, most: (usize, u64)) -> u64 {
        let labels = (order.name.is_some() || order.flow_version.is_some())
            .then(|| Box::new((order.name.map(Into::into), order.flow_version.map(Into::into))));
        let launch = Launch {
            at: now,
            flow: self.names.number(order.flow_id),
            token: self.names.number(token),
            inputs: order.inputs.map(|inputs| inputs.get().into()),
            labels,
            status: 0,
            sent: false,
        };
        self.bytes += launch.bytes();
        let (most_records, most_bytes) = most;
        while self.launches.len() >= most_records || (self.bytes > most_bytes && self.launches.len() > 0) {
            self.bytes -= self.launches.drop_oldest().map_or(0, |oldest| oldest.bytes());
        }
        self.launches.push(launch, most_records)
    }

    /// Notes how a launch was answered: with which status (0 for none), and whether the client got that answer.
    pub(crate) fn answered(&mut self, seq: u64, status: u16, sent: bool) {
        if let Some(launch) = self.launches.get_mut(seq) {
            launch.status = status;
            launch.sent = sent;
        }
    }

    pub(crate) fn asked(&mut self, flow: Option<&str>, status: u16, now: i64, most: usize) {
        // A stranger's text of any length must not stay in memory.
        let flow = flow.filter(|flow| flow.len() <= 64).map(|flow| self.names.number(flow));
        self.asked.push(Asked { at: now, flow, status }, most);
    }

    pub(crate) fn minted(&mut self, mint: Mint, status: u16, now: i64, most: usize) {
        self.minted.push(Minted { at: now, status, mint }, most);
    }

    pub(crate) fn launched(&self) -> u64 {
        self.launches.next() - 1
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.launches.dropped()
    }

    pub(crate) fn clear_launches(&mut self) {
        self.launches.clear();
        self.bytes = 0;
        self.asked.clear();
        // Only those two logs refer to names by number.
        self.names = Names::default();
    }

    /// The id of an execution: the run in its first half, the sequence number in its second, so that it can be found.
    pub(crate) fn execution_id(&self, seq: u64) -> uuid::Uuid {
        let halves = uuid::Uuid::from_u64_pair(self.run, seq);
        uuid::Builder::from_bytes(*halves.as_bytes())
            .with_version(uuid::Version::Random)
            .with_variant(uuid::Variant::RFC4122)
            .into_uuid()
    }

    pub(crate) fn execution(&mut self, id: &str) -> Option<Execution> {
        let seq = uuid::Uuid::try_parse(id).ok()?.as_u64_pair().1 & 0xffff_ffff_ffff;
        if self
            .execution_id(seq)
            .hyphenated()
            .encode_lower(&mut uuid::Uuid::encode_buffer())
            != id
        {
            return None;
        }
        let flow = self.launches.get_mut(seq)?.flow;
        let flow_id = self.names.name(flow).to_owned();
        let launch = self.launches.get_mut(seq)?;
        let (name, flow_version) = launch.labels.as_deref().cloned().unwrap_or_default();
        let (name, flow_version) = (name.map(Into::into), flow_version.map(Into::into));
        Some(Execution {
            seq,
            launched_at: launch.at,
            flow_id,
            name,
            flow_version,
        })
    }

    /// A time of the simulator's clock as microseconds of the epoch.
    pub(crate) fn time_us(&self, now: i64) -> i64 {
        self.epoch_us + now
    }
}

/// Microseconds of the epoch as RFC 3339, always with six places, so that the text sorts as the time does.
pub(crate) fn rfc3339(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| format!("{time:.6}"))
}
