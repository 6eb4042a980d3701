//! A file of tokens and the rights that each gives, read again when it changes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, SystemTime};

use hubcast::{CloseCode, Handle, Rights, Secret, Stopped, TokenVerifier};

use crate::background;
use crate::token;

/// Between two looks at whether the file has changed.
const LOOK: Duration = Duration::from_secs(1);

/// The tokens of a file.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    path: PathBuf,
    entries: Arc<RwLock<Vec<Entry>>>,
    /// What the file was when it was read.
    seen: Option<Stamp>,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Stamp {
    modified: (i64, i64),
    file: (u64, u64),
    len: u64,
}

/// A line of the file.
#[derive(Debug, Clone)]
struct Entry {
    token: Secret,
    rights: Rights,
}

impl Tokens {
    pub(crate) fn open(path: &Path) -> Result<Tokens, String> {
        let seen = stamp(path).ok();
        Ok(Tokens {
            path: path.to_owned(),
            entries: Arc::new(RwLock::new(read(path)?)),
            seen,
        })
    }

    pub(crate) fn verifier(&self) -> TokenVerifier {
        let entries = self.entries.clone();
        TokenVerifier::new(move |token| {
            let entries = entries.read().unwrap_or_else(PoisonError::into_inner);
            // All are compared, whichever it is.
            let is_it = |entry: &Entry| entry.token.is(token);
            let found = entries
                .iter()
                .fold(None, |found, entry| is_it(entry).then_some(entry).or(found));
            found.map(|e| e.rights.clone()).ok_or("is unknown")
        })
    }

    /// Looks at the file until the server has stopped. Clients whose token is
    /// gone, or gives other rights than before, are disconnected.
    pub(crate) fn watch(mut self, handle: Handle) -> io::Result<()> {
        let watch = move || {
            while handle.clients_in("/-/tokens").is_ok() {
                thread::sleep(LOOK);
                if self.look(&handle).is_err() {
                    return;
                }
            }
        };
        background::start("hubcast-tokens", Box::new(watch))
    }

    fn look(&mut self, handle: &Handle) -> Result<(), Stopped> {
        let stamp = stamp(&self.path).ok();
        if stamp == self.seen {
            return Ok(());
        }
        self.seen = stamp;
        let entries = match read(&self.path) {
            Ok(entries) => entries,
            Err(error) => {
                log::warn!("{error}; the tokens stay as they were");
                return Ok(());
            }
        };
        log::info!("tokens are read again, {} of them", entries.len());
        let mut current = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, entries.clone());
        drop(current);
        disconnect_revoked(&before, &entries, handle)
    }
}

fn disconnect_revoked(before: &[Entry], now: &[Entry], handle: &Handle) -> Result<(), Stopped> {
    let now: HashMap<_, _> = now.iter().map(|e| (e.rights.shown_name(), e)).collect();
    let is_revoked = |old: &Entry| {
        let new = now.get(&old.rights.shown_name());
        !new.is_some_and(|new| new.rights == old.rights && new.token.same(&old.token))
    };
    let revoked: Vec<&str> = before
        .iter()
        .filter(|entry| is_revoked(entry))
        .filter_map(|entry| entry.rights.shown_name())
        .collect();
    if revoked.is_empty() {
        return Ok(());
    }
    for client in handle.clients()? {
        if client
            .name
            .is_some_and(|name| revoked.contains(&name.as_str()))
        {
            let code = CloseCode::POLICY_VIOLATION;
            handle.disconnect(client.id, code, "token revoked or changed")?;
        }
    }
    Ok(())
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let file = fs::metadata(path)?;
    Ok(Stamp {
        modified: (file.mtime(), file.mtime_nsec()),
        file: (file.dev(), file.ino()),
        len: file.len(),
    })
}

fn read(path: &Path) -> Result<Vec<Entry>, String> {
    let name = path.display();
    let text = token::read(path, "tokens").map_err(|error| format!("tokens {name}: {error}"))?;
    parse(&text).map_err(|(line, why)| format!("tokens {name}, line {line}: {why}"))
}

/// An error has the number of its line.
fn parse(text: &str) -> Result<Vec<Entry>, (usize, String)> {
    let mut names = HashMap::new();
    let mut entries: Vec<Entry> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = parse_line(line).map_err(|why| (number, why))?;
        if entries.iter().any(|other| other.token.same(&entry.token)) {
            return Err((number, "the same token is in a line before".to_owned()));
        }
        let name = entry.rights.shown_name().unwrap_or_default().to_owned();
        if let Some(other) = names.insert(name.clone(), number) {
            return Err((number, format!("name={name} is that of line {other}, too")));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn parse_line(line: &str) -> Result<Entry, String> {
    let mut words = line.split_whitespace();
    let token = words.next().unwrap_or_default();
    let mut rights = Rights::new();
    for word in words {
        rights = match word.split_once('=') {
            None if word == "admin" => rights.admin(true),
            Some(("name", name)) if !name.is_empty() => rights.name(name),
            Some(("read", rooms)) => rooms.split(',').fold(rights, Rights::read),
            Some(("write", rooms)) => rooms.split(',').fold(rights, Rights::write),
            Some(("expires", time)) => rights.expires(parse_time(time)?),
            // It may be a token with a blank in it, so it is not shown.
            _ => {
                return Err(
                    "a token is followed by name=, read=, write=, admin and expires= \
                            alone, with a blank between two of them and none within"
                        .to_owned(),
                );
            }
        };
    }
    if rights.shown_name().is_none() {
        return Err("name= is missing, by which the token's clients are known".to_owned());
    }
    rights.check().map_err(|error| error.to_string())?;
    Ok(Entry {
        token: Secret::from(token),
        rights,
    })
}

/// A day, or a time of one, both UTC.
fn parse_time(text: &str) -> Result<SystemTime, String> {
    let whole = match text.contains('T') {
        true => text.to_owned(),
        false => format!("{text}T00:00:00Z"),
    };
    humantime::parse_rfc3339(&whole).map_err(|error| {
        format!("expires={text}: {error}; 2027-01-31 or 2027-01-31T12:00:00Z is expected")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_a_token_its_rights() {
        let text = "\u{feff}# who may do what\n\n\
                    s3cret name=ann read=/*,/x write=/lobby admin\r\n\
                    other\tname=bob  read=/news/* expires=2027-01-31\n";
        let entries = parse(text).unwrap();
        assert!(entries[0].token.is("s3cret") && entries[1].token.is("other"));
        let ann = Rights::new()
            .name("ann")
            .read("/*")
            .read("/x")
            .write("/lobby");
        assert_eq!(entries[0].rights, ann.admin(true));
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_801_353_600);
        let bob = Rights::new().name("bob").read("/news/*").expires(end);
        assert_eq!(entries[1].rights, bob);
    }

    #[test]
    fn a_line_that_means_nothing_is_named_and_shows_no_token() {
        for (line, why) in [
            ("s3cret", "name= is missing"),
            ("s3cret name=", "a token is followed by"),
            ("s3cret name=a my secret", "a token is followed by"),
            (
                "s3cret name=a read=lobby",
                "\"lobby\" must begin with a slash",
            ),
            ("s3cret name=a read=", "\"\" must begin with a slash"),
            ("s3cret name=a write=/a*b", "only at its end"),
            ("s3cret name=a expires=soon", "expires=soon"),
            ("s3cret name=a admin=yes", "a token is followed by"),
        ] {
            let (number, error) = parse(&format!("# first\n{line}\n")).unwrap_err();
            assert!(number == 2 && error.contains(why), "{line}: {error}");
            assert!(!error.contains("s3cret") && !error.contains("my secret"));
        }
        let (number, error) = parse("a name=x\nb name=x").unwrap_err();
        assert_eq!(
            (number, error.as_str()),
            (2, "name=x is that of line 1, too")
        );
        let (number, error) = parse("a name=x\na name=y").unwrap_err();
        assert!(number == 2 && error.contains("the same token"), "{error}");
    }
}
