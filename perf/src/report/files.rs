//! The files that a run writes beside its printed lines.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Interval;
use crate::error::LoadError;
use crate::latency::Latency;

fn not_written(source: std::io::Error) -> LoadError {
    LoadError::Io { what: "cannot write a report's file", source }
}

pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), LoadError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(not_written)?;
    }
    std::fs::write(path, text).map_err(not_written)
}

pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> Result<(), LoadError> {
    let text = serde_json::to_string_pretty(report).map_err(std::io::Error::other).map_err(not_written)?;
    write_text(path, &(text + "\n"))
}

/// The page with the report in it.
pub(crate) fn write_html(path: &Path, report: &impl Serialize) -> Result<(), LoadError> {
    const PAGE: &str = include_str!("page.html");
    let json = serde_json::to_string(report).map_err(std::io::Error::other).map_err(not_written)?;
    // In a script element only `</` could end it early, and `<!--` change how it is read; both stand in strings only.
    write_text(path, &PAGE.replace("@REPORT@", &json.replace('<', "\\u003c")))
}

/// A line for each interval.
pub(crate) fn write_csv(path: &Path, intervals: &[Interval]) -> Result<(), LoadError> {
    let mut text = "at_s,seconds,done,p50_us,p90_us,p99_us,p999_us,max_us\n".to_owned();
    for interval in intervals {
        let _ = write!(text, "{:.3},{:.3},{}", interval.at_s, interval.seconds, interval.done);
        let _ = match interval.latency_us {
            Some(us) => writeln!(text, ",{},{},{},{},{}", us.p50, us.p90, us.p99, us.p999, us.max),
            None => writeln!(text, ",,,,,"),
        };
    }
    write_text(path, &text)
}

/// The main latency, interval by interval, in HdrHistogram's log format (values are µs).
#[derive(Debug)]
pub(crate) struct RawLog {
    file: BufWriter<File>,
}

impl RawLog {
    /// # Errors
    /// [`LoadError::Io`].
    pub(crate) fn create(path: &Path, began: SystemTime) -> Result<RawLog, LoadError> {
        write_text(path, "")?;
        let mut file = BufWriter::new(File::create(path).map_err(not_written)?);
        let began = began.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        write!(
            file,
            "#[Histogram log format version 1.2]\n#[StartTime: {began:.3} (seconds since epoch)]\n\
             \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"
        )
        .map_err(not_written)?;
        Ok(RawLog { file })
    }

    pub(crate) fn add(
        &mut self,
        from: Duration,
        lasting: Duration,
        latency: &Latency,
    ) -> Result<(), LoadError> {
        let encoded = latency.encoded().map_err(not_written)?;
        let (from, lasting, max) = (from.as_secs_f64(), lasting.as_secs_f64(), latency.percentiles().max);
        writeln!(self.file, "{from:.3},{lasting:.3},{max},{encoded}").map_err(not_written)
    }

    pub(crate) fn finish(mut self) -> Result<(), LoadError> {
        self.file.flush().map_err(not_written)
    }
}
