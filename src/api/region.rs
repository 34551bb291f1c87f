//! The regions of Genesys Cloud: each has an API host and a login host, which must match.

use thiserror::Error;
use url::Url;

/// A region: `us-east-1`, whose domain is `mypurecloud.com`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    name: &'static str,
    domain: &'static str,
}

const fn region(name: &'static str, domain: &'static str) -> Region {
    Region { name, domain }
}

/// As the vendor's SDKs list them.
const REGIONS: [Region; 18] = [
    region("us-east-1", "mypurecloud.com"),
    region("us-east-2", "use2.us-gov-pure.cloud"),
    region("us-west-2", "usw2.pure.cloud"),
    region("ca-central-1", "cac1.pure.cloud"),
    region("sa-east-1", "sae1.pure.cloud"),
    region("mx-central-1", "mxc1.pure.cloud"),
    region("eu-west-1", "mypurecloud.ie"),
    region("eu-west-2", "euw2.pure.cloud"),
    region("eu-central-1", "mypurecloud.de"),
    region("eu-central-2", "euc2.pure.cloud"),
    region("me-central-1", "mec1.pure.cloud"),
    region("ap-south-1", "aps1.pure.cloud"),
    region("ap-northeast-1", "mypurecloud.jp"),
    region("ap-northeast-2", "apne2.pure.cloud"),
    region("ap-northeast-3", "apne3.pure.cloud"),
    region("ap-southeast-1", "apse1.pure.cloud"),
    region("ap-southeast-2", "mypurecloud.com.au"),
    region("eusc-de-east-1", "edee1.eusc-pure.cloud"),
];

/// No region is called so.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("there is no region `{given}`: did you mean `{nearest}`?")]
pub struct UnknownRegion {
    /// What was asked for.
    pub given: String,
    /// The name or domain that looks most like it.
    pub nearest: &'static str,
}

impl Region {
    /// The region of this name or domain, in any case of letters.
    ///
    /// # Errors
    /// When there is none; the nearest is named.
    pub fn find(name_or_domain: &str) -> Result<Self, UnknownRegion> {
        let given = name_or_domain.trim().to_ascii_lowercase();
        if let Some(found) = REGIONS.iter().find(|r| r.name == given || r.domain == given) {
            return Ok(*found);
        }
        let nearest = REGIONS
            .iter()
            .flat_map(|r| [r.name, r.domain])
            .min_by_key(|known| strsim::damerau_levenshtein(known, &given))
            .unwrap_or_default();
        Err(UnknownRegion {
            given: name_or_domain.to_owned(),
            nearest,
        })
    }

    /// Every region.
    pub fn all() -> impl Iterator<Item = Self> {
        REGIONS.into_iter()
    }

    /// Its name, such as `us-east-1`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its domain, such as `mypurecloud.com`.
    pub const fn domain(&self) -> &'static str {
        self.domain
    }

    /// Where its API is.
    pub fn api_url(&self) -> Url {
        self.host("api")
    }

    /// Where its tokens come from.
    pub fn login_url(&self) -> Url {
        self.host("login")
    }

    #[expect(clippy::expect_used, reason = "the table is ours, and a test goes through all of it")]
    fn host(&self, name: &str) -> Url {
        Url::parse(&format!("https://{name}.{}", self.domain)).expect("a host of the table")
    }
}

/// Whether this is a host of Genesys Cloud, where a launch is a call to a real customer.
pub fn is_genesys_domain(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_end_matches('.');
    REGIONS.iter().any(|r| {
        host.strip_suffix(r.domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_found_by_name_and_by_domain() {
        for region in Region::all() {
            assert_eq!(Region::find(region.name()), Ok(region));
            assert_eq!(Region::find(&region.domain().to_uppercase()), Ok(region));
            assert_eq!(region.api_url().as_str(), format!("https://api.{}/", region.domain()));
            assert_eq!(
                region.login_url().as_str(),
                format!("https://login.{}/", region.domain())
            );
            assert!(is_genesys_domain(&region.api_url()));
        }
    }

    #[test]
    fn an_unknown_region_names_the_nearest() {
        let nearest = |given| Region::find(given).unwrap_err().nearest;
        assert_eq!(nearest("us-est-1"), "us-east-1");
        assert_eq!(nearest("mypurecloud.ei"), "mypurecloud.ie");
        assert_eq!(nearest("euw3.pure.cloud"), "euw2.pure.cloud");
    }

    #[test]
    fn only_the_vendors_own_hosts_are_genesys_domains() {
        for (url, expected) in [
            ("https://api.mypurecloud.com", true),
            ("https://API.MyPureCloud.com.", true),
            ("https://mypurecloud.ie", true),
            ("https://api.usw2.pure.cloud:8443/x", true),
            ("https://notmypurecloud.com", false),
            ("https://mypurecloud.com.example.org", false),
            ("http://localhost:8080", false),
            ("http://127.0.0.1", false),
        ] {
            assert_eq!(is_genesys_domain(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
