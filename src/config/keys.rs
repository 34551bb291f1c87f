//! The settings that there are. The defaults file documents them; tests hold the two together.

/// What a setting is in TOML; variables and flags are text, and read accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Switch,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

const fn key(section: &'static str, name: &'static str, kind: Kind) -> Key {
    Key { section, name, kind }
}

use Kind::{Number, Switch, Text};

pub(super) const KEYS: [Key; 32] = [
    key("broker", "url", Text),
    key("broker", "url_file", Text),
    key("broker", "prefix", Text),
    key("broker", "declare", Text),
    key("broker", "ca_file", Text),
    key("broker", "client_cert_file", Text),
    key("broker", "client_key_file", Text),
    key("api", "region", Text),
    key("api", "base_url", Text),
    key("api", "login_url", Text),
    key("api", "client_id", Text),
    key("api", "client_secret", Text),
    key("api", "client_secret_file", Text),
    key("api", "inputs_field", Text),
    key("api", "timeout", Text),
    key("api", "connect_timeout", Text),
    key("api", "ca_file", Text),
    key("limits", "rate", Text),
    key("limits", "burst", Number),
    key("limits", "concurrency", Number),
    key("retry", "max_attempts", Number),
    key("retry", "initial_delay", Text),
    key("retry", "max_delay", Text),
    key("retry", "on_unknown", Text),
    key("retry", "max_unknown", Number),
    key("results", "enabled", Switch),
    key("results", "keep", Text),
    key("worker", "drain_timeout", Text),
    key("campaign", "journal", Text),
    key("admin", "listen", Text),
    key("log", "format", Text),
    key("log", "filter", Text),
];

impl Key {
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets it.
    pub(super) fn variable(&self) -> String {
        format!("FLOWLAUNCH_{}__{}", self.section, self.name).to_uppercase()
    }

    /// Whether its value may be shown: a broker's URL can hold a password.
    pub(super) fn is_secret(&self) -> bool {
        matches!((self.section, self.name), ("broker", "url") | ("api", "client_secret"))
    }
}

pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.section == name)
}

/// The setting that was probably meant: the same key of another section, else the nearest by spelling.
pub(super) fn nearest(path: &str) -> Option<&'static Key> {
    let plain = path.to_lowercase().replace('-', "_");
    let name = plain.rsplit('.').next().unwrap_or(&plain);
    let mut elsewhere = KEYS.iter().filter(|key| key.name == name);
    if let (Some(only), None) = (elsewhere.next(), elsewhere.next()) {
        return Some(only);
    }
    let close = |key: &Key| strsim::normalized_damerau_levenshtein(&plain, &key.path());
    KEYS.iter()
        .max_by(|a, b| close(a).total_cmp(&close(b)))
        .filter(|key| close(key) > 0.6)
}

/// The section that was probably meant.
pub(super) fn nearest_section(name: &str) -> Option<&'static str> {
    let close = |key: &Key| strsim::normalized_damerau_levenshtein(name, key.section);
    KEYS.iter()
        .max_by(|a, b| close(a).total_cmp(&close(b)))
        .filter(|key| close(key) > 0.5)
        .map(|key| key.section)
}
