//! What may be shown of the settings: all but secrets.

use figment::value::Value;

use super::{Config, Source, keys};
use crate::broker::settings::SecretUrl;

/// A setting that somebody set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As `section.key`.
    pub key: String,
    /// Its value as TOML has it, a URL without its password; `None` for a secret.
    pub value: Option<String>,
    /// Where it was set.
    pub source: Source,
}

impl Config {
    /// Every setting that somebody set.
    pub fn set(&self) -> Vec<Setting> {
        let mut set = Vec::new();
        for key in &keys::KEYS {
            let layer = self.origins.0.iter().rev().find_map(|layer| {
                let value = layer.get(key.section, key.name)?;
                Some((value, layer.source(key.section, key.name)))
            });
            match layer {
                None | Some((_, Source::Default)) => {}
                Some((value, source)) => set.push(Setting {
                    key: key.path(),
                    value: shown(key, value),
                    source,
                }),
            }
        }
        set
    }
}

fn shown(key: &keys::Key, value: &Value) -> Option<String> {
    match (value.as_str(), key.is_secret()) {
        (Some(url), true) if key.section == "broker" => Some(format!("{:?}", SecretUrl::from(url).to_string())),
        (_, true) => None,
        (Some(text), false) => Some(format!("{text:?}")),
        (None, false) => value
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| value.to_bool().map(|switch| switch.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_shown_with_its_place_and_no_secret_is() {
        let environment = [
            ("FLOWLAUNCH_BROKER__URL", "amqp://user:hunter2@host/v"),
            ("FLOWLAUNCH_API__CLIENT_SECRET", "hunter3"),
            ("FLOWLAUNCH_LIMITS__RATE", "60/min"),
            ("FLOWLAUNCH_LIMITS__BURST", "2"),
            ("FLOWLAUNCH_RESULTS__ENABLED", "no"),
        ];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        // A file of its own, so that none of the current folder is read.
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = Config::load_from(Some(file.path()), environment, &[]).unwrap();
        let set = config.set();
        let shown: Vec<_> = set
            .iter()
            .map(|setting| (setting.key.as_str(), setting.value.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                ("broker.url", Some("\"amqp://user:***@host/v\"")),
                ("api.client_secret", None),
                ("limits.rate", Some("\"60/min\"")),
                ("limits.burst", Some("2")),
                ("results.enabled", Some("false")),
            ]
        );
        assert!(!format!("{set:?}").contains("hunter"), "{set:?}");
        assert_eq!(set[2].source, Source::Env("FLOWLAUNCH_LIMITS__RATE".to_owned()));
    }
}
