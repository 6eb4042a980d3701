//! Files of a folder, for those who bring their own pages.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use http::header::{
    CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LOCATION, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Request, StatusCode};

use crate::config::Config;
use crate::error::Error;
use crate::http1::{Answer, percent_decode};

/// What a folder shows of itself.
const INDEX: &str = "index.html";
/// The types of files by what their names end with.
#[rustfmt::skip] // a kind each
const TYPES: &[(&str, &str)] = &[
    ("html", "text/html; charset=utf-8"), ("htm", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"), ("csv", "text/csv; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"), ("mjs", "text/javascript; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"), ("txt", "text/plain; charset=utf-8"),
    ("json", "application/json"), ("map", "application/json"),
    ("webmanifest", "application/manifest+json"), ("xml", "application/xml"),
    ("wasm", "application/wasm"), ("pdf", "application/pdf"),
    ("svg", "image/svg+xml"), ("png", "image/png"), ("ico", "image/x-icon"),
    ("jpg", "image/jpeg"), ("jpeg", "image/jpeg"), ("gif", "image/gif"),
    ("webp", "image/webp"), ("avif", "image/avif"),
    ("woff", "font/woff"), ("woff2", "font/woff2"), ("ttf", "font/ttf"),
    ("mp3", "audio/mpeg"), ("ogg", "audio/ogg"), ("wav", "audio/wav"),
    ("mp4", "video/mp4"), ("webm", "video/webm"),
];
/// The type of every other file: nobody guesses another.
const UNKNOWN: &str = "application/octet-stream";

/// What a path names in the folder.
#[derive(Debug)]
pub(super) enum Found {
    File(Box<OpenFile>),
    /// A folder with an index, whose path must end with a slash, so that what
    /// the page names beside itself is found.
    Folder,
}

/// A file to be answered with.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    len: u64,
    etag: HeaderValue,
    content_type: &'static str,
}

/// Checks the folder, before anything is bound.
pub(super) fn check(config: &Config) -> Result<(), Error> {
    let Some(folder) = &config.pages else {
        return Ok(());
    };
    let listed = fs::read_dir(folder).map(drop);
    listed.map_err(|error| Error::config(format!("pages {folder:?} is no folder to read: {error}")))
}

/// What a request's path names in the folder; nothing where it must not be
/// shown: hidden files, and what is elsewhere.
pub(super) fn find(folder: &Path, path: &str) -> Option<Found> {
    let names = names(path)?;
    // Found anew each time, so that a link to the folder may be changed.
    let root = folder.canonicalize().ok()?;
    let real = |path: PathBuf| {
        let real = path.canonicalize().ok()?;
        // A link may lead to another place in the folder, and not out of it.
        real.starts_with(&root).then_some(real)
    };
    let named = real(root.join(names))?;
    if !named.is_dir() {
        let is_folder = path.ends_with('/');
        return open(&named).filter(|_| !is_folder);
    }
    let index = open(&real(named.join(INDEX))?)?;
    Some(match path.ends_with('/') {
        true => index,
        false => Found::Folder,
    })
}

/// The path below the folder: decoded once, without a name that leads
/// elsewhere or is hidden.
fn names(path: &str) -> Option<PathBuf> {
    let path = percent_decode(path)?;
    let below = path.strip_prefix('/')?;
    let below = below.strip_suffix('/').unwrap_or(below);
    if below.is_empty() {
        // `//` is no other name of `/`.
        return (path == "/").then(PathBuf::new);
    }
    let is_shown = |name: &str| {
        let is_plain = !name.contains(['\0', '\\']);
        is_plain && !name.is_empty() && !name.starts_with('.')
    };
    below.split('/').all(is_shown).then(|| below.into())
}

fn open(path: &Path) -> Option<Found> {
    // Opening a pipe would wait for its other end.
    path.metadata().ok().filter(fs::Metadata::is_file)?;
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH);
    let changed = changed.unwrap_or_default().as_nanos();
    let len = metadata.len();
    let ending = path.extension().and_then(|ending| ending.to_str());
    let ending = ending.map(str::to_ascii_lowercase);
    let known = TYPES
        .iter()
        .find(|(name, _)| Some(*name) == ending.as_deref());
    Some(Found::File(Box::new(OpenFile {
        file,
        len,
        etag: HeaderValue::from_str(&format!("\"{changed:x}-{len:x}\"")).ok()?,
        content_type: known.map_or(UNKNOWN, |(_, kind)| kind),
    })))
}

pub(super) fn answer(found: Found, request: &Request<()>) -> Answer {
    let answer = match found {
        Found::File(found) => file(*found, request.headers()),
        Found::Folder => to_folder(request),
    };
    answer
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
        // Kept, and asked for each time whether it has changed.
        .header(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
        // Other clients get another answer at this address.
        .header(VARY, HeaderValue::from_static("accept"))
}

fn file(found: OpenFile, headers: &HeaderMap) -> Answer {
    let mut answer = Answer::new(StatusCode::OK, found.content_type, String::new());
    match has(headers, found.etag.as_bytes()) {
        true => answer.status = StatusCode::NOT_MODIFIED,
        false => answer.file = Some((found.file, found.len)),
    }
    answer.header(ETAG, found.etag)
}

/// Whether the client has what this tag stands for (RFC 9110 §13.1.2).
fn has(headers: &HeaderMap, etag: &[u8]) -> bool {
    let lines = headers.get_all(IF_NONE_MATCH).into_iter();
    let mut tags = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    tags.any(|tag| {
        let tag = tag.trim_ascii();
        tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag
    })
}

fn to_folder(request: &Request<()>) -> Answer {
    let uri = request.uri();
    let query = uri.query().map(|query| format!("?{query}"));
    // It begins with one slash, not two: another host is no folder.
    let location = format!("{}/{}", uri.path(), query.unwrap_or_default());
    let answer = Answer::text(
        StatusCode::TEMPORARY_REDIRECT,
        "a folder's path ends with /",
    );
    match HeaderValue::from_str(&location) {
        Ok(location) => answer.header(LOCATION, location),
        Err(_) => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once_and_names_nothing_hidden_or_elsewhere() {
        for (path, names) in [
            ("/", Some("")),
            ("/a.html", Some("a.html")),
            ("/a/b%20c.css", Some("a/b c.css")),
            ("/a/", Some("a")),
            ("/%252e%252e", Some("%2e%2e")),
            ("/a%2Fb", Some("a/b")),
            ("/a..b", Some("a..b")),
            ("", None),
            ("*", None),
            ("//", None),
            ("/a//b", None),
            ("//a", None),
            ("/..", None),
            ("/../a", None),
            ("/a/../b", None),
            ("/%2e%2e/a", None),
            ("/.%2e/a", None),
            ("/a/%2e%2e%2fb", None),
            ("/./a", None),
            ("/.git/config", None),
            ("/a/.env", None),
            ("/a%00.html", None),
            ("/a%5c..%5cb", None),
            ("/%ff", None),
            ("/%2", None),
        ] {
            assert_eq!(super::names(path), names.map(PathBuf::from), "{path}");
        }
    }

    #[test]
    fn a_tag_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert!(!has(&headers, b"\"a\""));
        for (line, known) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(line));
            assert_eq!(has(&headers, b"\"a\""), known, "{line}");
        }
    }
}
