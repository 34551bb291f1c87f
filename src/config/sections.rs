//! The sections that are not yet what their component wants: files are still to be read, one setting stands for another.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::broker::settings::Declare;

/// Everything, as it is merged from the layers.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Sections {
    pub(super) broker: BrokerSection,
    pub(super) api: ApiSection,
    pub(super) limits: crate::admit::settings::Settings,
    pub(super) retry: crate::retry::Settings,
    pub(super) results: crate::result::Settings,
    pub(super) worker: crate::worker::settings::Settings,
    pub(super) campaign: CampaignSettings,
    pub(super) admin: crate::admin::Settings,
    pub(super) log: crate::telemetry::Settings,
}

/// `[broker]`, before the URL is read from its file.
#[derive(Clone, Deserialize)]
pub(super) struct BrokerSection {
    pub(super) url: String,
    pub(super) url_file: Option<PathBuf>,
    pub(super) prefix: String,
    pub(super) declare: Declare,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) client_cert_file: Option<PathBuf>,
    pub(super) client_key_file: Option<PathBuf>,
}

impl fmt::Debug for BrokerSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerSection")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// `[api]`, before the region is looked up and the secret read.
#[derive(Clone, Debug, Deserialize)]
pub struct ApiSection {
    /// The region, or its domain.
    pub region: String,
    /// The API's address, instead of a region.
    pub base_url: Option<String>,
    /// The login service's address, with `base_url`.
    pub login_url: Option<String>,
    /// The OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Option<SecretString>,
    /// A file that holds its secret.
    pub client_secret_file: Option<PathBuf>,
    /// What the launch request calls the inputs; absent when nobody said.
    pub inputs_field: Option<crate::api::InputsField>,
    /// The longest wait for an answer.
    #[serde(with = "crate::units::duration")]
    pub timeout: Duration,
    /// The part of it for the connection.
    #[serde(with = "crate::units::duration")]
    pub connect_timeout: Duration,
    /// An authority to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// `[campaign]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CampaignSettings {
    /// Where campaigns note how far they came.
    pub journal: PathBuf,
}
