//! `gochat-perf fill`: the figures in a page of documentation, written anew from files of figures.

use std::path::{Path, PathBuf};

use clap::Args;

use super::figure_file::FigureFile;
use super::markdown::{NOT_MEASURED, cell, host_in_words};
use crate::error::LoadError;
use crate::exit::Exit;
use crate::report::write_text;

/// Writes the figures in a Markdown page anew. Below a line `<!-- system.json: figures -->` the table's rows that begin with a
/// figure's name in backticks get its values from that file, in the columns that are named after targets; below
/// `<!-- system.json: host -->` the next line becomes what they were measured on
#[derive(Debug, Args)]
pub(crate) struct Fill {
    page: PathBuf,
    /// As collect, compare and versus write them; the page knows them by their names without folders
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Of the ratios' bootstrap
    #[arg(long, default_value_t = 1)]
    bootstrap_seed: u64,
}

impl Fill {
    /// # Errors
    /// [`LoadError`]: the page or a file can't be read, or the page has no place for a file. The page is left as it was.
    pub(crate) fn run(&self) -> Result<Exit, LoadError> {
        let bad = |path: &Path, why: String| LoadError::BadReport { path: path.display().to_string(), why };
        let mut page =
            std::fs::read_to_string(&self.page).map_err(|error| bad(&self.page, error.to_string()))?;
        for path in &self.files {
            let file = FigureFile::read(path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let filled = filled(&page, &name, &file, self.bootstrap_seed);
            page = filled.ok_or_else(|| bad(&self.page, format!("no line <!-- {name}: figures -->")))?;
        }
        write_text(&self.page, &page)?;
        Ok(Exit::Ok)
    }
}

/// `None`: the page has no place for figures of this file.
fn filled(page: &str, name: &str, file: &FigureFile, seed: u64) -> Option<String> {
    let (figures, host) = (format!("<!-- {name}: figures -->"), format!("<!-- {name}: host -->"));
    let mut written = String::new();
    let mut found = false;
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        push_line(&mut written, line);
        if line == host && lines.next().is_some() {
            push_line(&mut written, &host_in_words(&file.host));
        }
        if line == figures {
            found = true;
            let mut columns = None;
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
                let columns = columns.get_or_insert_with(|| cells.clone());
                push_line(&mut written, &filled_row(row, &cells, columns, file, seed));
            }
        }
    }
    found.then_some(written)
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// The row with its figure's values; another row as it is.
fn filled_row(row: &str, cells: &[&str], columns: &[&str], file: &FigureFile, seed: u64) -> String {
    let name = cells.first().and_then(|first| first.strip_prefix('`')?.strip_suffix('`'));
    let Some(name) = name else { return row.to_owned() };
    let is_target = |column: &str| {
        let is_measured = file.figures.values().any(|row| row.targets.contains_key(column));
        is_measured || file.missing.contains_key(column)
    };
    let targets = columns.iter().copied().filter(|column| is_target(column));
    let first = targets.clone().next().unwrap_or_default();
    let value = |(at, text): (usize, &&str)| match columns.get(at).copied().filter(|column| is_target(column))
    {
        None => (*text).to_owned(),
        Some(target) => {
            file.figures.get(name).map_or(NOT_MEASURED.to_owned(), |row| cell(row, first, target, seed))
        }
    };
    let cells: Vec<String> = cells.iter().enumerate().map(value).collect();
    format!("| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# A page

<!-- s.json: host -->
of old

<!-- s.json: figures -->
| figure | what | ours | theirs |
| --- | --- | --- | --- |
| `a` | what a \u{b5}s is | old | old |
| `gone` | not there | old | old |
| together | both | kept | kept |

| `a` | another table | kept | kept |
";

    fn file() -> FigureFile {
        let cell = |median: f64| serde_json::json!({"median": median, "low": null, "high": null, "values": [median]});
        let a = serde_json::json!({"unit": "us", "better": "lower", "targets": {"ours": cell(2.0), "theirs": cell(3.0)}});
        let host = serde_json::json!({"cores": 2, "cpu": "C", "kernel": "6.1", "tool_version": "1", "commit": "abc"});
        serde_json::from_value(serde_json::json!({"values_of": "runs", "figures": {"a": a}, "host": host}))
            .unwrap()
    }

    #[test]
    fn only_the_places_of_a_file_are_written_anew() {
        let page = filled(PAGE, "s.json", &file(), 1).unwrap();
        let lines: Vec<&str> = page.lines().collect();
        assert!(lines[3].starts_with("2 cores of C") && lines[3].ends_with("commit abc"), "{page}");
        assert_eq!(lines[8], "| `a` | what a \u{b5}s is | 2.000 | 3.000<br>× 1.50 |");
        assert_eq!(lines[9], "| `gone` | not there | not measured | not measured |");
        for (before, after) in PAGE
            .lines()
            .zip(&lines)
            .enumerate()
            .filter(|(at, _)| ![3, 8, 9].contains(at))
            .map(|(_, pair)| pair)
        {
            assert_eq!(before, *after);
        }
        assert_eq!(
            filled(&page, "s.json", &file(), 1).as_deref(),
            Some(page.as_str()),
            "a second time changes nothing"
        );
        assert_eq!(filled(PAGE, "other.json", &file(), 1), None);
    }
}
