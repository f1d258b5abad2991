//! Rules of the source tree that no compiler checks.

use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn every_module_says_what_it_is() {
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    assert!(files.len() > 50);
    let silent: Vec<_> = files
        .iter()
        .filter(|file| !std::fs::read_to_string(file).unwrap().lines().take(3).any(|line| line.starts_with("//!")))
        .collect();
    assert!(silent.is_empty(), "without a //! opening: {silent:#?}");
}

#[test]
fn no_module_is_a_drawer_for_anything() {
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!["utils", "util", "common", "helpers", "core", "misc"].contains(&name.as_str()), "{}", file.display());
    }
}
