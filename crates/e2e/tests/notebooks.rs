//! The notebooks of `scripts/`: each runs from top to bottom against a stack of its own, and is kept without outputs.

use std::path::PathBuf;

use crate::{mainjob::testkit_cache, stack::Stack, tidy::root};

#[tokio::test(flavor = "multi_thread")]
async fn every_notebook_runs_against_a_living_shop() {
    let python = testkit_cache().join("py-notebooks/bin/python");
    assert!(python.exists(), "{} is missing: run tests/notebooks/setup.sh", python.display());
    let stack = Stack::new();
    stack.haus(&["up"]).await;
    stack.haus(&["seed", "--count", "200"]).await;
    stack.haus(&["traffic", "start", "--rate", "1"]).await;

    let copies = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(&python)
        .arg(runner())
        .arg("--out")
        .arg(copies.path())
        .envs(stack.environment())
        .output()
        .await
        .unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{error}\n{}", stack.log_tails());
    assert_eq!(said.lines().last(), Some(format!("{} passed, 0 failed", notebooks()).as_str()), "{said}\n{error}");
    // What the notebooks did to shop and lake left nothing behind that differs.
    let report = stack.haus(&["verify"]).await;
    assert_eq!(report["ok"], true, "{report:#}");
    stack.haus(&["down"]).await;
}

#[test]
fn notebooks_are_kept_without_outputs() {
    let output = std::process::Command::new("python3").arg(runner()).arg("--check").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().last(), Some(format!("{} passed, 0 failed", notebooks()).as_str()), "{said}");
}

fn runner() -> PathBuf {
    root().join("tests/notebooks/run.py")
}

fn notebooks() -> usize {
    let files = std::fs::read_dir(root().join("scripts")).unwrap().flatten();
    let count = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "ipynb")).count();
    assert!(count >= 3, "{count} notebooks in scripts/");
    count
}
