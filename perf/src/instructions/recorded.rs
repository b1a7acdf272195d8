//! The figures that were recorded, and what became of them. Pure but for the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::circumstances::Circumstances;
use crate::error::LoadError;
use crate::report::write_json;

const FORMAT: u32 = 1;

/// The file `recorded.json`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    format: u32,
    /// Whose counts these are, and what whole runs are compared with.
    commit: String,
    circumstances: Circumstances,
    /// Of one operation of each part.
    pub(super) instructions: BTreeMap<String, f64>,
}

/// A whole commit id: a short one may mean another commit later.
pub(super) fn commit(text: &str) -> Result<String, String> {
    let whole = text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if whole { Ok(text.to_owned()) } else { Err(format!("{text:?} is no whole commit id")) }
}

impl Recorded {
    pub(super) fn new(
        commit: String,
        circumstances: Circumstances,
        instructions: BTreeMap<String, f64>,
    ) -> Recorded {
        Recorded { format: FORMAT, commit, circumstances, instructions }
    }

    /// # Errors
    /// [`LoadError::BadRecord`]: the caller's; the file is missing, torn or of another format.
    pub(super) fn read(path: &Path) -> Result<Recorded, LoadError> {
        let bad = |why: String| LoadError::BadRecord { path: path.display().to_string(), why };
        let text = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
        let recorded: Recorded = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        if recorded.format != FORMAT {
            return Err(bad(format!("it has format {}, and this program reads {FORMAT}", recorded.format)));
        }
        commit(&recorded.commit).map_err(&bad)?;
        match recorded.instructions.iter().find(|(_, count)| **count <= 0.0) {
            Some((part, count)) => Err(bad(format!("{part} can't take {count} instructions"))),
            None if recorded.instructions.is_empty() => Err(bad("it has no figures".to_owned())),
            None => Ok(recorded),
        }
    }

    /// # Errors
    /// [`LoadError::Io`].
    pub(super) fn write(&self, path: &Path) -> Result<(), LoadError> {
        write_json(path, self)
    }

    /// In words, what is not now as it was then.
    pub(super) fn differences(&self, now: &Circumstances) -> Vec<String> {
        let names = self
            .circumstances
            .keys()
            .chain(now.keys().filter(|name| !self.circumstances.contains_key(*name)));
        let of = |all: &Circumstances, name: &str| all.get(name).cloned().unwrap_or_default();
        names
            .map(|name| (name, of(&self.circumstances, name), of(now, name)))
            .filter(|(_, then, now)| then != now)
            .map(|(name, then, now)| format!("{name} was {then:?} and is {now:?}"))
            .collect()
    }
}

/// What became of a part: instructions for each operation, then and now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Found {
    Same {
        then: f64,
        now: f64,
    },
    More {
        then: f64,
        now: f64,
    },
    Less {
        then: f64,
        now: f64,
    },
    /// Not recorded.
    New {
        now: f64,
    },
    /// Recorded, and not in the program.
    Gone {
        then: f64,
    },
}

/// Each part that was recorded or counted.
pub(super) fn judge(
    then: &BTreeMap<String, f64>,
    now: &BTreeMap<String, f64>,
    tolerance_percent: f64,
) -> BTreeMap<String, Found> {
    let verdict = |part: &String| match (then.get(part).copied(), now.get(part).copied()) {
        (Some(then), Some(now)) if percent(then, now) > tolerance_percent => Found::More { then, now },
        (Some(then), Some(now)) if percent(then, now) < -tolerance_percent => Found::Less { then, now },
        (Some(then), Some(now)) => Found::Same { then, now },
        (Some(then), None) => Found::Gone { then },
        (None, now) => Found::New { now: now.unwrap_or_default() },
    };
    then.keys().chain(now.keys()).map(|part| (part.clone(), verdict(part))).collect()
}

fn percent(then: f64, now: f64) -> f64 {
    // In this order a tolerance that is just reached is not passed by rounding.
    (now - then) * 100.0 / then
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut change = |then: f64, now: f64, word: &str| {
            write!(f, "{then:>12.1} → {now:>12.1} {:+7.2} %{word}", percent(then, now))
        };
        match *self {
            Found::Same { then, now } => change(then, now, ""),
            Found::More { then, now } => change(then, now, " MORE"),
            Found::Less { then, now } => change(then, now, " fewer"),
            Found::New { now } => write!(f, "{:>12} → {now:>12.1} NOT RECORDED", "-"),
            Found::Gone { then } => write!(f, "{then:>12.1} → {:>12} NO SUCH PART", "-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(all: &[(&str, f64)]) -> BTreeMap<String, f64> {
        all.iter().map(|(part, count)| ((*part).to_owned(), *count)).collect()
    }

    #[test]
    fn a_part_is_judged_by_its_own_record() {
        let then =
            figures(&[("same", 100.0), ("edge", 100.0), ("more", 100.0), ("less", 100.0), ("gone", 5.0)]);
        let now = figures(&[("same", 99.0), ("edge", 102.0), ("more", 102.1), ("less", 97.9), ("new", 7.0)]);
        let found = judge(&then, &now, 2.0);
        let check = |part: &str, expect: Found| assert_eq!(found[part], expect, "{part}");
        check("same", Found::Same { then: 100.0, now: 99.0 });
        check("edge", Found::Same { then: 100.0, now: 102.0 });
        check("more", Found::More { then: 100.0, now: 102.1 });
        check("less", Found::Less { then: 100.0, now: 97.9 });
        check("gone", Found::Gone { then: 5.0 });
        check("new", Found::New { now: 7.0 });
        assert_eq!(found.len(), 6);
    }
}
