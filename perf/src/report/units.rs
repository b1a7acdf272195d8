//! The units in which a figure can be asked for. Reports have four: `us`, `s`, `bytes`, `1/s`.

/// For error messages.
pub(crate) const KNOWN: &str = "ns, us, ms, s, B, KiB, MiB or GiB";

/// Unit, a report's unit, and how many of the latter it is.
const UNITS: [(&str, &str, f64); 13] = [
    ("ns", "us", 1e-3),
    ("us", "us", 1.0),
    ("µs", "us", 1.0),
    ("ms", "us", 1e3),
    ("s", "us", 1e6),
    ("us", "s", 1e-6),
    ("µs", "s", 1e-6),
    ("ms", "s", 1e-3),
    ("s", "s", 1.0),
    ("B", "bytes", 1.0),
    ("KiB", "bytes", 1024.0),
    ("MiB", "bytes", 1_048_576.0),
    ("GiB", "bytes", 1_073_741_824.0),
];

pub(crate) fn is_known(unit: &str) -> bool {
    UNITS.iter().any(|(name, ..)| *name == unit)
}

/// How many `of_report` make one `unit`; `None`: they measure different things.
pub(crate) fn scale(unit: &str, of_report: &str) -> Option<f64> {
    let fits = |(name, base, _): &&(&str, &str, f64)| *name == unit && *base == of_report;
    UNITS.iter().find(fits).map(|(.., scale)| *scale)
}
