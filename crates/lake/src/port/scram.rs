//! SCRAM-SHA-256 (RFC 5802 and 7677), the server's side, without channel binding. Pure but for random numbers.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use model::secret::Secret;
use openssl::{hash::MessageDigest, memcmp, pkcs5, pkey::PKey, rand::rand_bytes, sha::sha256, sign::Signer};

pub const MECHANISM: &str = "SCRAM-SHA-256";
const ITERATIONS: usize = 4096;

/// Authentication failed or cannot go on; says nothing of the reason to whom it concerns.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

impl From<openssl::error::ErrorStack> for Refused {
    fn from(_: openssl::error::ErrorStack) -> Self {
        Self
    }
}

/// What is kept of a password.
pub struct Verifier {
    salt: [u8; 16],
    stored_key: [u8; 32],
    server_key: Vec<u8>,
}

impl Verifier {
    /// Of a password in ASCII, which needs no preparation (RFC 4013).
    ///
    /// # Errors
    /// When the password is not ASCII or there are no random numbers.
    pub fn new(password: &Secret) -> anyhow::Result<Self> {
        anyhow::ensure!(password.expose().is_ascii(), "LAKE_SQL_PASSWORD may only have ASCII characters");
        let mut salt = [0; 16];
        rand_bytes(&mut salt)?;
        let mut salted = [0; 32];
        pkcs5::pbkdf2_hmac(password.expose().as_bytes(), &salt, ITERATIONS, MessageDigest::sha256(), &mut salted)?;
        let stored_key = sha256(&hmac(&salted, b"Client Key")?);
        Ok(Self { salt, stored_key, server_key: hmac(&salted, b"Server Key")? })
    }
}

/// An exchange after the client's first message.
pub struct Exchange {
    first_bare: String,
    gs2: String,
    nonce: String,
    /// To be sent.
    pub server_first: String,
}

impl Exchange {
    /// Answers `n,,n=user,r=nonce`.
    ///
    /// # Errors
    /// When the message is none.
    pub fn begin(verifier: &Verifier, client_first: &[u8]) -> Result<Self, Refused> {
        let text = std::str::from_utf8(client_first).map_err(|_| Refused)?;
        // Channel binding is not offered: `p=` may not be asked for.
        let gs2 = ["n,", "y,"].iter().find_map(|flag| text.strip_prefix(flag).map(|rest| (*flag, rest)));
        let (flag, rest) = gs2.ok_or(Refused)?;
        let (authzid, first_bare) = rest.split_once(',').ok_or(Refused)?;
        let client_nonce = first_bare.split(',').find_map(|part| part.strip_prefix("r=")).ok_or(Refused)?;
        let mut own = [0; 18];
        rand_bytes(&mut own)?;
        let nonce = format!("{client_nonce}{}", BASE64.encode(own));
        let server_first = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(verifier.salt));
        Ok(Self { first_bare: first_bare.to_owned(), gs2: format!("{flag}{authzid},"), nonce, server_first })
    }

    /// Checks `c=…,r=…,p=proof`; what to send when the password is right.
    ///
    /// # Errors
    /// When it is wrong.
    pub fn finish(&self, verifier: &Verifier, client_final: &[u8]) -> Result<String, Refused> {
        let text = std::str::from_utf8(client_final).map_err(|_| Refused)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Refused)?;
        let mut parts = without_proof.split(',');
        let bound = parts.next().and_then(|part| part.strip_prefix("c=")).ok_or(Refused)?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or(Refused)?;
        if BASE64.decode(bound).map_err(|_| Refused)? != self.gs2.as_bytes() || nonce != self.nonce {
            return Err(Refused);
        }
        let proof = BASE64.decode(proof).map_err(|_| Refused)?;
        let message = format!("{},{},{without_proof}", self.first_bare, self.server_first);
        let signature = hmac(&verifier.stored_key, message.as_bytes())?;
        if proof.len() != signature.len() {
            return Err(Refused);
        }
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if !memcmp::eq(&sha256(&client_key), &verifier.stored_key) {
            return Err(Refused);
        }
        Ok(format!("v={}", BASE64.encode(hmac(&verifier.server_key, message.as_bytes())?)))
    }
}

fn hmac(key: &[u8], data: &[u8]) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    let key = PKey::hmac(key)?;
    Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(data)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// RFC 7677, section 3.
    #[test]
    fn the_example_of_the_standard_is_accepted_and_a_changed_one_is_not() {
        let salt: [u8; 16] = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let mut salted = [0; 32];
        pkcs5::pbkdf2_hmac(b"pencil", &salt, ITERATIONS, MessageDigest::sha256(), &mut salted).unwrap();
        let stored_key = sha256(&hmac(&salted, b"Client Key").unwrap());
        let verifier = Verifier { salt, stored_key, server_key: hmac(&salted, b"Server Key").unwrap() };
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let exchange = Exchange {
            first_bare: "n=user,r=rOprNGfwEbeRWgbNEkqO".into(),
            gs2: "n,,".into(),
            nonce: nonce.into(),
            server_first: format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
        };
        let last = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let answer = exchange.finish(&verifier, last.as_bytes());
        assert_eq!(answer.as_deref(), Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        for wrong in
            [last.replace("p=d", "p=e"), last.replace("hNlF", "hNlG"), last.replace("biws", "eSws"), String::new()]
        {
            assert_eq!(exchange.finish(&verifier, wrong.as_bytes()), Err(Refused), "{wrong}");
        }
        for first in ["p=tls-unique,,n=,r=x", "n,,n=u", "", "n"] {
            assert!(Exchange::begin(&verifier, first.as_bytes()).is_err(), "{first}");
        }
        let begun = Exchange::begin(&verifier, b"n,,n=,r=abc").unwrap();
        assert!(begun.server_first.starts_with("r=abc") && begun.nonce.len() > 20);
    }
}
