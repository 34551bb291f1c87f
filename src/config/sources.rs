//! Where settings come from: the defaults, a file, the environment, flags. Each is a layer with its source, and is
//! checked on its own, so that a mistake is reported with the place where it was made.

use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::error::{Fault, Source};
use super::keys::{self, Key, Kind};

/// The commented defaults, as they are compiled in.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Looked for in the current directory when no file is named.
pub const DEFAULT_FILE: &str = "flowlaunch.toml";

/// A setting from a flag.
#[derive(Clone, Debug)]
pub struct Override {
    /// The setting, as `section.key`.
    pub key: String,
    /// Its value, as it was typed.
    pub value: String,
    /// The flag, as it is typed.
    pub flag: String,
}

/// Settings that come from one place. Without `Debug`: it holds secrets.
pub(super) struct Layer {
    origin: Origin,
    values: Dict,
}

enum Origin {
    Default,
    File { path: PathBuf, text: String },
    Env(String),
    Flag(String),
}

impl Layer {
    /// One setting from an environment variable.
    pub(super) fn variable(name: &str, key: &Key, text: &str) -> Result<Self, Fault> {
        Self::one(Origin::Env(name.to_owned()), key, text)
    }

    fn one(origin: Origin, key: &Key, text: &str) -> Result<Self, Fault> {
        match typed(key, text) {
            Ok(value) => Ok(Self {
                origin,
                values: nested(key, value),
            }),
            Err(message) => {
                let empty = Self {
                    origin,
                    values: Dict::new(),
                };
                Err(Fault::new(key.path(), empty.source(key.section, key.name), message))
            }
        }
    }

    pub(super) fn defaults() -> Result<Self, Fault> {
        Ok(Self {
            origin: Origin::Default,
            values: parse(DEFAULTS, Path::new("config.default.toml"))?,
        })
    }

    /// The named file, or the default one when there is one.
    pub(super) fn file(path: Option<&Path>) -> Result<Option<Self>, Fault> {
        let wanted = path.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(wanted) {
            Ok(text) => text,
            Err(error) if path.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Fault::of_source(
                    Source::File(wanted.to_owned(), None),
                    format!("cannot be read: {error}"),
                ));
            }
        };
        let values = parse(&text, wanted)?;
        Ok(Some(Self {
            origin: Origin::File {
                path: wanted.to_owned(),
                text,
            },
            values,
        }))
    }

    /// Where this layer sets a key.
    pub(super) fn source(&self, section: &str, name: &str) -> Source {
        match &self.origin {
            Origin::Default => Source::Default,
            Origin::File { path, text } => Source::File(path.clone(), line_of(text, section, name)),
            Origin::Env(name) => Source::Env(name.clone()),
            Origin::Flag(name) => Source::Flag(name.clone()),
        }
    }

    /// What it sets a key to.
    pub(super) fn get(&self, section: &str, name: &str) -> Option<&Value> {
        self.values.get(section)?.as_dict()?.get(name)
    }

    /// Unknown keys, and values of the wrong kind.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (section, value) in &self.values {
            match value.as_dict() {
                Some(dict) if keys::is_section(section) => {
                    faults.extend(dict.iter().filter_map(|(name, value)| self.fault(section, name, value)));
                }
                Some(_) => {
                    let meant = keys::nearest_section(section).map(|name| format!("[{name}]"));
                    faults.push(self.unknown(section, "", "is not a section", meant));
                }
                None => {
                    faults.push(self.unknown(
                        "",
                        section,
                        "stands in no section",
                        keys::nearest(section).map(Key::path),
                    ));
                }
            }
        }
        faults
    }

    fn fault(&self, section: &str, name: &str, value: &Value) -> Option<Fault> {
        let path = format!("{section}.{name}");
        let Some(key) = keys::find(section, name) else {
            return Some(self.unknown(section, name, "is not a setting", keys::nearest(&path).map(Key::path)));
        };
        let right = match key.kind {
            Kind::Text => value.as_str().is_some(),
            Kind::Number => value.to_i128().is_some(),
            Kind::Switch => value.to_bool().is_some(),
        };
        let wanted = match key.kind {
            Kind::Text => "must be text, in quotes",
            Kind::Number => "must be a whole number, without quotes",
            Kind::Switch => "must be true or false, without quotes",
        };
        (!right).then(|| Fault::new(path, self.source(section, name), wanted))
    }

    fn unknown(&self, section: &str, name: &str, what: &str, meant: Option<String>) -> Fault {
        let path = [section, name]
            .iter()
            .filter(|part| !part.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join(".");
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        Fault::new(path, self.source(section, name), format!("{what}{meant}"))
    }
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named("a layer of settings")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

pub(super) fn flag(over: &Override) -> Result<Layer, Fault> {
    let source = Source::Flag(over.flag.clone());
    let key = over
        .key
        .split_once('.')
        .and_then(|(section, name)| keys::find(section, name));
    let Some(key) = key else {
        let meant = keys::nearest(&over.key).map_or_else(String::new, |key| format!("; did you mean {}?", key.path()));
        return Err(Fault::new(&over.key, source, format!("is not a setting{meant}")));
    };
    Layer::one(Origin::Flag(over.flag.clone()), key, &over.value)
}

fn typed(key: &Key, text: &str) -> Result<Value, String> {
    let shown = if key.is_secret() {
        String::new()
    } else {
        format!(", not {text:?}")
    };
    match key.kind {
        Kind::Text => Ok(Value::from(text)),
        Kind::Number => match text.trim().parse::<i64>() {
            Ok(number) => Ok(Value::from(number)),
            Err(_) => Err(format!("must be a whole number{shown}")),
        },
        Kind::Switch => match text.trim() {
            "true" | "1" | "yes" | "on" => Ok(Value::from(true)),
            "false" | "0" | "no" | "off" => Ok(Value::from(false)),
            _ => Err(format!("must be true or false{shown}")),
        },
    }
}

fn nested(key: &Key, value: Value) -> Dict {
    let section = Dict::from([(key.name.to_owned(), value)]);
    Dict::from([(key.section.to_owned(), Value::from(section))])
}

fn parse(text: &str, path: &Path) -> Result<Dict, Fault> {
    // The parser's own report would quote the line, and with it perhaps a secret.
    Toml::from_str::<Dict>(text).map_err(|error| {
        let line = error
            .span()
            .map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        Fault::of_source(
            Source::File(path.to_owned(), line),
            // Its second line says what was expected.
            format!("is not valid TOML: {}", error.message().replace('\n', ", ")),
        )
    })
}

/// The line that sets a key, as far as a look at the text can tell.
fn line_of(text: &str, section: &str, name: &str) -> Option<usize> {
    let mut current = "";
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            current = header.trim();
            if name.is_empty() && current == section {
                return Some(number + 1);
            }
        } else if let Some((left, _)) = line.split_once('=') {
            let left = left.trim().trim_matches(['"', '\'']);
            let whole = if current.is_empty() {
                left.to_owned()
            } else {
                format!("{current}.{left}")
            };
            let wanted = [section, name]
                .iter()
                .filter(|part| !part.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join(".");
            if whole == wanted {
                return Some(number + 1);
            }
        }
    }
    None
}
