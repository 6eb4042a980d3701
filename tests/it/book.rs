//! The README and the guide say what is true: commands print what is shown
//! under them, links lead somewhere, and the tables are complete.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::http::read_head;
use crate::support::{Client, Program, connect_to, dial, next_text};

/// The address in the examples, where a test has another.
const ADDRESS: &str = "127.0.0.1:8080";
/// The epoch of the positions in the examples.
const EPOCH: &str = "k3f9x2qa";
/// Options in the text that are those of other programs.
const OF_OTHERS: [&str; 3] = [
    "--no-exit-on-zeromsg",
    "--no-default-features",
    "--features",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README and the chapters of the guide, with their texts.
fn chapters() -> Vec<(PathBuf, String)> {
    let guide = fs::read_dir(root().join("src/guide")).unwrap();
    let mut paths: Vec<PathBuf> = guide.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(!paths.is_empty(), "the guide has chapters");
    paths.push(root().join("README.md"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

fn chapter(name: &str) -> String {
    fs::read_to_string(root().join("src/guide").join(name)).unwrap()
}

/// A reader who types what a text shows.
#[derive(Default)]
struct Reader {
    server: Option<Program>,
    pages: Vec<Client>,
    /// Streams that are followed, and what they print in the end.
    streams: Vec<(TcpStream, String)>,
    /// What positions begin with, once an answer has shown it.
    epoch: Option<String>,
}

impl Reader {
    /// Goes through a text: `Open <…>` opens the page of a room, and the
    /// lines of a `console` block behind `$ ` are typed.
    fn read(text: &str) {
        let mut reader = Reader::default();
        let mut lines = text.lines().peekable();
        let mut in_console = false;
        while let Some(line) = lines.next() {
            if line.starts_with("```") {
                in_console = line == "```console";
            } else if let Some(url) = line.strip_prefix("Open <") {
                reader.open(url.split('>').next().unwrap());
            } else if let Some(command) = line.strip_prefix("$ ").filter(|_| in_console) {
                let mut printed = String::new();
                while let Some(line) = lines.next_if(|l| !l.starts_with("$ ") && *l != "```") {
                    printed.push_str(line);
                    printed.push('\n');
                }
                reader.type_in(command, printed);
            }
        }
        reader.finish();
    }

    fn type_in(&mut self, command: &str, printed: String) {
        let mut command = command.replace("make run ARGS=", "hubcast ");
        if let Some(epoch) = &self.epoch {
            command = command.replace(EPOCH, epoch);
        }
        let words = words(&command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["hubcast", ref options @ ..] => {
                assert_eq!(printed, "", "the log is not shown");
                self.finish();
                self.epoch = None;
                self.server = Some(Program::start(options));
            }
            ["curl", ref options @ ..] => self.curl(options, printed),
            ["websocat", url] => self.websocat(url, &printed),
            _ => panic!("{command}: nobody knows how to try that"),
        }
    }

    fn server(&mut self) -> &mut Program {
        self.server.get_or_insert_with(|| Program::start(&[]))
    }

    /// What a browser does with the page of a room: it joins.
    fn open(&mut self, url: &str) {
        let (_, room) = url.split_once(ADDRESS).unwrap();
        let address = self.server().address;
        self.pages.push(connect_to(address, room));
        self.server().expect_log("joined");
    }

    /// As much of curl as the texts use.
    fn curl(&mut self, options: &[&str], printed: String) {
        let mut options = options.iter();
        let (mut method, mut url, mut body, mut headers) = ("GET", "", "", String::new());
        let mut follow = false;
        while let Some(option) = options.next() {
            match *option {
                "-N" => follow = true,
                "-H" => headers += &format!("{}\r\n", options.next().unwrap()),
                "-d" | "--data-binary" => {
                    (method, body) = ("POST", *options.next().unwrap());
                }
                word => url = word.strip_prefix("http://").unwrap(),
            }
        }
        let path = url.strip_prefix(ADDRESS).unwrap();
        let length = match method {
            "POST" => format!("Content-Length: {}\r\n", body.len()),
            _ => String::new(),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             {headers}{length}\r\n{body}"
        );
        let mut stream = dial(self.server().address);
        stream.write_all(request.as_bytes()).unwrap();
        let head = read_head(&mut stream).unwrap();
        self.learn(&head, "hubcast-position: ");
        if follow {
            self.server().expect_log("joined");
            self.streams.push((stream, printed));
            return;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        self.learn(&answer, "\"position\":\"");
        self.learn(&answer, "\"at\":\"");
        let (answer, printed) = (self.as_shown(&answer), self.as_shown(&printed));
        assert_eq!(answer, printed, "{method} {path}");
    }

    /// What websocat prints: a message a line, its line ends as blanks.
    fn websocat(&mut self, url: &str, printed: &str) {
        let (_, target) = url.split_once(ADDRESS).unwrap();
        let mut client = connect_to(self.server().address, target);
        let mut texts = String::new();
        for _ in printed.lines() {
            texts += next_text(&mut client).replace('\n', " ").trim_end();
            texts.push('\n');
        }
        assert_eq!(self.as_shown(&texts), printed, "{url}");
    }

    /// Learns what positions begin with from the one behind `name`.
    fn learn(&mut self, answer: &str, name: &str) {
        let found = answer
            .split_once(name)
            .and_then(|(_, rest)| rest.split_once('-'));
        if let Some((epoch, _)) = found {
            self.epoch = Some(epoch.to_owned());
        }
    }

    /// An answer with the epoch that the texts show, and without what differs
    /// each time.
    fn as_shown(&self, answer: &str) -> String {
        let epoch = self.epoch.as_deref().unwrap_or(EPOCH);
        let mut shown = answer.replace(epoch, EPOCH);
        for name in ["\"at\":", "retry: "] {
            let parts: Vec<&str> = shown.split(name).collect();
            let behind = |part: &&str| {
                part.trim_start_matches(|c: char| c.is_ascii_digit())
                    .to_owned()
            };
            let (first, rest) = parts.split_first().unwrap();
            let rest: Vec<String> = rest.iter().map(behind).collect();
            shown = [vec![(*first).to_owned()], rest].concat().join(name);
        }
        shown
    }

    /// All that the streams were to print has come.
    fn finish(&mut self) {
        let mut expected = Vec::new();
        for (mut stream, printed) in self.streams.drain(..) {
            let mut came = Vec::new();
            while came.iter().filter(|byte| **byte == b'\n').count() < printed.lines().count() {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                came.push(byte[0]);
            }
            let came = String::from_utf8_lossy(&came).into_owned();
            expected.push((came, printed));
        }
        for (came, printed) in expected {
            assert_eq!(self.as_shown(&came), self.as_shown(&printed));
        }
        self.pages.clear();
    }
}

/// The words of a command line, of which some are in quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

#[test]
fn commands_print_what_is_shown_under_them() {
    for (path, text) in chapters() {
        println!("{}", path.display()); // shown where it fails
        Reader::read(&text);
    }
}

/// A text without its code blocks.
fn prose(text: &str) -> String {
    let mut in_block = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// The anchors of a text's headings, as forges and rustdoc make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The targets of a text's links: `](target)` and `[name]: target`.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let inline = prose.split("](").skip(1).map(|rest| rest.split(')').next());
    let defined = prose.lines().filter(|line| line.starts_with('['));
    let defined = defined.map(|line| line.split_once("]: ").map(|(_, target)| target));
    inline.chain(defined).flatten().map(str::to_owned).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut count = 0;
    for (path, text) in chapters() {
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.with_file_name(file),
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(target).unwrap());
                assert!(anchors.contains(anchor), "{}: {link}", path.display());
            }
            count += 1;
        }
        let labels = text
            .split("][")
            .skip(1)
            .filter_map(|rest| rest.split(']').next());
        for label in labels {
            let defined = text.contains(&format!("\n[{label}]: "));
            assert!(defined, "{}: [{label}] is defined nowhere", path.display());
        }
    }
    assert!(count > 20, "only {count} links were found");
}

#[test]
fn the_options_that_are_named_exist() {
    let help = Command::new(env!("CARGO_BIN_EXE_hubcast"))
        .arg("--help")
        .output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    let ends = |c: char| !(c.is_ascii_lowercase() || c == '-');
    let known: BTreeSet<&str> = help
        .split(ends)
        .filter(|word| word.starts_with("--"))
        .collect();
    let mut count = 0;
    for (path, text) in chapters() {
        let prose = prose(&text);
        let spans = prose.split('`').skip(1).step_by(2);
        let is_ours = |line: &&str| line.contains("hubcast --") && !line.contains("cargo");
        let is_run = |line: &&str| line.contains("ARGS=");
        let commands = text.lines().filter(|line| is_ours(line) || is_run(line));
        let named = spans.filter(|span| span.starts_with("--")).chain(commands);
        for option in named.flat_map(|code| code.split(ends)) {
            if option.starts_with("--") && option.len() > 2 && !OF_OTHERS.contains(&option) {
                assert!(known.contains(option), "{}: {option}", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 50, "only {count} options were found");
}

/// The names in code of the first column of the table under a heading.
fn first_column(text: &str, heading: &str) -> BTreeSet<String> {
    let (_, section) = text.split_once(&format!("\n{heading}\n")).unwrap();
    let rows = section.lines().take_while(|line| !line.starts_with('#'));
    let cells = rows.filter_map(|row| row.strip_prefix("| ")?.split(" |").next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

fn metrics(address: SocketAddr) -> String {
    let mut stream = dial(address);
    let request = "GET /-/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_tables_of_metrics_causes_and_statuses_are_complete() {
    let server = Program::start(&[]);
    let metrics = metrics(server.address);
    let between = |start: &str, end: char| -> BTreeSet<String> {
        let found = metrics.lines().filter_map(|line| line.strip_prefix(start));
        found
            .map(|rest| rest.split(end).next().unwrap().to_owned())
            .collect()
    };
    let operating = chapter("operating.md");
    assert_eq!(
        first_column(&operating, "## Metrics"),
        between("# TYPE hubcast_", ' ')
    );
    assert_eq!(
        first_column(&operating, "### Causes"),
        between("hubcast_departures_total{cause=\"", '"')
    );
    let doors = chapter("doors.md");
    let (_, statuses) = doors.split_once("\n## Statuses\n").unwrap();
    for status in between("hubcast_refused_total{status=\"", '"') {
        let named = |line: &str| {
            let cell = line
                .strip_prefix("| ")
                .and_then(|line| line.split(" |").next());
            cell.is_some_and(|cell| cell.split(", ").any(|name| name == status))
        };
        assert!(status == "other" || statuses.lines().any(named), "{status}");
    }
}
