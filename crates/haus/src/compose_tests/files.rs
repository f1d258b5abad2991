//! Reads the compose files as Docker Compose does, as far as the tests need it: references, `extends`, `env_file`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use serde_json::{Map, Value};

pub type Names = BTreeMap<String, String>;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

pub fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The settings of `.env`, without the real environment.
pub fn dot_env() -> Names {
    service::env::parse(&text(".env"), |_| None).unwrap()
}

/// The files of a folder by their ending, as paths from the root.
pub fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(ending))
        .map(|name| if folder.is_empty() { name } else { format!("{folder}/{name}") })
        .collect();
    found.sort();
    found
}

/// The names in `${…}`, and in `$…` where a shell is meant no more (`$$`) is none.
pub fn references(text: &str) -> BTreeSet<String> {
    let text = text.replace("$$", "");
    text.split("${")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A service of a compose file: all that its file and what it extends say, with the references still in it.
pub struct Service {
    pub name: String,
    /// The compose file that holds it.
    pub file: String,
    pub body: Value,
    env: Names,
}

/// All services of the zones; `chosen` stands for lines that a person may change in `.env`.
pub fn services(chosen: &[(&str, &str)]) -> BTreeMap<String, Service> {
    let mut env = dot_env();
    env.extend(chosen.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let mut services = BTreeMap::new();
    for file in zone_files() {
        let names: Vec<String> = parsed(&file)["services"].as_object().unwrap().keys().cloned().collect();
        for name in names {
            let body = resolved(&file, &name, &env);
            let service = Service { name: name.clone(), file: file.clone(), body, env: env.clone() };
            assert!(services.insert(name, service).is_none(), "a service stands in two files");
        }
    }
    services
}

/// The compose files of the zones, as `docker-compose.yaml` includes them.
pub fn zone_files() -> Vec<String> {
    let included = parsed("docker-compose.yaml")["include"].clone();
    let included: Vec<String> = serde_json::from_value(included).unwrap();
    let mut all = files("", ".yaml");
    all.retain(|file| file.starts_with("docker-compose.") && file != "docker-compose.yaml");
    assert_eq!(
        included.iter().collect::<BTreeSet<_>>(),
        all.iter().collect(),
        "docker-compose.yaml includes all zones"
    );
    all
}

pub fn parsed(file: &str) -> Value {
    serde_saphyr::from_str(&text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn resolved(file: &str, name: &str, env: &Names) -> Value {
    let mut own = parsed(file)["services"][name].clone();
    assert!(own.is_object(), "{file}: no service {name}");
    let folder = Path::new(file).parent().unwrap();
    // Names of files are relative to the file that says them.
    if let Some(said) = own.get("env_file").and_then(Value::as_str) {
        own["env_file"] = Value::from(folder.join(said).to_string_lossy().into_owned());
    }
    let Some(base) = own.as_object_mut().unwrap().remove("extends") else { return own };
    let base_file = folder.join(base["file"].as_str().unwrap()).to_string_lossy().into_owned();
    let mut whole = resolved(&base_file, &filled(base["service"].as_str().unwrap(), env), env);
    merge(whole.as_object_mut().unwrap(), own.as_object().unwrap());
    whole
}

/// Mappings are merged; of everything else the later one stands.
fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

pub fn filled(text: &str, env: &Names) -> String {
    let line = |line: &str| {
        let quoted = format!("X=\"{}\"", line.replace('"', "\u{1}"));
        service::env::parse(&quoted, |name| env.get(name).cloned()).unwrap()["X"].replace('\u{1}', "\"")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

impl Service {
    pub fn has_profile(&self) -> bool {
        self.body.get("profiles").is_some()
    }

    /// Runs our image.
    pub fn is_ours(&self) -> bool {
        self.body["image"] == "${HAUS_IMAGE}"
    }

    /// The settings that the container's process gets.
    pub fn settings(&self) -> Names {
        let mut names = if self.is_ours() { image_settings() } else { Names::new() };
        if let Some(file) = self.body.get("env_file").and_then(Value::as_str) {
            let file = text(file);
            names.extend(service::env::parse(&file, |name| self.env.get(name).cloned()).unwrap());
        }
        for (name, value) in self.body.get("environment").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), |value| filled(value, &self.env));
            names.insert(name.clone(), value);
        }
        names
    }

    /// What is published: address, port here (both with their references), port in the container.
    pub fn ports(&self) -> Vec<(String, String, u16)> {
        let ports: Vec<String> =
            serde_json::from_value(self.body.get("ports").cloned().unwrap_or_default()).unwrap_or_default();
        let fields = |port: &String| match port.split(':').collect::<Vec<_>>()[..] {
            [address, here, inside] => (address.to_owned(), here.to_owned(), inside.parse().unwrap()),
            _ => panic!("{}: {port} is not address:port:port", self.name),
        };
        ports.iter().map(fields).collect()
    }

    pub fn filled(&self, text: &str) -> String {
        filled(text, &self.env)
    }

    /// The other names that the network knows the service by.
    pub fn aliases(&self) -> Vec<String> {
        let aliases = self.body.pointer("/networks/default/aliases").cloned().unwrap_or_default();
        serde_json::from_value(aliases).unwrap_or_default()
    }

    /// What has to be ready before it, and how: service and condition.
    pub fn needs(&self) -> Names {
        let needs = self.body.get("depends_on").and_then(Value::as_object);
        needs
            .into_iter()
            .flatten()
            .map(|(name, need)| (name.clone(), need["condition"].as_str().expect("a condition").to_owned()))
            .collect()
    }

    /// The URL that the container's health check asks.
    pub fn probed(&self) -> Option<String> {
        let words: Vec<String> = serde_json::from_value(self.body.pointer("/healthcheck/test")?.clone()).ok()?;
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["CMD", "haus", "probe", url] => Some(url.to_owned()),
            _ => None,
        }
    }
}

/// The settings that our image brings along.
fn image_settings() -> Names {
    let dockerfile = text("compose/Dockerfile");
    let last = dockerfile.rsplit("\nFROM ").next().unwrap();
    let lines = last.lines().filter_map(|line| line.strip_prefix("ENV "));
    lines.flat_map(str::split_whitespace).filter_map(|pair| pair.split_once('=')).map(owned).collect()
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// A setting that a program reads, as its source says it.
#[derive(Clone)]
pub struct Read {
    pub name: String,
    pub default: Option<String>,
}

/// What a crate of ours reads by itself, and which of our crates it stands on.
type Crate = (Vec<Read>, Vec<String>);

static CRATES: LazyLock<BTreeMap<String, Crate>> = LazyLock::new(|| {
    let names: Vec<String> = files("crates", "");
    let names: Vec<&str> = names.iter().map(|path| path.trim_start_matches("crates/")).collect();
    let one = |name: &&str| {
        let manifest = text(&format!("crates/{name}/Cargo.toml"));
        let normal = manifest.split("[dev-dependencies]").next().unwrap();
        let needed = normal.lines().filter_map(|line| Some(line.split_once(".workspace")?.0.to_owned()));
        let needed = needed.filter(|needed| names.contains(&needed.as_str())).collect();
        let mut read = Vec::new();
        sources(&root().join("crates").join(name).join("src"), &mut |source| read.extend(reads(source)));
        ((*name).to_owned(), (read, needed))
    };
    names.iter().map(one).collect()
});

/// The settings that a crate of ours reads, with those of our crates that it stands on.
pub fn read_by(name: &str) -> Vec<Read> {
    let mut crates = vec![name];
    let mut seen = 0;
    while let Some(name) = crates.get(seen) {
        let more: Vec<&str> = CRATES[*name].1.iter().map(String::as_str).filter(|n| !crates.contains(n)).collect();
        crates.extend(more);
        seen += 1;
    }
    crates.into_iter().flat_map(|name| CRATES[name].0.clone()).collect()
}

fn sources(folder: &Path, each: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, each);
        } else if !path.to_string_lossy().contains("compose_tests") {
            each(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn reads(source: &str) -> Vec<Read> {
    let mut found = Vec::new();
    for call in ["env = \"", "env::var(\"", "env::var_os(\"", "from_environment(\""] {
        for rest in source.split(call).skip(1) {
            let Some((name, rest)) = rest.split_once('"') else { continue };
            // The attribute ends before the field's type.
            let attribute = if call.starts_with("env =") { rest.split(")]").next().unwrap_or_default() } else { "" };
            let default = attribute
                .split_once("default_value = \"")
                .and_then(|(_, value)| value.split_once('"'))
                .map(|(value, _)| value.to_owned())
                .or_else(|| {
                    let value = attribute.split_once("default_value_t = ")?.1;
                    Some(value.split([',', '\n', ')']).next()?.replace('_', ""))
                });
            if name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
                found.push(Read { name: name.to_owned(), default });
            }
        }
    }
    found
}
