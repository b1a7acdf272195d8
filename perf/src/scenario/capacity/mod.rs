//! `gochat-perf capacity`: the highest rate of a scenario at which a goal holds.

mod search;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Brought, Options, Scenario, Stage, bad, check_seconds, say};
use crate::apart;
use crate::error::LoadError;
use crate::exit::Exit;
use crate::report::{Asserted, Assertion, Better, EarlierReport, Figure, Figures};
use search::{Search, Steps};

/// Runs a scenario at higher and higher rates until a goal does not hold any more, closes in on the highest rate at which
/// it does, and repeats that. A run that broke a promise ends it with exit code 1
#[derive(Debug, Args, Serialize)]
pub(crate) struct Capacity {
    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
    /// What the figures of a run must be, for its rate to hold: as --assert, which is about this command's own figures
    #[arg(long = "goal", value_delimiter = ',', default_value = "p99<200ms,lost=0")]
    goals: Vec<Assertion>,
    /// The first rate, a second
    #[arg(long, default_value_t = 1000.0)]
    from: f64,
    /// A step up multiplies the rate with this
    #[arg(long, default_value_t = 1.25)]
    factor: f64,
    /// And adds this
    #[arg(long, default_value_t = 0.0)]
    add: f64,
    /// No rate below this is tried, when not even the first one holds
    #[arg(long, default_value_t = 10.0)]
    rate_min: f64,
    /// No rate above this is tried
    #[arg(long, default_value_t = 1_000_000.0)]
    rate_max: f64,
    /// How often the way between the highest rate that held and the lowest that did not is halved
    #[arg(long, default_value_t = 2)]
    halvings: u32,
    /// Further runs at the highest rate that held, most of which must hold; else the one below it is the highest. 0: it is
    /// believed as it is
    #[arg(long, default_value_t = 3)]
    repeats: u32,
    /// Share of the offered rate that a run must have done while it was offered, whatever the goal says
    #[arg(long, default_value_t = 0.9)]
    done_share_min: f64,
    /// The pause between two runs
    #[arg(long, default_value_t = 1.0)]
    pause_seconds: f64,
    /// Where every run's report goes: FOLDER/STEP-RATE.json
    #[arg(long, default_value = "perf-reports/capacity")]
    reports: PathBuf,
    /// The scenario and its parameters, after `--`: without --rate, --json and where the server is
    #[arg(last = true, required = true)]
    scenario: Vec<String>,
}

/// `result` in the report of `gochat-perf capacity`. These keys are kept.
#[derive(Debug, Default, Serialize)]
struct CapacityResult {
    /// The highest that held, a second. `null`: none did, or a promise was broken.
    rate: Option<f64>,
    /// The lowest that did not hold. `null`: none was tried.
    broke: Option<f64>,
    /// Every run, in order.
    steps: Vec<Step>,
}

/// One run.
#[derive(Debug, Serialize)]
struct Step {
    /// Offered, a second.
    offered: f64,
    why: Why,
    held: bool,
    /// The conditions that did not hold, and what was found.
    missed: Vec<String>,
    /// This program was late itself for half of the main p99 or more: the rate may be its limit and not the server's.
    client_was_late: bool,
    /// The run's own, as far as they tell how it went.
    figures: Figures,
    report: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Why {
    Search,
    Repeat,
}

/// Of a run's figures, those that a step tells.
const TOLD: [&str; 9] = [
    "rate",
    "p50",
    "p99",
    "max",
    "server_cpu_us_per_op",
    "server_cpu",
    "client_cpu",
    "lateness.p99",
    "retries",
];

impl Scenario for Capacity {
    const NAME: &'static str = "capacity";

    fn options(&self) -> &Options {
        &self.options
    }

    fn check(&self) -> Result<(), LoadError> {
        let finite = [self.from, self.factor, self.add, self.rate_min, self.rate_max];
        if !finite.iter().all(|value| value.is_finite()) {
            return bad("--from, --factor, --add, --rate-min and --rate-max must be numbers");
        }
        if self.factor < 1.0 || self.add < 0.0 || (self.factor - 1.0) * self.from + self.add < 1.0 {
            return bad(
                "--factor must be at least 1 and --add at least 0, and together raise --from by 1/s or more",
            );
        }
        if !(self.rate_min >= 1.0 && self.rate_min <= self.from && self.from <= self.rate_max) {
            return bad(
                "--rate-min must be at least 1/s, --from not below it, and --rate-max not below --from",
            );
        }
        if !(0.0..=1.0).contains(&self.done_share_min) {
            return bad("--done-share-min must be between 0 and 1");
        }
        check_seconds("--pause-seconds", &[self.pause_seconds])
    }

    fn run(&self, _stage: &mut Stage) -> Result<Brought, LoadError> {
        let mut steps = Vec::new();
        let found = self.find(&mut steps)?;
        let mut brought = Brought::default();
        let mut result = CapacityResult::default();
        match found {
            Found::Broken(what) => brought.broken = what,
            Found::Rate { best, broke } => {
                (result.rate, result.broke) = (best, broke);
                brought.asserted.push(self.asserted(best));
            }
        }
        brought.figures.add("rate", result.rate, "1/s", Better::Higher);
        brought.figures.add("runs", steps.len() as f64, "", Better::Neither);
        if let Some(best) = result.rate {
            add_medians(&mut brought.figures, &steps, best);
        }
        if steps.iter().any(|step| !step.held && step.client_was_late) {
            println!(
                "this program was late itself where the goal broke: the rate may be its limit, not the server's"
            );
        }
        result.steps = steps;
        brought.result = serde_json::to_value(&result).unwrap_or_default();
        Ok(brought)
    }
}

/// How the search ended.
enum Found {
    /// A run broke a promise, in words.
    Broken(Vec<String>),
    Rate {
        best: Option<f64>,
        broke: Option<f64>,
    },
}

impl Capacity {
    fn find(&self, steps: &mut Vec<Step>) -> Result<Found, LoadError> {
        let mut search = Search::new(Steps {
            first: self.from,
            factor: self.factor,
            add: self.add,
            lowest: self.rate_min,
            highest: self.rate_max,
            halvings: self.halvings,
        });
        loop {
            while let Some(rate) = search.next() {
                match self.try_rate(rate, Why::Search, steps)? {
                    Ok(held) => search.note(rate, held),
                    Err(broken) => return Ok(Found::Broken(broken)),
                }
            }
            let Some(best) = search.best() else {
                return Ok(Found::Rate { best: None, broke: search.broke() });
            };
            let mut held = 0;
            for _ in 0..self.repeats {
                match self.try_rate(best, Why::Repeat, steps)? {
                    Ok(again) => held += u32::from(again),
                    Err(broken) => return Ok(Found::Broken(broken)),
                }
            }
            if self.repeats == 0 || held * 2 > self.repeats {
                return Ok(Found::Rate { best: Some(best), broke: search.broke() });
            }
            say(format_args!("{best}/s held in {held} of {} repeats only", self.repeats));
            search.demote();
        }
    }

    /// One run: whether the rate held, or what was broken.
    fn try_rate(
        &self,
        rate: f64,
        why: Why,
        steps: &mut Vec<Step>,
    ) -> Result<Result<bool, Vec<String>>, LoadError> {
        if !steps.is_empty() {
            std::thread::sleep(Duration::from_secs_f64(self.pause_seconds));
        }
        let json = self.reports.join(format!("{}-{rate}.json", steps.len() + 1));
        say(format_args!("run {}: {rate}/s", steps.len() + 1));
        let exit = apart::run(&self.scenario, &self.place(rate), &json)?;
        if !matches!(exit, Exit::Ok | Exit::Asserted | Exit::Broken) {
            let run = format!("{} --rate {rate}", self.scenario.join(" "));
            return Err(LoadError::Run { run, exit });
        }
        let report = EarlierReport::read(&json)?;
        let mut missed = self.missed(&report.figures, rate);
        if exit == Exit::Asserted {
            missed.push("an --assert of the scenario's own".to_owned());
        }
        let held = exit == Exit::Ok && missed.is_empty();
        let told = |name: &str| report.figures.get(name).map_or("-".to_owned(), Figure::to_string);
        println!(
            "{rate:>8}/s {} · did {} · p50 {} · p99 {}{}",
            if held { "holds" } else { "DOES NOT HOLD" },
            told("rate"),
            told("p50"),
            told("p99"),
            missed.iter().map(|what| format!(" · {what}")).collect::<String>()
        );
        let is_late =
            |late: &Figure| report.figures.get("p99").is_some_and(|p99| late.value * 2.0 >= p99.value);
        steps.push(Step {
            offered: rate,
            why,
            held,
            missed,
            client_was_late: report.figures.get("lateness.p99").is_some_and(is_late),
            figures: report.figures.only(&TOLD),
            report: json,
        });
        if exit == Exit::Broken {
            let what = report.broken().into_iter();
            return Ok(Err(what.map(|what| format!("at {rate}/s: {what}")).collect()));
        }
        Ok(Ok(held))
    }

    /// Where the server is, and the rate.
    fn place(&self, rate: f64) -> Vec<String> {
        let options = &self.options;
        let admin = options.admin.iter().map(|admin| format!("--admin={admin}"));
        let pids = options.pid.iter().map(|pid| format!("--pid={pid}"));
        [format!("--url={}", options.url), format!("--rate={rate}")]
            .into_iter()
            .chain(admin)
            .chain(pids)
            .collect()
    }

    /// The conditions that a run did not fulfil.
    fn missed(&self, figures: &Figures, rate: f64) -> Vec<String> {
        let judged = self.goals.iter().map(|goal| goal.judge(figures)).filter(|judged| !judged.holds);
        let mut missed: Vec<String> =
            judged.map(|judged| format!("{}: {}", judged.condition, judged.found)).collect();
        let done = figures.get("rate").map_or(0.0, |done| done.value);
        if done < rate * self.done_share_min {
            missed.push(format!("only {done}/s were done while {rate}/s were offered"));
        }
        missed
    }

    /// The goal as a whole: it held at some rate.
    fn asserted(&self, best: Option<f64>) -> Asserted {
        let goals: Vec<String> = self.goals.iter().map(Assertion::to_string).collect();
        Asserted {
            condition: goals.join(","),
            holds: best.is_some(),
            found: best.map_or("at no rate that was tried".to_owned(), |best| format!("up to {best}/s")),
        }
    }
}

/// What the runs at the best rate had, by their medians.
fn add_medians(figures: &mut Figures, steps: &[Step], best: f64) {
    let at_best: Vec<&Step> = steps.iter().filter(|step| step.offered == best).collect();
    for name in TOLD.iter().filter(|name| **name != "rate") {
        let mut found: Vec<&Figure> = at_best.iter().filter_map(|step| step.figures.get(name)).collect();
        found.sort_by(|a, b| a.value.total_cmp(&b.value));
        if let Some(median) = found.get(found.len().saturating_sub(1) / 2) {
            figures.add(&format!("at_rate.{name}"), median.value, &median.unit, median.better);
        }
    }
}
