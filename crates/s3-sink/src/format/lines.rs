//! Records one after the other with a separator behind each, compressed as a whole or not.

use std::io::Write as _;

use bytes::Bytes;

/// Bytes are kept in pieces of about this size, so that growing never copies much.
const PIECE_BYTES: usize = 128 << 10;

/// `s3.compression.type` and `s3.compression.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gzip {
    /// Not compressed.
    No,
    /// With a level; `None` is zlib's default.
    Level(Option<u32>),
}

impl Gzip {
    pub(super) fn extension(self) -> &'static str {
        if self == Self::No { "" } else { ".gz" }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Lines {
    separator: Vec<u8>,
    pieces: Vec<Bytes>,
    piece: Vec<u8>,
}

impl Lines {
    pub(super) fn new(separator: Vec<u8>) -> Self {
        Self { separator, pieces: Vec::new(), piece: Vec::new() }
    }

    pub(super) fn append(&mut self, record: &[u8]) {
        self.piece.extend_from_slice(record);
        self.piece.extend_from_slice(&self.separator);
        if self.piece.len() >= PIECE_BYTES {
            self.pieces.push(std::mem::take(&mut self.piece).into());
        }
    }

    pub(super) fn finish(mut self, gzip: Gzip) -> std::io::Result<Vec<Bytes>> {
        self.pieces.push(std::mem::take(&mut self.piece).into());
        let Gzip::Level(level) = gzip else { return Ok(self.pieces) };
        let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
        // Without a time in its header: the same records give the same bytes.
        let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), level);
        for piece in self.pieces {
            encoder.write_all(&piece)?;
        }
        Ok(vec![encoder.finish()?.into()])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read as _;

    use super::*;

    fn made(gzip: Gzip) -> Vec<u8> {
        let mut lines = Lines::new(b"|".to_vec());
        (0..30_000).for_each(|index| lines.append(format!("record {index}").as_bytes()));
        lines.finish(gzip).unwrap().concat()
    }

    #[test]
    fn records_stand_before_their_separators_compressed_or_not() {
        let plain = made(Gzip::No);
        assert!(plain.len() > 2 * PIECE_BYTES && plain.starts_with(b"record 0|record 1|") && plain.ends_with(b"|"));
        for gzip in [Gzip::Level(None), Gzip::Level(Some(9))] {
            let mut read = Vec::new();
            flate2::read::GzDecoder::new(made(gzip).as_slice()).read_to_end(&mut read).unwrap();
            assert_eq!(read, plain);
            assert_eq!(made(gzip), made(gzip), "no clock in the header");
        }
    }
}
