//! TLS to a broker, as the settings for librdkafka say.
//!
//! Certificates are read at each connection, so renewed ones need no restart.

use std::path::Path;
use std::pin::Pin;

use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::connection::{Fault, lost};
use crate::security::Security;

/// Where systems keep the authorities they trust.
const SYSTEM: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
];

/// The connection, encrypted; `host` is compared with the broker's certificate unless that is switched off.
pub(super) async fn encrypt(stream: TcpStream, host: &str, security: &Security) -> Result<SslStream<TcpStream>, Fault> {
    let compared = security.setting("ssl.endpoint.identification.algorithm") != Some("none");
    let ssl = connector(security)?
        .configure()
        .map(|configuration| configuration.verify_hostname(compared))
        .and_then(|configuration| configuration.into_ssl(host))
        .map_err(lost)?;
    let mut stream = SslStream::new(ssl, stream).map_err(lost)?;
    match Pin::new(&mut stream).connect().await {
        Ok(()) => Ok(stream),
        Err(error) => {
            let verified = stream.ssl().verify_result();
            let why = (verified != openssl::x509::X509VerifyResult::OK).then(|| verified.error_string());
            Err(lost(format!("TLS: {}", why.map_or_else(|| error.to_string(), str::to_owned))))
        }
    }
}

/// # Errors
/// When the settings cannot be used: a file that is not there, a key that does not fit.
pub(super) fn check(security: &Security) -> Result<(), Fault> {
    match security.setting("security.protocol") {
        Some(protocol) if protocol.ends_with("ssl") => connector(security).map(drop),
        _ => Ok(()),
    }
}

fn connector(security: &Security) -> Result<SslConnector, Fault> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(lost)?;
    trust(&mut builder, security)?;
    identify(&mut builder, security)?;
    if let Some(ciphers) = security.setting("ssl.cipher.suites") {
        builder.set_cipher_list(ciphers).map_err(lost)?;
    }
    Ok(builder.build())
}

fn trust(builder: &mut SslConnectorBuilder, security: &Security) -> Result<(), Fault> {
    if let Some(text) = security.setting("ssl.ca.pem") {
        return trust_only(builder, text.as_bytes()).map_err(lost);
    }
    match security.setting("ssl.ca.location") {
        None | Some("probe") => match SYSTEM.iter().find(|path| Path::new(path).is_file()) {
            Some(path) => builder.set_ca_file(path).map_err(lost),
            None => builder.set_default_verify_paths().map_err(lost),
        },
        Some(path) if Path::new(path).is_dir() => {
            builder.load_verify_locations(None, Some(Path::new(path))).map_err(lost)
        }
        Some(path) => trust_only(builder, &read(path)?).map_err(|error| lost(format!("{path}: {error}"))),
    }
}

/// These authorities and no others.
fn trust_only(builder: &mut SslConnectorBuilder, pem: &[u8]) -> Result<(), ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for certificate in X509::stack_from_pem(pem)? {
        store.add_cert(certificate)?;
    }
    builder.set_cert_store(store.build());
    Ok(())
}

/// Our own certificate, for brokers that ask for one.
fn identify(builder: &mut SslConnectorBuilder, security: &Security) -> Result<(), Fault> {
    if let Some(path) = security.setting("ssl.keystore.location") {
        let password = security.setting("ssl.keystore.password").unwrap_or_default();
        let store = Pkcs12::from_der(&read(path)?).and_then(|store| store.parse2(password));
        let store = store.map_err(|error| lost(format!("{path}: {error}")))?;
        let (Some(certificate), Some(key)) = (store.cert, store.pkey) else {
            return Err(lost(format!("{path}: no key with a certificate in it")));
        };
        let mut chain: Vec<X509> = store.ca.into_iter().flatten().collect();
        chain.insert(0, certificate);
        return present(builder, chain, &key).map_err(|error| lost(format!("{path}: {error}")));
    }
    let given = |text: &str, file: &str| match (security.setting(text), security.setting(file)) {
        (Some(pem), _) => Ok(Some(pem.as_bytes().to_vec())),
        (None, Some(path)) => read(path).map(Some),
        (None, None) => Ok(None),
    };
    let chain = given("ssl.certificate.pem", "ssl.certificate.location")?;
    let key = given("ssl.key.pem", "ssl.key.location")?;
    let Some((chain, key)) = chain.zip(key) else { return Ok(()) };
    let password = security.setting("ssl.key.password").unwrap_or_default();
    let identity = X509::stack_from_pem(&chain)
        .and_then(|chain| Ok((chain, PKey::private_key_from_pem_passphrase(&key, password.as_bytes())?)));
    let (chain, key) = identity.map_err(|error| lost(format!("our certificate or its key: {error}")))?;
    present(builder, chain, &key).map_err(|error| lost(format!("our certificate or its key: {error}")))
}

fn present(builder: &mut SslConnectorBuilder, chain: Vec<X509>, key: &PKey<Private>) -> Result<(), ErrorStack> {
    let mut chain = chain.into_iter();
    if let Some(own) = chain.next() {
        builder.set_certificate(&own)?;
    }
    for issuer in chain {
        builder.add_extra_chain_cert(issuer)?;
    }
    builder.set_private_key(key)?;
    builder.check_private_key()
}

fn read(path: &str) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|error| lost(format!("{path}: {error}")))
}
