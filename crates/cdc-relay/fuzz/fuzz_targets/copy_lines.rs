//! Any line of a snapshot: as many cells as it has tabs and one, a NULL exactly where the text says so, and the same after
//! another line went through the same memory.

#![no_main]
#![allow(dead_code)]

#[path = "../../src/snapshot"]
mod snapshot {
    pub mod copy_line;
}

use libfuzzer_sys::fuzz_target;
use model::cell::Cell;
use snapshot::copy_line::CopyLine;

fn cells(parser: &mut CopyLine, line: &[u8]) -> Vec<Option<Vec<u8>>> {
    parser.parse(line);
    parser.cells(line).map(|cell| cell.text().map(<[u8]>::to_vec)).collect()
}

fuzz_target!(|data: (&[u8], &[u8])| {
    let (line, other) = data;
    let mut parser = CopyLine::default();
    let first = cells(&mut parser, line);
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
    assert_eq!(first.len(), fields.len());
    for (cell, field) in first.iter().zip(&fields) {
        assert_eq!(cell.is_none(), *field == b"\\N");
        if !field.contains(&b'\\') {
            assert_eq!(cell.as_deref(), Some(*field));
        }
    }
    cells(&mut parser, other);
    assert_eq!(cells(&mut parser, line), first);
    // What the server would have written for these cells reads back as them.
    let mut written = Vec::new();
    for (index, cell) in first.iter().enumerate() {
        if index > 0 {
            written.push(b'\t');
        }
        match cell {
            None => written.extend(b"\\N"),
            Some(text) => text.iter().for_each(|byte| match byte {
                b'\\' => written.extend(b"\\\\"),
                b'\t' => written.extend(b"\\t"),
                b'\n' => written.extend(b"\\n"),
                other => written.push(*other),
            }),
        }
    }
    assert_eq!(cells(&mut parser, &written), first);
    let _: Option<Cell<'_>> = parser.cells(&written).next();
});
