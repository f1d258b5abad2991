//! The models are plain SQL: another engine runs their files as they are and finds the rows that the lake finds.

use std::path::PathBuf;

use crate::rig::readers_python;

#[test]
fn duckdb_finds_the_same_rows_in_every_model() {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let output = std::process::Command::new(readers_python(&tests.join("readers")))
        .arg(tests.join("models/engines.py"))
        .arg("duckdb")
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("10 checks, 0 differ"), "{text}");
}
