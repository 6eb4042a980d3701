//! The rule of the source tree: imports between wings run one way, and no
//! two files import each other, directly or in a circle.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A wing, and the wings it may import beside the plain values. Plain values
/// import each other only.
const WINGS: [(&str, &[&str]); 10] = [
    (
        "server",
        &[
            "connection",
            "doors",
            "embed",
            "hub",
            "outbox",
            "wire",
            "http1",
            "net",
            "engine",
        ],
    ),
    (
        "connection",
        &[
            "doors", "embed", "hub", "outbox", "wire", "http1", "net", "engine",
        ],
    ),
    (
        "doors",
        &["embed", "hub", "outbox", "wire", "http1", "net", "engine"],
    ),
    ("embed", &["engine", "hub", "outbox", "wire", "net"]),
    ("engine", &["hub", "outbox", "wire", "net"]),
    ("hub", &["outbox", "wire"]),
    ("outbox", &["wire", "net"]),
    ("wire", &[]),
    ("http1", &["net"]),
    ("net", &[]),
];

/// Files that are compiled for tests only may import what they drive.
const TEST_FILES: [&str; 5] = ["tests.rs", "bench.rs", "model.rs", "fake.rs", "oracle.rs"];

#[test]
fn imports_run_one_way() {
    let tree = Tree::read();
    let mut wrong = Vec::new();
    for (file, imports) in &tree.imports {
        for import in imports {
            let (from, to) = (wing(file), wing(import));
            let allowed = WINGS.iter().find(|(name, _)| *name == from);
            let is_plain = |name: &str| WINGS.iter().all(|(wing, _)| *wing != name);
            let may = match allowed {
                _ if from == to || from == "lib.rs" => true,
                Some((_, others)) => is_plain(to) || others.contains(&to),
                None => is_plain(to),
            };
            if !may {
                wrong.push(format!("{} imports {}", file.display(), import.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the rule:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut left = Tree::read().imports;
    left.remove(Path::new("lib.rs"));
    // Takes away what imports nothing that is left, until nothing changes.
    loop {
        let files: BTreeSet<PathBuf> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, imports| imports.iter().any(|import| files.contains(import)));
        if left.len() == before {
            break;
        }
    }
    let circle: Vec<String> = left
        .iter()
        .map(|(file, imports)| format!("{} imports {imports:?}", file.display()))
        .collect();
    assert!(circle.is_empty(), "in a circle:\n{}", circle.join("\n"));
}

/// The first part of a path below `src`: a wing, or a file of plain values.
fn wing(file: &Path) -> &str {
    file.iter().next().and_then(|part| part.to_str()).unwrap()
}

/// The files of the library, and which of them each imports.
struct Tree {
    imports: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

impl Tree {
    fn read() -> Tree {
        let mut sources = BTreeMap::new();
        collect(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            Path::new(""),
            &mut sources,
        );
        assert!(sources.len() > 50, "the sources are there");
        let exports = sources
            .iter()
            .flat_map(|(file, text)| exports(file, text))
            .collect();
        let resolver = Resolver {
            files: sources.keys().cloned().collect(),
            exports,
        };
        let imports = sources.iter().map(|(file, text)| {
            let found = names(text)
                .into_iter()
                .filter_map(|name| resolver.file_of(file, &name));
            (file.clone(), found.filter(|found| found != file).collect())
        });
        Tree {
            imports: imports.collect(),
        }
    }
}

/// Reads the sources below a folder, without what is for tests.
fn collect(root: &Path, below: &Path, sources: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = below.join(&name);
        if entry.file_type().unwrap().is_dir() {
            if !["bin", "fuzzing", "tests", "guide"].contains(&name.as_str()) {
                collect(root, &path, sources);
            }
        } else if name.ends_with(".rs") && !TEST_FILES.contains(&name.as_str()) {
            let text = fs::read_to_string(root.join(&path)).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let is_code = |line: &&str| !line.trim_start().starts_with("//");
            let lines: Vec<&str> = text.lines().filter(is_code).collect();
            sources.insert(path, lines.join("\n"));
        }
    }
}

/// Every path that a file names: those of its `use`s, spread out, and those
/// that begin with `crate::` elsewhere.
fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        // What is handed out is no import.
        let before = rest[..at].rsplit('\n').next().unwrap();
        let is_import = before.trim().is_empty();
        rest = &rest[at + 4..];
        if is_import && let Some(end) = rest.find(';') {
            spread("", &rest[..end], &mut names);
        }
    }
    for path in text.split("crate::").skip(1) {
        let end = path.find(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
        names.push(format!("crate::{}", &path[..end.unwrap_or(path.len())]));
    }
    names
}

/// Spreads `a::{b, c::{d}}` out into `a::b` and `a::c::d`.
fn spread(prefix: &str, tree: &str, names: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        names.push(format!("{prefix}{path}"));
        return;
    };
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    spread(&format!("{prefix}{head}"), &inner[start..at], names);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// What a wing's `mod.rs` hands out of its files: name, and path inside.
fn exports(file: &Path, text: &str) -> Vec<((PathBuf, String), String)> {
    if !file.ends_with("mod.rs") {
        return Vec::new();
    }
    let folder = file.parent().unwrap().to_owned();
    let mut exported = Vec::new();
    for kind in ["pub(crate) use ", "pub use ", "pub(super) use "] {
        for tree in text.split(kind).skip(1) {
            let mut names = Vec::new();
            spread("", tree.split(';').next().unwrap(), &mut names);
            exported.extend(names.into_iter().map(|path| {
                let name = path.rsplit("::").next().unwrap().to_owned();
                ((folder.clone(), name), path)
            }));
        }
    }
    exported
}

struct Resolver {
    files: BTreeSet<PathBuf>,
    exports: BTreeMap<(PathBuf, String), String>,
}

impl Resolver {
    /// The file in which what this path names stands, if it is of the crate.
    fn file_of(&self, from: &Path, name: &str) -> Option<PathBuf> {
        let mut parts: Vec<&str> = name.split("::").filter(|part| !part.is_empty()).collect();
        let is_mod = from.ends_with("mod.rs") || from == Path::new("lib.rs");
        // The folder that a file's children stand in.
        let own = match is_mod {
            true => from.parent().unwrap().to_owned(),
            false => from.with_extension(""),
        };
        let mut folder = match *parts.first()? {
            "crate" => PathBuf::new(),
            "super" if is_mod => own.parent()?.to_owned(),
            "super" => from.parent()?.to_owned(),
            "self" => own,
            child if self.module(&own.join(child)).is_some() => {
                parts.insert(0, "self");
                own
            }
            _ => return None,
        };
        parts.remove(0);
        while parts.first() == Some(&"super") {
            folder = folder.parent()?.to_owned();
            parts.remove(0);
        }
        for part in parts {
            if self.module(&folder.join(part)).is_some() {
                folder = folder.join(part);
                continue;
            }
            if let Some(path) = self.exports.get(&(folder.clone(), part.to_owned())) {
                return self.file_of(&folder.join("mod.rs"), path);
            }
            break;
        }
        self.module(&folder)
    }

    /// The file of a module.
    fn module(&self, path: &Path) -> Option<PathBuf> {
        let candidates = [path.with_extension("rs"), path.join("mod.rs")];
        candidates
            .into_iter()
            .find(|file| self.files.contains(file))
    }
}
