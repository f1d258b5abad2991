//! LZ4 frames as Kafka's readers take them: blocks of 64 KiB that stand alone, no checksums but the header's.
//!
//! Pure. Written here because what a dependency compiles itself is not optimised in a development build, and each byte of
//! each record comes through. Greedy, one probe per place, as LZ4's own fast mode; a block that does not shrink is stored.

/// Magic number, flags (version 1, independent blocks), block size (64 KiB), checksum of the two.
const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const END: [u8; 4] = [0; 4];
const BLOCK_BYTES: usize = 64 << 10;
const STORED: u32 = 1 << 31;

const HASH_BITS: u32 = 12;
const MATCH_MIN: usize = 4;
/// The format wants the last bytes of a block as literals, and no match to begin near its end.
const LITERALS_AT_END: usize = 5;
const NO_MATCH_IN_LAST: usize = 12;
/// Every so many probes without a match, the step grows by one.
const SKIP_AFTER: u32 = 6;

/// Makes frames; keeps its table from one to the next.
pub(super) struct Lz4 {
    table: Box<[u16; 1 << HASH_BITS]>,
}

impl Default for Lz4 {
    fn default() -> Self {
        Self { table: Box::new([0; 1 << HASH_BITS]) }
    }
}

impl Lz4 {
    /// Appends one frame with the whole of `bytes`.
    pub(super) fn frame(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&HEADER);
        for block in bytes.chunks(BLOCK_BYTES) {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            self.block(block, out);
            let mut size = out.len() - start - 4;
            let mut stored = 0;
            if size >= block.len() {
                out.truncate(start + 4);
                out.extend_from_slice(block);
                (size, stored) = (block.len(), STORED);
            }
            // A block has at most 64 KiB.
            let size = u32::try_from(size).unwrap_or(0) | stored;
            out[start..start + 4].copy_from_slice(&size.to_le_bytes());
        }
        out.extend_from_slice(&END);
    }

    /// Appends `input` compressed; it has no more than 64 KiB.
    fn block(&mut self, input: &[u8], out: &mut Vec<u8>) {
        self.table.fill(0);
        let match_end = input.len().saturating_sub(LITERALS_AT_END);
        let mut literals_from = 0;
        // Place 0 is what an empty entry of the table says, so it is only ever a match that has been checked.
        let mut at = 1;
        let mut probes = 1 << SKIP_AFTER;
        while at + NO_MATCH_IN_LAST <= input.len() {
            let word = word_at(input, at);
            let entry = &mut self.table[hash(word)];
            let mut candidate = usize::from(*entry);
            *entry = place(at);
            if word_at(input, candidate) != word {
                at += probes >> SKIP_AFTER;
                probes += 1;
                continue;
            }
            // What stands before both may be the same too.
            while at > literals_from && candidate > 0 && input[at - 1] == input[candidate - 1] {
                at -= 1;
                candidate -= 1;
            }
            let length = MATCH_MIN + same(&input[candidate + MATCH_MIN..], &input[at + MATCH_MIN..match_end]);
            sequence(&input[literals_from..at], at - candidate, length, out);
            at += length;
            literals_from = at;
            probes = 1 << SKIP_AFTER;
            if at + NO_MATCH_IN_LAST <= input.len() {
                self.table[hash(word_at(input, at - 2))] = place(at - 2);
            }
        }
        last_literals(&input[literals_from..], out);
    }
}

/// Places are below 64 Ki.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn place(at: usize) -> u16 {
    at as u16
}

#[inline]
fn word_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}

#[inline]
fn hash(word: u32) -> usize {
    (word.wrapping_mul(2_654_435_761) >> (32 - HASH_BITS)) as usize
}

/// How many bytes at the beginning of both are the same.
#[inline]
fn same(one: &[u8], other: &[u8]) -> usize {
    let mut count = 0;
    let mut words = one.chunks_exact(8).zip(other.chunks_exact(8));
    for (a, b) in &mut words {
        let differ = word64(a) ^ word64(b);
        if differ != 0 {
            return count + (differ.trailing_zeros() / 8) as usize;
        }
        count += 8;
    }
    count + one[count..].iter().zip(&other[count..]).take_while(|(a, b)| a == b).count()
}

#[inline]
fn word64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

#[inline]
#[allow(clippy::cast_possible_truncation)]
fn sequence(literals: &[u8], offset: usize, length: usize, out: &mut Vec<u8>) {
    let length = length - MATCH_MIN;
    out.push(nibble(literals.len()) << 4 | nibble(length));
    more(literals.len(), out);
    out.extend_from_slice(literals);
    out.extend_from_slice(&(offset as u16).to_le_bytes());
    more(length, out);
}

fn last_literals(literals: &[u8], out: &mut Vec<u8>) {
    out.push(nibble(literals.len()) << 4);
    more(literals.len(), out);
    out.extend_from_slice(literals);
}

#[inline]
#[allow(clippy::cast_possible_truncation)]
fn nibble(length: usize) -> u8 {
    length.min(15) as u8
}

/// What of a length does not fit its nibble.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn more(length: usize, out: &mut Vec<u8>) {
    if length < 15 {
        return;
    }
    let mut rest = length - 15;
    while rest >= 255 {
        out.push(255);
        rest -= 255;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    fn there_and_back(bytes: &[u8]) -> usize {
        let mut out = Vec::new();
        let mut lz4 = Lz4::default();
        lz4.frame(bytes, &mut out);
        let mut read = Vec::new();
        lz4_flex::frame::FrameDecoder::new(&*out).read_to_end(&mut read).unwrap();
        assert!(read == bytes, "{} bytes came back as {}", bytes.len(), read.len());
        out.len()
    }

    #[test]
    fn what_repeats_shrinks() {
        let row = b"{\"id\": 1, \"name\": \"a customer\", \"city\": \"Zurich\"}";
        assert!(there_and_back(&row.repeat(10_000)) < 10_000);
        assert!(there_and_back(&[7; 200_000]) < 1_000);
    }

    #[test]
    fn what_does_not_shrink_is_stored() {
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..150_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        assert_eq!(there_and_back(&noise), noise.len() + HEADER.len() + END.len() + 3 * 4);
    }

    #[test]
    fn lengths_around_the_edges() {
        for length in (0..40).chain(BLOCK_BYTES - 20..BLOCK_BYTES + 20) {
            there_and_back(&vec![b'a'; length]);
            there_and_back(&(0..length).map(|at| (at % 7) as u8).collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(words in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..20), 1_usize..40), 0..200)) {
            let bytes: Vec<u8> = words.iter().flat_map(|(word, times)| word.repeat(*times)).collect();
            there_and_back(&bytes);
        }
    }
}
