//! Digests of a body while it streams by, and their comparison with what the client stated.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use s3s::{
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256},
    dto::Checksum,
};

use crate::{error::StoreError, record::Checksums};

/// The checksum algorithms of S3's `x-amz-checksum-*` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// As in `x-amz-checksum-algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The header (or trailing header) that carries the value.
    pub fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_ascii_lowercase())
    }

    pub fn of(self, checksums: &Checksums) -> Option<&String> {
        match self {
            Self::Crc32 => checksums.crc32.as_ref(),
            Self::Crc32c => checksums.crc32c.as_ref(),
            Self::Crc64Nvme => checksums.crc64nvme.as_ref(),
            Self::Sha1 => checksums.sha1.as_ref(),
            Self::Sha256 => checksums.sha256.as_ref(),
        }
    }

    pub fn set(self, checksums: &mut Checksums, value: String) {
        let slot = match self {
            Self::Crc32 => &mut checksums.crc32,
            Self::Crc32c => &mut checksums.crc32c,
            Self::Crc64Nvme => &mut checksums.crc64nvme,
            Self::Sha1 => &mut checksums.sha1,
            Self::Sha256 => &mut checksums.sha256,
        };
        *slot = Some(value);
    }
}

/// Computes MD5 and, where asked for, more.
#[derive(Default)]
pub struct Hasher {
    md5: Md5,
    more: ChecksumHasher,
}

/// The digests of a whole body.
#[derive(Debug, Clone, Default)]
pub struct Digests {
    pub md5: [u8; 16],
    pub checksums: Checksums,
}

impl Hasher {
    pub fn new(algorithms: &[Algorithm]) -> Self {
        let mut more = ChecksumHasher::default();
        for algorithm in algorithms {
            match algorithm {
                Algorithm::Crc32 => more.crc32 = Some(Crc32::new()),
                Algorithm::Crc32c => more.crc32c = Some(Crc32c::new()),
                Algorithm::Crc64Nvme => more.crc64nvme = Some(Crc64Nvme::new()),
                Algorithm::Sha1 => more.sha1 = Some(Sha1::new()),
                Algorithm::Sha256 => more.sha256 = Some(Sha256::new()),
            }
        }
        Self { md5: Md5::new(), more }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.more.update(bytes);
    }

    pub fn finish(self) -> Digests {
        Digests { md5: self.md5.finalize(), checksums: self.more.finalize().into() }
    }
}

impl From<Checksum> for Checksums {
    fn from(checksum: Checksum) -> Self {
        Self {
            crc32: checksum.checksum_crc32,
            crc32c: checksum.checksum_crc32c,
            crc64nvme: checksum.checksum_crc64nvme,
            sha1: checksum.checksum_sha1,
            sha256: checksum.checksum_sha256,
            composite: false,
        }
    }
}

/// What a client states about a body before (or, in trailing headers, behind) it.
#[derive(Debug, Clone, Default)]
pub struct Stated {
    /// `Content-MD5`, base64.
    pub md5: Option<String>,
    pub checksums: Checksums,
    /// Named by `x-amz-sdk-checksum-algorithm` or `x-amz-trailer`; the value may come in a trailing header.
    pub algorithm: Option<Algorithm>,
}

impl Stated {
    /// The algorithms to compute.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        Algorithm::ALL
            .into_iter()
            .filter(|algorithm| self.algorithm == Some(*algorithm) || algorithm.of(&self.checksums).is_some())
            .collect()
    }

    /// Compares with what arrived.
    ///
    /// # Errors
    /// `BadDigest` for a value that differs, `InvalidDigest` for one that is no digest at all.
    pub fn verify(&self, found: &Digests) -> Result<(), StoreError> {
        if let Some(md5) = &self.md5 {
            let stated = STANDARD.decode(md5).map_err(|_| StoreError::InvalidDigest("Content-MD5"))?;
            if stated.len() != 16 {
                return Err(StoreError::InvalidDigest("Content-MD5"));
            }
            if stated != found.md5 {
                return Err(StoreError::BadDigest("Content-MD5"));
            }
        }
        for algorithm in Algorithm::ALL {
            if let Some(stated) = algorithm.of(&self.checksums)
                && algorithm.of(&found.checksums) != Some(stated)
            {
                return Err(StoreError::BadDigest(algorithm.name()));
            }
        }
        Ok(())
    }
}

/// S3's checksum of an object from its parts' checksums: the digest of their bytes, and how many they are.
/// None when a part has no value of this algorithm.
pub fn composite(algorithm: Algorithm, parts: &[&Checksums]) -> Option<String> {
    let mut hasher = Hasher::new(&[algorithm]);
    for part in parts {
        hasher.update(&STANDARD.decode(algorithm.of(part)?).ok()?);
    }
    let digests = hasher.finish();
    algorithm.of(&digests.checksums).map(|value| format!("{value}-{}", parts.len()))
}

/// The MD5 of the parts' MD5s.
pub fn md5_of_parts<'a>(parts: impl Iterator<Item = &'a [u8; 16]>) -> [u8; 16] {
    let mut md5 = Md5::new();
    parts.for_each(|part| md5.update(part));
    md5.finalize()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_body_is_compared_with_every_digest_the_client_states() {
        let stated = Stated {
            md5: Some("CY9rzUYh03PK3k6DJie09g==".into()),
            checksums: Checksums { crc32: Some("2H9+DA==".into()), ..Checksums::default() },
            algorithm: Some(Algorithm::Sha256),
        };
        let digest = |body: &[u8]| {
            let mut hasher = Hasher::new(&stated.algorithms());
            hasher.update(body);
            hasher.finish()
        };
        stated.verify(&digest(b"test")).unwrap();
        assert!(digest(b"test").checksums.sha256.is_some());
        assert!(matches!(stated.verify(&digest(b"tesT")), Err(StoreError::BadDigest("Content-MD5"))));
        let only_crc = Stated { md5: None, ..stated.clone() };
        assert!(matches!(only_crc.verify(&digest(b"tesT")), Err(StoreError::BadDigest("CRC32"))));
        let unreadable = Stated { md5: Some("?".into()), ..Stated::default() };
        assert!(matches!(unreadable.verify(&digest(b"")), Err(StoreError::InvalidDigest(_))));
    }
}
