//! Values as text, as PostgreSQL writes them with `DateStyle ISO`, `bytea_output hex` and the time zone UTC. Pure.

use std::fmt::{self, Display, Write};

use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Datelike, Timelike};

/// A buffer to write text to.
pub struct Text<'a>(pub &'a mut BytesMut);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put_slice(text.as_bytes());
        Ok(())
    }
}

/// The shortest text that is read back as the same number.
pub fn float<F: Into<f64> + Copy + Display>(out: &mut Text<'_>, value: F) -> fmt::Result {
    let wide: f64 = value.into();
    if wide.is_nan() {
        out.write_str("NaN")
    } else if wide.is_infinite() {
        out.write_str(if wide > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        write!(out, "{value}")
    }
}

pub fn decimal(out: &mut Text<'_>, value: i128, scale: i8) -> fmt::Result {
    let scale = usize::try_from(scale).unwrap_or(0);
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs();
    if scale == 0 {
        return write!(out, "{sign}{digits}");
    }
    let unit = 10_u128.pow(u32::try_from(scale).unwrap_or(0));
    write!(out, "{sign}{}.{:0scale$}", digits / unit, digits % unit)
}

pub fn hex(out: &mut Text<'_>, bytes: &[u8]) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.0.put_slice(b"\\x");
    for byte in bytes {
        out.0.put_u8(DIGITS[usize::from(byte >> 4)]);
        out.0.put_u8(DIGITS[usize::from(byte & 15)]);
    }
    Ok(())
}

fn year(year: i32) -> (i64, &'static str) {
    // There is no year 0: it is 1 BC.
    if year > 0 { (i64::from(year), "") } else { (1 - i64::from(year), " BC") }
}

pub fn date(out: &mut Text<'_>, days: i64) -> fmt::Result {
    match days.checked_mul(86_400).and_then(|seconds| DateTime::from_timestamp(seconds, 0)) {
        Some(time) => {
            let (year, era) = year(time.year());
            write!(out, "{year:04}-{:02}-{:02}{era}", time.month(), time.day())
        }
        None => out.write_str(if days < 0 { "-infinity" } else { "infinity" }),
    }
}

pub fn time(out: &mut Text<'_>, micros: i64) -> fmt::Result {
    let seconds = micros.div_euclid(1_000_000);
    write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
    fraction(out, micros.rem_euclid(1_000_000))
}

pub fn timestamp(out: &mut Text<'_>, micros: i64, with_zone: bool) -> fmt::Result {
    let Some(time) = DateTime::from_timestamp_micros(micros) else {
        return out.write_str(if micros < 0 { "-infinity" } else { "infinity" });
    };
    let (year, era) = year(time.year());
    write!(
        out,
        "{year:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )?;
    fraction(out, micros.rem_euclid(1_000_000))?;
    out.write_str(if with_zone { "+00" } else { "" })?;
    out.write_str(era)
}

/// `.5`, without zeros at the end; nothing when there is none.
fn fraction(out: &mut Text<'_>, micros: i64) -> fmt::Result {
    if micros == 0 {
        return Ok(());
    }
    write!(out, ".{micros:06}")?;
    while out.0.last() == Some(&b'0') {
        out.0.truncate(out.0.len() - 1);
    }
    Ok(())
}

/// An element of an array, quoted when it has to be.
pub fn list_item(item: &[u8], out: &mut BytesMut) {
    let plain = !item.is_empty()
        && !item.eq_ignore_ascii_case(b"null")
        && !item.iter().any(|byte| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') || byte.is_ascii_whitespace());
    if plain {
        out.put_slice(item);
        return;
    }
    out.put_u8(b'"');
    for byte in item {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(write: impl FnOnce(&mut Text<'_>) -> fmt::Result) -> String {
        let mut out = BytesMut::new();
        write(&mut Text(&mut out)).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn values_are_written_as_postgres_does() {
        assert_eq!(shown(|out| decimal(out, -5, 2)), "-0.05");
        assert_eq!(shown(|out| decimal(out, 1230, 2)), "12.30");
        assert_eq!(shown(|out| decimal(out, i128::MAX, 38)), "1.70141183460469231731687303715884105727");
        assert_eq!(shown(|out| timestamp(out, 1_714_885_505_000_001, true)), "2024-05-05 05:05:05.000001+00");
        assert_eq!(shown(|out| timestamp(out, 1_714_885_505_100_000, false)), "2024-05-05 05:05:05.1");
        assert_eq!(shown(|out| timestamp(out, -1, false)), "1969-12-31 23:59:59.999999");
        assert_eq!(shown(|out| date(out, 19_847)), "2024-05-04");
        assert_eq!(shown(|out| date(out, -719_163)), "0001-12-31 BC");
        assert_eq!(shown(|out| date(out, 2_932_897)), "10000-01-01");
        assert_eq!(shown(|out| time(out, 3_723_000_010)), "01:02:03.00001");
        assert_eq!(shown(|out| float(out, 0.1_f32)), "0.1");
        assert_eq!(shown(|out| float(out, f64::NEG_INFINITY)), "-Infinity");
        assert_eq!(shown(|out| hex(out, &[0, 255])), "\\x00ff");
        let mut out = BytesMut::new();
        for item in ["a", "", "null", "a b", "q\"\\"] {
            list_item(item.as_bytes(), &mut out);
            out.put_u8(b';');
        }
        assert_eq!(&out[..], br#"a;"";"null";"a b";"q\"\\";"#);
    }
}
