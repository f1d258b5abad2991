//! Certificates made at test time: an authority and what it signs.

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    x509::{
        X509, X509Builder, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};

/// An authority that servers and clients are told to trust.
pub struct Authority {
    key: PKey<Private>,
    certificate: X509,
}

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    pub certificate: String,
    /// PKCS #8, not encrypted.
    pub key: String,
    /// The same key, encrypted.
    pub encrypted_key: String,
}

/// What opens [`Issued::encrypted_key`].
pub const KEY_PASSWORD: &str = "key-passphrase";

impl Authority {
    /// # Panics
    /// When OpenSSL cannot make one.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let key = fresh_key();
        let mut builder = builder(name, &key);
        builder.set_issuer_name(&x509_name(name)).expect("issuer");
        builder.append_extension(BasicConstraints::new().critical().ca().build().expect("CA")).expect("extension");
        builder.sign(&key, MessageDigest::sha256()).expect("sign");
        Self { certificate: builder.build(), key }
    }

    /// The authority's certificate, PEM.
    ///
    /// # Panics
    /// Never, for what OpenSSL made it can write.
    #[must_use]
    pub fn pem(&self) -> String {
        text(self.certificate.to_pem().expect("PEM"))
    }

    /// Signs a certificate for a common name; `hosts` are the names and addresses it is good for.
    ///
    /// # Panics
    /// When OpenSSL cannot make it.
    #[must_use]
    pub fn issue(&self, name: &str, hosts: &[&str]) -> Issued {
        let key = fresh_key();
        let mut builder = builder(name, &key);
        builder.set_issuer_name(self.certificate.subject_name()).expect("issuer");
        if !hosts.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for host in hosts {
                let _ = if host.parse::<std::net::IpAddr>().is_ok() { names.ip(host) } else { names.dns(host) };
            }
            let names = names.build(&builder.x509v3_context(Some(&self.certificate), None)).expect("names");
            builder.append_extension(names).expect("extension");
        }
        builder.sign(&self.key, MessageDigest::sha256()).expect("sign");
        let cipher = openssl::symm::Cipher::aes_256_cbc();
        let encrypted = key.private_key_to_pem_pkcs8_passphrase(cipher, KEY_PASSWORD.as_bytes());
        Issued {
            certificate: text(builder.build().to_pem().expect("PEM")),
            key: text(key.private_key_to_pem_pkcs8().expect("PEM")),
            encrypted_key: text(encrypted.expect("PEM")),
        }
    }
}

fn fresh_key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).expect("an RSA key")).expect("a key")
}

fn builder(name: &str, key: &PKey<Private>) -> X509Builder {
    let mut builder = X509::builder().expect("a certificate");
    builder.set_version(2).expect("version");
    let mut serial = BigNum::new().expect("number");
    serial.rand(120, MsbOption::MAYBE_ZERO, false).expect("random");
    builder.set_serial_number(&serial.to_asn1_integer().expect("serial")).expect("serial");
    builder.set_subject_name(&x509_name(name)).expect("subject");
    builder.set_not_before(&Asn1Time::days_from_now(0).expect("time")).expect("time");
    builder.set_not_after(&Asn1Time::days_from_now(2).expect("time")).expect("time");
    builder.set_pubkey(key).expect("key");
    builder
}

fn x509_name(name: &str) -> openssl::x509::X509Name {
    let mut builder = X509NameBuilder::new().expect("a name");
    builder.append_entry_by_text("CN", name).expect("CN");
    builder.build()
}

fn text(pem: Vec<u8>) -> String {
    String::from_utf8(pem).expect("PEM is ASCII")
}
