//! `flowlaunch launch`: one flow now, no queue.

use std::path::PathBuf;

use anyhow::anyhow;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::inputs::{self, Input};
use super::{Failed, out, told};
use crate::api::{Execution, LaunchRequest, Stage};
use crate::app;
use crate::config::Config;
use crate::direct::{Direct, Ended};
use crate::outcome::Receipt;

/// Arguments of `flowlaunch launch`.
#[derive(clap::Args, Debug)]
#[command(after_help = "  \
    flowlaunch launch --flow-id 5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b \\\n      \
    --input customerEmail=ann@example.com --input amount:=1.10 --wait\n\n\
    It is sent once. When no answer tells whether it was launched, it says so, and\n\
    you have to look before you launch it again. A 429 is waited out: nothing was\n\
    launched then. `flowlaunch flows` lists the flows with their ids.\n\n\
    With --json it prints one object, also when it failed (then with `error`); with\n\
    exit code 2 nothing was tried, and none is printed.\n\n\
    Ctrl-C: a launch that was sent is awaited and its execution id is told; all else\n\
    ends at once, the execution goes on. The exit code is 130 in either case.\n\n\
    Exit codes: 0 launched (with --wait: and completed), 1 not, or nobody can tell,\n\
    or the flow failed, 2 usage or configuration, 130 and 143 ended by a signal.")]
pub(super) struct Args {
    /// The flow's id, a UUID.
    #[arg(long, value_name = "ID", value_parser = flow_id)]
    flow_id: String,

    /// An input: KEY=TEXT, or KEY:=JSON for a number, a list and so on. Can be given more than once.
    #[arg(long = "input", value_name = "KEY=TEXT", value_parser = inputs::parse)]
    inputs: Vec<Input>,

    /// A file with the inputs, one JSON object, passed on byte for byte; - for standard input. --input goes before it.
    #[arg(long = "inputs", value_name = "FILE")]
    file: Option<PathBuf>,

    /// A name for the execution.
    #[arg(long)]
    name: Option<String>,

    /// A version of the flow; else the latest that is published.
    #[arg(long, value_name = "VERSION")]
    flow_version: Option<String>,

    /// Follow it to its end.
    #[arg(long)]
    wait: bool,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn flow_id(text: &str) -> Result<String, String> {
    match uuid::Uuid::try_parse(text) {
        Ok(id) if text.len() == 36 => Ok(id.to_string()),
        Ok(_) | Err(_) => {
            Err("must be a UUID such as 5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b: `flowlaunch flows` lists them".to_owned())
        }
    }
}

/// What became of it, as far as it came.
#[derive(Default)]
struct Story {
    receipt: Option<Receipt>,
    /// How the execution ended.
    end: Option<Execution>,
    /// What went wrong between us and the API, for a program.
    error: Option<Value>,
    /// What went wrong, for a person; a flow that failed is that too.
    complaint: Option<String>,
}

pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    config.require_inputs_field()?;
    let direct = app::direct(&config, stop.clone(), told::waiting)?;
    let (file, given) = (args.file.clone(), args.inputs.clone());
    // On a thread of its own: a read of the standard input must not keep a signal waiting.
    let reading = tokio::task::spawn_blocking(move || inputs::gather(file.as_deref(), &given));
    let mut story = Story::default();
    match stop.run_until_cancelled(reading).await {
        Some(read) => {
            let inputs = read?.map_err(Failed::Usage)?;
            story.live(&direct, &args, inputs.as_deref()).await;
        }
        None => story.interrupted("interrupted: nothing was launched"),
    }
    if args.json {
        out::print(format!("{}\n", story.as_json(&args.flow_id)))?;
    } else {
        out::print(story.text()?)?;
    }
    story.complaint.map_or(Ok(()), |text| Err(Failed::Work(anyhow!(text))))
}

impl Story {
    /// Launches, and with --wait follows it to its end.
    async fn live(&mut self, direct: &Direct, args: &Args, inputs: Option<&RawValue>) {
        let request = LaunchRequest {
            flow_id: &args.flow_id,
            inputs,
            flow_version: args.flow_version.as_deref(),
            name: args.name.as_deref(),
        };
        match direct.launch(&request).await {
            Ok(receipt) => self.receipt = Some(receipt),
            Err(Ended::Failed { failure, tries }) => {
                self.error = Some(told::as_json(&failure));
                self.complaint = Some(told::launch(&args.flow_id, &failure, tries));
            }
            Err(Ended::Stopped) => self.interrupted("interrupted: nothing was launched"),
        }
        if self.receipt.is_some() && args.wait {
            self.follow(direct, args.json).await;
        }
    }

    async fn follow(&mut self, direct: &Direct, json: bool) {
        let Some(id) = self.execution_id().map(str::to_owned) else {
            let text = "launched, but the API's answer names no execution id: it cannot be followed";
            self.error = Some(told::our_own("unknown", text));
            self.complaint = Some(text.to_owned());
            return;
        };
        if !json {
            told::hint(&format!(
                "launched: execution {id}; waiting for its end, Ctrl-C stops waiting"
            ));
        }
        match direct.follow(&id).await {
            Ok(execution) => {
                if execution.stage() == Stage::Failed {
                    let state = execution.state.as_deref().unwrap_or("unknown");
                    let why = execution.reason.as_deref().unwrap_or("the API does not say why");
                    self.complaint = Some(format!("execution {id} ended as {state}: {why}"));
                }
                self.end = Some(execution);
            }
            Err(Ended::Failed { failure, tries }) => {
                let what = format!("execution {id} was launched, and its end cannot be seen");
                self.error = Some(told::as_json(&failure));
                self.complaint = Some(told::read(&what, &failure, tries));
            }
            Err(Ended::Stopped) => self.interrupted(&format!(
                "execution {id} was launched and goes on; nobody waits for it any more. Look for it in Architect, or \
                 with GET /api/v2/flows/executions/{id}"
            )),
        }
    }

    fn interrupted(&mut self, text: &str) {
        self.error = Some(told::our_own("interrupted", text));
        self.complaint = Some(text.to_owned());
    }

    fn execution_id(&self) -> Option<&str> {
        self.receipt.as_ref()?.execution_id.as_deref()
    }

    fn state(&self) -> Option<&str> {
        let last = self.end.as_ref().and_then(|end| end.state.as_deref());
        last.or(self.receipt.as_ref()?.state.as_deref())
    }

    fn as_json(&self, flow_id: &str) -> Value {
        json!({
            "flowId": flow_id,
            "executionId": self.execution_id(),
            "state": self.state(),
            "ended": self.end.is_some(),
            "reason": self.end.as_ref().and_then(|end| end.reason.as_deref()),
            "output": self.end.as_ref().and_then(|end| end.output.as_ref()),
            "error": self.error,
        })
    }

    /// What is printed of what went well; the complaint goes another way.
    fn text(&self) -> anyhow::Result<String> {
        let id = self.execution_id().unwrap_or("(the API's answer names no id)");
        Ok(match (&self.end, &self.receipt) {
            (Some(end), _) => {
                let output = end.output.as_ref().map(serde_json::to_string_pretty).transpose()?;
                let output = output.map_or_else(String::new, |output| output + "\n");
                format!("execution {id} ended: {}\n{output}", self.state().unwrap_or("unknown"))
            }
            (None, Some(_)) if self.complaint.is_none() => {
                let state = self.state().map_or_else(String::new, |state| format!(" ({state})"));
                format!("launched: execution {id}{state}\n")
            }
            (None, _) => String::new(),
        })
    }
}
