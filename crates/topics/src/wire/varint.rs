//! Kafka's signed variable-length integers (zigzag, seven bits a byte), as they stand inside record batches.

/// Appends `value`.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(low_byte(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_byte(rest));
}

/// Bytes that [`put`] appends.
#[inline]
pub(crate) fn len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// The integer at the beginning of `bytes`, and what follows it.
pub(crate) fn take(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(((value >> 1).cast_signed() ^ -(value & 1).cast_signed(), &bytes[at + 1..]));
        }
    }
    None
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[inline]
#[allow(clippy::cast_possible_truncation)]
fn low_byte(value: u64) -> u8 {
    (value & 0xff) as u8
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_integers() {
        for (value, bytes) in
            [(0, vec![0]), (-1, vec![1]), (1, vec![2]), (-65, vec![0x81, 0x01]), (300, vec![0xd8, 0x04])]
        {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: i64) {
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert_eq!(out.len(), len(value));
            prop_assert_eq!(take(&out).unwrap(), (value, &[] as &[u8]));
        }
    }
}
