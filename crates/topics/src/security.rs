//! How clients of Kafka prove who they are and whom they talk to: Java's properties, as Connect's worker takes them, turned
//! into librdkafka's.
//!
//! Pure. Promise: what cannot be had is refused with its name and the cure, not dropped; no value of a secret is printed.

use std::collections::BTreeMap;
use std::fmt;

use crate::oauth::OAuth;

/// Properties of clients under Java's names (`security.protocol`, `sasl.*`, `ssl.*`).
pub type ClientProperties = BTreeMap<String, String>;

/// librdkafka's settings for one cluster. Printed without values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Security {
    settings: Vec<(&'static str, String)>,
    oauth: Option<OAuth>,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.settings.iter().map(|(name, _)| name)).finish()
    }
}

/// A property that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{property}: {why}")]
pub struct SecurityError {
    pub property: String,
    pub why: String,
}

impl SecurityError {
    fn new(property: &str, why: impl Into<String>) -> Self {
        Self { property: property.to_owned(), why: why.into() }
    }
}

/// Java's names that say the same under the same name here.
const SAME: [&str; 5] =
    ["sasl.username", "sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.cipher.suites"];

impl Security {
    /// Reads the properties; others than `security.protocol`, `sasl.*` and `ssl.*` are not looked at.
    ///
    /// # Errors
    /// The first property that cannot be used.
    pub fn read(properties: &ClientProperties) -> Result<Self, SecurityError> {
        let given = |name: &str| properties.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let mut security = Self::default();
        let protocol = given("security.protocol").unwrap_or("PLAINTEXT").to_ascii_lowercase();
        if !["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"].contains(&protocol.as_str()) {
            return Err(SecurityError::new("security.protocol", "one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"));
        }
        if protocol == "plaintext" {
            return Ok(security);
        }
        for name in SAME {
            if let Some(value) = given(name) {
                security.set(name, value);
            }
        }
        if protocol.starts_with("sasl") {
            security.sasl(given)?;
        }
        if protocol.ends_with("ssl") {
            security.trust(given)?;
            security.identity(given)?;
            // Present and empty: hosts are not compared with certificates.
            let compared = properties.get("ssl.endpoint.identification.algorithm").is_none_or(|name| !name.is_empty());
            security.set("ssl.endpoint.identification.algorithm", if compared { "https" } else { "none" });
        }
        security.set("security.protocol", &protocol);
        Ok(security)
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.settings.push((name, value.to_owned()));
    }

    fn sasl<'a>(&mut self, given: impl Fn(&str) -> Option<&'a str>) -> Result<(), SecurityError> {
        let mechanism = given("sasl.mechanism").unwrap_or("GSSAPI").to_ascii_uppercase();
        if !["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"].contains(&mechanism.as_str()) {
            return Err(SecurityError::new(
                "sasl.mechanism",
                "one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER",
            ));
        }
        self.set("sasl.mechanism", &mechanism);
        if mechanism == "OAUTHBEARER" {
            self.oauth = Some(oauth(given)?);
            return Ok(());
        }
        if let Some(jaas) = given("sasl.jaas.config") {
            let options = jaas_options(jaas).map_err(|why| SecurityError::new("sasl.jaas.config", why))?;
            for (name, setting) in [("username", "sasl.username"), ("password", "sasl.password")] {
                let value = options.get(name);
                let value = value.ok_or_else(|| SecurityError::new("sasl.jaas.config", format!("it has no {name}")))?;
                self.set(setting, value);
            }
        } else if given("sasl.username").is_none() {
            return Err(SecurityError::new("sasl.jaas.config", "needed with this security.protocol"));
        }
        Ok(())
    }

    fn trust<'a>(&mut self, given: impl Fn(&str) -> Option<&'a str>) -> Result<(), SecurityError> {
        if let Some(text) = given("ssl.truststore.certificates") {
            self.set("ssl.ca.pem", text);
            return Ok(());
        }
        let (file, kind) = ("ssl.truststore.location", "ssl.truststore.type");
        match given(file) {
            Some(path) if store_kind(path, given(kind)) == StoreKind::Pem => self.set("ssl.ca.location", path),
            Some(_) => {
                let cure = "only PEM can be read (ssl.truststore.type=PEM); convert it: keytool -exportcert -rfc \
                            -keystore FILE -alias NAME";
                return Err(SecurityError::new(file, cure));
            }
            // Wherever this system keeps them: the library is linked statically and knows no place.
            None => self.set("ssl.ca.location", "probe"),
        }
        Ok(())
    }

    fn identity<'a>(&mut self, given: impl Fn(&str) -> Option<&'a str>) -> Result<(), SecurityError> {
        if let Some((chain, key)) = given("ssl.keystore.certificate.chain").zip(given("ssl.keystore.key")) {
            self.set("ssl.certificate.pem", chain);
            self.set("ssl.key.pem", key);
            return Ok(());
        }
        let (file, kind) = ("ssl.keystore.location", "ssl.keystore.type");
        let Some(path) = given(file) else { return Ok(()) };
        match store_kind(path, given(kind)) {
            // One file with both, as Java wants it.
            StoreKind::Pem => {
                self.set("ssl.certificate.location", path);
                self.set("ssl.key.location", path);
            }
            StoreKind::Pkcs12 => self.set("ssl.keystore.location", path),
            StoreKind::Other => {
                let cure = "only PEM and PKCS12 can be read; convert it: keytool -importkeystore -deststoretype PKCS12";
                return Err(SecurityError::new(file, cure));
            }
        }
        Ok(())
    }

    /// Where tokens come from, with `OAUTHBEARER`.
    pub(crate) fn oauth(&self) -> Option<&OAuth> {
        self.oauth.as_ref()
    }

    /// One of librdkafka's settings, as far as it was given.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(found, _)| *found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn apply(&self, config: &mut rdkafka::ClientConfig) {
        for (name, value) in &self.settings {
            config.set(*name, value);
        }
    }
}

/// Options of the login module, or the properties that Kafka has for the same since 4.1.
fn oauth<'a>(given: impl Fn(&str) -> Option<&'a str>) -> Result<OAuth, SecurityError> {
    let jaas = given("sasl.jaas.config").unwrap_or("module required;");
    let options = jaas_options(jaas).map_err(|why| SecurityError::new("sasl.jaas.config", why))?;
    if let Some(principal) = options.get("unsecuredLoginStringClaim_sub") {
        return Ok(OAuth::Unsecured { principal: principal.clone() });
    }
    let either = |option: &str, property: &str| {
        let found = options.get(option).map(String::as_str).or_else(|| given(property)).map(str::to_owned);
        found.ok_or_else(|| SecurityError::new("sasl.jaas.config", format!("it has no {option}")))
    };
    let url = given("sasl.oauthbearer.token.endpoint.url")
        .ok_or_else(|| SecurityError::new("sasl.oauthbearer.token.endpoint.url", "needed with OAUTHBEARER"))?;
    Ok(OAuth::Endpoint {
        url: url.to_owned(),
        client_id: either("clientId", "sasl.oauthbearer.client.credentials.client.id")?,
        client_secret: either("clientSecret", "sasl.oauthbearer.client.credentials.client.secret")?,
        scope: either("scope", "sasl.oauthbearer.scope").ok(),
        authorities: given("ssl.truststore.location").map(str::to_owned),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoreKind {
    Pem,
    Pkcs12,
    Other,
}

/// Java takes a store for JKS when no type is given; here its name says more.
fn store_kind(path: &str, kind: Option<&str>) -> StoreKind {
    let path = path.to_ascii_lowercase();
    match kind.map(str::to_ascii_uppercase).as_deref() {
        Some("PEM") => StoreKind::Pem,
        Some("PKCS12") => StoreKind::Pkcs12,
        Some(_) => StoreKind::Other,
        None if path.ends_with(".p12") || path.ends_with(".pfx") => StoreKind::Pkcs12,
        None if path.ends_with(".jks") => StoreKind::Other,
        None => StoreKind::Pem,
    }
}

/// Options of a login module: `org…PlainLoginModule required username="a" password="b";`
fn jaas_options(text: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let mut rest = text.trim().strip_suffix(';').ok_or("it does not end with a semicolon")?.trim();
    for _ in ["module", "flag"] {
        rest = rest.split_once(char::is_whitespace).map_or("", |(_, rest)| rest).trim_start();
    }
    let mut options = BTreeMap::new();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=').ok_or("an option without a value")?;
        let value = value.trim_start();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = value.find(char::is_whitespace).unwrap_or(value.len());
                (value[..end].to_owned(), &value[end..])
            }
        };
        options.insert(name.trim().to_owned(), value);
        rest = after.trim_start();
    }
    Ok(options)
}

/// The text up to the closing quote, and what follows it.
fn unquoted(quoted: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            letter => value.push(letter),
        }
    }
    Err("a quote is not closed")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(properties: &[(&str, &str)]) -> Result<Security, SecurityError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Security::read(&properties.iter().map(owned).collect())
    }

    const JAAS: &str =
        r#"org.apache.kafka.common.security.scram.ScramLoginModule required username="al ice" password="se\"cr=et";"#;

    #[test]
    fn javas_properties_become_librdkafkas() {
        let security = read(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.jaas.config", JAAS),
            ("ssl.truststore.location", "/etc/ca.pem"),
            ("ssl.endpoint.identification.algorithm", ""),
        ])
        .unwrap();
        let expected = [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "al ice"),
            ("sasl.password", "se\"cr=et"),
            ("ssl.ca.location", "/etc/ca.pem"),
            ("ssl.endpoint.identification.algorithm", "none"),
        ];
        for (name, expected) in expected {
            assert_eq!(security.setting(name), Some(expected), "{name}");
        }
        assert!(!format!("{security:?}").contains("se\"cr"), "{security:?}");
    }

    #[test]
    fn nothing_given_is_plain() {
        assert_eq!(read(&[]).unwrap(), Security::default());
        assert_eq!(read(&[("sasl.jaas.config", JAAS)]).unwrap(), Security::default());
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name() {
        let refused = |properties: &[(&str, &str)]| read(properties).unwrap_err().property;
        assert_eq!(refused(&[("security.protocol", "TLS")]), "security.protocol");
        assert_eq!(refused(&[("security.protocol", "SASL_SSL")]), "sasl.mechanism");
        let plain = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")];
        assert_eq!(refused(&plain), "sasl.jaas.config");
        let jks = [("security.protocol", "SSL"), ("ssl.truststore.location", "/a/trust.jks")];
        assert_eq!(refused(&jks), "ssl.truststore.location");
        let error = read(&[plain[0], plain[1], ("sasl.jaas.config", "x required username=\"u\";")]).unwrap_err();
        assert_eq!(error.to_string(), "sasl.jaas.config: it has no password");
    }
}
