//! The bucket: where it is, who may write, how its objects are kept.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connect::FieldError;
use model::secret::Secret;
use objects::{Access, Credentials, CustomerKey, Encryption, Retries, Role, StoreSettings};

use super::fields::{Fields, is_reference};

/// `s3.part.size` may not be less: S3's own limit.
const PART_SIZE_MIN: i64 = 5 * 1024 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Provider {
    Chain,
    Environment,
    Anonymous,
    Role,
}

/// Class names of both of AWS' Java kits, and Confluent's own.
const PROVIDERS: [(&str, Provider); 13] = [
    ("software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider", Provider::Chain),
    ("com.amazonaws.auth.DefaultAWSCredentialsProviderChain", Provider::Chain),
    ("com.amazonaws.auth.EnvironmentVariableCredentialsProvider", Provider::Environment),
    ("software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider", Provider::Environment),
    ("com.amazonaws.auth.profile.ProfileCredentialsProvider", Provider::Chain),
    ("software.amazon.awssdk.auth.credentials.ProfileCredentialsProvider", Provider::Chain),
    ("com.amazonaws.auth.WebIdentityTokenCredentialsProvider", Provider::Chain),
    ("software.amazon.awssdk.auth.credentials.WebIdentityTokenFileCredentialsProvider", Provider::Chain),
    ("com.amazonaws.auth.InstanceProfileCredentialsProvider", Provider::Chain),
    ("software.amazon.awssdk.auth.credentials.InstanceProfileCredentialsProvider", Provider::Chain),
    ("com.amazonaws.auth.AnonymousAWSCredentials", Provider::Anonymous),
    ("software.amazon.awssdk.auth.credentials.AnonymousCredentialsProvider", Provider::Anonymous),
    ("io.confluent.connect.s3.auth.AwsAssumeRoleCredentialsProvider", Provider::Role),
];
const PROVIDERS_WHY: &str = "this sink takes credentials from the environment, profile files, web identity, instance roles \
    or an assumed role; Java classes cannot be loaded";

pub(super) fn store_settings(fields: &mut Fields<'_>) -> (StoreSettings, Access) {
    let bucket = fields.required("s3.bucket.name");
    let region = fields.text("s3.region").unwrap_or("us-west-2").to_owned();
    let endpoint = fields.text("store.url").map_or_else(|| format!("https://s3.{region}.amazonaws.com"), str::to_owned);
    if !is_reference(&endpoint) && !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
        fields.refuse("store.url", &endpoint, "it must begin with http:// or https://");
    }
    let provider = fields.class("s3.credentials.provider.class", &PROVIDERS, PROVIDERS_WHY);
    // Confluent's provider classes read the process's environment; keys in the configuration go before it.
    let from_environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let given = fields.text("aws.access.key.id").zip(fields.text("aws.secret.access.key"));
    let (key, secret, credentials) = match given {
        Some((key, secret)) => (key.to_owned(), secret.to_owned(), Credentials::Keys),
        None => {
            let key = from_environment("AWS_ACCESS_KEY_ID");
            let credentials = match provider {
                Provider::Anonymous => Credentials::Anonymous,
                Provider::Chain | Provider::Role if key.is_none() => Credentials::Chain,
                _ => from_environment("AWS_SESSION_TOKEN")
                    .map_or(Credentials::Keys, |token| Credentials::Session(Secret::new(token))),
            };
            let secret = from_environment("AWS_SECRET_ACCESS_KEY").unwrap_or_default();
            (key.unwrap_or_default(), secret, credentials)
        }
    };
    let access = Access {
        credentials,
        role: (provider == Provider::Role).then(|| role(fields)),
        virtual_host: !fields.boolean("s3.path.style.access.enabled", true),
        encryption: encryption(fields),
        acl: fields.text("s3.acl.canned").map(str::to_owned),
        retries: retries(fields),
    };
    let store = StoreSettings { endpoint, region, access_key_id: key, secret_access_key: Secret::new(secret), bucket };
    (store, access)
}

/// `s3.part.size`.
pub(super) fn part_bytes(fields: &mut Fields<'_>) -> usize {
    let size = fields.number("s3.part.size", 26_214_400_i64, i64::MIN);
    if size < PART_SIZE_MIN {
        let text = format!("Part size must be at least: {PART_SIZE_MIN} bytes (5MB)");
        fields.refuse("s3.part.size", &size.to_string(), &text);
    }
    if size > i64::from(i32::MAX) {
        let text = format!("Part size must be no more: {} bytes (~2GB)", i32::MAX);
        fields.refuse("s3.part.size", &size.to_string(), &text);
    }
    usize::try_from(size).unwrap_or(0)
}

/// `s3.part.retries` and `s3.retry.backoff.ms`, which are those of every request to S3.
fn retries(fields: &mut Fields<'_>) -> Retries {
    let max = fields.number("s3.part.retries", 3_i32, 0);
    let backoff = fields.number("s3.retry.backoff.ms", 200_i64, 0);
    Retries {
        max: usize::try_from(max).unwrap_or(0),
        backoff: Duration::from_millis(u64::try_from(backoff).unwrap_or(0)),
    }
}

fn role(fields: &mut Fields<'_>) -> Role {
    let prefix = "s3.credentials.provider.sts.role";
    Role {
        arn: fields.required(&format!("{prefix}.arn")),
        session_name: fields.text(&format!("{prefix}.session.name")).map(str::to_owned),
        external_id: fields.text(&format!("{prefix}.external.id")).map(Secret::new),
    }
}

fn encryption(fields: &mut Fields<'_>) -> Encryption {
    let algorithm = fields.choice("s3.ssea.name", &[("", 0), ("AES256", 1), ("aws:kms", 2)]);
    let kms_key = fields.text("s3.sse.kms.key.id").map(str::to_owned);
    match (algorithm, fields.known("s3.sse.customer.key")) {
        (_, Some(text)) => match STANDARD.decode(text) {
            Ok(key) if key.len() == 32 => Encryption::Customer(CustomerKey(key)),
            _ => {
                let why = "Invalid value for configuration s3.sse.customer.key: not 256 bits in base64";
                fields.errors.push(FieldError::new("s3.sse.customer.key", None, why));
                Encryption::Bucket
            }
        },
        (1, None) => Encryption::Store,
        (2, None) => Encryption::Kms(kms_key),
        _ => Encryption::Bucket,
    }
}
