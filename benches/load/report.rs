//! The tables, in Markdown.

use crate::cores::State;
use crate::figures::Metric;
use crate::results::{Cell, Results};
use crate::subject::{Kind, Subject};

/// What is worth holding against another server.
const COMPARED: &[Metric] = &[
    Metric::Deliveries,
    Metric::P99,
    Metric::Cpu,
    Metric::ConnectCpu,
    Metric::Resident,
];

/// Where there is no figure.
const NONE: &str = "–";

/// Prints a group of scenarios.
pub(crate) fn print(results: &Results<'_>, state: Option<State>) {
    for (index, scenario) in results.scenarios.iter().enumerate() {
        let report = Report {
            results,
            scenario: index,
            state,
        };
        if report.is_empty() {
            continue;
        }
        println!("\n### {}: {}\n", scenario.name, scenario.title);
        report.figures();
        report.ratios();
        report.failures();
    }
    if results.scenarios.len() > 1 {
        within_group(results, state);
    }
}

/// Hubcast as ratios to its peers in all scenarios, in one table.
pub(crate) struct Summary {
    table: Table,
}

impl Summary {
    pub(crate) fn new() -> Summary {
        let headings = COMPARED.iter().map(|metric| metric.heading().to_owned());
        Summary {
            table: Table::new(headings),
        }
    }

    pub(crate) fn add(&mut self, results: &Results<'_>, state: Option<State>) {
        for (index, scenario) in results.scenarios.iter().enumerate() {
            let report = Report {
                results,
                scenario: index,
                state,
            };
            let Some(server) = report.server() else {
                return;
            };
            for (subject, name) in report.rows() {
                if results.subjects[subject].is_peer() {
                    let base = report.cell(subject);
                    let ratio = |&metric| format_ratio(server.ratio(base, metric, state));
                    let row = COMPARED.iter().map(ratio);
                    self.table.row(&format!("{} ÷ {name}", scenario.name), row);
                }
            }
        }
    }

    pub(crate) fn print(&self) {
        if self.table.has_rows() {
            println!("\n### hubcast ÷ its peers\n");
            self.table.print();
        }
    }
}

struct Report<'a> {
    results: &'a Results<'a>,
    scenario: usize,
    state: Option<State>,
}

impl Report<'_> {
    fn cell(&self, subject: usize) -> &Cell {
        self.results.cell(self.scenario, subject)
    }

    fn is_empty(&self) -> bool {
        (0..self.results.subjects.len()).all(|subject| self.cell(subject).is_empty())
    }

    fn has(&self, metric: Metric) -> bool {
        (0..self.results.subjects.len()).any(|subject| self.cell(subject).has(metric))
    }

    /// Subjects that have figures, with their names.
    fn rows(&self) -> impl Iterator<Item = (usize, &str)> {
        let subjects = self.results.subjects.iter().enumerate();
        let named = subjects.map(|(index, subject)| (index, subject.name.as_str()));
        named.filter(|(index, _)| self.cell(*index).count(self.state) > 0)
    }

    /// The figures, and behind them the CPU time as a ratio to the floor.
    fn figures(&self) {
        let metrics = Metric::ALL.into_iter().filter(|&metric| self.has(metric));
        let metrics: Vec<_> = metrics.collect();
        let floors: Vec<_> = self
            .rows()
            .filter(|(subject, _)| self.is_floor(*subject))
            .collect();
        let mut headings = vec!["rounds".to_owned()];
        headings.extend(metrics.iter().map(|metric| metric.heading().to_owned()));
        headings.extend(floors.iter().map(|(_, name)| format!("CPU ÷ {name}")));
        let mut table = Table::new(headings);
        for (subject, name) in self.rows() {
            let cell = self.cell(subject);
            let mut row = vec![cell.count(self.state).to_string()];
            row.extend(metrics.iter().map(|&metric| {
                let figure = cell.median(metric, self.state);
                figure.map_or_else(|| NONE.to_owned(), |figure| metric.format(figure))
            }));
            row.extend(floors.iter().map(|(floor, _)| {
                let ratio = |metric| cell.ratio(self.cell(*floor), metric, self.state);
                format_ratio(ratio(Metric::Cpu).or_else(|| ratio(Metric::ConnectCpu)))
            }));
            table.row(name, row);
        }
        table.print();
    }

    fn is_floor(&self, subject: usize) -> bool {
        matches!(self.results.subjects[subject].kind, Kind::Floor(_))
    }

    /// Hubcast's own.
    fn server(&self) -> Option<&Cell> {
        let is_server = |subject: &Subject| matches!(subject.kind, Kind::Server(_));
        let server = self.results.subjects.iter().position(is_server)?;
        Some(self.cell(server))
    }

    /// Hubcast's figures as ratios to everybody else's.
    fn ratios(&self) {
        let Some(server) = self.server() else {
            return;
        };
        let metrics = COMPARED
            .iter()
            .copied()
            .filter(|&metric| server.has(metric));
        let metrics: Vec<_> = metrics.collect();
        let headings = metrics.iter().map(|metric| metric.heading().to_owned());
        let mut table = Table::new(headings);
        for (subject, name) in self.rows() {
            if self.results.subjects[subject].is_peer() {
                let base = self.cell(subject);
                let ratio = |&metric: &Metric| format_ratio(server.ratio(base, metric, self.state));
                table.row(&format!("hubcast ÷ {name}"), metrics.iter().map(ratio));
            }
        }
        if table.has_rows() {
            println!();
            table.print();
        }
    }

    fn failures(&self) {
        for (index, subject) in self.results.subjects.iter().enumerate() {
            for failure in &self.cell(index).failures {
                println!("\n{} failed: {failure}", subject.name);
            }
        }
    }
}

/// Each scenario of a group against the group's first.
fn within_group(results: &Results<'_>, state: Option<State>) {
    let first = results.scenarios[0].name;
    println!("\n### {first} and what follows it, as ratios to it\n");
    let metrics = [Metric::Deliveries, Metric::P99, Metric::FanOut, Metric::Cpu];
    let headings = metrics.iter().map(|metric| metric.heading().to_owned());
    let mut table = Table::new(headings);
    for (index, scenario) in results.scenarios.iter().enumerate().skip(1) {
        for (subject, of) in results.subjects.iter().enumerate() {
            let (cell, base) = (results.cell(index, subject), results.cell(0, subject));
            if cell.count(state) > 0 && base.count(state) > 0 {
                let ratio = |metric: &Metric| format_ratio(cell.ratio(base, *metric, state));
                table.row(
                    &format!("{}, {}", scenario.name, of.name),
                    metrics.iter().map(ratio),
                );
            }
        }
    }
    table.print();
}

fn format_ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| NONE.to_owned(), |ratio| format!("{ratio:.2}"))
}

/// Rows of equally wide cells.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(headings: impl IntoIterator<Item = String>) -> Table {
        let mut table = Table { rows: Vec::new() };
        table.row("", headings);
        table
    }

    fn row(&mut self, name: &str, cells: impl IntoIterator<Item = String>) {
        let mut row = vec![name.to_owned()];
        row.extend(cells);
        self.rows.push(row);
    }

    fn has_rows(&self) -> bool {
        self.rows.len() > 1
    }

    fn print(&self) {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = format!("| {:<width$} |", row[0], width = widths[0]);
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                line.push_str(&format!(" {cell:>width$} |"));
            }
            println!("{line}");
            if index == 0 {
                let right = widths[1..]
                    .iter()
                    .map(|&width| format!(" {}: |", "-".repeat(width - 1)));
                println!("| {} |{}", "-".repeat(widths[0]), right.collect::<String>());
            }
        }
    }
}
