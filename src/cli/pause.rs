//! `flowlaunch pause` and `flowlaunch resume`: the kill switch, for the whole fleet.

use anyhow::anyhow;
use jiff::Timestamp;
use serde_json::json;

use super::{Failed, out};
use crate::app;
use crate::config::Config;
use crate::control::{Entry, Rules, Scope};
use crate::job;
use crate::lane::Lane;

/// What is meant.
#[derive(clap::Args, Debug)]
#[group(id = "which", multiple = false)]
struct Which {
    /// Everything.
    #[arg(long)]
    all: bool,

    /// A lane.
    #[arg(long, value_enum)]
    lane: Option<Lane>,

    /// A flow, by its id.
    #[arg(long, value_name = "ID", value_parser = super::launch::flow_id)]
    flow: Option<String>,

    /// A campaign: the jobs that bear this label.
    #[arg(long, value_name = "NAME", value_parser = campaign)]
    campaign: Option<String>,
}

impl Which {
    fn scope(self) -> Result<Scope, Failed> {
        match self {
            Self { all: true, .. } => Ok(Scope::All),
            Self { lane: Some(lane), .. } => Ok(Scope::Lane(lane)),
            Self { flow: Some(id), .. } => Ok(Scope::Flow(id)),
            Self {
                campaign: Some(name), ..
            } => Ok(Scope::Campaign { name, run: None }),
            Self { .. } => Err(Failed::Usage(anyhow!("say what: --all, --lane, --flow or --campaign"))),
        }
    }
}

fn campaign(text: &str) -> Result<String, String> {
    if job::is_campaign(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "must be a letter or digit, then letters, digits, - and _, {} at most",
        job::MAX_CAMPAIGN_BYTES
    ))
}

/// Arguments of `flowlaunch pause`.
#[derive(clap::Args, Debug)]
#[command(after_help = "  \
    flowlaunch pause --all --reason \"wrong announcement\"\n  \
    flowlaunch pause --lane bulk\n  \
    flowlaunch pause --list\n\n\
    Every worker follows within a second or two, and those that start later as well:\n\
    a pause lasts until somebody resumes the same thing. What a worker has sent\n\
    already is not called back. Jobs wait meanwhile and spend no attempt; only their\n\
    expiresAt goes on.")]
pub(super) struct PauseArgs {
    #[command(flatten)]
    which: Which,

    /// Why, for those who wonder.
    #[arg(long, value_name = "TEXT", conflicts_with = "list")]
    reason: Option<String>,

    /// Say what is paused, and change nothing.
    #[arg(long, conflicts_with = "which")]
    list: bool,

    /// With --list: as JSON.
    #[arg(long, requires = "list")]
    json: bool,
}

/// Arguments of `flowlaunch resume`.
#[derive(clap::Args, Debug)]
#[command(after_help = "  \
    flowlaunch resume --lane bulk\n\n\
    It ends the pause of just that: a lane that is paused stays so when everything is\n\
    resumed. `flowlaunch pause --list` says what is paused.")]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    which: Which,
}

pub(super) async fn pause(config: Config, args: PauseArgs) -> Result<(), Failed> {
    if args.list {
        return list(&config, args.json).await;
    }
    let scope = args.which.scope()?;
    begin(&config, &scope, args.reason).await?;
    out::print(format!(
        "paused: {scope}. Workers follow at once; `flowlaunch resume {}` ends it\n",
        flag(&scope)
    ))?;
    Ok(())
}

pub(super) async fn resume(config: Config, args: ResumeArgs) -> Result<(), Failed> {
    end(&config, &args.which.scope()?).await
}

/// Pauses it.
pub(super) async fn begin(config: &Config, scope: &Scope, reason: Option<String>) -> anyhow::Result<()> {
    let entry = Entry::Pause {
        scope: scope.clone(),
        at: Timestamp::now(),
        reason,
    };
    write(config, &entry).await
}

/// Ends its pause, if there is one, and says what is paused still.
pub(super) async fn end(config: &Config, scope: &Scope) -> Result<(), Failed> {
    let rules = app::control::in_force(config).await?;
    let paused = rules.pauses();
    if !paused.iter().any(|(other, _)| other == scope) {
        let others: Vec<_> = paused
            .iter()
            .map(|(other, _)| format!("{other} (`flowlaunch resume {}` ends that)", flag(other)))
            .collect();
        let others = match others.as_slice() {
            [] => "Nothing is paused".to_owned(),
            others => format!("Paused: {}", others.join(", ")),
        };
        return Err(Failed::Work(anyhow!("there is no pause of {scope} to end. {others}")));
    }
    let entry = Entry::Resume {
        scope: scope.clone(),
        at: Timestamp::now(),
    };
    write(config, &entry).await?;
    let mut said = format!("resumed: {scope}\n");
    for (scope, _) in paused.iter().filter(|(other, _)| other != scope) {
        said += &format!("still paused: {scope}; `flowlaunch resume {}` ends it\n", flag(scope));
    }
    out::print(said)?;
    Ok(())
}

/// Writes an entry of the control stream, and says what it waits for.
pub(super) async fn write(config: &Config, entry: &Entry) -> anyhow::Result<()> {
    app::control::command(config, entry, waiting).await
}

fn waiting(why: &str) {
    super::told::hint(&format!(
        "waiting, for the broker takes nothing now: {why}. Ctrl-C ends it"
    ));
}

async fn list(config: &Config, as_json: bool) -> Result<(), Failed> {
    let rules = app::control::in_force(config).await?;
    if as_json {
        let pauses: Vec<_> = rules
            .pauses()
            .into_iter()
            .map(|(scope, pause)| json!({ "scope": scope, "since": pause.since, "reason": pause.reason }))
            .collect();
        out::json(&pauses)?;
    } else {
        out::print(text(&rules))?;
    }
    Ok(())
}

/// What is paused, a line each.
fn text(rules: &Rules) -> String {
    let pauses = rules.pauses();
    if pauses.is_empty() {
        return "Nothing is paused\n".to_owned();
    }
    let line = |(scope, pause): &(Scope, crate::control::Pause)| {
        let why = pause
            .reason
            .as_ref()
            .map_or_else(String::new, |reason| format!(": {reason}"));
        format!(
            "paused since {}: {scope}{why}\n",
            pause.since.round(jiff::Unit::Second).unwrap_or(pause.since)
        )
    };
    pauses.iter().map(line).collect()
}

/// The flag that names it.
fn flag(scope: &Scope) -> String {
    match scope {
        Scope::All => "--all".to_owned(),
        Scope::Lane(lane) => format!("--lane {lane}"),
        Scope::Flow(id) => format!("--flow {id}"),
        Scope::Campaign { name, .. } => format!("--campaign {name}"),
    }
}
