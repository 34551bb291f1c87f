//! What the README says is so: commands, settings, defaults, variables, metrics, links.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here and says why")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use common::ports::Port;
use common::process::Process;
use common::wait::{LONG, eventually};
use common::{Prefix, shared};
use flowlaunch::config::{Config, DEFAULTS};
use flowlaunch::metrics::{CampaignRows, Metrics};

const README: &str = include_str!("../README.md");

/// Fenced `sh` blocks, with a backslash or a pipe at a line's end joined to the next.
fn blocks() -> Vec<String> {
    let mut blocks = Vec::new();
    for after in README.split("```sh\n").skip(1) {
        blocks.push(after.split("```").next().unwrap().to_owned());
    }
    assert!(!blocks.is_empty());
    blocks
}

/// What stands in backquotes outside of fences.
fn quoted() -> Vec<&'static str> {
    let prose = README.split("```").step_by(2);
    prose.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// As a shell has them: what stands between double quotes is one.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut within = false;
    for c in line.chars() {
        match c {
            '"' => within = !within,
            c if c.is_whitespace() && !within => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_shown_is_one() {
    let blocks = blocks();
    let lines = blocks.iter().flat_map(|block| block.lines()).chain(quoted());
    let mut seen = 0;
    for line in lines.filter(|line| line.trim_start().starts_with("flowlaunch ")) {
        let words = words(line.split(" &").next().unwrap());
        // `[FILE]` in the table of commands: may be given.
        let words: Vec<&str> = words.iter().map(|word| word.trim_matches(['[', ']'])).collect();
        if let Err(error) = flowlaunch::cli::command_line().try_get_matches_from(&words) {
            panic!("{line}: {error}");
        }
        seen += 1;
    }
    assert!(seen >= 8, "{seen} commands found");
}

#[test]
fn every_command_there_is_is_shown() {
    for command in flowlaunch::cli::command_line().get_subcommands() {
        let name = command.get_name();
        assert!(README.contains(&format!("`flowlaunch {name}")), "{name}");
    }
}

/// `section.key` of every setting, commented out or not, with its default.
fn defaults() -> Vec<(String, Option<String>)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, value)) = line.split_once(" = ") {
            let name = key.trim_start_matches("# ");
            if name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                let value = (!key.starts_with('#')).then(|| value.to_owned());
                found.push((format!("{section}.{name}"), value));
            }
        }
    }
    found
}

#[test]
fn every_setting_and_default_named_is_one() {
    let defaults = defaults();
    let sections: BTreeSet<&str> = defaults.iter().filter_map(|(key, _)| key.split('.').next()).collect();
    let is_key = |text: &str| {
        text.split_once('.').is_some_and(|(section, name)| {
            sections.contains(section) && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        })
    };
    let named: Vec<_> = quoted().into_iter().filter(|text| is_key(text)).collect();
    assert!(named.len() > 10, "{named:?}");
    for key in named {
        assert!(defaults.iter().any(|(known, _)| known == key), "{key} is not a setting");
    }
    let mut rows = 0;
    for row in README.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let key = cells[1].trim_matches('`');
        if !is_key(key) {
            continue;
        }
        let shown = (cells[2] != "not set").then(|| cells[2].trim_matches('`').to_owned());
        let (_, value) = defaults.iter().find(|(known, _)| known == key).unwrap();
        assert_eq!(*value, shown, "{key}");
        rows += 1;
    }
    assert!(rows > 10, "{rows}");
}

#[test]
fn every_variable_named_sets_something() {
    let words = README.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names: BTreeSet<_> = words
        .filter(|word| word.starts_with("FLOWLAUNCH_") && word.contains("__"))
        .collect();
    let mut seen = 0;
    // `FLOWLAUNCH_<SECTION>__<KEY>` is taken apart by its brackets.
    for name in names {
        let (section, key) = name.trim_start_matches("FLOWLAUNCH_").split_once("__").unwrap();
        let path = format!("{section}.{key}").to_lowercase();
        assert!(defaults().iter().any(|(known, _)| *known == path), "{name}");
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
    // And what is shown as a variable does what it says.
    let set = [("FLOWLAUNCH_LIMITS__RATE".into(), "5/s".into())];
    assert!(Config::load_from(Some(Path::new("src/config.default.toml")), set, &[]).is_ok());
}

#[test]
fn the_metrics_named_are_those_that_there_are() {
    let named: BTreeSet<&str> = quoted()
        .into_iter()
        .filter(|text| text.starts_with("flowlaunch_"))
        .collect();
    let there: BTreeSet<&str> = Metrics::NAMES.into_iter().chain([CampaignRows::NAME]).collect();
    assert_eq!(named, there);
}

#[test]
fn every_link_leads_to_a_file_or_a_heading() {
    for link in README.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        let found = match link.strip_prefix('#') {
            Some(anchor) => README
                .lines()
                .filter_map(|line| line.strip_prefix("## "))
                .any(|heading| heading.to_lowercase().replace(' ', "-") == anchor),
            None => Path::new(link).exists(),
        };
        assert!(found, "{link}");
    }
}

#[tokio::test]
async fn the_commands_under_run_it_launch_the_job_with_nothing_installed() {
    run_it(&[]).await;
}

#[tokio::test]
async fn with_the_url_of_a_rabbitmq_they_do_the_same() {
    let node = shared();
    let prefix = Prefix::new(&node, "readme");
    let url = README
        .lines()
        .find(|line| line.starts_with("export FLOWLAUNCH_BROKER__URL="));
    let (name, _) = url.unwrap().trim_start_matches("export ").split_once('=').unwrap();
    run_it(&[(name, node.url()), ("FLOWLAUNCH_BROKER__PREFIX", prefix.name())]).await;
}

/// As it stands there, but for the build and for addresses that must be this test's own.
async fn run_it(variables: &[(&str, &str)]) {
    let (sim, admin) = (Port::take(), Port::take());
    let (sim, admin) = (sim.number(), admin.number());
    let script = README
        .split("<!-- run -->\n```sh\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let script = script
        .replace("cargo build --release && ", "")
        .replace(
            "$PWD/target/release",
            Path::new(env!("CARGO_BIN_EXE_flowlaunch"))
                .parent()
                .unwrap()
                .to_str()
                .unwrap(),
        )
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{sim}"))
        .replace(
            "flowlaunch simulator",
            &format!("flowlaunch simulator --listen 127.0.0.1:{sim}"),
        );
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let mut command = Command::new("bash");
    command
        .args(["-ec", &script])
        .current_dir(folder.path())
        .envs(variables.iter().copied())
        .env("FLOWLAUNCH_ADMIN__LISTEN", format!("127.0.0.1:{admin}"));
    let _running = Process::spawn("the README's commands", &mut command, &output);
    let launched = eventually("the job to be launched", LONG, async || {
        let said = std::fs::read_to_string(&output).unwrap_or_default();
        match common::http::get(&format!("http://127.0.0.1:{sim}/_sim/launches")).await {
            Ok((200, launches)) if launches.contains("ann@example.com") => Ok(launches),
            seen => Err((seen, said)),
        }
    })
    .await;
    assert_eq!(launched.trim().lines().count(), 1, "{launched}");
    let said = std::fs::read_to_string(&output).unwrap();
    assert!(
        said.contains("1 job published into lane normal") && !said.contains("FIX"),
        "{said}"
    );
}
