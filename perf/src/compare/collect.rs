//! `gochat-perf collect`: figures of several reports, under names that are kept, put into one file.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde_json::Value;

use super::figure_file::{Cell, FigureFile, Row, ValuesOf};
use super::side::{self, OF_THE_MACHINE, Side};
use crate::error::LoadError;
use crate::exit::Exit;
use crate::report::{Better, EarlierReport, units, write_json};

/// Puts figures of several reports into a file of figures, each with its median over the reports. What the file holds of
/// other figures and targets stays. Reports of runs that failed are refused
#[derive(Debug, Args)]
pub(crate) struct Collect {
    /// What was measured, as the file shall name it
    #[arg(long)]
    target: String,
    /// NAME=FIGURE or NAME=FIGURE:UNIT: its name in the file, its name in the reports, and the unit to tell it in:
    /// chat_p50_ms=deliver.p50:ms
    #[arg(long = "figure", required_unless_present = "missing")]
    figures: Vec<Wanted>,
    /// What the target is made of: 'bun 1.4.5'
    #[arg(long)]
    made_of: Option<String>,
    /// Instead of figures: why the target could not be measured. The file must be there
    #[arg(long, conflicts_with_all = ["figures", "reports", "made_of"])]
    missing: Option<String>,
    /// The file of figures
    #[arg(long)]
    json: PathBuf,
    /// Fewer reports than this are refused
    #[arg(long, default_value_t = 5)]
    reports_min: usize,
    /// Of the bootstrap: the same seed gives the same intervals
    #[arg(long, default_value_t = 1)]
    bootstrap_seed: u64,
    /// Of runs with the same parameters
    #[arg(required_unless_present = "missing")]
    reports: Vec<PathBuf>,
}

/// A figure that is asked for.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    name: String,
    in_reports: String,
    /// Empty: as the reports have it.
    unit: String,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        let parts = text.split_once('=').filter(|(name, figure)| !name.is_empty() && !figure.is_empty());
        let (name, figure) = parts.ok_or_else(|| format!("{text:?} is not NAME=FIGURE[:UNIT]"))?;
        let (in_reports, unit) = figure.split_once(':').unwrap_or((figure, ""));
        if figure.contains(':') && !units::is_known(unit) {
            return Err(format!("{text:?} has an unknown unit: {}", units::KNOWN));
        }
        Ok(Wanted { name: name.to_owned(), in_reports: in_reports.to_owned(), unit: unit.to_owned() })
    }
}

impl Collect {
    /// # Errors
    /// [`LoadError`]: too few reports, one that can't be used, or a file that was made on something else. The file is
    /// left as it was then.
    pub(crate) fn run(&self) -> Result<Exit, LoadError> {
        if let Some(why) = &self.missing {
            return self.leave_out(why);
        }
        let side = self.read_reports()?;
        let host = side.reports.first().map(EarlierReport::host).unwrap_or_default();
        let mut file = self.file_so_far(&host)?;
        for wanted in &self.figures {
            let row = self.row_of(wanted, &side)?;
            self.put(&mut file, wanted, row)?;
        }
        file.missing.remove(&self.target);
        if let Some(made_of) = &self.made_of {
            file.versions.insert(self.target.clone(), made_of.clone());
        }
        write_json(&self.json, &file)?;
        for wanted in &self.figures {
            let row = &file.figures[&wanted.name];
            println!("{} [{}]: {} {}", wanted.name, row.unit, self.target, row.targets[&self.target]);
        }
        Ok(Exit::Ok)
    }

    /// What the file holds of the target goes: figures of an earlier time would pass for measured ones.
    fn leave_out(&self, why: &str) -> Result<Exit, LoadError> {
        let mut file = FigureFile::read(&self.json)?;
        for row in file.figures.values_mut() {
            row.targets.remove(&self.target);
            row.differences.clear();
        }
        file.versions.remove(&self.target);
        file.missing.insert(self.target.clone(), why.to_owned());
        write_json(&self.json, &file)?;
        println!("{} is missing: {why}", self.target);
        Ok(Exit::Ok)
    }

    fn read_reports(&self) -> Result<Side, LoadError> {
        let (found, wanted) = (self.reports.len(), self.reports_min.max(1));
        if found < wanted {
            let why = format!(
                "{found} reports of the {wanted} that --reports-min asks for: repeat the runs that failed"
            );
            return Err(LoadError::BadConfig(why));
        }
        let mut paths: Vec<PathBuf> =
            self.reports.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect();
        paths.sort();
        if let Some(pair) = paths.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(LoadError::BadConfig(format!("{} is named twice", pair[0].display())));
        }
        let reports =
            self.reports.iter().map(|path| EarlierReport::read(path)).collect::<Result<Vec<_>, _>>()?;
        for (path, report) in self.reports.iter().zip(&reports) {
            if report.exit != 0 {
                let why = format!("its run ended with exit code {}: no figure is taken from it", report.exit);
                return Err(bad(path, why));
            }
            if let Some(part) = differing(&reports[0].fingerprint, &report.fingerprint, &OF_THE_BUILD) {
                return Err(bad(path, format!("its {part} is not that of {}", self.reports[0].display())));
            }
        }
        let side = Side::new(&self.target, &self.reports[0], reports);
        side::check_same_scenario(std::slice::from_ref(&side))?;
        match side::differing_circumstances(std::slice::from_ref(&side)).first() {
            Some(difference) => {
                Err(bad(&self.reports[0], format!("the reports are not alike: {difference}")))
            }
            None => Ok(side),
        }
    }

    /// The file, if there is one and what was measured there can stand beside this.
    fn file_so_far(&self, host: &Value) -> Result<FigureFile, LoadError> {
        if !self.json.exists() {
            return Ok(FigureFile::new(ValuesOf::Runs, Default::default(), host.clone()));
        }
        let file = FigureFile::read(&self.json)?;
        if file.values_of != ValuesOf::Runs {
            return Err(bad(&self.json, format!("its values are of {}, not of runs", file.values_of)));
        }
        let parts = OF_THE_MACHINE.into_iter().chain(["commit"]).collect::<Vec<_>>();
        match differing(&file.host, host, &parts) {
            None => Ok(file),
            Some(part) => {
                let (there, here) = (&file.host[part], &host[part]);
                let why = format!(
                    "its {part} is {there}, and that of the reports {here}: remove it, or name another file"
                );
                Err(bad(&self.json, why))
            }
        }
    }

    /// A value of each report.
    fn row_of(&self, wanted: &Wanted, side: &Side) -> Result<Row, LoadError> {
        let mut values = Vec::new();
        let (mut unit, mut better) = (String::new(), Better::Neither);
        for (path, report) in self.reports.iter().zip(&side.reports) {
            let figure = report
                .figures
                .get(&wanted.in_reports)
                .ok_or_else(|| bad(path, format!("no figure {:?}", wanted.in_reports)))?;
            let scale =
                if wanted.unit.is_empty() { Some(1.0) } else { units::scale(&wanted.unit, &figure.unit) };
            let scale = scale.ok_or_else(|| {
                let why = format!(
                    "{} is in {:?}, not to be told in {}",
                    wanted.in_reports, figure.unit, wanted.unit
                );
                bad(path, why)
            })?;
            values.push(figure.value / scale);
            unit = if wanted.unit.is_empty() { figure.unit.clone() } else { wanted.unit.clone() };
            better = figure.better;
        }
        let cell = Cell::of(&values, self.bootstrap_seed);
        let targets = [(self.target.clone(), cell)].into();
        Ok(Row { unit, better, targets, differences: Vec::new() })
    }

    /// Beside what is there of other targets, in place of what is there of this one.
    fn put(&self, file: &mut FigureFile, wanted: &Wanted, row: Row) -> Result<(), LoadError> {
        let Some(there) = file.figures.get_mut(&wanted.name) else {
            file.figures.insert(wanted.name.clone(), row);
            return Ok(());
        };
        there.targets.remove(&self.target);
        if there.unit != row.unit && !there.targets.is_empty() {
            let why =
                format!("it has {} in {:?}, and this would be in {:?}", wanted.name, there.unit, row.unit);
            return Err(bad(&self.json, why));
        }
        (there.unit, there.better) = (row.unit, row.better);
        there.targets.extend(row.targets);
        there.differences.clear();
        Ok(())
    }
}

fn bad(path: &Path, why: String) -> LoadError {
    LoadError::BadReport { path: path.display().to_string(), why }
}

/// Parts of a fingerprint in which runs of one figure are alike.
const OF_THE_BUILD: [&str; 4] = ["kernel", "cpu", "commit", "server"];

/// The first of these parts in which two fingerprints differ; of the server's processes only the program counts.
fn differing<'a>(one: &Value, other: &Value, parts: &[&'a str]) -> Option<&'a str> {
    parts.iter().copied().find(|part| match *part {
        "server" => programs(one) != programs(other),
        part => one[part] != other[part],
    })
}

fn programs(fingerprint: &Value) -> Vec<[&Value; 2]> {
    let processes = fingerprint["server"].as_array().into_iter().flatten();
    processes.map(|process| [&process["binary_bytes"], &process["binary_sha256"]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_asked_for_by_name_and_unit() {
        let wanted = |text: &str| text.parse::<Wanted>();
        let parts = |name: &str, in_reports: &str, unit: &str| Wanted {
            name: name.to_owned(),
            in_reports: in_reports.to_owned(),
            unit: unit.to_owned(),
        };
        assert_eq!(wanted("chat_p50_ms=deliver.p50:ms"), Ok(parts("chat_p50_ms", "deliver.p50", "ms")));
        assert_eq!(wanted("chat_rate=rate"), Ok(parts("chat_rate", "rate", "")));
        for text in ["", "rate", "=rate", "rate=", "rate=rate:", "p50=p50:parsecs"] {
            assert!(wanted(text).is_err(), "{text}");
        }
    }
}
