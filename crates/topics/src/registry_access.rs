//! How the schema registry is reached: credentials and certificates, under the converter's own property names.
//!
//! Names are given without what stands before them in a connector (`value.converter.`, `schema.registry.`). Promise: no
//! credential is printed; what cannot be had is refused with its name.

use std::fmt;
use std::time::Duration;

use reqwest_tls::{Certificate, Client, Identity, RequestBuilder};

use crate::security::{ClientProperties, SecurityError};

#[derive(Clone, PartialEq, Eq)]
enum Credentials {
    Basic { user: String, password: String },
    Bearer(String),
}

/// See the module documentation.
#[derive(Clone, Default)]
pub struct RegistryAccess {
    credentials: Option<Credentials>,
    /// PEM; `None`: the system's authorities.
    authorities: Option<Vec<u8>>,
    /// PEM: our certificate and its key.
    identity: Option<Vec<u8>>,
    any_host: bool,
}

impl fmt::Debug for RegistryAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.credentials {
            None => "none",
            Some(Credentials::Basic { .. }) => "basic",
            Some(Credentials::Bearer(_)) => "bearer",
        };
        f.debug_struct("RegistryAccess").field("credentials", &kind).finish_non_exhaustive()
    }
}

impl RegistryAccess {
    /// Reads `basic.auth.user.info`, `bearer.auth.token` and `ssl.*`, and the files these name.
    ///
    /// # Errors
    /// The first property that cannot be used.
    pub fn read(properties: &ClientProperties) -> Result<Self, SecurityError> {
        let given = |name: &str| properties.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let refused =
            |property: &str, why: String| SecurityError { property: format!("schema.registry.{property}"), why };
        let file = |property: &str| {
            let Some(path) = given(property) else { return Ok(None) };
            match std::fs::read(path) {
                Ok(bytes) if bytes.windows(11).any(|text| text == b"-----BEGIN ") => Ok(Some(bytes)),
                Ok(_) => Err(refused(property, format!("{path} is not PEM, which is all that can be read"))),
                Err(error) => Err(refused(property, format!("{path}: {error}"))),
            }
        };
        let credentials = match (given("basic.auth.user.info"), given("bearer.auth.token")) {
            (Some(info), _) => {
                let (user, password) = info
                    .split_once(':')
                    .ok_or_else(|| refused("basic.auth.user.info", "user and password with a colon between".into()))?;
                Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
            }
            (None, Some(token)) => Some(Credentials::Bearer(token.to_owned())),
            (None, None) => None,
        };
        Ok(Self {
            credentials,
            authorities: file("ssl.truststore.location")?,
            identity: file("ssl.keystore.location")?,
            any_host: properties.get("ssl.endpoint.identification.algorithm").is_some_and(String::is_empty),
        })
    }

    /// Takes credentials out of a URL.
    pub(crate) fn with_url(mut self, url: &str) -> (String, Self) {
        let found = url.split_once("://").and_then(|(scheme, rest)| {
            let end = rest.find('/').unwrap_or(rest.len());
            let at = rest[..end].rfind('@')?;
            Some((format!("{scheme}://{}", &rest[at + 1..]), rest[..at].to_owned()))
        });
        let Some((bare, info)) = found else { return (url.to_owned(), self) };
        if self.credentials.is_none() {
            let (user, password) = info.split_once(':').unwrap_or((&info, ""));
            self.credentials = Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() });
        }
        (bare, self)
    }

    pub(crate) fn client(&self, url: &str, ask: Duration) -> Result<Client, SecurityError> {
        let refused = |property: &str, error: reqwest_tls::Error| SecurityError {
            property: format!("schema.registry.{property}"),
            why: format!("{error:?}"),
        };
        let mut builder = Client::builder().timeout(ask);
        if let Some(pem) = &self.authorities {
            let found = Certificate::from_pem_bundle(pem).map_err(|error| refused("ssl.truststore.location", error))?;
            builder = builder.tls_certs_only(found);
        } else if !url.starts_with("https") {
            // A system without authorities is no reason to fail where none is needed.
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        if let Some(pem) = &self.identity {
            let own = Identity::from_pem(pem).map_err(|error| refused("ssl.keystore.location", error))?;
            builder = builder.identity(own);
        }
        builder = builder.tls_danger_accept_invalid_hostnames(self.any_host);
        builder.build().map_err(|error| refused("url", error))
    }

    pub(crate) fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            None => request,
            Some(Credentials::Basic { user, password }) => request.basic_auth(user, Some(password)),
            Some(Credentials::Bearer(token)) => request.bearer_auth(token),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(properties: &[(&str, &str)]) -> Result<RegistryAccess, SecurityError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        RegistryAccess::read(&properties.iter().map(owned).collect())
    }

    #[test]
    fn credentials_come_from_properties_or_the_url_and_are_not_shown() {
        let (url, access) = RegistryAccess::default().with_url("https://me:p@ss@registry.example:8081/path");
        assert_eq!(url, "https://registry.example:8081/path");
        let basic = Credentials::Basic { user: "me".into(), password: "p@ss".into() };
        assert!(access.credentials.as_ref() == Some(&basic) && !format!("{access:?}").contains("p@ss"));
        let (url, access) = read(&[("basic.auth.user.info", "me:p@ss")]).unwrap().with_url("http://x:1");
        assert!(access.credentials == Some(basic) && url == "http://x:1");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let error = read(&[("ssl.truststore.location", "/nowhere/ca.pem")]).unwrap_err().to_string();
        assert!(error.contains("ssl.truststore.location") && error.contains("/nowhere/ca.pem"), "{error}");
        assert!(read(&[("basic.auth.user.info", "secret-without-colon")]).is_err());
    }

    #[tokio::test]
    async fn a_client_in_the_clear_needs_no_authorities() {
        assert!(RegistryAccess::default().client("http://127.0.0.1:1", Duration::from_secs(1)).is_ok());
    }
}
