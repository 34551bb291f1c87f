//! Gathers, defaults and cross-checks the settings of every component.
//!
//! Defaults, then a file, then the environment, then flags; the last one that sets a key holds. Everything that is wrong
//! is reported at once, with the key and the place where it was set. Nothing else reads the environment.

mod api;
mod check;
mod environment;
mod error;
mod keys;
mod secret;
mod sections;
mod shown;
mod sources;
#[cfg(test)]
mod tests;
pub use crate::units;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use figment::Figment;

use crate::api::Settings as ApiSettings;
use crate::broker::settings::{SecretUrl, Settings as BrokerSettings};

pub use error::{ConfigError, Fault, Source};
pub use sections::{ApiSection, CampaignSettings};
pub use shown::Setting;
pub use sources::{DEFAULT_FILE, DEFAULTS, Override};

use sections::Sections;
use sources::Layer;

/// Every setting, checked.
#[derive(Debug)]
pub struct Config {
    /// `[broker]`
    pub broker: BrokerSettings,
    /// `[limits]`
    pub limits: crate::admit::settings::Settings,
    /// `[retry]`
    pub retry: crate::retry::Settings,
    /// `[results]`
    pub results: crate::result::Settings,
    /// `[worker]`
    pub worker: crate::worker::settings::Settings,
    /// `[campaign]`
    pub campaign: CampaignSettings,
    /// `[admin]`
    pub admin: crate::admin::Settings,
    /// `[log]`
    pub log: crate::telemetry::Settings,
    api: ApiSection,
    origins: Origins,
}

impl Config {
    /// Reads the configuration: of `path`, or of `flowlaunch.toml` where there is one.
    pub fn load(path: Option<&Path>, overrides: &[Override]) -> Result<Self, ConfigError> {
        Self::load_from(path, std::env::vars_os(), overrides)
    }

    /// The same with another environment.
    pub fn load_from(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: &[Override],
    ) -> Result<Self, ConfigError> {
        let origins = Origins::gather(path, environment, overrides)?;
        let sections = origins.merge()?;
        ConfigError::unless_empty(check::check(&sections, &origins))?;
        let broker = resolve_broker(&sections, &origins)?;
        let Sections {
            broker: _,
            api,
            limits,
            retry,
            results,
            worker,
            campaign,
            admin,
            log,
        } = sections;
        Ok(Self {
            broker,
            limits,
            retry,
            results,
            worker,
            campaign,
            admin,
            log,
            api,
            origins,
        })
    }

    /// Where a setting, as `section.key`, comes from.
    pub fn source_of(&self, key: &str) -> Source {
        self.origins.source_of(key)
    }

    /// An error about one setting that only somebody else could find; it names the place where it was set.
    pub fn fault(&self, key: &str, message: impl Into<String>) -> ConfigError {
        Fault::new(key, self.source_of(key), message).into()
    }

    /// The setting that says where the broker is.
    pub fn broker_url_key(&self) -> &'static str {
        if self.origins.is_set("broker.url_file") {
            "broker.url_file"
        } else {
            "broker.url"
        }
    }

    /// Refuses to go on when nobody said what the launch request calls the inputs and the API is Genesys Cloud: a server
    /// that ignores the wrong name launches every flow with nothing in it.
    pub fn require_inputs_field(&self) -> Result<(), ConfigError> {
        if self.api.inputs_field.is_some() || !api::is_genesys_cloud(&self.api) {
            return Ok(());
        }
        let message = "is not set, and against Genesys Cloud it has to be: \"inputs\" (as its guides have it) or \
                       \"inputData\" (as its SDKs have it). With the wrong one every flow is launched with nothing in \
                       it. To find out, set one, launch a single flow, and look in Architect whether the execution has \
                       its inputs";
        Err(Fault {
            key: Some("api.inputs_field".to_owned()),
            source: None,
            message: message.to_owned(),
        }
        .into())
    }

    /// What the launch request calls the inputs, for those who only show one.
    pub fn inputs_field(&self) -> crate::api::InputsField {
        self.api.inputs_field.unwrap_or_default()
    }

    /// The API's settings, for commands that call it.
    pub fn api(&self) -> Result<ApiSettings, ConfigError> {
        api::resolve(&self.api, &self.origins)
    }
}

/// The broker's settings with the URL read from its file.
fn resolve_broker(sections: &Sections, origins: &Origins) -> Result<BrokerSettings, ConfigError> {
    let section = sections.broker.clone();
    let url = match &section.url_file {
        Some(path) => {
            let fault = |message| Fault::new("broker.url_file", origins.source_of("broker.url_file"), message);
            SecretUrl::from(secret::read(path).map_err(fault)?)
        }
        None => SecretUrl::from(section.url),
    };
    let mut faults = check::url_from_file(sections, origins, &url);
    for (key, file, part) in [
        ("broker.ca_file", &section.ca_file, "CERTIFICATE"),
        ("broker.client_cert_file", &section.client_cert_file, "CERTIFICATE"),
        ("broker.client_key_file", &section.client_key_file, "PRIVATE KEY"),
    ] {
        faults.extend(pem_fault(key, file.as_deref(), part, origins));
    }
    ConfigError::unless_empty(faults)?;
    Ok(BrokerSettings {
        url,
        prefix: section.prefix,
        declare: section.declare,
        ca_file: section.ca_file,
        client_cert_file: section.client_cert_file,
        client_key_file: section.client_key_file,
    })
}

/// What is wrong with a certificate or key that a setting names.
fn pem_fault(key: &str, file: Option<&Path>, part: &str, origins: &Origins) -> Option<Fault> {
    let message = secret::holds_pem(file?, part).err()?;
    Some(Fault::new(key, origins.source_of(key), message))
}

/// The layers from which the configuration was made, lowest first.
struct Origins(Vec<Layer>);

/// Shows no layer: they hold secrets.
impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origins({} layers)", self.0.len())
    }
}

impl Origins {
    fn gather(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: &[Override],
    ) -> Result<Self, ConfigError> {
        let mut layers = vec![Layer::defaults()?];
        let mut faults = Vec::new();
        match Layer::file(path) {
            Ok(file) => layers.extend(file),
            Err(fault) => faults.push(fault),
        }
        faults.extend(layers.iter().flat_map(Layer::faults));
        let (variables, wrong) = environment::layers(environment);
        layers.extend(variables);
        faults.extend(wrong);
        for over in overrides {
            match sources::flag(over) {
                Ok(layer) => layers.push(layer),
                Err(fault) => faults.push(fault),
            }
        }
        ConfigError::unless_empty(faults)?;
        Ok(Self(layers))
    }

    fn merge(&self) -> Result<Sections, ConfigError> {
        let merged = self
            .0
            .iter()
            .fold(Figment::new(), |figment, layer| figment.merge(layer));
        merged.extract().map_err(|errors| {
            let faults = errors.into_iter().map(|error| self.explain(&error)).collect();
            ConfigError { faults }
        })
    }

    fn explain(&self, error: &figment::Error) -> Fault {
        let key = error.path.join(".");
        let message = if let figment::error::Kind::UnknownVariant(_, known) = &error.kind {
            format!(
                "must be {}",
                known
                    .iter()
                    .map(|word| format!("{word:?}"))
                    .collect::<Vec<_>>()
                    .join(" or ")
            )
        } else {
            error.kind.to_string()
        };
        let source = (!key.is_empty()).then(|| self.source_of(&key));
        Fault {
            key: (!key.is_empty()).then_some(key),
            source,
            message,
        }
    }

    fn source_of(&self, key: &str) -> Source {
        let found = key.split_once('.').and_then(|(section, name)| {
            let layer = self.0.iter().rev().find(|layer| layer.get(section, name).is_some())?;
            Some(layer.source(section, name))
        });
        found.unwrap_or(Source::Default)
    }

    /// Whether somebody set it.
    fn is_set(&self, key: &str) -> bool {
        self.source_of(key) != Source::Default
    }
}
