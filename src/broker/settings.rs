//! Where the broker is, and how to get on with it.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

/// The broker's settings, complete and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is.
    pub url: SecretUrl,
    /// What the names of all its objects begin with.
    pub prefix: String,
    /// Whether to make its objects.
    pub declare: Declare,
    /// The authority that signed its certificate.
    pub ca_file: Option<PathBuf>,
    /// Our certificate.
    pub client_cert_file: Option<PathBuf>,
    /// The key of our certificate.
    pub client_key_file: Option<PathBuf>,
}

/// Whether to make the broker's objects or only to look whether they are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Declare {
    /// Make what is missing.
    #[default]
    Create,
    /// Only look.
    Verify,
}

/// The broker that a URL means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RabbitMQ, in the clear.
    Amqp,
    /// RabbitMQ over TLS.
    Amqps,
    /// The embedded one, in this file.
    Sqlite(PathBuf),
}

/// A URL that may hold a password. It is shown without it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The URL with its password, for the one who connects.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it means the embedded broker.
    pub fn is_embedded(&self) -> bool {
        self.0.starts_with("sqlite:")
    }

    /// Which broker it means, or what is wrong with it.
    pub fn kind(&self) -> Result<Kind, String> {
        const WANTED: &str = "must be amqp://…, amqps://… or sqlite:PATH";
        if let Some(path) = self.0.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err("names no file: sqlite:PATH".to_owned()),
                // Confirmed into memory, a job would be gone with its publisher.
                special if special.starts_with(':') || special.starts_with("file:") => Err(format!(
                    "{special} means something else than a file to SQLite: give a plain path, such as sqlite:./jobs.db"
                )),
                path => Ok(Kind::Sqlite(path.into())),
            };
        }
        let kind = match self.0.split_once("://").map(|(scheme, _)| scheme) {
            Some("amqp") => Kind::Amqp,
            Some("amqps") => Kind::Amqps,
            Some(_) | None => return Err(format!("{WANTED}, not {self}")),
        };
        match Url::parse(&self.0) {
            Ok(url) if url.host().is_some() => Ok(kind),
            Ok(_) => Err(format!("names no host: {self}")),
            Err(error) => Err(format!(
                "is not a URL ({error}); in a password write %40 for @, %2F for / and %23 for #"
            )),
        }
    }
}

impl From<String> for SecretUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl From<&str> for SecretUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A URL without its password. Of one that cannot be taken apart, no more than its scheme.
pub fn redact(url: &str) -> String {
    if url.starts_with("sqlite:") {
        return url.to_owned();
    }
    match Url::parse(url) {
        Ok(mut parsed) if parsed.has_host() => {
            // A query can hold credentials too; no part of it says where the broker is.
            parsed.set_query(None);
            if parsed.password().is_some() && parsed.set_password(Some("***")).is_err() {
                return format!("{}://***", parsed.scheme());
            }
            parsed.to_string()
        }
        Ok(_) | Err(_) => match url.split_once("://") {
            Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => format!("{scheme}://***"),
            Some(_) | None => "***".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("amqp://user:hunter2@host:5672/v", "amqp://user:***@host:5672/v"),
            ("amqps://user@host", "amqps://user@host"),
            ("amqp://host/%2f?password=hunter2", "amqp://host/%2f"),
            ("amqp://user:hunter2/x@host", "amqp://***"),
            ("hunter2", "***"),
            ("user:hunter2", "***"),
            ("sqlite:a b.db", "sqlite:a b.db"),
        ] {
            assert_eq!(SecretUrl::from(url).to_string(), shown);
            assert_eq!(format!("{:?}", SecretUrl::from(url)), shown);
        }
    }

    #[test]
    fn the_url_chooses_the_broker() {
        let kind = |url: &str| SecretUrl::from(url).kind();
        assert_eq!(kind("amqp://localhost"), Ok(Kind::Amqp));
        assert_eq!(kind("amqps://u:p%40@host:5671/%2f"), Ok(Kind::Amqps));
        assert_eq!(kind("sqlite:flowlaunch.db"), Ok(Kind::Sqlite("flowlaunch.db".into())));
        assert_eq!(kind("sqlite:///var/jobs.db"), Ok(Kind::Sqlite("/var/jobs.db".into())));
        for url in [
            "",
            "flowlaunch.db",
            "redis://host",
            "sqlite:",
            "amqp://",
            "amqp://u:p/w@host",
        ] {
            let said = kind(url).unwrap_err();
            assert!(!said.contains("p/w"), "{said}");
        }
    }
}
