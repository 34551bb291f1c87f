//! The command line.
//!
//! Exit codes: 0 done, 1 it failed, 2 usage or configuration, 130 and 143 on signals.

mod ask;
mod campaign;
mod check;
mod demo;
mod flows;
mod inputs;
mod launch;
mod out;
mod pause;
mod publish;
mod told;
mod topology;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError, Override, Source};
use crate::shutdown::{self, ProcessSignals, Signal};
use crate::{simulator, telemetry};

/// Launches Genesys Cloud Architect flows in bulk: from a queue, under the rate limit, with every job accounted for.
#[derive(Parser, Debug)]
#[command(name = "flowlaunch", version, max_term_width = 100)]
#[command(after_help = "First steps, with nothing installed and nothing really launched:
  flowlaunch demo                  shows all of it in half a minute
  flowlaunch simulator &           stands in for the API
  export FLOWLAUNCH_API__BASE_URL=http://127.0.0.1:8080
  export FLOWLAUNCH_API__LOGIN_URL=http://127.0.0.1:8080
  export FLOWLAUNCH_API__CLIENT_ID=demo
  export FLOWLAUNCH_API__CLIENT_SECRET=demo-secret
  flowlaunch check                 says whether all of it works
  flowlaunch publish jobs.jsonl    one job a line: flowlaunch publish --help
  flowlaunch worker                launches them; Ctrl-C stops it

Jobs wait in the file flowlaunch.db. A fleet shares a RabbitMQ instead:
  export FLOWLAUNCH_BROKER__URL=amqp://user:password@host:5672/%2f

Settings come from flowlaunch.toml, then the environment
(FLOWLAUNCH_<SECTION>__<KEY>), then --set. Secrets are never given as arguments.

Exit codes: 0 done, 1 it failed, 2 usage or configuration (nothing was tried),
130 and 143 ended by SIGINT and SIGTERM.")]
struct Cli {
    /// Read settings from this file instead of flowlaunch.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Override a setting, such as --set limits.rate=60/min. Can be given more than once.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = parse_override)]
    overrides: Vec<Override>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    #[command(flatten)]
    Alone(Alone),
    #[command(flatten)]
    Configured(Configured),
}

/// Those that read no settings.
#[derive(Subcommand, Debug)]
enum Alone {
    /// See it work, with nothing set up: 1,000 launches against a simulator.
    #[command(display_order = 1)]
    Demo(demo::Args),
    /// Stand in for the API: for tests, demos and staging.
    #[command(display_order = 20)]
    Simulator(Box<simulator::Args>),
    /// Print the completions of a shell.
    #[command(after_help = "  flowlaunch completions bash > /etc/bash_completion.d/flowlaunch\n  \
        flowlaunch completions zsh > \"${fpath[1]}/_flowlaunch\"")]
    #[command(display_order = 21)]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual, or write its pages into a folder.
    #[command(after_help = "  flowlaunch man | man -l -\n  \
        flowlaunch man --dir /usr/local/share/man/man1    then: man flowlaunch-launch")]
    #[command(display_order = 22)]
    Man {
        /// Write one page for each command into this folder.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Those that do.
#[derive(Subcommand, Debug)]
enum Configured {
    /// Pull jobs from the lanes and launch them, until stopped.
    #[command(
        after_help = "Needs a broker (broker.url) and the API's client (api.*): `flowlaunch check`\n\
        says what is missing. Metrics and probes are served on admin.listen,\n\
        127.0.0.1:9464: /metrics, /readyz, /livez, /status.\n\n\
        A broker that is away is waited for. A wrong password, a queue that stands with\n\
        other arguments or a port in use ends the start, before anything is consumed.\n\n\
        SIGTERM or SIGINT: stops taking jobs, finishes what is in flight within\n\
        worker.drain_timeout, gives the rest back, exit code 0. A second signal ends at\n\
        once; the broker then redelivers what was in flight."
    )]
    #[command(display_order = 2)]
    Worker,
    /// Publish jobs, one a line, from a file or standard input into a lane.
    #[command(display_order = 3)]
    Publish(publish::Args),
    /// Launch one flow now, without a queue.
    #[command(display_order = 4)]
    Launch(launch::Args),
    /// List the flows there are.
    #[command(display_order = 5)]
    Flows(flows::Args),
    /// Many launches from a list: planned, watched, paused, accounted for.
    #[command(display_order = 5)]
    Campaign(campaign::Args),
    /// Say what is set, and whether broker and API will do. Launches nothing.
    #[command(display_order = 6)]
    Check(check::Args),
    /// Stop launching: everything, a lane, a flow or a campaign, on all workers.
    #[command(display_order = 7)]
    Pause(pause::PauseArgs),
    /// Launch again what was paused.
    #[command(display_order = 8)]
    Resume(pause::ResumeArgs),
    /// Show the broker's objects, or make them.
    #[command(display_order = 9)]
    Topology(topology::Args),
}

/// How a command can end badly.
#[derive(Debug)]
enum Failed {
    /// Usage or configuration: exit code 2.
    Usage(anyhow::Error),
    /// It was tried and did not work: exit code 1.
    Work(anyhow::Error),
    /// It was stopped by a signal: 130 or 143.
    Signal(Signal),
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        let error = error.into();
        if error.is::<ConfigError>() {
            Self::Usage(error)
        } else {
            Self::Work(error)
        }
    }
}

fn parse_override(text: &str) -> Result<Override, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("it looks like KEY=VALUE, for example limits.rate=60/min")?;
    if matches!(key, "api.client_secret" | "broker.url") && (key != "broker.url" || value.contains('@')) {
        return Err(format!(
            "{key} holds a secret, and arguments can be read by others on this machine: use the environment or a file"
        ));
    }
    Ok(Override {
        key: key.to_owned(),
        value: value.to_owned(),
        flag: "--set".to_owned(),
    })
}

/// The command line as it is parsed, for tests that hold the documents to it.
pub fn command_line() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Parses the arguments, runs the command, and says how it ended.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Nothing installs a provider twice: this is the only place.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&Failed::Work(anyhow::anyhow!("cannot start the runtime: {error}"))),
    };
    let ended = runtime.block_on(run(cli));
    // Not by dropping it: that would wait for a read of the standard input that a signal has cut short.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => complain(&failed),
    }
}

async fn run(cli: Cli) -> Result<(), Failed> {
    let stop = CancellationToken::new();
    let signals = ProcessSignals::listen().context("cannot listen for signals")?;
    // A worker that drained has done what it was told; whatever else is stopped half-way has not.
    let drains = match &cli.command {
        Command::Configured(Configured::Worker) | Command::Alone(Alone::Simulator(_)) => true,
        Command::Alone(Alone::Demo(args)) => args.keep,
        Command::Alone(_) | Command::Configured(_) => false,
    };
    // Boxed: it is as large as the largest command, and made once.
    match shutdown::run(Box::pin(command(cli, stop.clone())), &stop, signals).await {
        Ok((done, None)) => done,
        Ok((done, Some(_))) if drains => done,
        Ok((Ok(()), Some(signal))) | Err(signal) => Err(Failed::Signal(signal)),
        // How things stand is told all the same.
        Ok((Err(failed), Some(signal))) => {
            complain(&failed);
            Err(Failed::Signal(signal))
        }
    }
}

async fn command(cli: Cli, stop: CancellationToken) -> Result<(), Failed> {
    match cli.command {
        Command::Configured(command) => {
            let config = Config::load(cli.config.as_deref(), &cli.overrides)?;
            // Boxed: one of all commands' futures is as large as the largest.
            Box::pin(configured(command, config, stop)).await
        }
        Command::Alone(_) if cli.config.is_some() || !cli.overrides.is_empty() => Err(Failed::Usage(anyhow::anyhow!(
            "this command reads no settings, only its own flags: leave out --config and --set"
        ))),
        Command::Alone(command) => alone(command, stop).await,
    }
}

async fn alone(command: Alone, stop: CancellationToken) -> Result<(), Failed> {
    match command {
        Alone::Demo(args) => demo::run(args, stop).await?,
        Alone::Simulator(args) => simulator::serve((*args).into_start().map_err(Failed::Usage)?, stop).await?,
        Alone::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command_line(), "flowlaunch", &mut script);
            out::print(script)?;
        }
        Alone::Man { dir: Some(dir) } => clap_mangen::generate_to(command_line(), &dir)
            .with_context(|| format!("cannot write the manual into {}", dir.display()))?,
        Alone::Man { dir: None } => out::print(manual().context("cannot make the manual")?)?,
    }
    Ok(())
}

/// Every page, one behind the other.
fn manual() -> std::io::Result<Vec<u8>> {
    fn render(command: &clap::Command, pages: &mut Vec<u8>) -> std::io::Result<()> {
        clap_mangen::Man::new(command.clone()).render(pages)?;
        command.get_subcommands().try_for_each(|command| render(command, pages))
    }
    let mut all = command_line().disable_help_subcommand(true);
    all.build();
    let mut pages = Vec::new();
    render(&all, &mut pages)?;
    Ok(pages)
}

async fn configured(command: Configured, config: Config, stop: CancellationToken) -> Result<(), Failed> {
    let mut log = config.log.clone();
    // A command that ends by itself says in its last line what went wrong: the story of its connection is noise there.
    if !matches!(command, Configured::Worker) && config.source_of("log.filter") == Source::Default {
        "error".clone_into(&mut log.filter);
    }
    telemetry::init(&log).map_err(|error| Failed::Usage(error.into()))?;
    match command {
        Configured::Worker => worker::run(config, stop).await,
        Configured::Publish(args) => publish::run(config, args, stop).await,
        Configured::Launch(args) => launch::run(config, args, stop).await,
        Configured::Flows(args) => flows::run(config, args, stop).await,
        Configured::Campaign(args) => campaign::run(config, args, stop).await,
        Configured::Pause(args) => until_told(&stop, pause::pause(config, args)).await,
        Configured::Resume(args) => until_told(&stop, pause::resume(config, args)).await,
        Configured::Topology(args) => until_told(&stop, topology::run(config, args)).await,
        Configured::Check(args) => Box::pin(until_told(&stop, check::run(config, args))).await,
    }
}

/// For commands that can be left off anywhere: they end at the first signal.
async fn until_told(stop: &CancellationToken, work: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let interrupted = || Failed::Work(anyhow::anyhow!("interrupted: it may be done in part, or not at all"));
    stop.run_until_cancelled(work)
        .await
        .unwrap_or_else(|| Err(interrupted()))
}

#[expect(clippy::print_stderr, reason = "this is where errors reach the person")]
fn complain(failed: &Failed) -> ExitCode {
    match failed {
        Failed::Usage(error) => {
            eprintln!("flowlaunch: {error:#}");
            ExitCode::from(2)
        }
        Failed::Work(error) => {
            eprintln!("flowlaunch: {error:#}");
            ExitCode::FAILURE
        }
        Failed::Signal(signal) => ExitCode::from(signal.exit_code()),
    }
}
