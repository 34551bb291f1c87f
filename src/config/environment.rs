//! Settings from environment variables, and the variables of others that look like ours.

use std::ffi::OsString;

use super::error::{Fault, Source};
use super::keys::{self, Key};
use super::sources::Layer;

const PREFIX: &str = "FLOWLAUNCH_";

/// A layer for each variable that sets something.
pub(super) fn layers(variables: impl IntoIterator<Item = (OsString, OsString)>) -> (Vec<Layer>, Vec<Fault>) {
    let (mut layers, mut faults) = (Vec::new(), Vec::new());
    let mut variables: Vec<_> = variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    // FLOWLAUNCH_LOG__FILTER after RUST_LOG, so that our own holds.
    variables.sort_by_key(|(name, _)| (name != "RUST_LOG", name.clone()));
    for (name, value) in variables {
        let Some(name) = name
            .to_str()
            .filter(|name| name.starts_with(PREFIX) || *name == "RUST_LOG")
        else {
            continue;
        };
        let found = match value.to_str() {
            Some(value) if is_not_ours(name, value) => continue,
            Some(value) => variable(name).and_then(|key| Layer::variable(name, key, value)),
            None => Err(Fault::of_source(Source::Env(name.to_owned()), "is not UTF-8")),
        };
        match found {
            Ok(layer) => layers.push(layer),
            Err(fault) => faults.push(fault),
        }
    }
    (layers, faults)
}

fn variable(name: &str) -> Result<&'static Key, Fault> {
    if name == "RUST_LOG" {
        return keys::find("log", "filter").ok_or_else(|| unknown_variable(name, "log.filter"));
    }
    let rest = name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
    if let Some((section, key)) = rest.split_once("__") {
        return keys::find(section, key).ok_or_else(|| unknown_variable(name, &format!("{section}.{key}")));
    }
    let meant = rest.split_once('_').and_then(|(section, key)| keys::find(section, key));
    Err(match meant {
        Some(key) => Fault::of_source(
            Source::Env(name.to_owned()),
            format!("use two underscores: {}", key.variable()),
        ),
        None => unknown_variable(name, &rest.replacen('_', ".", 1)),
    })
}

fn unknown_variable(name: &str, path: &str) -> Fault {
    let meant = keys::nearest(path).map_or_else(String::new, |key| format!("; did you mean {}?", key.variable()));
    Fault::of_source(
        Source::Env(name.to_owned()),
        format!("sets nothing that there is{meant}"),
    )
}

/// What Kubernetes injects for Services whose names begin with ours, and what our own tests read.
fn is_not_ours(name: &str, value: &str) -> bool {
    if name == "RUST_LOG" || name.contains("__") {
        return false;
    }
    let address = |rest: &str| {
        rest.split_once("_PORT_")
            .is_some_and(|(_, port)| port.starts_with(|c: char| c.is_ascii_digit()))
    };
    name.starts_with("FLOWLAUNCH_TEST_")
        || name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || address(name)
}
