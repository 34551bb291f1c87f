//! The services of `docker-compose.yml`, and how they are watched.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flowlaunch::config::Config;
use flowlaunch::metrics::Metrics;
use tempfile::TempDir;

use super::image::{DOCKERFILE, each};
use super::{list, repository};

const COMPOSE: &str = include_str!("../../docker-compose.yml");
const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yml");
const PROMETHEUS: &str = include_str!("../../deploy/prometheus/prometheus.yml");

/// Every leaf of a YAML file of the simple kind, as `services.worker.image` and what stands there.
fn leaves(text: &str) -> Vec<(String, String)> {
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut leaves = Vec::new();
    for line in text.lines() {
        let bare = line.trim_start();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        // An item of a list stands where its dash is not.
        let bare = bare.trim_start_matches("- ");
        let indent = line.len() - bare.len();
        above.retain(|(other, _)| *other < indent);
        let (key, value) = bare.split_once(':').unwrap_or((bare, ""));
        above.push((indent, key.to_owned()));
        let path: Vec<&str> = above.iter().map(|(_, key)| key.as_str()).collect();
        leaves.push((path.join("."), value.trim().to_owned()));
    }
    leaves
}

/// What stands at that path in the compose file, by its last name; `*` is any one name.
fn compose(pattern: &str) -> Vec<(String, String)> {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let fits = |path: &str| {
        let path: Vec<&str> = path.split('.').collect();
        path.len() == pattern.len()
            && path
                .iter()
                .zip(&pattern)
                .all(|(name, wanted)| *wanted == "*" || name == wanted)
    };
    let found = leaves(COMPOSE).into_iter().filter(|(path, _)| fits(path));
    let last = |path: String| path.rsplit('.').next().unwrap().to_owned();
    found.map(|(path, value)| (last(path), value)).collect()
}

/// `{ file: PATH }` of each, by name.
fn files(of: &str) -> BTreeMap<String, String> {
    let found = compose(&format!("{of}.*")).into_iter();
    let path = |text: String| {
        text.trim_matches(['{', '}', ' '])
            .strip_prefix("file: ")
            .unwrap()
            .to_owned()
    };
    found.map(|(name, text)| (name, path(text))).collect()
}

/// A copy of `deploy/` in which the secrets have been made.
fn with_secrets() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let deploy = place.path().join("deploy");
    std::fs::create_dir(&deploy).unwrap();
    let script = repository().join("deploy/make-secrets");
    // Not by this process, which could not execute it then: see `entrypoint::Container`.
    assert!(Command::new("cp").arg(script).arg(&deploy).status().unwrap().success());
    assert!(Command::new(deploy.join("make-secrets")).status().unwrap().success());
    place
}

#[test]
fn every_file_that_compose_names_is_there_or_made_by_make_secrets() {
    let made = with_secrets();
    for (name, path) in files("configs") {
        assert!(repository().join(&path).exists(), "{name}: {path}");
    }
    let secrets = files("secrets");
    for (name, path) in &secrets {
        assert!(made.path().join(path).exists(), "{name}: {path} is not made");
    }
    let ignored = std::fs::read_to_string(repository().join("deploy/.gitignore")).unwrap();
    assert!(
        ignored.lines().any(|line| line == "/secrets/"),
        "the secrets could be committed"
    );
    for (_, names) in compose("services.*.secrets")
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
    {
        for name in names.trim_matches(['[', ']']).split(", ") {
            assert!(secrets.contains_key(name), "{name} is no secret");
        }
    }
    for (_, source) in compose("services.*.*.source") {
        assert!(
            files("configs").contains_key(&source) || secrets.contains_key(&source),
            "{source}"
        );
    }
    for (_, dockerfile) in compose("services.*.build.dockerfile") {
        assert!(repository().join(dockerfile).exists());
    }
    // Made once: what is there stays, and both sides know the same password.
    let read = |name: &str| std::fs::read_to_string(made.path().join("deploy/secrets").join(name)).unwrap();
    let (conf, url) = (read("rabbitmq.conf"), read("broker_url"));
    let password = conf
        .lines()
        .find_map(|line| line.strip_prefix("default_pass = "))
        .unwrap();
    assert!(
        password.len() >= 32 && url.starts_with(&format!("amqp://flowlaunch:{password}@rabbitmq:")),
        "{url}"
    );
    assert!(
        Command::new(made.path().join("deploy/make-secrets"))
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(read("rabbitmq.conf"), conf);
}

#[test]
fn a_port_is_open_to_this_machine_alone() {
    let published: Vec<String> = compose("services.*.ports")
        .iter()
        .flat_map(|(_, ports)| list(ports))
        .collect();
    assert!(published.len() >= 3, "{published:?}");
    for port in published {
        assert!(port.starts_with("127.0.0.1:"), "{port}");
    }
}

/// What the image and compose set in a worker's environment, the secrets' files where they were made.
fn variables(made: &Path) -> BTreeMap<String, String> {
    let image = each("ENV");
    let image = image
        .iter()
        .flat_map(|rest| rest.split(' '))
        .map(|pair| pair.split_once('=').unwrap());
    let mut all: BTreeMap<String, String> = image.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    all.extend(compose("services.worker.environment.*"));
    let secrets = files("secrets");
    for value in all.values_mut() {
        if let Some(name) = value.strip_prefix("/run/secrets/") {
            *value = made.join(&secrets[name]).display().to_string();
        }
    }
    all
}

#[test]
fn the_variables_of_image_and_compose_are_settings_and_make_a_worker() {
    let made = with_secrets();
    let variables = variables(made.path());
    let named = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        words
            .filter(|word| word.starts_with("FLOWLAUNCH_"))
            .map(str::to_owned)
            .collect()
    };
    // In comments too: somebody copies them.
    for name in named(DOCKERFILE).union(&named(COMPOSE)) {
        let (section, key) = name.trim_start_matches("FLOWLAUNCH_").split_once("__").unwrap();
        let known = flowlaunch::config::DEFAULTS
            .split('[')
            .find_map(|text| text.strip_prefix(&format!("{}]\n", section.to_lowercase())))
            .unwrap_or_else(|| panic!("{name}: no such section"));
        let key = key.to_lowercase();
        assert!(
            known
                .lines()
                .any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = "))),
            "{name} sets nothing"
        );
    }
    let nothing = tempfile::NamedTempFile::new().unwrap();
    let pairs = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let config = Config::load_from(Some(nothing.path()), pairs, &[]).unwrap();
    assert!(!config.broker.url.is_embedded());
    config.api().unwrap();
    config.require_inputs_field().unwrap();
    // Probes and scrapes reach it from outside of the container.
    let port = config.admin.listen.port();
    assert!(config.admin.listen.ip().is_unspecified());
    assert_eq!(each("EXPOSE"), [port.to_string()]);
    assert!(PROMETHEUS.contains(&format!("port: {port}\n")));
    let probes = compose("services.worker.healthcheck.test");
    assert!(
        list(&probes[0].1).contains(&format!("http://127.0.0.1:{port}/livez")),
        "{probes:?}"
    );
    // It is not killed while it finishes what is in flight.
    let grace: u64 = compose("services.worker.stop_grace_period")[0]
        .1
        .trim_end_matches('s')
        .parse()
        .unwrap();
    assert!(Duration::from_secs(grace) > config.worker.drain_timeout);
}

#[test]
fn the_commands_and_hosts_of_compose_are_there() {
    for (_, command) in compose("services.*.command") {
        let words = [vec!["flowlaunch".to_owned()], list(&command)].concat();
        flowlaunch::cli::command_line()
            .try_get_matches_from(&words)
            .unwrap_or_else(|error| panic!("{error}"));
    }
    let services: Vec<String> = compose("services.*").into_iter().map(|(name, _)| name).collect();
    assert_eq!(services, ["rabbitmq", "simulator", "worker", "prometheus"]);
    for (name, _) in compose("services.*.depends_on.*") {
        assert!(services.contains(&name), "{name}");
    }
    let urls = compose("services.worker.environment.*")
        .into_iter()
        .filter(|(name, _)| name.ends_with("_URL"));
    for (name, url) in urls {
        let host = url.split("://").nth(1).and_then(|rest| rest.split(':').next()).unwrap();
        assert!(services.iter().any(|service| service == host), "{name}: {url}");
    }
}

#[test]
fn the_alerts_are_about_metrics_that_there_are() {
    let words = ALERTS.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("flowlaunch_")).collect();
    assert!(named.len() >= 5, "{named:?}");
    for name in named {
        let bare = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let known = |name: &str| Metrics::NAMES.contains(&name);
        assert!(known(name) || bare.is_some_and(known), "{name}");
    }
    let rules: PathBuf = PROMETHEUS
        .lines()
        .find_map(|line| line.strip_prefix("  - "))
        .unwrap()
        .into();
    let target = compose("services.prometheus.*.target");
    assert!(
        target.iter().any(|(_, path)| Path::new(path).ends_with(&rules)),
        "{rules:?}: {target:?}"
    );
}
