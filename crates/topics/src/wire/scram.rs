//! SCRAM (RFC 5802) as Kafka has it: what a client says, and whether the server knew the password too.
//!
//! Pure. The password leaves only as a proof.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sign::Signer;

/// No channel binding.
const HEADER: &str = "n,,";
/// What a server may ask for at most, so that it cannot keep us busy.
const ITERATIONS_MAX: usize = 1_000_000;

/// One login.
pub(super) struct Scram<'a> {
    digest: MessageDigest,
    password: &'a str,
    /// The first message without its header.
    bare: String,
    nonce: String,
}

/// The last message, and what the server has to answer.
pub(super) struct Final {
    pub message: String,
    expected: String,
}

impl<'a> Scram<'a> {
    /// `nonce`: letters and digits, never used before.
    pub(super) fn new(digest: MessageDigest, user: &str, password: &'a str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { digest, password, bare: format!("n={user},r={nonce}"), nonce }
    }

    pub(super) fn first(&self) -> String {
        format!("{HEADER}{}", self.bare)
    }

    /// What is said to the server's first message.
    pub(super) fn last(&self, server: &str) -> Result<Final, String> {
        let field = |name: &str| {
            let found = server.split(',').find_map(|field| field.strip_prefix(name));
            found.ok_or_else(|| format!("the server's first SCRAM message has no {name}"))
        };
        let nonce = field("r=")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the server's SCRAM nonce is not made of ours".to_owned());
        }
        let salt = STANDARD.decode(field("s=")?).map_err(|error| error.to_string())?;
        let iterations = field("i=")?.parse().ok().filter(|count| (1..=ITERATIONS_MAX).contains(count));
        let iterations: usize = iterations.ok_or("the server's SCRAM iterations cannot be")?;
        let said = format!("c={},r={nonce}", STANDARD.encode(HEADER));
        let signed = format!("{},{server},{said}", self.bare);
        let (proof, expected) = self.prove(&salt, iterations, &signed).map_err(|error| error.to_string())?;
        Ok(Final { message: format!("{said},p={}", STANDARD.encode(proof)), expected: STANDARD.encode(expected) })
    }

    fn prove(&self, salt: &[u8], iterations: usize, signed: &str) -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
        let mut salted = vec![0; self.digest.size()];
        pbkdf2_hmac(self.password.as_bytes(), salt, iterations, self.digest, &mut salted)?;
        let client_key = self.hmac(&salted, b"Client Key")?;
        let stored_key = hash(self.digest, &client_key)?;
        let signature = self.hmac(&stored_key, signed.as_bytes())?;
        let proof = client_key.iter().zip(&signature).map(|(key, sign)| key ^ sign).collect();
        let server_key = self.hmac(&salted, b"Server Key")?;
        Ok((proof, self.hmac(&server_key, signed.as_bytes())?))
    }

    fn hmac(&self, key: &[u8], text: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        Signer::new(self.digest, &*PKey::hmac(key)?)?.sign_oneshot_to_vec(text)
    }
}

impl Final {
    /// # Errors
    /// When the server's last message does not show that it knows the password.
    pub(super) fn check(&self, server: &str) -> Result<(), String> {
        match server.split(',').find_map(|field| field.strip_prefix("v=")) {
            Some(shown) if shown == self.expected => Ok(()),
            _ => Err("the server did not show that it knows the password".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

    /// The exchange of RFC 7677.
    #[test]
    fn the_exchange_of_the_standard() {
        let scram = Scram::new(MessageDigest::sha256(), "user", "pencil", NONCE.into());
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = scram.last(server).unwrap();
        assert_eq!(
            last.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(last.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_ok());
        assert!(last.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=").is_err());
        assert!(last.check("e=other-error").is_err());
    }

    #[test]
    fn a_server_that_does_not_repeat_our_nonce_is_not_answered() {
        let scram = Scram::new(MessageDigest::sha512(), "a=b,c", "pencil", NONCE.into());
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=rOprNGfwEbeRWgbNEkqO");
        for server in ["r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", &format!("r={NONCE},s=W22Z,i=1"), "s=W22Z"] {
            assert!(scram.last(server).is_err(), "{server}");
        }
        assert!(scram.last(&format!("r={NONCE}x,s=W22Z,i=0")).is_err());
        assert!(scram.last(&format!("r={NONCE}x,s=W22Z,i=4096")).is_ok());
    }
}
