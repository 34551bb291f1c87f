//! The record as JSON Lines.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::value::RawValue;

use super::record::{Asked, Launch, Minted, Record, rfc3339};

/// Which log a reader wants.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Launches,
    Requests,
    Tokens,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LaunchLine<'a> {
    seq: u64,
    at: String,
    at_micros: i64,
    flow_id: &'a str,
    name: Option<&'a str>,
    flow_version: Option<&'a str>,
    inputs_text: Option<&'a str>,
    inputs: Option<Box<RawValue>>,
    execution_id: String,
    answer: &'a str,
    status: Option<u16>,
    token: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AskedLine<'a> {
    seq: u64,
    at: String,
    at_micros: i64,
    status: Option<u16>,
    flow_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MintedLine<'a> {
    seq: u64,
    at: String,
    at_micros: i64,
    status: Option<u16>,
    error: Option<&'a str>,
    token: Option<&'a str>,
}

impl Record {
    /// The next lines of a log after `after`, at most `most`, and the sequence number of the last.
    pub(crate) fn page(&self, which: Which, after: u64, most: usize, prefix: &str) -> (String, u64) {
        let mut page = Page {
            text: String::new(),
            last: after,
        };
        match which {
            Which::Launches => {
                for (seq, launch) in self.launches.after(after).take(most) {
                    page.add(seq, &self.launch_line(seq, launch, prefix));
                }
            }
            Which::Requests => {
                for (seq, Asked { at, flow, status }) in self.asked.after(after).take(most) {
                    let (at, at_micros) = self.time(*at);
                    let flow_id = flow.map(|flow| self.names.name(flow));
                    page.add(
                        seq,
                        &AskedLine {
                            seq,
                            at,
                            at_micros,
                            status: given(*status),
                            flow_id,
                        },
                    );
                }
            }
            Which::Tokens => {
                for (seq, Minted { at, status, mint }) in self.minted.after(after).take(most) {
                    let (at, at_micros) = self.time(*at);
                    let (status, error, token) = (given(*status), mint.error, mint.token.as_deref());
                    page.add(
                        seq,
                        &MintedLine {
                            seq,
                            at,
                            at_micros,
                            status,
                            error,
                            token,
                        },
                    );
                }
            }
        }
        (page.text, page.last)
    }

    fn launch_line<'a>(&'a self, seq: u64, launch: &'a Launch, prefix: &str) -> LaunchLine<'a> {
        let (at, at_micros) = self.time(launch.at);
        let (name, flow_version) = match launch.labels.as_deref() {
            Some((name, version)) => (name.as_deref(), version.as_deref()),
            None => (None, None),
        };
        LaunchLine {
            seq,
            at,
            at_micros,
            flow_id: self.names.name(launch.flow),
            name,
            flow_version,
            inputs_text: launch.inputs.as_deref(),
            inputs: launch.inputs.as_deref().and_then(on_one_line),
            execution_id: format!("{prefix}{}", self.execution_id(seq)),
            answer: if launch.sent { "sent" } else { "withheld" },
            status: given(launch.status),
            token: self.names.name(launch.token),
        }
    }

    /// A time of the simulator's clock, for people and for programs.
    fn time(&self, now: i64) -> (String, i64) {
        let micros = self.time_us(now);
        (rfc3339(micros), micros)
    }
}

struct Page {
    text: String,
    last: u64,
}

impl Page {
    fn add(&mut self, seq: u64, line: &impl Serialize) {
        if let Ok(line) = serde_json::to_string(line) {
            // Writing to a String cannot fail.
            let _ = writeln!(self.text, "{line}");
        }
        self.last = seq;
    }
}

fn given(status: u16) -> Option<u16> {
    (status != 0).then_some(status)
}

/// JSON with no line break in it: outside strings it is mere space, and inside it is not allowed.
fn on_one_line(json: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(json.replace(['\n', '\r'], " ")).ok()
}
