//! What the API module needs to know, resolved: hosts, credentials, limits in time.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

/// The resolved settings of the API client.
#[derive(Clone)]
pub struct Settings {
    /// Where the API is, such as `https://api.mypurecloud.com`.
    pub base_url: Url,
    /// Where tokens come from, such as `https://login.mypurecloud.com`; it must be of the same region.
    pub login_url: Url,
    /// The OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// The body key of the inputs.
    pub inputs_field: InputsField,
    /// How long a request may take in all, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// Certificates to trust beside the system's, in PEM.
    pub ca_file: Option<PathBuf>,
}

// By hand, because a URL could carry a password: hosts only.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("base_url", &self.base_url.host_str())
            .field("login_url", &self.login_url.host_str())
            .field("client_id", &self.client_id)
            .field("inputs_field", &self.inputs_field)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

/// The body key of the inputs: the user's documents and the vendor's SDKs disagree, and a server that ignores the wrong one
/// launches every flow with nothing in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InputsField {
    /// `inputs`: the user's documents.
    #[default]
    Inputs,
    /// `inputData`: the vendor's SDKs.
    InputData,
}

impl InputsField {
    /// The key, as it stands in the body.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::InputData => "inputData",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::settings;

    #[test]
    fn debug_shows_neither_secret_nor_password() {
        let mut settings = settings("http://user:pa55word@localhost:1");
        settings.client_secret = "s3cret".into();
        let shown = format!("{settings:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("pa55word"), "{shown}");
    }

    #[test]
    fn the_key_is_named_as_it_is_written() {
        for field in [InputsField::Inputs, InputsField::InputData] {
            let name = serde_json::to_value(field).unwrap();
            assert_eq!(name, field.as_str());
            assert_eq!(serde_json::from_value::<InputsField>(name).unwrap(), field);
        }
    }
}
