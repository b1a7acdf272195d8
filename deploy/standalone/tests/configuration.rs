//! Promise: docs/configuration.md has every key with its default, and no key that isn't one.
//! Method: the tables of the page against what `gochat config` prints where nothing is set; the comparison itself is
//! tried on a page that is wrong.
use std::collections::BTreeMap;
use std::process::Command;

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// Key → default as TOML, with a sentence about it.
fn on_the_page(page: &str) -> BTreeMap<String, (String, String)> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let row = |row: &str| {
        let (key, rest) = row.split_once("` | `").unwrap_or_else(|| panic!("a row of the page: {row}"));
        let (default, meaning) =
            rest.split_once("` | ").unwrap_or_else(|| panic!("a row of the page: {row}"));
        (key.to_owned(), (default.to_owned(), meaning.trim_end_matches('|').trim().to_owned()))
    };
    rows.map(row).collect()
}

fn flat(prefix: &str, table: &toml::Table, into: &mut BTreeMap<String, String>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(table) => flat(&key, table, into),
            value => drop(into.insert(key, value.to_string())),
        }
    }
}

/// The keys of the program with their defaults.
fn in_the_program() -> BTreeMap<String, String> {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gochat"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GOCHAT_")) {
        command.env_remove(name);
    }
    let output = command.arg("config").current_dir(&nowhere).output().expect("gochat runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table: toml::Table = String::from_utf8(output.stdout).unwrap().parse().expect("TOML is printed");
    let mut keys = BTreeMap::new();
    flat("", &table, &mut keys);
    keys
}

/// What has to change on the page, as rows.
fn differences(page: &str, program: &BTreeMap<String, String>) -> Vec<String> {
    let page = on_the_page(page);
    let missing = program.iter().filter_map(|(key, default)| match page.get(key) {
        None => Some(format!("add      | `{key}` | `{default}` | … |")),
        Some((said, _)) if said != default => {
            Some(format!("change   | `{key}` | `{default}` | … |  (says `{said}`)"))
        }
        Some((_, meaning)) if meaning.is_empty() => Some(format!("explain  `{key}`")),
        Some(_) => None,
    });
    let gone = page.keys().filter(|key| !program.contains_key(*key)).map(|key| format!("remove   `{key}`"));
    missing.chain(gone).collect()
}

#[test]
fn the_page_has_every_key_with_its_default() {
    let program = in_the_program();
    assert!(program.len() > 100, "{} keys", program.len());
    let wrong = differences(PAGE, &program);
    assert!(wrong.is_empty(), "docs/configuration.md must change:\n{}", wrong.join("\n"));
}

#[test]
fn a_wrong_page_is_found() {
    let program =
        BTreeMap::from([("a.x_ms".to_owned(), "5".to_owned()), ("a.y".to_owned(), "\"z\"".to_owned())]);
    let check = |page: &str, word: &str| {
        let found = differences(page, &program);
        assert!(found.len() == 1 && found[0].starts_with(word), "{found:?}");
    };
    let (x, y) = ("| `a.x_ms` | `5` | Time. |\n", "| `a.y` | `\"z\"` | Name. |\n");
    assert!(differences(&format!("{x}{y}"), &program).is_empty());
    check(x, "add");
    check(&format!("{x}| `a.y` | `\"other\"` | Name. |\n"), "change");
    check(&format!("{x}| `a.y` | `\"z\"` | |\n"), "explain");
    check(&format!("{x}{y}| `a.z` | `1` | Gone. |\n"), "remove");
}
