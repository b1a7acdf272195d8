//! Makes the table of the page's files out of what lies in web/, so that adding a file needs no second place.

use std::{env, fmt::Write as _, fs, path::Path};

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("gateway/web is there")
        .map(|entry| entry.expect("gateway/web can be listed"))
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().into_string().expect("file names are UTF-8"))
        .collect();
    names.sort();
    let mut table = String::from("&[\n");
    for name in &names {
        let content_type = content_type(name).unwrap_or_else(|| panic!("gateway/web/{name}: of what type?"));
        let path = if name == "index.html" { "/".to_owned() } else { format!("/assets/{name}") };
        let file = folder.join(name);
        writeln!(
            table,
            "    ({path:?}, {content_type:?}, include_bytes!({:?})),",
            file.display().to_string()
        )
        .expect("a string takes it");
    }
    table.push_str("]\n");
    let out = Path::new(&env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("web_files.rs");
    fs::write(out, table).expect("OUT_DIR can be written");
}

fn content_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webmanifest" => "application/manifest+json",
        _ => return None,
    })
}
