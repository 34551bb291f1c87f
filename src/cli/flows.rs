//! `flowlaunch flows`: the flows there are.

use std::time::Duration;

use anyhow::anyhow;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Failed;
use crate::api::{Flow, FlowQuery};
use crate::app;
use crate::config::Config;
use crate::direct::Ended;
use crate::outcome::Failure;

/// The table's width: what a terminal has at least.
const WIDTH: usize = 80;
const ID: usize = 36;

/// Arguments of `flowlaunch flows`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Only a flow with a published version can be launched. Needs the permission\n\
    architect:flow:view."
)]
pub(super) struct Args {
    /// Only those whose name contains this.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// Only those of this type, such as workflow.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    let direct = app::direct(&config, stop, waiting)?;
    let query = FlowQuery {
        name: args.name,
        kind: args.kind,
    };
    let flows = direct.flows(&query).await.map_err(|ended| {
        Failed::Work(match ended {
            Ended::Failed(failure) => anyhow!("cannot list the flows: {}", permitted(failure)),
            Ended::Stopped => anyhow!("interrupted"),
        })
    })?;
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&flows.iter().map(as_json).collect::<Vec<_>>())?
        );
    } else if flows.is_empty() {
        println!("no flow matches");
    } else {
        print!("{}", table(&flows));
    }
    Ok(())
}

/// A 403 to a read is about another permission than one to a launch.
fn permitted(failure: Failure) -> Failure {
    if failure.status == Some(403) && !failure.from_login {
        return Failure {
            fix: Some("Give the OAuth client's role architect:flow:view; launching does not need it"),
            ..failure
        };
    }
    failure
}

#[expect(clippy::print_stderr, reason = "a word to the person at the terminal")]
fn waiting(failure: &Failure, pause: Duration) {
    eprintln!(
        "flowlaunch: {failure}. Trying again in {:.0} s",
        pause.as_secs_f64().ceil()
    );
}

fn version(flow: &Flow) -> Option<&str> {
    let version = flow.published_version.as_ref()?;
    Some(version.id.as_deref().unwrap_or("yes"))
}

fn as_json(flow: &Flow) -> serde_json::Value {
    json!({ "id": flow.id, "name": flow.name, "type": flow.kind, "publishedVersion": version(flow) })
}

/// Ids are whole, so that they can be copied; long names are cut.
fn table(flows: &[Flow]) -> String {
    let kind = |flow: &Flow| flow.kind.clone().unwrap_or_else(|| "-".to_owned());
    let width = flows
        .iter()
        .map(|flow| kind(flow).chars().count())
        .max()
        .unwrap_or(0)
        .max("type".len());
    // Version, and two spaces between columns.
    let room = WIDTH.saturating_sub(ID + width + "published".len() + 6).max(8);
    let row = |id: &str, name: &str, kind: &str, version: &str| {
        format!("{id:ID$}  {:room$}  {kind:width$}  {version}\n", cut(name, room))
    };
    let mut text = row("id", "name", "type", "published");
    for flow in flows {
        text += &row(
            &flow.id,
            flow.name.as_deref().unwrap_or("-"),
            &kind(flow),
            version(flow).unwrap_or("no"),
        );
    }
    text
}

fn cut(name: &str, room: usize) -> String {
    if name.chars().count() <= room {
        return name.to_owned();
    }
    name.chars().take(room - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Version;

    #[test]
    fn the_table_fits_80_columns_with_whole_ids_and_says_what_is_not_published() {
        let flow = |name: &str, version: Option<&str>| Flow {
            id: "5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b".to_owned(),
            name: Some(name.to_owned()),
            kind: Some("workflow".to_owned()),
            published_version: version.map(|id| Version {
                id: Some(id.to_owned()),
            }),
        };
        let text = table(&[
            flow("Order confirmation", Some("12.0")),
            flow("Ein sehr langer Name für einen Ablauf, der nicht passt", None),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(
            lines[1].starts_with("5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b  Order confirmation  "),
            "{text}"
        );
        assert!(
            lines[1].ends_with("  workflow  12.0") && lines[2].ends_with("…  workflow  no"),
            "{text}"
        );
    }
}
