//! `[api]` as the client wants it: the region looked up, the secret read.

use secrecy::SecretString;
use url::Url;

use super::error::{ConfigError, Fault};
use super::sections::ApiSection;
use super::{Origins, secret};
use crate::api::{Region, Settings as ApiSettings, is_genesys_domain};

/// Whether launches go to Genesys Cloud, where they reach real customers.
pub(super) fn is_genesys_cloud(section: &ApiSection) -> bool {
    let Some(base_url) = &section.base_url else { return true };
    Url::parse(base_url).is_ok_and(|url| {
        // A region newer than this program counts too: rather one question too many.
        is_genesys_domain(&url) || url.host_str().is_some_and(|host| host.ends_with("pure.cloud"))
    })
}

/// The API's settings with the region looked up and the secret read; what is missing to call it is said.
pub(super) fn resolve(section: &ApiSection, origins: &Origins) -> Result<ApiSettings, ConfigError> {
    let mut faults = Vec::new();
    if section.client_id.is_empty() {
        let what = "it is the id of the OAuth client";
        faults.push(missing("api.client_id", "FLOWLAUNCH_API__CLIENT_ID", what));
    }
    let secret = client_secret(section, origins)
        .map_err(|fault| faults.push(fault))
        .unwrap_or_default();
    let urls = addresses(section, origins).map_err(|fault| faults.push(fault)).ok();
    faults.extend(super::pem_fault(
        "api.ca_file",
        section.ca_file.as_deref(),
        "CERTIFICATE",
        origins,
    ));
    ConfigError::unless_empty(faults)?;
    let Some((base_url, login_url)) = urls else {
        return Err(missing("api.region", "FLOWLAUNCH_API__REGION", "it says where the API is").into());
    };
    Ok(ApiSettings {
        base_url,
        login_url,
        client_id: section.client_id.clone(),
        client_secret: secret,
        inputs_field: section.inputs_field.unwrap_or_default(),
        timeout: section.timeout,
        connect_timeout: section.connect_timeout.min(section.timeout),
        ca_file: section.ca_file.clone(),
    })
}

fn missing(key: &str, variable: &str, what: &str) -> Fault {
    Fault {
        key: Some(key.to_owned()),
        source: None,
        message: format!("is not set; {what} (environment: {variable})"),
    }
}

fn client_secret(section: &ApiSection, origins: &Origins) -> Result<SecretString, Fault> {
    match (&section.client_secret, &section.client_secret_file) {
        (Some(secret), _) => Ok(secret.clone()),
        (None, Some(path)) => secret::read(path).map(SecretString::from).map_err(|message| {
            Fault::new(
                "api.client_secret_file",
                origins.source_of("api.client_secret_file"),
                message,
            )
        }),
        (None, None) => {
            let what = "it, or api.client_secret_file, is the secret of the OAuth client";
            Err(missing("api.client_secret", "FLOWLAUNCH_API__CLIENT_SECRET", what))
        }
    }
}

/// Both addresses: given, or of a region.
pub(super) fn addresses(section: &ApiSection, origins: &Origins) -> Result<(Url, Url), Fault> {
    let parse = |key: &'static str, text: &str| {
        Url::parse(text).map_err(|error| Fault::new(key, origins.source_of(key), format!("is not a URL: {error}")))
    };
    match (&section.base_url, &section.login_url) {
        (Some(base), Some(login)) => Ok((parse("api.base_url", base)?, parse("api.login_url", login)?)),
        _ => {
            let fault = |error: crate::api::UnknownRegion| {
                Fault::new("api.region", origins.source_of("api.region"), error.to_string())
            };
            let region = Region::find(&section.region).map_err(fault)?;
            Ok((region.api_url(), region.login_url()))
        }
    }
}
