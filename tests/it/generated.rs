//! What `--generate` makes for monitoring asks for metrics that there are.

use std::collections::BTreeSet;
use std::process::Command;

use crate::http::ask;
use crate::kit::http::plain;
use crate::support::Program;

const OPTIONS: [&str; 2] = ["--engine=redis://127.0.0.1:1", "--max-clients=100"];

fn generated(what: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hubcast"))
        .args(OPTIONS)
        .args(["--generate", what])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("hubcast_") || word.starts_with("process_"));
    names.map(str::to_owned).collect()
}

#[test]
fn each_metric_of_the_rules_and_of_the_dashboard_exists() {
    let program = Program::start(&OPTIONS);
    let metrics = ask(program.address, &plain("GET", "/-/metrics", &[])).body;
    let announced = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let mut known = BTreeSet::new();
    for line in announced {
        let (name, kind) = line.split_once(' ').unwrap();
        known.insert(name.to_owned());
        if kind == "histogram" {
            known.insert(format!("{name}_bucket"));
        }
    }
    for (what, at_least) in [("prometheus-rules", 10), ("grafana", 15)] {
        let asked = names(&generated(what));
        assert!(asked.len() >= at_least, "{what}: {asked:?}");
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(unknown.is_empty(), "{what} asks for {unknown:?}");
    }
    assert!(names(&generated("prometheus-rules")).contains("hubcast_engine_up"));
}

#[test]
fn what_cannot_be_made_is_said() {
    let output = Command::new(env!("CARGO_BIN_EXE_hubcast"))
        .args(["--proxy-protocol", "--generate=nginx"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--proxy-protocol"), "{said}");
}
