//! `flowlaunch flows`: the flows there are.

use anyhow::anyhow;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Failed, out, told};
use crate::api::{Flow, FlowQuery};
use crate::app;
use crate::config::Config;
use crate::direct::Ended;

/// The table's width: what a terminal has at least.
const WIDTH: usize = 80;
const ID: usize = 36;

/// Arguments of `flowlaunch flows`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Only a flow with a published version can be launched. Needs the permission\n\
    architect:flow:view.\n\n  \
    flowlaunch flows --name order --type workflow"
)]
pub(super) struct Args {
    /// Only those whose name contains this; with a * in it, those that match it.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// Only those of this type, such as workflow.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    let direct = app::direct(&config, stop, told::waiting)?;
    let query = FlowQuery {
        name: args.name,
        kind: args.kind,
    };
    let flows = direct.flows(&query).await.map_err(|ended| {
        Failed::Work(match ended {
            Ended::Failed { failure, tries } => anyhow!(told::read("cannot list the flows", &failure, tries)),
            Ended::Stopped => anyhow!("interrupted"),
        })
    })?;
    if args.json {
        out::json(&flows.iter().map(as_json).collect::<Vec<_>>())?;
    } else if flows.is_empty() {
        out::print("no flow matches\n")?;
    } else {
        out::print(table(&flows))?;
    }
    Ok(())
}

/// The published version; a server that knows of one need not name it.
fn version(flow: &Flow) -> &str {
    match &flow.published_version {
        Some(version) => version.id.as_deref().unwrap_or("yes"),
        None => "no",
    }
}

fn as_json(flow: &Flow) -> serde_json::Value {
    let published = flow.published_version.as_ref();
    json!({
        "id": flow.id,
        "name": flow.name,
        "type": flow.kind,
        "published": published.is_some(),
        "publishedVersion": published.and_then(|version| version.id.as_deref()),
    })
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
            version(flow),
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
            input_schema: None,
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

    #[test]
    fn a_version_without_an_id_is_published_all_the_same() {
        let flow = Flow {
            published_version: Some(Version::default()),
            ..Flow::default()
        };
        assert_eq!(version(&flow), "yes");
        let record = as_json(&flow);
        assert_eq!(
            (&record["published"], &record["publishedVersion"]),
            (&json!(true), &json!(null))
        );
        assert_eq!(as_json(&Flow::default())["published"], json!(false));
    }
}
