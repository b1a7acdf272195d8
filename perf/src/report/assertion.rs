//! `--assert 'p99<50ms,lost=0'`: what a run's figures must be.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::{Figures, units};

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assertion {
    figure: String,
    relation: Relation,
    bound: f64,
    /// As written; empty: the figure's own.
    unit: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Relation {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

/// Longer signs first: `<=` begins with `<`.
const RELATIONS: [(&str, Relation); 6] = [
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("==", Relation::Equal),
    ("<", Relation::Below),
    (">", Relation::Above),
    ("=", Relation::Equal),
];

impl FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Assertion, String> {
        let found = RELATIONS.iter().filter_map(|(sign, relation)| Some((text.find(sign)?, sign, *relation)));
        // The first sign of the text, and the longest that begins there.
        let (at, sign, relation) = found
            .min_by_key(|(at, sign, _)| (*at, std::cmp::Reverse(sign.len())))
            .ok_or_else(|| format!("{text:?} has none of < <= > >= ="))?;
        let (figure, bound) = (text[..at].trim(), text[at + sign.len()..].trim());
        let digits =
            bound.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(bound.len());
        let (number, unit) = bound.split_at(digits);
        let bound = number.parse().map_err(|_| format!("{text:?} compares with no number"))?;
        let unit = unit.trim();
        if !unit.is_empty() && !units::is_known(unit) {
            return Err(format!("{text:?} has an unknown unit: {}", units::KNOWN));
        }
        if figure.is_empty() {
            return Err(format!("{text:?} names no figure"));
        }
        Ok(Assertion { figure: figure.to_owned(), relation, bound, unit: unit.to_owned() })
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signs = RELATIONS.iter().rev().find(|(_, relation)| *relation == self.relation);
        let sign = signs.map_or("", |(sign, _)| sign);
        write!(f, "{}{sign}{}{}", self.figure, self.bound, self.unit)
    }
}

impl Serialize for Assertion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How an assertion came out.
#[derive(Debug, Serialize)]
pub(crate) struct Asserted {
    pub(crate) condition: String,
    pub(crate) holds: bool,
    /// What the run had, with its unit, or why there is nothing to compare.
    pub(crate) found: String,
}

impl Assertion {
    pub(crate) fn judge(&self, figures: &Figures) -> Asserted {
        let condition = self.to_string();
        let Some(figure) = figures.get(&self.figure) else {
            return Asserted { condition, holds: false, found: "the run has no such figure".to_owned() };
        };
        let found = format!("{} {}", figure.value, figure.unit).trim().to_owned();
        let scale = if self.unit.is_empty() { Some(1.0) } else { units::scale(&self.unit, &figure.unit) };
        let Some(scale) = scale else {
            let found = format!("{found}, which cannot be compared with {}", self.unit);
            return Asserted { condition, holds: false, found };
        };
        let (value, bound) = (figure.value, self.bound * scale);
        let holds = match self.relation {
            Relation::Below => value < bound,
            Relation::AtMost => value <= bound,
            Relation::Above => value > bound,
            Relation::AtLeast => value >= bound,
            Relation::Equal => value == bound,
        };
        Asserted { condition, holds, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Better;

    #[track_caller]
    fn check(text: &str, holds: bool) {
        let mut figures = Figures::default();
        figures.add("p99", 49_000.0, "us", Better::Lower);
        figures.add("back", 2.5, "s", Better::Lower);
        figures.add("server_rss", 3_145_728.0, "bytes", Better::Lower);
        figures.add("lost", 0.0, "", Better::Lower);
        let asserted = text.parse::<Assertion>().unwrap().judge(&figures);
        assert_eq!(asserted.holds, holds, "{asserted:?}");
        assert_eq!(asserted.condition, text);
    }

    #[test]
    fn conditions_are_judged_in_their_units() {
        for (text, holds) in [
            ("p99<50ms", true),
            ("p99<49ms", false),
            ("p99<=49ms", true),
            ("p99<48999us", false),
            ("p99<1s", true),
            ("p99>49000", false),
            ("p99>=49000", true),
            ("back<2600ms", true),
            ("back<2s", false),
            ("server_rss<=3MiB", true),
            ("lost=0", true),
            ("lost>0", false),
            ("lost<1ms", false),
            ("nonsense<1", false),
        ] {
            check(text, holds);
        }
        for text in ["p99", "p99<", "p99<fast", "<3", "p99<5parsecs"] {
            assert!(text.parse::<Assertion>().is_err(), "{text}");
        }
    }
}
