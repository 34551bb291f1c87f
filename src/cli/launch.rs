//! `flowlaunch launch`: one flow now, no queue.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Failed;
use super::inputs::{self, Input};
use crate::api::{Execution, LaunchRequest, Stage};
use crate::app;
use crate::config::Config;
use crate::direct::{Direct, Ended};
use crate::outcome::{Failure, Receipt};

/// Arguments of `flowlaunch launch`.
#[derive(clap::Args, Debug)]
#[command(after_help = "  \
    flowlaunch launch --flow-id 5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b \\\n      \
    --input customerEmail=ann@example.com --input amount:=1.10 --wait\n\n\
    It is sent once. When no answer tells whether it was launched, it says so, and it\n\
    is for you to look before you launch it again. A 429 is waited out: nothing was\n\
    launched then. `flowlaunch flows` lists the flows with their ids.\n\n\
    Exit codes: 0 launched (with --wait: and completed), 1 not, or nobody can tell.")]
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

pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    config.require_inputs_field()?;
    let inputs = inputs::gather(args.file.as_deref(), &args.inputs).map_err(Failed::Usage)?;
    let direct = app::direct(&config, stop, waiting)?;
    let request = LaunchRequest {
        flow_id: &args.flow_id,
        inputs: inputs.as_deref(),
        flow_version: args.flow_version.as_deref(),
        name: args.name.as_deref(),
    };
    let receipt = match direct.launch(&request).await {
        Ok(receipt) => receipt,
        Err(Ended::Failed(failure)) => return Err(Failed::Work(anyhow!("flow {}: {failure}", args.flow_id))),
        Err(Ended::Stopped) => return Err(Failed::Work(anyhow!("interrupted: nothing was launched"))),
    };
    let ended = if args.wait {
        Some(follow(&direct, &receipt, args.json).await?)
    } else {
        None
    };
    say(&args, &receipt, ended.as_ref())?;
    match &ended {
        Some(execution) if execution.stage() == Stage::Failed => {
            let id = receipt.execution_id.as_deref().unwrap_or("-");
            let why = execution.reason.as_deref().unwrap_or("the API does not say why");
            Err(Failed::Work(anyhow!(
                "execution {id} ended as {}: {why}",
                state(execution)
            )))
        }
        Some(_) | None => Ok(()),
    }
}

async fn follow(direct: &Direct, receipt: &Receipt, json: bool) -> Result<Execution, Failed> {
    let Some(id) = &receipt.execution_id else {
        return Err(Failed::Work(anyhow!(
            "launched, but the API's answer names no execution id: it cannot be followed"
        )));
    };
    if !json {
        hint(&format!(
            "launched: execution {id}; waiting for its end, Ctrl-C stops waiting"
        ));
    }
    direct.follow(id).await.map_err(|ended| {
        Failed::Work(match ended {
            Ended::Failed(failure) => {
                anyhow!("execution {id} was launched, and cannot be looked at any more: {failure}")
            }
            Ended::Stopped => anyhow!(
                "execution {id} was launched and goes on; nobody waits for it any more. Look for it in Architect, or \
                 with GET /api/v2/flows/executions/{id}"
            ),
        })
    })
}

fn state(execution: &Execution) -> &str {
    execution.state.as_deref().unwrap_or("unknown")
}

/// Told on standard error, where a program that reads the result does not look.
fn waiting(failure: &Failure, pause: Duration) {
    hint(&format!(
        "nothing was launched yet: {failure}. Trying again in {:.0} s",
        pause.as_secs_f64().ceil()
    ));
}

#[expect(clippy::print_stderr, reason = "a word to the person at the terminal")]
fn hint(text: &str) {
    eprintln!("flowlaunch: {text}");
}

#[expect(clippy::print_stdout, reason = "the command's result")]
fn say(args: &Args, receipt: &Receipt, ended: Option<&Execution>) -> anyhow::Result<()> {
    let id = receipt.execution_id.as_deref();
    let state = ended
        .and_then(|execution| execution.state.as_deref())
        .or(receipt.state.as_deref());
    if args.json {
        let record = json!({
            "flowId": args.flow_id,
            "executionId": id,
            "state": state,
            "ended": ended.is_some(),
            "reason": ended.and_then(|execution| execution.reason.as_deref()),
            "output": ended.and_then(|execution| execution.output.as_ref()),
        });
        println!("{}", serde_json::to_string(&record)?);
        return Ok(());
    }
    let id = id.unwrap_or("(the API's answer names no id)");
    match ended {
        None => println!(
            "launched: execution {id}{}",
            state.map_or_else(String::new, |state| format!(" ({state})"))
        ),
        Some(execution) => {
            println!("execution {id} ended: {}", state.unwrap_or("unknown"));
            if let Some(output) = &execution.output {
                println!("{}", serde_json::to_string_pretty(output)?);
            }
        }
    }
    Ok(())
}
