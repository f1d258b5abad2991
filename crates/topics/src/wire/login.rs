//! Proving who we are to a broker: SASL over a connection that is made.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;
use openssl::hash::MessageDigest;

use super::connection::{Abilities, Fault, Line, lost};
use super::scram::Scram;
use crate::oauth::OAuth;
use crate::security::Security;

/// Logs in where the settings say so.
///
/// # Errors
/// `Lost` when the broker refuses it: it may know the name or the password later.
pub(super) async fn log_in(line: &mut Line, abilities: &Abilities, security: &Security) -> Result<(), Fault> {
    if !security.setting("security.protocol").is_some_and(|protocol| protocol.starts_with("sasl")) {
        return Ok(());
    }
    let mechanism = security.setting("sasl.mechanism").unwrap_or_default();
    let version = abilities.pick(ApiKey::SaslHandshake, (1, 1))?;
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_string(mechanism.to_owned()));
    let answer: SaslHandshakeResponse = line.ask(ApiKey::SaslHandshake, version, &request).await?;
    if answer.error_code != 0 {
        let known: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
        return Err(lost(format!("the broker does not take {mechanism}, but {}", known.join(", "))));
    }
    let mut login = Login { line, version: abilities.pick(ApiKey::SaslAuthenticate, (0, 2))? };
    let given = |name| security.setting(name).unwrap_or_default();
    let (user, password) = (given("sasl.username"), given("sasl.password"));
    match mechanism {
        "PLAIN" => login.say(format!("\0{user}\0{password}")).await.map(drop),
        "SCRAM-SHA-256" => login.scram(MessageDigest::sha256(), user, password).await,
        "SCRAM-SHA-512" => login.scram(MessageDigest::sha512(), user, password).await,
        "OAUTHBEARER" => {
            let token = token(security.oauth().cloned()).await?;
            login.say(format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}")).await.map(drop)
        }
        other => Err(lost(format!("{other} is not known"))),
    }
}

struct Login<'a> {
    line: &'a mut Line,
    version: i16,
}

impl Login<'_> {
    async fn say(&mut self, text: String) -> Result<Bytes, Fault> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(text.into());
        let answer: SaslAuthenticateResponse = self.line.ask(ApiKey::SaslAuthenticate, self.version, &request).await?;
        if answer.error_code != 0 {
            let reason = answer.error_message.as_ref().map_or("the broker refuses it", StrBytes::as_str);
            return Err(lost(format!("login: {reason}")));
        }
        Ok(answer.auth_bytes)
    }

    async fn scram(&mut self, digest: MessageDigest, user: &str, password: &str) -> Result<(), Fault> {
        let mut random = [0; 24];
        openssl::rand::rand_bytes(&mut random).map_err(lost)?;
        let scram = Scram::new(digest, user, password, URL_SAFE_NO_PAD.encode(random));
        let first = text(self.say(scram.first()).await?)?;
        let last = scram.last(&first).map_err(lost)?;
        let end = text(self.say(last.message.clone()).await?)?;
        last.check(&end).map_err(lost)
    }
}

fn text(bytes: Bytes) -> Result<String, Fault> {
    String::from_utf8(bytes.into()).map_err(lost)
}

async fn token(oauth: Option<OAuth>) -> Result<String, Fault> {
    let oauth = oauth.ok_or_else(|| lost("OAUTHBEARER without a source of tokens"))?;
    let asked = tokio::task::spawn_blocking(move || oauth.token().map_err(|error| error.to_string()));
    let token = asked.await.map_err(lost)?.map_err(lost)?;
    Ok(token.token)
}
