//! TLS to Postgres: which modes there are, what is checked, and the handshake.
//!
//! Stands between the socket and the login. Promise: the modes mean what they mean to Debezium's driver (pgjdbc): `require`
//! encrypts and checks nothing, `verify-ca` checks the certificate, `verify-full` also that it is the host's. Certificates
//! are read at each connection, so renewed ones need no restart.

use std::{
    fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    str::FromStr,
};

use model::secret::Secret;
use openssl::{
    hash::MessageDigest,
    pkcs12::Pkcs12,
    pkey::{PKey, Private},
    ssl::{SslConnector, SslMethod, SslRef, SslVerifyMode},
    x509::X509,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_openssl::SslStream;

use super::PgError;

/// `database.sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    Disable,
    /// In the clear, and encrypted where the server refuses that.
    Allow,
    /// Encrypted, and in the clear where the server cannot.
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl FromStr for SslMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "disable" => Ok(Self::Disable),
            "allow" => Ok(Self::Allow),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err("Value must be one of disable, allow, prefer, require, verify-ca, verify-full"),
        }
    }
}

/// How connections are encrypted.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    pub mode: SslMode,
    /// Certificates of authorities, PEM. Not given: `~/.postgresql/root.crt`, or else the system's.
    pub root_certificates: Option<PathBuf>,
    /// Our certificate and those it was signed by, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key: PEM or PKCS #8 (DER), encrypted or not, or PKCS #12 with the certificate.
    pub key: Option<PathBuf>,
    pub key_password: Option<Secret>,
}

/// One way to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Plain,
    /// What follows when the server cannot encrypt is the mode's business.
    Encrypted,
}

impl SslMode {
    /// What is tried first, and what if the server does not want that.
    pub(super) fn attempts(self) -> (Attempt, Option<Attempt>) {
        match self {
            Self::Disable => (Attempt::Plain, None),
            Self::Allow => (Attempt::Plain, Some(Attempt::Encrypted)),
            Self::Prefer => (Attempt::Encrypted, Some(Attempt::Plain)),
            Self::Require | Self::VerifyCa | Self::VerifyFull => (Attempt::Encrypted, None),
        }
    }

    fn checks_certificate(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

/// Where Debian keeps them: OpenSSL is linked statically and looks in places of its own.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// `SSLRequest`: length and the code that stands in the place of a protocol version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Asks for encryption and does the handshake.
///
/// # Errors
/// When the server cannot, or one side does not accept the other's certificate.
pub(super) async fn encrypt(
    mut socket: TcpStream,
    host: &str,
    settings: &TlsSettings,
) -> Result<SslStream<TcpStream>, PgError> {
    let connector = connector(settings)?;
    socket.write_all(&SSL_REQUEST).await?;
    // Exactly one byte: whatever somebody put behind it in the clear fails the handshake.
    match socket.read_u8().await? {
        b'S' => {}
        b'N' => return Err(PgError::Tls("the server does not take encrypted connections (ssl = off)".into())),
        other => return Err(PgError::Protocol(format!("an answer of {other} to SSLRequest"))),
    }
    let mut session = connector.configure().map_err(refused("set up TLS"))?;
    session.set_verify_hostname(settings.mode == SslMode::VerifyFull);
    // A name, not an address, may be told in the clear (RFC 6066).
    session.set_use_server_name_indication(host.parse::<std::net::IpAddr>().is_err());
    let session = session.into_ssl(host).map_err(refused("set up TLS"))?;
    let mut stream = SslStream::new(session, socket).map_err(refused("set up TLS"))?;
    if let Err(error) = Pin::new(&mut stream).connect().await {
        let verified = stream.ssl().verify_result();
        return Err(match error.into_io_error() {
            Ok(error) => PgError::Io(error),
            Err(error) if settings.mode.checks_certificate() && verified != openssl::x509::X509VerifyResult::OK => {
                PgError::Tls(format!("the server's certificate is not accepted: {} ({error})", verified.error_string()))
            }
            Err(error) => PgError::Tls(error.to_string()),
        });
    }
    Ok(stream)
}

fn connector(settings: &TlsSettings) -> Result<SslConnector, PgError> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(refused("set up TLS"))?;
    if settings.mode.checks_certificate() {
        builder.set_verify(SslVerifyMode::PEER);
        let default =
            || std::env::home_dir().map(|home| home.join(".postgresql/root.crt")).filter(|file| file.exists());
        // Not given: those of the system, which the builder has set.
        if let Some(file) = settings.root_certificates.clone().or_else(default) {
            let mut store = openssl::x509::store::X509StoreBuilder::new().map_err(refused("set up TLS"))?;
            for certificate in certificates(&file)? {
                store.add_cert(certificate).map_err(refused("take a root certificate"))?;
            }
            builder.set_cert_store(store.build());
        } else if Path::new(SYSTEM_AUTHORITIES).exists() {
            builder.set_ca_file(SYSTEM_AUTHORITIES).map_err(refused("read the system's certificates"))?;
        }
    } else {
        builder.set_verify(SslVerifyMode::NONE);
    }
    if let Some((key, chain)) = identity(settings)? {
        let mut chain = chain.into_iter();
        if let Some(own) = chain.next() {
            builder.set_certificate(&own).map_err(refused("take the certificate"))?;
        }
        for issuer in chain {
            builder.add_extra_chain_cert(issuer).map_err(refused("take the certificate's chain"))?;
        }
        builder.set_private_key(&key).map_err(refused("take the key: it is not the certificate's"))?;
    }
    Ok(builder.build())
}

/// Our key, and our certificate followed by its issuers.
type Identity = (PKey<Private>, Vec<X509>);

fn identity(settings: &TlsSettings) -> Result<Option<Identity>, PgError> {
    let Some(key_file) = &settings.key else { return Ok(None) };
    let bytes = read(key_file)?;
    let password = settings.key_password.as_ref().map_or("", Secret::expose);
    if let Ok(parsed) = Pkcs12::from_der(&bytes).and_then(|archive| archive.parse2(password))
        && let Some((key, certificate)) = parsed.pkey.zip(parsed.cert)
    {
        let issuers = parsed.ca.into_iter().flatten();
        return Ok(Some((key, std::iter::once(certificate).chain(issuers).collect())));
    }
    // An empty password is given rather than none: OpenSSL would ask the terminal.
    let key = PKey::private_key_from_pem_passphrase(&bytes, password.as_bytes())
        .or_else(|_| PKey::private_key_from_der(&bytes))
        .or_else(|_| PKey::private_key_from_pkcs8_passphrase(&bytes, password.as_bytes()))
        .map_err(|_| {
            PgError::Tls(format!(
                "{} is no key in PEM, PKCS #8 or PKCS #12, or database.sslpassword does not open it",
                key_file.display()
            ))
        })?;
    let Some(file) = &settings.certificate else {
        return Err(PgError::Tls("database.sslkey is given without database.sslcert".into()));
    };
    Ok(Some((key, certificates(file)?)))
}

fn certificates(file: &Path) -> Result<Vec<X509>, PgError> {
    let bytes = read(file)?;
    let found = X509::stack_from_pem(&bytes).ok().filter(|found| !found.is_empty());
    found
        .or_else(|| X509::from_der(&bytes).ok().map(|one| vec![one]))
        .ok_or_else(|| PgError::Tls(format!("no certificate in {}", file.display())))
}

fn read(file: &Path) -> Result<Vec<u8>, PgError> {
    fs::read(file).map_err(|error: io::Error| PgError::Tls(format!("read {}: {error}", file.display())))
}

fn refused(doing: &'static str) -> impl Fn(openssl::error::ErrorStack) -> PgError {
    move |error| PgError::Tls(format!("failed to {doing}: {error}"))
}

/// What a login is bound to so that it cannot be passed on by somebody between (RFC 5929, `tls-server-end-point`): a
/// digest of the server's certificate. `None` for certificates whose signature has no digest of its own (Ed25519).
pub(super) fn end_point(ssl: &SslRef) -> Option<Vec<u8>> {
    use openssl::nid::Nid;
    let certificate = ssl.peer_certificate()?;
    let signature = certificate.signature_algorithm().object().nid();
    let digest = match signature.signature_algorithms()?.digest {
        Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
        nid => MessageDigest::from_nid(nid)?,
    };
    certificate.digest(digest).ok().map(|digest| digest.to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn modes_are_read_as_libpq_spells_them() {
        assert_eq!("verify-full".parse(), Ok(SslMode::VerifyFull));
        assert_eq!("VERIFY-CA".parse(), Ok(SslMode::VerifyCa));
        assert!("verify_full".parse::<SslMode>().is_err());
    }

    #[test]
    fn only_the_lax_modes_have_a_second_try() {
        assert_eq!(SslMode::Prefer.attempts(), (Attempt::Encrypted, Some(Attempt::Plain)));
        assert_eq!(SslMode::Allow.attempts(), (Attempt::Plain, Some(Attempt::Encrypted)));
        for strict in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            assert_eq!(strict.attempts(), (Attempt::Encrypted, None));
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let settings = TlsSettings {
            mode: SslMode::VerifyCa,
            root_certificates: Some("/nowhere/root.crt".into()),
            ..TlsSettings::default()
        };
        let error = connector(&settings).err().unwrap().to_string();
        assert!(error.contains("/nowhere/root.crt"), "{error}");
    }
}
