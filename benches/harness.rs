//! Runs two sides in turn and prints the ratio of their throughputs.

use anyhow::{Context, Result, bail};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// What the command line says.
pub(crate) struct Harness {
    rounds: u32,
    turn: Duration,
    quick: bool,
    large: bool,
    names: Vec<String>,
}

/// One side's turn. Both sides of a round get the same seed.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) seed: u64,
    length: Duration,
}

impl Turn {
    /// The same turn with another seed.
    pub(crate) fn other_streams(self) -> Self {
        Self {
            seed: hash((self.seed, "other")),
            ..self
        }
    }

    /// Repeats something until the time is up, and returns how much it did in sum.
    pub(crate) fn repeat(self, mut once: impl FnMut() -> Result<u64>) -> Result<u64> {
        let start = Instant::now();
        let mut done = 0;
        while start.elapsed() < self.length {
            done += once()?;
        }
        Ok(done)
    }
}

/// What both sides did in one round, per second.
struct Round {
    measured: f64,
    baseline: f64,
}

impl Harness {
    pub(crate) fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut harness = Self {
            rounds: 15,
            turn: Duration::from_secs(1),
            quick: false,
            large: false,
            names: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {}
                "--large" => harness.large = true,
                "--quick" => {
                    harness.quick = true;
                    (harness.rounds, harness.turn) = (1, Duration::from_millis(20));
                }
                "--rounds" => {
                    let rounds = arguments.next().context("--rounds needs a number")?;
                    harness.rounds = rounds.parse::<u32>()?.max(1);
                }
                "--seconds" => {
                    let seconds = arguments.next().context("--seconds needs a number")?;
                    harness.turn = Duration::try_from_secs_f64(seconds.parse()?)?;
                }
                option if option.starts_with('-') => bail!("there is no option {option}"),
                _ => harness.names.push(argument),
            }
        }
        Ok(harness)
    }

    /// Whether the arguments ask for a comparison: some of its words begin like one of them, or there is none.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let name = format!(" {name}");
        let named = |part: &String| name.contains(&format!(" {part}"));
        self.names.is_empty() || self.names.iter().any(named)
    }

    /// Whether to only try that everything runs.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    /// Whether to fill a store with a million events.
    pub(crate) fn is_large(&self) -> bool {
        self.large
    }

    pub(crate) fn print_header(&self) {
        println!(
            "{} rounds, {:?} a side; ratios of the rounds: median (lowest to highest)\n",
            self.rounds, self.turn
        );
        println!(
            "{:<46} {:>12} {:>12}   ratio",
            "", "measured/s", "baseline/s"
        );
    }

    /// Lets both sides work in turn, the first of one round being the second of the next, and prints how much the measured
    /// one got done for what the baseline did. Each side returns how much it did. A first round warms up and does not count.
    pub(crate) fn compare(
        &self,
        name: &str,
        mut measured: impl FnMut(Turn) -> Result<u64>,
        mut baseline: impl FnMut(Turn) -> Result<u64>,
    ) -> Result<()> {
        let mut rounds = Vec::new();
        for number in 0..=self.rounds {
            let turn = Turn {
                seed: hash((name, number)),
                length: self.turn,
            };
            let round = if number % 2 == 0 {
                let measured = rate(turn, &mut measured)?;
                let baseline = rate(turn, &mut baseline)?;
                Round { measured, baseline }
            } else {
                let baseline = rate(turn, &mut baseline)?;
                let measured = rate(turn, &mut measured)?;
                Round { measured, baseline }
            };
            rounds.push(round);
        }
        print_row(name, &rounds[1..]);
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn rate(turn: Turn, side: &mut impl FnMut(Turn) -> Result<u64>) -> Result<f64> {
    let start = Instant::now();
    let done = side(turn)?;
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

fn print_row(name: &str, rounds: &[Round]) {
    let sorted = |value: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let ratios = sorted(|round| round.measured / round.baseline);
    println!(
        "{name:<46} {:>12.0} {:>12.0}   {:.2} ({:.2} to {:.2})",
        median(&sorted(|round| round.measured)),
        median(&sorted(|round| round.baseline)),
        median(&ratios),
        ratios[0],
        ratios[ratios.len() - 1],
    );
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

pub(crate) fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
