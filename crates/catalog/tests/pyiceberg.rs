//! PyIceberg (from PyPI, in a virtual environment in the cache folder) as a client.

use std::{path::PathBuf, process::Stdio};

use tokio::{process::Command, sync::OnceCell};

use crate::stack::Stack;

const VERSION: &str = "0.12.0";

/// The Python of an environment with PyIceberg; made once, kept in the cache folder.
async fn python() -> PathBuf {
    static PYTHON: OnceCell<PathBuf> = OnceCell::const_new();
    let path = PYTHON.get_or_init(async || {
        let cache = std::env::var_os("HAUS_CACHE").map(PathBuf::from);
        let cache =
            cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/haus-am-see"));
        let folder = cache.join(format!("pyiceberg-{VERSION}"));
        let python = folder.join("bin/python");
        if !folder.join("complete").exists() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).await;
            run(Command::new(&python).args([
                "-m",
                "pip",
                "install",
                "-q",
                &format!("pyiceberg[pyarrow,sql-postgres]=={VERSION}"),
            ]))
            .await;
            std::fs::write(folder.join("complete"), "").unwrap();
        }
        python
    });
    path.await.clone()
}

async fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}\n{stdout}{}", String::from_utf8_lossy(&output.stderr));
    stdout
}

#[tokio::test]
async fn pyiceberg_reads_and_writes_by_rest_and_by_the_same_sql_tables() {
    let stack = Stack::start().await;
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pyiceberg_client.py");
    let database = testkit::postgres().await.url(&stack.database).replace("postgresql://", "postgresql+psycopg2://");
    let s3 = format!("http://127.0.0.1:{}", stack.s3_port);
    let answer = run(Command::new(python().await).arg(script).args([stack.url(""), database, s3])).await;
    assert!(answer.trim_end().ends_with("ok"), "{answer}");
}
