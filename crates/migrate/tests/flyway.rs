//! Real Flyway: fetched once by Maven into the cache folder, then run by `java`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use migrate::Placeholders;

/// `flyway migrate`; what it printed, or panics with it.
pub(crate) fn migrate(database: &str, dir: &Path, placeholders: &Placeholders, server: &testkit::Postgres) -> String {
    let (succeeded, output) = try_migrate(database, dir, placeholders, server, &[]);
    assert!(succeeded, "flyway failed:\n{output}");
    output
}

/// `flyway migrate` with further arguments: whether it succeeded, and what it printed.
pub(crate) fn try_migrate(
    database: &str,
    dir: &Path,
    placeholders: &Placeholders,
    server: &testkit::Postgres,
    arguments: &[&str],
) -> (bool, String) {
    let mut command = Command::new("java");
    command
        // Short runs: the second compiler and a second collector thread only cost time.
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
        .arg(jars().join("*"))
        .arg("org.flywaydb.commandline.Main")
        .arg(format!("-url=jdbc:postgresql://{}:{}/{database}", server.host, server.port))
        .arg(format!("-user={}", server.user))
        .arg(format!("-password={}", server.password))
        .arg(format!("-locations=filesystem:{}", dir.display()))
        .args(placeholders.iter().map(|(name, value)| format!("-placeholders.{name}={value}")))
        .args(arguments)
        .arg("migrate");
    let output = command.output().expect("run java");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// The folder with Flyway's jars, as `embedded/flyway-pom.xml` lists them.
fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| {
        let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../embedded/flyway-pom.xml");
        let dir = cache().join(format!("flyway-{}", version(&pom)));
        if !dir.is_dir() {
            fetch(&pom, &dir);
        }
        dir
    })
}

/// Copies the jars beside the folder and renames it at the end, so that a folder that is there is whole.
fn fetch(pom: &Path, dir: &Path) {
    let unfinished = dir.with_extension(format!("part-{}", std::process::id()));
    let status = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", unfinished.display()))
        .status()
        .expect("run mvn");
    assert!(status.success(), "mvn could not fetch Flyway");
    if std::fs::rename(&unfinished, dir).is_err() {
        // Another test process was quicker.
        assert!(dir.is_dir(), "cannot make {}", dir.display());
        let _ = std::fs::remove_dir_all(&unfinished);
    }
}

fn cache() -> PathBuf {
    let dir = std::env::var_os("HAUS_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache/haus-am-see"),
        PathBuf::from,
    );
    std::fs::create_dir_all(&dir).expect("make the cache folder");
    dir
}

fn version(pom: &Path) -> String {
    let pom = std::fs::read_to_string(pom).expect("read flyway-pom.xml");
    let (_, rest) = pom.split_once("<flyway.version>").expect("flyway.version in the pom");
    rest.split_once('<').expect("end of flyway.version").0.to_owned()
}
