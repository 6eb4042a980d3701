//! The tables, in Markdown.

use crate::cores::State;
use crate::figures::Metric;
use crate::results::{Cell, Results};
use crate::subject::Kind;

const METRICS: &[Metric] = &[
    Metric::Broadcasts,
    Metric::Deliveries,
    Metric::P50,
    Metric::P99,
    Metric::P999,
    Metric::Max,
    Metric::Cpu,
    Metric::Switches,
    Metric::Connects,
    Metric::ConnectCpu,
    Metric::RestCpu,
    Metric::RestSwitches,
    Metric::Resident,
    Metric::Threads,
    Metric::Generator,
];

/// What is worth holding against another server.
const COMPARED: &[Metric] = &[
    Metric::Deliveries,
    Metric::P99,
    Metric::Cpu,
    Metric::ConnectCpu,
    Metric::Resident,
];

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

    fn figures(&self) {
        let mut columns = METRICS.to_vec();
        columns.retain(|&metric| self.has(metric));
        let headings = columns.iter().map(|metric| metric.heading().to_owned());
        let mut table = Table::new(headings.chain(["rounds".to_owned()]));
        for (subject, name) in self.rows() {
            let cell = self.cell(subject);
            let figure = |metric: &Metric| match cell.median(*metric, self.state) {
                Some(figure) => metric.format(figure),
                None => "–".to_owned(),
            };
            let rounds = cell.count(self.state).to_string();
            table.row(name, columns.iter().map(figure).chain([rounds]));
        }
        table.print();
    }

    /// Against the floor: CPU time. Against hubcast: the rest.
    fn ratios(&self) {
        let mut columns = Vec::new();
        for (index, subject) in self.results.subjects.iter().enumerate() {
            let metrics: &[Metric] = match subject.kind {
                Kind::Floor(_) => &[Metric::Cpu],
                Kind::Server(_) => COMPARED,
                Kind::Peer(_) => continue,
            };
            let metrics = metrics
                .iter()
                .filter(|&&metric| self.cell(index).has(metric));
            columns.extend(metrics.map(|&metric| (index, metric)));
        }
        let heading = |(base, metric): &(usize, Metric)| {
            let base = &self.results.subjects[*base].name;
            format!("{} ÷ {base}", metric.heading())
        };
        let mut table = Table::new(columns.iter().map(heading));
        for (subject, name) in self.rows() {
            let ratio = |(base, metric): &(usize, Metric)| {
                let ratio = self
                    .cell(subject)
                    .ratio(self.cell(*base), *metric, self.state);
                format_ratio(ratio)
            };
            table.row(name, columns.iter().map(ratio));
        }
        if !columns.is_empty() && self.rows().count() > 1 {
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
    let metrics = [Metric::Deliveries, Metric::P99, Metric::Cpu];
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
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
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
