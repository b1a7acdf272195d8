//! Configuration from a file (TOML), the environment and flags, the later ones winning, read once.
//!
//! A key that nobody knows is refused by its name and source, whether or not the receiving struct says
//! `deny_unknown_fields`: a misspelt limit must not silently stay at its default.

mod de;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Environment variables of ours begin with this: `GOCHAT__GATEWAY__LISTEN` is the key `gateway.listen`.
pub const ENV_PREFIX: &str = "GOCHAT__";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// An environment variable, by its name.
    Env(String),
    /// A flag, by its dotted key.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Env(name) => write!(f, "environment variable {name}"),
            Source::Flag(key) => write!(f, "flag {key}"),
        }
    }
}

/// A key that a program sets by itself, and what to use instead of it.
#[derive(Debug, Clone, Copy)]
pub struct FixedKey {
    /// The dotted key.
    pub key: &'static str,
    /// The end of a sentence: what to use instead.
    pub instead: &'static str,
}

/// Why there is no configuration. Each says what to change, and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("config file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file isn't TOML.
    #[error("config file {path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's sentence, with line and column.
        message: String,
    },
    /// Nobody knows this key.
    #[error("unknown key `{key}` from {origin}{}", expected(known))]
    UnknownKey {
        /// The dotted key.
        key: String,
        /// Where it was given.
        origin: Source,
        /// The keys that exist at that place.
        known: Vec<&'static str>,
    },
    /// The program sets this key by itself.
    #[error("key `{key}` from {origin} has no effect here: {instead}")]
    Fixed {
        /// The dotted key.
        key: String,
        /// Where it was given.
        origin: Source,
        /// What to use instead.
        instead: &'static str,
    },
    /// An environment variable that looks like a setting and isn't spelt as one.
    #[error("environment variable {name} is not read; the setting is spelt {right}")]
    Misspelt {
        /// The variable.
        name: String,
        /// Its right spelling.
        right: String,
    },
    /// The value doesn't fit its key.
    #[error("key `{key}` from {origin}: {message}")]
    Value {
        /// The dotted key.
        key: String,
        /// Where it was given.
        origin: Source,
        /// What would fit.
        message: String,
    },
    /// A value is missing, or a whole section has the wrong shape.
    #[error("{0}")]
    Shape(String),
}

fn expected(known: &[&str]) -> String {
    if known.is_empty() { String::new() } else { format!("; there are: {}", known.join(", ")) }
}

#[derive(Debug, Clone)]
enum Node {
    Table(BTreeMap<String, Node>),
    Leaf(Source, toml::Value),
    /// From the environment or a flag: its type is decided by the field that takes it.
    Text(Source, String),
}

/// Loads a configuration. `env` is usually `std::env::vars()`, of which only names with [`ENV_PREFIX`] count.
/// Keys that are `fixed` are refused.
///
/// Values from `env` and `flags` are plain text for text fields; numbers and booleans are parsed where the
/// field wants one; lists are written as in TOML.
///
/// # Errors
/// See [`ConfigError`].
pub fn load<T: DeserializeOwned + Serialize + Default>(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    flags: &[(String, String)],
    fixed: &[FixedKey],
) -> Result<T, ConfigError> {
    let mut root = Node::Table(BTreeMap::new());
    if let Some(path) = file {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let table: toml::Table = toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.into(), message: error.to_string() })?;
        root = of_toml(toml::Value::Table(table), &Source::File(path.into()));
    }
    let mut vars: Vec<_> = env.into_iter().filter(|(name, _)| name.starts_with("GOCHAT_")).collect();
    vars.sort();
    for (name, value) in vars {
        if !name.starts_with(ENV_PREFIX) {
            refuse_misspelt::<T>(name)?;
            continue;
        }
        let key = name[ENV_PREFIX.len()..].to_lowercase().replace("__", ".");
        put(&mut root, &key, Source::Env(name), value)?;
    }
    for (key, value) in flags {
        put(&mut root, key, Source::Flag(key.clone()), value.clone())?;
    }
    for FixedKey { key, instead } in fixed {
        let found = key.split('.').try_fold(&root, |node, part| match node {
            Node::Table(table) => table.get(part),
            _ => None,
        });
        if let Some(origin) = found.and_then(de::origin_of) {
            return Err(ConfigError::Fixed { key: (*key).to_owned(), origin, instead });
        }
    }
    T::deserialize(de::At::root(&root)).map_err(de::Failure::into_config_error)
}

/// A name such as `GOCHAT_LISTEN` or `GOCHAT_GATEWAY_SHARDS` was meant for a key. Others of that kind are not ours:
/// Kubernetes gives every container of a namespace `GOCHAT_PORT` when a service is named gochat.
fn refuse_misspelt<T: Serialize + Default>(name: String) -> Result<(), ConfigError> {
    let letters = |text: &str| text.to_lowercase().replace(['_', '.'], "");
    let meant = letters(&name["GOCHAT_".len()..]);
    let keys = keys(&T::default());
    match keys.into_iter().map(|(key, _)| key).find(|key| letters(key) == meant) {
        Some(key) => {
            let right = format!("{ENV_PREFIX}{}", key.to_uppercase().replace('.', "__"));
            Err(ConfigError::Misspelt { name, right })
        }
        None => Ok(()),
    }
}

/// Every dotted key of a configuration with its value, by name.
pub fn keys(config: &impl Serialize) -> Vec<(String, toml::Value)> {
    fn walk(prefix: &str, table: toml::Table, into: &mut Vec<(String, toml::Value)>) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            match value {
                toml::Value::Table(table) => walk(&key, table, into),
                value => into.push((key, value)),
            }
        }
    }
    let mut found = Vec::new();
    // Settings are plain values under names: there is nothing that TOML can't write.
    walk("", toml::Table::try_from(config).expect("settings can be written as TOML"), &mut found);
    found
}

fn of_toml(value: toml::Value, source: &Source) -> Node {
    match value {
        toml::Value::Table(table) => {
            Node::Table(table.into_iter().map(|(key, value)| (key, of_toml(value, source))).collect())
        }
        leaf => Node::Leaf(source.clone(), leaf),
    }
}

fn put(root: &mut Node, key: &str, source: Source, value: String) -> Result<(), ConfigError> {
    let wrong = |message: &str| ConfigError::Value {
        key: key.to_owned(),
        origin: source.clone(),
        message: message.to_owned(),
    };
    let mut at = root;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if part.is_empty() {
            return Err(wrong("the key has an empty part"));
        }
        let Node::Table(table) = at else {
            return Err(wrong("the key goes through something that is not a section"));
        };
        if parts.peek().is_none() {
            if matches!(table.get(part), Some(Node::Table(_))) {
                return Err(wrong("this is a section, not a value"));
            }
            table.insert(part.to_owned(), Node::Text(source, value));
            return Ok(());
        }
        at = table.entry(part.to_owned()).or_insert_with(|| Node::Table(BTreeMap::new()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields, default)]
    struct Config {
        name: String,
        gateway: Gateway,
    }

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
    #[serde(default)]
    struct Gateway {
        listen: Option<std::net::SocketAddr>,
        limit_bytes: u32,
        share: f64,
        strict: bool,
        origins: Vec<String>,
        mode: Mode,
    }

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        #[default]
        Auto,
        Forced,
    }

    const FIXED: &[FixedKey] = &[FixedKey { key: "gateway.strict", instead: "use --strict" }];

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
    }

    fn load_text(text: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gochat.toml");
        fs::write(&path, text).unwrap();
        load(Some(&path), pairs(env), &pairs(flags), FIXED).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let text =
            "name = \"a\"\n[gateway]\nlimit_bytes = 1\nshare = 1\norigins = [\"x\"]\nmode = \"forced\"";
        let env = [
            ("GOCHAT__GATEWAY__LIMIT_BYTES", "2"),
            ("GOCHAT__NAME", "7"),
            ("HOME", "/"),
            ("GOCHAT__GATEWAY__LISTEN", "127.0.0.1:80"),
        ];
        let got = load_text(text, &env, &[("gateway.limit_bytes", "3"), ("gateway.share", "2")]).unwrap();
        let gateway = Gateway {
            listen: Some("127.0.0.1:80".parse().unwrap()),
            limit_bytes: 3,
            share: 2.0,
            strict: false,
            origins: vec!["x".into()],
            mode: Mode::Forced,
        };
        assert_eq!(got, Config { name: "7".into(), gateway });
    }

    #[test]
    fn text_takes_the_type_of_its_field() {
        let env = [("GOCHAT__GATEWAY__MODE", "forced"), ("GOCHAT__GATEWAY__SHARE", "0.5")];
        let got = load_text("", &env, &[("gateway.origins", "[\"a\", \"b\"]")]).unwrap();
        assert_eq!(got.gateway.origins, ["a", "b"]);
        assert_eq!((got.gateway.mode, got.gateway.share), (Mode::Forced, 0.5));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_source() {
        let check = |result: Result<Config, String>, words: &[&str]| {
            let error = result.unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        check(load_text("[gateway]\nlimitt = 1", &[], &[]), &["`gateway.limitt`", "gochat.toml"]);
        check(load_text("nam = 1", &[], &[]), &["`nam`", "gochat.toml", "name, gateway"]);
        check(
            load_text("", &[("GOCHAT__GATEWAY__LIMIT", "1")], &[]),
            &["`gateway.limit`", "GOCHAT__GATEWAY__LIMIT"],
        );
        check(load_text("", &[("GOCHAT__X__Y", "1")], &[]), &["`x", "GOCHAT__X__Y"]);
        check(load_text("", &[], &[("gateway.l", "1")]), &["`gateway.l`", "flag"]);
    }

    #[test]
    fn a_fixed_key_and_a_misspelt_variable_are_refused_with_the_way_out() {
        let check = |result: Result<Config, String>, words: &[&str]| {
            let error = result.unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        check(
            load_text("[gateway]\nstrict = true", &[], &[]),
            &["`gateway.strict`", "gochat.toml", "--strict"],
        );
        check(
            load_text("", &[("GOCHAT__GATEWAY__STRICT", "true")], &[]),
            &["GOCHAT__GATEWAY__STRICT", "--strict"],
        );
        check(load_text("", &[("GOCHAT_NAME", "x")], &[]), &["GOCHAT_NAME ", "GOCHAT__NAME"]);
        check(
            load_text("", &[("GOCHAT_GATEWAY_LIMIT_BYTES", "1")], &[]),
            &["GOCHAT_GATEWAY_LIMIT_BYTES ", "GOCHAT__GATEWAY__LIMIT_BYTES"],
        );
        // As Kubernetes makes them.
        load_text("", &[("GOCHAT_SERVICE_HOST", "10.0.0.1"), ("GOCHAT_PORT", "tcp://10.0.0.1:80")], &[])
            .unwrap();
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_key_and_source() {
        let check = |result: Result<Config, String>, words: &[&str]| {
            let error = result.unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        check(
            load_text("[gateway]\nlimit_bytes = \"many\"", &[], &[]),
            &["`gateway.limit_bytes`", "gochat.toml"],
        );
        let env = [("GOCHAT__GATEWAY__LIMIT_BYTES", "many")];
        check(load_text("", &env, &[]), &["`gateway.limit_bytes`", "GOCHAT__GATEWAY__LIMIT_BYTES", "many"]);
        check(load_text("", &[("GOCHAT__GATEWAY__LISTEN", "nowhere")], &[]), &["`gateway.listen`"]);
        check(load_text("", &[("GOCHAT__GATEWAY__MODE", "x")], &[]), &["`gateway.mode`", "forced"]);
        check(load_text("", &[("GOCHAT__GATEWAY", "x")], &[]), &["`gateway`"]);
        check(load_text("name = ", &[], &[]), &["gochat.toml", "line 1"]);
        let missing =
            load::<Config>(Some(Path::new("/nowhere/x.toml")), [], &[], &[]).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/x.toml"), "{missing}");
    }
}
