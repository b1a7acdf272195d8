//! Promise: crates depend only in the directions that ARCHITECTURE.md draws.
//! Method: read every crate's manifest and compare with the one table below; the check itself is tried on a wrong manifest.
use std::collections::BTreeSet;
use std::path::Path;

struct Crate {
    folder: &'static str,
    /// Crates of ours that it may depend on.
    ours: &'static [&'static str],
    /// The same for its tests only.
    tests_only: &'static [&'static str],
    /// Crates of others that it must not depend on.
    never: &'static [&'static str],
}

const CRATES: &[Crate] = &[
    Crate { folder: "proto", ours: &[], tests_only: &[], never: &["monoio", "sqlx"] },
    Crate { folder: "core", ours: &[], tests_only: &[], never: &["tokio", "tonic", "prost", "sqlx"] },
    Crate { folder: "infra", ours: &[], tests_only: &[], never: &["monoio"] },
    Crate { folder: "repo", ours: &["infra", "proto"], tests_only: &[], never: &["monoio"] },
    Crate { folder: "logic", ours: &["infra", "proto"], tests_only: &["repo"], never: &["monoio", "sqlx"] },
    Crate { folder: "task", ours: &["infra", "proto"], tests_only: &["repo"], never: &["monoio", "sqlx"] },
    Crate {
        folder: "gateway",
        ours: &["core", "infra", "proto"],
        tests_only: &[],
        never: &["monoio", "sqlx", "tungstenite"],
    },
    Crate { folder: "perf", ours: &["proto"], tests_only: &[], never: &["sqlx"] },
    Crate {
        folder: "deploy/standalone",
        ours: &["core", "gateway", "infra", "logic", "proto", "repo", "task"],
        tests_only: &["perf"],
        never: &[],
    },
];

/// What stands in a manifest's table of dependencies against the rules; empty when all is well.
fn offences(krate: &Crate, manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
    // What a crate needs on some targets only stands in tables of their own.
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let of_targets = targets.into_iter().flat_map(toml::Table::values).filter_map(toml::Value::as_table);
    let parts: Vec<&toml::Table> = std::iter::once(&manifest).chain(of_targets).collect();
    let names = |table: &str| -> BTreeSet<String> {
        let tables = parts.iter().filter_map(|part| part.get(table)?.as_table());
        tables.flat_map(|table| table.keys().cloned()).collect()
    };
    let mut wrong = Vec::new();
    for (table, tests) in [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
    {
        for name in names(table) {
            if let Some(ours) = name.strip_prefix("gochat-") {
                let allowed = krate.ours.contains(&ours) || (tests && krate.tests_only.contains(&ours));
                if !allowed {
                    wrong.push(format!("{} must not depend on {name} ({table})", krate.folder));
                }
            } else if !tests && krate.never.contains(&name.as_str()) {
                wrong.push(format!("{} must not depend on {name} ({table})", krate.folder));
            }
        }
    }
    wrong
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn every_crate_keeps_the_arrows() {
    let workspace: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let members: BTreeSet<&str> =
        workspace["workspace"]["members"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
    let known: BTreeSet<&str> = CRATES.iter().map(|c| c.folder).collect();
    assert_eq!(members, known, "a crate is missing from the table in this file");

    let wrong: Vec<String> = CRATES
        .iter()
        .flat_map(|krate| {
            let path = root().join(krate.folder).join("Cargo.toml");
            offences(krate, &std::fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_wrong_arrow_is_found() {
    let core = CRATES.iter().find(|c| c.folder == "core").unwrap();
    let found = offences(core, "[dependencies]\ntokio = \"1\"\ngochat-infra = { path = \"../infra\" }\n");
    assert_eq!(found.len(), 2, "{found:?}");
    let found = offences(core, "[target.'cfg(unix)'.dependencies]\ntokio = \"1\"\n");
    assert_eq!(found.len(), 1, "{found:?}");
    let perf = CRATES.iter().find(|c| c.folder == "perf").unwrap();
    assert_eq!(offences(perf, "[dev-dependencies]\ngochat-core.workspace = true\n").len(), 1);
}
