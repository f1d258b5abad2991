//! Keeps secrets out of answers and traces.
//!
//! Kafka Connect hands a configuration back as it was posted, passwords included. Here a value under a
//! secret-looking name comes back as [`MASK`], in configs, task configs, validation answers, error texts and
//! traces. A reference such as `${env:DEBEZIUM_PASSWORD}` is no secret and is shown. A client that reads a
//! config, edits it and puts it back sends the mask: [`keep_masked`] then keeps the stored value.

use crate::plugin::Config;

pub use model::secret::MASK;

/// Whether a setting of this name holds a secret.
pub fn sensitive(name: &str) -> bool {
    model::secret::names_secret(name) && !name.ends_with(".class")
}

/// The value as an answer may show it.
pub fn masked(name: &str, value: &str) -> String {
    if !value.is_empty() && sensitive(name) && !is_reference(value) {
        return MASK.into();
    }
    without_url_password(value)
}

/// The whole configuration as an answer may show it.
pub fn mask(config: &Config) -> Config {
    config.iter().map(|(name, value)| (name.clone(), masked(name, value))).collect()
}

/// Put the stored secrets back where a client returned the mask it was shown.
pub fn keep_masked(new: &mut Config, stored: &Config) {
    for (name, value) in new.iter_mut() {
        if let Some(old) = stored.get(name)
            && value == &masked(name, old)
        {
            value.clone_from(old);
        }
    }
}

/// `text` without any secret of `config` in it; for traces and log lines.
pub fn redact(text: &str, config: &Config) -> String {
    // Longest first, so that a secret that contains another is replaced whole. Very short ones would tear
    // ordinary words apart and protect nothing.
    let mut secrets: Vec<&str> = config
        .iter()
        .filter(|(name, value)| sensitive(name) && value.len() >= 6 && !is_reference(value))
        .map(|(_, value)| value.as_str())
        .collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASK))
}

fn is_reference(value: &str) -> bool {
    value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).is_some_and(|inner| !inner.contains("${"))
}

/// `http://user:password@host` with the password masked.
fn without_url_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let authority_end = rest.find(['/', '?', ',']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}://{user}:{MASK}@{host}{tail}"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn secrets_are_masked_and_references_and_class_names_are_not() {
        let shown = mask(&config(&[
            ("database.password", "hunter22"),
            ("aws.access.key.id", "minio"),
            ("aws.secret.access.key", "${env:AWS_SECRET_ACCESS_KEY}"),
            ("s3.credentials.provider.class", "com.amazonaws.auth.EnvironmentVariableCredentialsProvider"),
            ("schema.registry.url", "http://bob:hunter22@registry:8081/x"),
            ("slot.name", "storefront_slot"),
        ]));
        assert_eq!(shown["database.password"], MASK);
        assert_eq!(shown["aws.access.key.id"], MASK);
        assert_eq!(shown["aws.secret.access.key"], "${env:AWS_SECRET_ACCESS_KEY}");
        assert!(shown["s3.credentials.provider.class"].starts_with("com.amazonaws"));
        assert_eq!(shown["schema.registry.url"], "http://bob:********@registry:8081/x");
        assert_eq!(shown["slot.name"], "storefront_slot");
    }

    #[test]
    fn a_masked_value_put_back_keeps_the_stored_secret() {
        let stored = config(&[("database.password", "hunter22"), ("url", "http://u:p@h")]);
        let mut new = mask(&stored);
        new.insert("slot.name".into(), "s".into());
        keep_masked(&mut new, &stored);
        assert_eq!(new["database.password"], "hunter22");
        assert_eq!(new["url"], "http://u:p@h");
        assert_eq!(new["slot.name"], "s");
    }

    #[test]
    fn a_trace_that_quotes_a_secret_is_redacted() {
        let secret = config(&[("database.password", "hunter22"), ("slot.name", "storefront")]);
        assert_eq!(
            redact("login with hunter22 for storefront failed", &secret),
            "login with ******** for storefront failed"
        );
    }
}
