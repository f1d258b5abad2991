//! Values that must never be printed.

use std::{convert::Infallible, fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer};

/// What stands in the place of a secret wherever one would be printed.
pub const MASK: &str = "********";

/// A password or key. `Debug`, `Display` and `Serialize` show [`MASK`]; [`Secret::expose`] is the only way to the text.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

/// Whether a property of this name holds a secret, so that its value is masked in every answer and log.
#[must_use]
pub fn names_secret(property: &str) -> bool {
    let name = property.to_ascii_lowercase();
    [
        "password",
        "passwd",
        "secret",
        "credential.value",
        "access.key",
        "api.key",
        "token",
        "basic.auth.user.info",
        "sasl.jaas.config",
    ]
    .iter()
    .any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_shows_its_mask_everywhere() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "******** ********");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"********\"");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn property_names_with_secrets_are_recognised() {
        for name in
            ["database.password", "aws.secret.access.key", "aws.access.key.id", "value.converter.basic.auth.user.info"]
        {
            assert!(names_secret(name), "{name}");
        }
        for name in ["database.user", "topic.prefix", "key.converter", "s3.credentials.provider.class"] {
            assert!(!names_secret(name), "{name}");
        }
    }
}
