//! All runs of a group of scenarios, and what their middle is.

use crate::cores::State;
use crate::figures::{Figures, Metric, median};
use crate::kit::scenario::Scenario;
use crate::measure::Run;
use crate::subject::Subject;

/// A cell is what one subject did in one scenario, round by round.
#[derive(Debug)]
pub(crate) struct Results<'a> {
    pub(crate) scenarios: &'a [Scenario],
    pub(crate) subjects: &'a [Subject],
    cells: Vec<Vec<Cell>>,
}

#[derive(Debug, Default)]
pub(crate) struct Cell {
    /// `None` where a run failed or was left out.
    rounds: Vec<Option<Run>>,
    pub(crate) failures: Vec<String>,
}

impl<'a> Results<'a> {
    pub(crate) fn new(scenarios: &'a [Scenario], subjects: &'a [Subject]) -> Results<'a> {
        let row = |_| subjects.iter().map(|_| Cell::default()).collect();
        Results {
            scenarios,
            subjects,
            cells: scenarios.iter().map(row).collect(),
        }
    }

    pub(crate) fn add(
        &mut self,
        scenario: usize,
        subject: usize,
        run: Result<Option<Run>, String>,
    ) {
        let cell = &mut self.cells[scenario][subject];
        cell.rounds.push(match run {
            Ok(run) => run,
            Err(failure) => {
                cell.failures.push(failure);
                None
            }
        });
    }

    pub(crate) fn cell(&self, scenario: usize, subject: usize) -> &Cell {
        &self.cells[scenario][subject]
    }

    /// Whether hubcast and the floor passed every check.
    pub(crate) fn all_well(&self) -> bool {
        let failed = |row: &Vec<Cell>| {
            let mut ours = row.iter().zip(self.subjects);
            ours.any(|(cell, subject)| !subject.is_peer() && !cell.failures.is_empty())
        };
        !self.cells.iter().any(failed)
    }

    /// The state of the cores in which figures can be compared: the one that every
    /// subject was seen in most often. `None`: there is no such state.
    pub(crate) fn common_state(&self) -> Option<State> {
        let covered = |state: &State| {
            let cells = self.cells.iter().flatten();
            let counts = cells.map(|cell| cell.figures(Some(*state)).count());
            // A subject that never ran does not stand in the way.
            let ran = self
                .cells
                .iter()
                .flatten()
                .map(|cell| cell.figures(None).count() > 0);
            counts
                .zip(ran)
                .filter(|(_, ran)| *ran)
                .map(|(count, _)| count)
                .min()
                .unwrap_or(0)
        };
        let best = [State::Far, State::Near].into_iter().max_by_key(covered);
        best.filter(|state| covered(state) > 0)
    }
}

impl Cell {
    fn figures(&self, state: Option<State>) -> impl Iterator<Item = (usize, &Figures)> {
        let rounds = self.rounds.iter().enumerate();
        rounds.filter_map(move |(round, run)| {
            let run = run.as_ref()?;
            let counts = state.is_none_or(|state| run.cores.state() == state);
            counts.then_some((round, &run.figures))
        })
    }

    /// Whether the subject took no part.
    pub(crate) fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    /// How many rounds count.
    pub(crate) fn count(&self, state: Option<State>) -> usize {
        self.figures(state).count()
    }

    pub(crate) fn has(&self, metric: Metric) -> bool {
        self.figures(None)
            .any(|(_, figures)| figures.contains_key(&metric))
    }

    pub(crate) fn median(&self, metric: Metric, state: Option<State>) -> Option<f64> {
        median(self.values(metric, state).map(|(_, value)| value).collect())
    }

    /// How many times `base` this is: round by round where both ran, so that what
    /// changes between rounds cancels out.
    pub(crate) fn ratio(&self, base: &Cell, metric: Metric, state: Option<State>) -> Option<f64> {
        let pairs = self.values(metric, state).filter_map(|(round, value)| {
            let mut base = base.values(metric, state);
            let (_, base) = base.find(|(other, _)| *other == round)?;
            Some(value / base)
        });
        let of_pairs = median(pairs.collect());
        let of_medians = || Some(self.median(metric, state)? / base.median(metric, state)?);
        of_pairs
            .or_else(of_medians)
            .filter(|ratio| ratio.is_finite())
    }

    fn values(&self, metric: Metric, state: Option<State>) -> impl Iterator<Item = (usize, f64)> {
        let value =
            move |(round, figures): (usize, &Figures)| Some((round, *figures.get(&metric)?));
        self.figures(state).filter_map(value)
    }
}
