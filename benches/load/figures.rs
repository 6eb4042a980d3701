//! What a run yields: one figure for each metric that applies to it.

use std::collections::BTreeMap;

/// In the order of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    Broadcasts,
    Deliveries,
    P50,
    P99,
    P999,
    Max,
    /// What a fan-out that nobody reads meanwhile takes.
    FanOut,
    Cpu,
    Switches,
    Connects,
    ConnectCpu,
    RestCpu,
    RestSwitches,
    Resident,
    Threads,
    /// Share of a core that the load generator used.
    Generator,
    /// Share of a core that everything else on the machine used: what disturbed.
    Others,
}

impl Metric {
    pub(crate) const ALL: [Metric; 17] = [
        Metric::Broadcasts,
        Metric::Deliveries,
        Metric::P50,
        Metric::P99,
        Metric::P999,
        Metric::Max,
        Metric::FanOut,
        Metric::Cpu,
        Metric::Switches,
        Metric::Connects,
        Metric::ConnectCpu,
        Metric::RestCpu,
        Metric::RestSwitches,
        Metric::Resident,
        Metric::Threads,
        Metric::Generator,
        Metric::Others,
    ];

    pub(crate) fn heading(self) -> &'static str {
        match self {
            Metric::Broadcasts => "broadcasts/s",
            Metric::Deliveries => "deliveries/s",
            Metric::P50 => "p50 µs",
            Metric::P99 => "p99 µs",
            Metric::P999 => "p99.9 µs",
            Metric::Max => "max µs",
            Metric::FanOut => "fan-out µs",
            Metric::Cpu => "CPU µs/delivery",
            Metric::Switches => "switches/delivery",
            Metric::Connects => "connects/s",
            Metric::ConnectCpu => "CPU µs/connect",
            Metric::RestCpu => "CPU µs/s at rest",
            Metric::RestSwitches => "switches/s at rest",
            Metric::Resident => "KiB/client",
            Metric::Threads => "threads",
            Metric::Generator => "generator busy",
            Metric::Others => "others busy",
        }
    }

    pub(crate) fn format(self, figure: f64) -> String {
        match self {
            Metric::Cpu | Metric::Switches => format!("{figure:.3}"),
            Metric::ConnectCpu | Metric::Resident => format!("{figure:.1}"),
            Metric::Generator | Metric::Others => format!("{:.0} %", figure * 100.0),
            Metric::P50 | Metric::P99 | Metric::FanOut if figure < 100.0 => format!("{figure:.1}"),
            _ => grouped(figure),
        }
    }
}

pub(crate) type Figures = BTreeMap<Metric, f64>;

/// A whole number with its thousands set apart.
fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The middle of some figures.
pub(crate) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        len if len.is_multiple_of(2) => Some((figures[middle - 1] + figures[middle]) / 2.0),
        _ => Some(figures[middle]),
    }
}
