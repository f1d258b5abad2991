//! How a bucket is reached beyond endpoint and keys: credentials, addressing, encryption, access list.

use std::time::Duration;

use model::secret::Secret;
use opendal::services;

/// Where credentials come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// The keys of the settings, and nothing the machine may offer.
    #[default]
    Keys,
    /// The keys of the settings with a session token.
    Session(Secret),
    /// AWS's own order: environment, profile files, web identity, container and instance roles.
    Chain,
    /// Requests are not signed.
    Anonymous,
}

/// A role that is assumed with the credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// ARN.
    pub arn: String,
    /// Session name.
    pub session_name: Option<String>,
    /// External id.
    pub external_id: Option<Secret>,
}

/// Encryption of objects by the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket has it.
    #[default]
    Bucket,
    /// By keys of S3 (`AES256`).
    Store,
    /// By AWS KMS, with a key or the account's own.
    Kms(Option<String>),
    /// By a key of ours: 32 bytes.
    Customer(CustomerKey),
}

/// A key that prints as a mask.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerKey(pub Vec<u8>);

impl std::fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(model::secret::MASK)
    }
}

/// Attempts beyond the first, inside one call. A server that is away longer is the caller's to wait for, so that it can
/// stop meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How many.
    pub max: usize,
    /// Pause before the first; later ones are longer.
    pub backoff: Duration,
}

impl Default for Retries {
    /// About three seconds, enough for a slow-down or a hiccup.
    fn default() -> Self {
        Self { max: 5, backoff: Duration::from_millis(50) }
    }
}

/// See the module documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Credentials.
    pub credentials: Credentials,
    /// Role to assume.
    pub role: Option<Role>,
    /// `bucket.host/key` instead of `host/bucket/key`.
    pub virtual_host: bool,
    /// Encryption.
    pub encryption: Encryption,
    /// Canned access list of new objects.
    pub acl: Option<String>,
    /// Requests that failed and may pass the next time.
    pub retries: Retries,
}

impl Access {
    pub(crate) fn apply(&self, mut service: services::S3, key: &str, secret: &Secret) -> services::S3 {
        service = match &self.credentials {
            Credentials::Keys | Credentials::Session(_) => {
                // Only what was given counts: no profile or instance role of the machine slips in.
                let service = service.access_key_id(key).secret_access_key(secret.expose());
                let service = service.disable_config_load().disable_ec2_metadata();
                if let Credentials::Session(token) = &self.credentials {
                    service.session_token(token.expose())
                } else {
                    service
                }
            }
            Credentials::Chain => service,
            Credentials::Anonymous => service.skip_signature().disable_config_load().disable_ec2_metadata(),
        };
        if let Some(Role { arn, session_name, external_id }) = &self.role {
            service = service.role_arn(arn);
            if let Some(name) = session_name {
                service = service.role_session_name(name);
            }
            if let Some(id) = external_id {
                service = service.external_id(id.expose());
            }
        }
        if self.virtual_host {
            service = service.enable_virtual_host_style();
        }
        if let Some(acl) = &self.acl {
            service = service.default_acl(acl);
        }
        match &self.encryption {
            Encryption::Bucket => service,
            Encryption::Store => service.server_side_encryption_with_s3_key(),
            Encryption::Kms(None) => service.server_side_encryption_with_aws_managed_kms_key(),
            Encryption::Kms(Some(key)) => service.server_side_encryption_with_customer_managed_kms_key(key),
            Encryption::Customer(key) => service.server_side_encryption_with_customer_key("AES256", &key.0),
        }
    }
}
