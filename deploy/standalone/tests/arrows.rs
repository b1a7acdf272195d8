//! Promise: crates depend only in the directions that ARCHITECTURE.md draws.
//! Method: read every crate's manifest and compare with the one table below; the check itself is tried on a wrong manifest.
use std::collections::{BTreeMap, BTreeSet};
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

/// Where a manifest names what it depends on; the last one only for tests.
const TABLES: [(&str, bool); 3] =
    [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)];

/// Package, table and whether it is for tests only, of everything that a manifest depends on, for some targets too. A dependency may have
/// another name than its package, given here or in the workspace's manifest.
fn dependencies(manifest: &toml::Table, workspace: &toml::Table) -> Vec<(String, &'static str, bool)> {
    let of_targets = manifest.get("target").and_then(|targets| targets.as_table()).into_iter().flatten();
    let places = std::iter::once(manifest).chain(of_targets.filter_map(|(_, target)| target.as_table()));
    let mut found = Vec::new();
    for place in places {
        for (table, tests) in TABLES {
            // Cargo takes the older spelling as well.
            let tables = [table.to_owned(), table.replace('-', "_")];
            let entries: BTreeMap<&String, &toml::Value> =
                tables.iter().filter_map(|name| place.get(name)?.as_table()).flatten().collect();
            for (name, entry) in entries {
                found.push((package(name, entry, workspace).replace('_', "-"), table, tests));
            }
        }
    }
    found
}

fn package<'a>(name: &'a str, entry: &'a toml::Value, workspace: &'a toml::Table) -> &'a str {
    let renamed = |entry: &'a toml::Value| entry.get("package").and_then(|package| package.as_str());
    let inherits = entry.get("workspace").and_then(|is| is.as_bool()) == Some(true);
    let entry = if inherits { &workspace["workspace"]["dependencies"][name] } else { entry };
    renamed(entry).unwrap_or(name)
}

/// What stands in a manifest's tables of dependencies against the rules; empty when all is well.
fn offences(krate: &Crate, manifest: &str, workspace: &toml::Table) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
    let mut wrong = Vec::new();
    for (package, table, tests) in dependencies(&manifest, workspace) {
        let allowed = match package.strip_prefix("gochat") {
            Some(ours) => {
                let ours = ours.trim_start_matches('-');
                krate.ours.contains(&ours) || (tests && krate.tests_only.contains(&ours))
            }
            None => tests || !krate.never.contains(&package.as_str()),
        };
        if !allowed {
            wrong.push(format!("{} must not depend on {package} ({table})", krate.folder));
        }
    }
    wrong
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn workspace() -> toml::Table {
    std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap()
}

#[test]
fn every_crate_keeps_the_arrows() {
    let workspace = workspace();
    let members: BTreeSet<&str> =
        workspace["workspace"]["members"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
    let known: BTreeSet<&str> = CRATES.iter().map(|c| c.folder).collect();
    assert_eq!(members, known, "a crate is missing from the table in this file");

    let mut wrong = Vec::new();
    for krate in CRATES {
        let text = std::fs::read_to_string(root().join(krate.folder).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        // The check below knows ours by their names.
        let name = match krate.folder {
            "deploy/standalone" => "gochat".to_owned(),
            folder => format!("gochat-{folder}"),
        };
        assert_eq!(manifest["package"]["name"].as_str(), Some(name.as_str()));
        wrong.extend(offences(krate, &text, &workspace));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_wrong_arrow_is_found_however_it_is_written() {
    let workspace: toml::Table = r#"
        [workspace.dependencies]
        gochat-infra = { path = "infra" }
        gochat-proto = { path = "proto" }
        tokio = "1"
        threads = { package = "tokio", version = "1" }
        shared = { package = "gochat-infra", path = "infra" }
    "#
    .parse()
    .unwrap();
    let check = |folder: &str, manifest: &str, expect: &[&str]| {
        let krate = CRATES.iter().find(|krate| krate.folder == folder).unwrap();
        let expect: Vec<String> =
            expect.iter().map(|what| format!("{folder} must not depend on {what}")).collect();
        assert_eq!(offences(krate, manifest, &workspace), expect, "{manifest}");
    };
    let tokio: &[&str] = &["tokio (dependencies)"];
    let infra: &[&str] = &["gochat-infra (dependencies)"];
    check("core", "[dependencies]\ntokio = \"1\"", tokio);
    check("core", "[dependencies]\ntokio.workspace = true", tokio);
    check("core", "[dependencies]\ngochat-infra = { path = \"../infra\" }", infra);
    check("core", "[dependencies.gochat-infra]\npath = \"../infra\"", infra);
    // Under another name, which may be an allowed one.
    check("core", "[dependencies]\nbytes = { package = \"tokio\", version = \"1\" }", tokio);
    check("core", "[dependencies]\nbytes = { package = \"gochat-infra\", path = \"../infra\" }", infra);
    check("core", "[dependencies]\nthreads.workspace = true", tokio);
    check("core", "[dependencies]\nshared = { workspace = true, optional = true }", infra);
    check(
        "perf",
        "[dependencies]\ngochat-proto = { package = \"gochat-infra\", path = \"../infra\" }",
        infra,
    );
    check(
        "logic",
        "[dependencies]\ngochat-infra = { package = \"monoio\", version = \"0\" }",
        &["monoio (dependencies)"],
    );
    check("core", "[dependencies]\ngochat_infra = { path = \"../infra\" }", infra);
    // In other tables.
    check("core", "[target.'cfg(unix)'.dependencies]\nt = { package = \"tokio\", version = \"1\" }", tokio);
    check("core", "[build-dependencies]\ntokio = \"1\"", &["tokio (build-dependencies)"]);
    check("core", "[build_dependencies]\ntokio = \"1\"", &["tokio (build-dependencies)"]);
    check("perf", "[dev-dependencies]\ngochat-core.workspace = false", &["gochat-core (dev-dependencies)"]);
    check(
        "perf",
        "[target.x86_64-unknown-linux-gnu.dev-dependencies]\nc = { package = \"gochat-core\", path = \"../core\" }",
        &["gochat-core (dev-dependencies)"],
    );
    // The binary is nobody's dependency.
    check(
        "infra",
        "[dependencies]\nmain = { package = \"gochat\", path = \"../deploy/standalone\" }",
        &["gochat (dependencies)"],
    );
    // What is allowed, by whatever name.
    check("core", "[dependencies]\nbytes = \"1\"\n[dev-dependencies]\ntokio = \"1\"", &[]);
    check("repo", "[dependencies]\nshared.workspace = true\ngochat-proto.workspace = true", &[]);
    check("logic", "[dev-dependencies]\nstore = { package = \"gochat-repo\", path = \"../repo\" }", &[]);
}
