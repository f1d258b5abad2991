//! Tokens for `OAUTHBEARER`: fetched from an endpoint with a client's credentials, or unsecured ones for tests.
//!
//! librdkafka asks for a token when a client starts and before the last one expires, by an event of clients that are
//! polled. Clients that are not (administrative ones) are given theirs before they are used, see [`OAuth::give`].

use std::error::Error;
use std::ffi::CString;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use reqwest_tls::{Certificate, Client};
use serde::Deserialize;

use crate::registry_client::encoded;

const ASK: Duration = Duration::from_secs(10);
/// Life of a token that does not say how long it is.
const LIFE_DEFAULT_S: u64 = 300;
const UNSECURED_LIFE_S: u64 = 3600;

/// Where tokens come from. Printed without secrets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum OAuth {
    /// Signed by nobody: for brokers that are told to take such, in tests.
    Unsecured { principal: String },
    Endpoint {
        url: String,
        client_id: String,
        client_secret: String,
        scope: Option<String>,
        /// Authorities beside the system's, a file of PEM.
        authorities: Option<String>,
    },
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsecured { principal } => write!(f, "unsecured token of {principal}"),
            Self::Endpoint { url, client_id, .. } => write!(f, "token of {client_id} from {url}"),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

/// When a client that is not polled needs its next token, milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(crate) struct GivenUntil(Mutex<i64>);

impl OAuth {
    /// A token. Blocks while the endpoint is asked.
    pub(crate) fn token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        match self {
            Self::Unsecured { principal } => Ok(unsecured(principal)),
            Self::Endpoint { .. } => {
                let this = self.clone();
                // On a thread of its own: the caller may be inside a runtime, where none may be blocked on.
                let asked = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.map_err(|error| error.to_string())?.block_on(this.fetch())
                });
                Ok(asked.join().map_err(|_| "asking for a token panicked")??)
            }
        }
    }

    async fn fetch(&self) -> Result<OAuthToken, String> {
        let Self::Endpoint { url, client_id, client_secret, scope, authorities } = self else {
            return Err("no endpoint".into());
        };
        let said = |error: reqwest_tls::Error| format!("token endpoint {url}: {}", error.without_url());
        let mut builder = Client::builder().timeout(ASK);
        if let Some(file) = authorities {
            let pem = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
            builder = builder.tls_certs_merge(Certificate::from_pem_bundle(&pem).map_err(said)?);
        }
        let scope = scope.as_ref().map(|scope| format!("&scope={}", encoded(scope))).unwrap_or_default();
        let answer = builder
            .build()
            .map_err(said)?
            .post(url)
            .basic_auth(client_id, Some(client_secret))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("grant_type=client_credentials{scope}"))
            .send()
            .await
            .and_then(reqwest_tls::Response::error_for_status)
            .map_err(said)?;
        let bytes = answer.bytes().await.map_err(said)?;
        // What it says instead may hold a token.
        let answer: Answer =
            serde_json::from_slice(&bytes).map_err(|_| format!("token endpoint {url}: no token in the answer"))?;
        let life = answer.expires_in.unwrap_or(LIFE_DEFAULT_S);
        Ok(OAuthToken { token: answer.access_token, principal_name: client_id.clone(), lifetime_ms: in_ms(life) })
    }

    /// Gives a token to a client that is not polled, unless the one it has is good for a while.
    ///
    /// # Errors
    /// When none can be had.
    #[allow(unsafe_code)]
    pub(crate) fn give(&self, client: *mut rdkafka::bindings::rd_kafka_t, until: &GivenUntil) -> Result<(), String> {
        let mut until = until.0.lock().unwrap_or_else(PoisonError::into_inner);
        if in_ms(0) < *until {
            return Ok(());
        }
        let token = self.token().map_err(|error| error.to_string())?;
        let text = CString::new(token.token).map_err(|error| error.to_string())?;
        let principal = CString::new(token.principal_name).map_err(|error| error.to_string())?;
        let mut said = [0; 512];
        // SAFETY: the caller's client lives over the call; the strings end with NUL; the buffer is as long as said.
        let outcome = unsafe {
            rdkafka::bindings::rd_kafka_oauthbearer_set_token(
                client,
                text.as_ptr(),
                token.lifetime_ms,
                principal.as_ptr(),
                std::ptr::null_mut(),
                0,
                said.as_mut_ptr(),
                said.len(),
            )
        };
        if outcome != rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(format!("librdkafka does not take the token: {outcome:?}"));
        }
        // A fifth of its life is left for the next one.
        *until = token.lifetime_ms - (token.lifetime_ms - in_ms(0)) / 5;
        Ok(())
    }
}

fn in_ms(seconds: u64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_secs(seconds);
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

fn unsecured(principal: &str) -> OAuthToken {
    let lifetime_ms = in_ms(UNSECURED_LIFE_S);
    let claims = serde_json::json!({ "sub": principal, "iat": in_ms(0) / 1000, "exp": lifetime_ms / 1000 });
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let token = format!("{head}.{}.", URL_SAFE_NO_PAD.encode(claims.to_string()));
    OAuthToken { token, principal_name: principal.to_owned(), lifetime_ms }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_unsecured_token_says_whose_it_is() {
        let token = unsecured("relay").token;
        let parts: Vec<_> = token.split('.').collect();
        let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!((parts.len(), claims["sub"].as_str(), parts[2]), (3, Some("relay"), ""));
    }

    #[test]
    fn secrets_are_not_printed() {
        let oauth = OAuth::Endpoint {
            url: "https://id.example/token".into(),
            client_id: "relay".into(),
            client_secret: "hunter2".into(),
            scope: None,
            authorities: None,
        };
        assert!(!format!("{oauth:?}").contains("hunter2"));
    }
}
