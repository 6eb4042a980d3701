//! The scripts, each against a real redis-server. `make test-engine` runs
//! them.

use std::env;
use std::fs;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::address::Address;
use super::connection::Connection;
use super::keys::{Append, Appended, Attached, Entry, Holding, Id, Keys, Open};
use super::resp::Reply;
use crate::engine::records::{self, Record};
use crate::engine::redis::connection::Fault;
use crate::net::Stop;
use crate::position::{Epoch, Lineage, Offset};

/// A redis-server in a scratch folder, on a socket there.
struct Server {
    process: Child,
    folder: PathBuf,
    keys: Keys,
}

impl Server {
    fn start(name: &str) -> Server {
        let folder = env::temp_dir().join(format!("hubcast-scripts-{}-{name}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let process = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", "redis.sock", "--save", ""])
            .current_dir(&folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is there: make test-engine installs it");
        Server {
            process,
            folder,
            keys: Keys::new("test"),
        }
    }

    fn connect(&self) -> Connection {
        let url = format!("redis+unix:{}", self.folder.join("redis.sock").display());
        let (address, stop) = (
            Address::parse(&url).unwrap(),
            Arc::new(Stop::new().unwrap()),
        );
        let begun = Instant::now();
        loop {
            match Connection::open(&address, &stop) {
                Ok(connection) => return connection,
                Err(fault) => assert!(begun.elapsed().as_secs() < 20, "{fault:?}"),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A log that a node has opened.
    fn opened(&self, connection: &mut Connection) -> Open {
        let holding = nothing();
        let Attached::Restore(remains) = self.attach(connection, "a", &holding, &[]) else {
            panic!("a new log must be restored");
        };
        assert_eq!((remains.depth, remains.last), (0, Offset(0)));
        let lineage = Lineage::new(epoch("aaaaaaaa"));
        let open = self.keys.open(connection, "a", 1, &lineage, Offset(1));
        open.unwrap().unwrap()
    }

    fn attach(
        &self,
        connection: &mut Connection,
        node: &str,
        holding: &Holding,
        others: &[&str],
    ) -> Attached {
        let others: Vec<String> = others.iter().map(|&other| other.to_owned()).collect();
        self.keys
            .attach(connection, node, holding, &others)
            .unwrap()
    }

    fn append(&self, connection: &mut Connection, batch: u64, messages: u64) -> Appended {
        let append = Append {
            epoch: epoch("aaaaaaaa"),
            node: "a",
            batch,
            messages,
            records: b"r",
            trim: Id::default(),
        };
        self.keys.append(connection, &append).unwrap()
    }

    fn entries(&self, connection: &mut Connection) -> Vec<(Id, u64)> {
        let entries = self
            .keys
            .read(connection, Id::default(), 100, Duration::from_millis(1));
        let entries = entries.unwrap().into_iter();
        entries.map(|entry| (entry.id, entry.batch)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn epoch(text: &str) -> Epoch {
    Epoch::parse(text).unwrap()
}

fn nothing() -> Holding {
    holding(0, None, 0)
}

fn holding(depth: u64, of: Option<&str>, head: u64) -> Holding {
    Holding {
        depth,
        epoch: of.map(epoch),
        head: Offset(head),
    }
}

fn id(last: u64, extra: u64) -> Id {
    Id {
        last: Offset(last),
        extra,
    }
}

fn entry(last: u64, batch: u64) -> Entry {
    Entry {
        id: id(last, 0),
        node: "b".to_owned(),
        batch,
        messages: 1,
        epoch: epoch("bbbbbbbb"),
        time: 1,
        records: "r".into(),
    }
}

#[test]
#[ignore = "make test-engine runs it"]
fn append_gives_offsets_and_takes_a_batch_once() {
    let server = Server::start("append");
    let connection = &mut server.connect();
    assert_eq!(server.append(connection, 1, 3), Appended::Closed);
    server.opened(connection);
    assert_eq!(server.append(connection, 1, 3), Appended::At(Offset(1)));
    assert_eq!(server.append(connection, 1, 3), Appended::Done);
    assert_eq!(server.append(connection, 2, 0), Appended::At(Offset(4)));
    assert_eq!(server.append(connection, 3, 0), Appended::At(Offset(4)));
    assert_eq!(server.append(connection, 4, 2), Appended::At(Offset(4)));
    let expected = [(id(3, 0), 1), (id(3, 1), 2), (id(3, 2), 3), (id(5, 0), 4)];
    assert_eq!(server.entries(connection), expected);
    // Another epoch, another process, a log that is gone.
    let other = Append {
        epoch: epoch("zzzzzzzz"),
        node: "a",
        batch: 9,
        messages: 1,
        records: b"r",
        trim: Id::default(),
    };
    assert_eq!(server.keys.append(connection, &other), Ok(Appended::Closed));
    let run = std::mem::replace(&mut connection.run, "another".to_owned());
    assert_eq!(server.append(connection, 5, 1), Appended::Closed);
    connection.run = run;
    connection
        .call(&[b"DEL", server.keys.log.as_bytes()])
        .unwrap();
    assert_eq!(server.append(connection, 5, 1), Appended::Closed);
}

/// Where nobody says anything, entries without messages are all there is.
#[test]
#[ignore = "make test-engine runs it"]
fn entries_without_messages_may_go() {
    let server = Server::start("bare");
    let connection = &mut server.connect();
    server.opened(connection);
    for batch in 1..=500 {
        let append = Append {
            epoch: epoch("aaaaaaaa"),
            node: "a",
            batch,
            messages: 0,
            records: b"r",
            trim: id(0, batch.saturating_sub(10)),
        };
        let appended = server.keys.append(connection, &append);
        assert_eq!(appended, Ok(Appended::At(Offset(1))));
    }
    let log = server.keys.log.as_bytes();
    let length = connection.call(&[b"XLEN", log]).unwrap().number().unwrap();
    // It goes in pieces of a hundred.
    assert!((10..=120).contains(&length), "{length}");
}

#[test]
#[ignore = "make test-engine runs it"]
fn append_writes_all_or_nothing_where_the_engine_is_full() {
    let server = Server::start("full");
    let connection = &mut server.connect();
    server.opened(connection);
    connection
        .call(&[b"CONFIG", b"SET", b"maxmemory", b"1"])
        .unwrap();
    let append = Append {
        epoch: epoch("aaaaaaaa"),
        node: "a",
        batch: 1,
        messages: 1,
        records: b"r",
        trim: Id::default(),
    };
    let full = server.keys.append(connection, &append);
    assert!(matches!(full, Err(Fault::Full(_))), "{full:?}");
    server.keys.halve(connection, Duration::ZERO).unwrap();
    connection
        .call(&[b"CONFIG", b"SET", b"maxmemory", b"0"])
        .unwrap();
    assert_eq!(server.append(connection, 1, 1), Appended::At(Offset(1)));
}

#[test]
#[ignore = "make test-engine runs it"]
fn what_may_be_unread_stays_in_a_full_engine() {
    let server = Server::start("half");
    let connection = &mut server.connect();
    server.opened(connection);
    for batch in 1..=9 {
        server.append(connection, batch, 1);
    }
    let log = server.keys.log.as_bytes();
    for (unread, left) in [(Duration::from_secs(60), 9), (Duration::ZERO, 5)] {
        server.keys.halve(connection, unread).unwrap();
        let length = connection.call(&[b"XLEN", log]).unwrap().number();
        assert_eq!(length, Some(left));
    }
}

#[test]
#[ignore = "make test-engine runs it"]
fn the_node_with_most_of_the_latest_epoch_restores() {
    let server = Server::start("attach");
    let connection = &mut server.connect();
    server.opened(connection);
    server.append(connection, 1, 5);
    // Another process has it now.
    connection.run = "another".to_owned();
    let a = holding(1, Some("aaaaaaaa"), 7);
    let b = holding(2, Some("bbbbbbbb"), 6);
    let c = holding(2, Some("bbbbbbbb"), 3);
    let wait = server.attach(connection, "a", &a, &["b", "c"]);
    assert!(
        matches!(wait, Attached::Wait),
        "b and c are alive: {wait:?}"
    );
    let wait = server.attach(connection, "c", &c, &["a", "b"]);
    assert!(matches!(wait, Attached::Wait), "b is missing: {wait:?}");
    let restore = server.attach(connection, "b", &b, &["a", "c"]);
    let Attached::Restore(remains) = restore else {
        panic!("b has most: {restore:?}");
    };
    assert_eq!((remains.depth, remains.last), (1, Offset(5)));
    assert_eq!(remains.lineage.unwrap().epoch(), epoch("aaaaaaaa"));
    let wait = server.attach(connection, "a", &a, &["b", "c"]);
    assert!(matches!(wait, Attached::Wait), "b restores: {wait:?}");

    // Only b may do so.
    let lineage = Lineage::new(epoch("cccccccc"));
    let ancestors = Lineage::from_texts("bbbbbbbb", "aaaaaaaa-5").unwrap();
    let of = (2, &ancestors);
    let refused = server.keys.restore(connection, "a", true, of, &[]);
    assert_eq!(refused, Ok(false));
    assert!(
        server
            .keys
            .open(connection, "a", 3, &lineage, Offset(1))
            .unwrap()
            .is_none()
    );
    let entries = [entry(5, 3), entry(6, 4)];
    assert_eq!(
        server.keys.restore(connection, "b", true, of, &entries),
        Ok(true)
    );
    // If b goes away now, another one finds what the log is so far.
    let meta = [b"HMGET" as &[u8], b"{test:0}meta", b"epoch", b"ancestors"];
    let meta = connection.call(&meta).unwrap();
    let meta: Vec<&str> = meta.list().unwrap().iter().flat_map(Reply::text).collect();
    assert_eq!(meta, ["bbbbbbbb", "aaaaaaaa-5"]);
    let open = server
        .keys
        .open(connection, "b", 3, &lineage, Offset(1))
        .unwrap()
        .unwrap();
    assert_eq!((open.next, open.depth), (Offset(7), 3));
    assert_eq!(server.entries(connection), [(id(5, 0), 3), (id(6, 0), 4)]);

    // The batch numbers are those of the entries: a's are forgotten.
    let attached = server.attach(connection, "c", &c, &[]);
    let Attached::Open(open) = attached else {
        panic!("{attached:?}");
    };
    assert_eq!(open.lineage.epoch(), epoch("cccccccc"));
    for (node, batch, expected) in [
        ("b", 4, Appended::Done),
        ("b", 5, Appended::At(Offset(7))),
        ("a", 1, Appended::At(Offset(8))),
    ] {
        let append = Append {
            epoch: epoch("cccccccc"),
            node,
            batch,
            messages: 1,
            records: b"r",
            trim: Id::default(),
        };
        assert_eq!(
            server.keys.append(connection, &append),
            Ok(expected),
            "{node} {batch}"
        );
    }
}

#[test]
#[ignore = "make test-engine runs it"]
fn a_node_that_is_missing_or_fails_to_restore_is_waited_for_once() {
    let server = Server::start("missing");
    let connection = &mut server.connect();
    let a = holding(1, Some("aaaaaaaa"), 7);
    let b = holding(1, Some("aaaaaaaa"), 6);
    let begun = Instant::now();
    let restorer = |connection: &mut Connection, node: &str, holding: &Holding| {
        loop {
            match server.attach(connection, node, holding, &["gone"]) {
                Attached::Restore(_) => return begun.elapsed(),
                other => assert!(begun.elapsed().as_secs() < 20, "{other:?}"),
            }
            thread::sleep(Duration::from_millis(20));
        }
    };
    server.attach(connection, "b", &b, &[]);
    let waited = restorer(connection, "a", &a);
    // It does nothing, and the other takes its turn.
    let again = restorer(connection, "b", &b);
    assert!(waited >= Duration::from_millis(2500), "{waited:?}");
    assert!(again > waited + Duration::from_millis(2500), "{again:?}");
}

/// The messages are gone, and nobody has them: the log goes on all the same.
#[test]
#[ignore = "make test-engine runs it"]
fn a_log_without_entries_is_open() {
    let server = Server::start("hollow");
    let connection = &mut server.connect();
    let a = holding(1, Some("aaaaaaaa"), 7);
    let restore = server.attach(connection, "a", &a, &[]);
    assert!(matches!(restore, Attached::Restore(_)), "{restore:?}");
    let lineage = Lineage::from_texts("bbbbbbbb", "aaaaaaaa-7").unwrap();
    let open = server.keys.open(connection, "a", 2, &lineage, Offset(8));
    assert_eq!(open.unwrap().unwrap().next, Offset(8));
    let open = server.attach(connection, "b", &nothing(), &["a"]);
    assert!(matches!(open, Attached::Open(_)), "{open:?}");
    let first = server.keys.first(connection).unwrap().unwrap();
    assert_eq!((first.id, first.messages), (id(7, 1), 0));
}

/// It is not always the one that restores who finds that the time is over.
#[test]
#[ignore = "make test-engine runs it"]
fn the_one_that_restores_waits_no_longer_than_the_others() {
    let server = Server::start("chosen");
    let connection = &mut server.connect();
    let a = holding(1, Some("aaaaaaaa"), 7);
    let b = holding(1, Some("aaaaaaaa"), 6);
    for (node, holding) in [("a", &a), ("b", &b)] {
        let wait = server.attach(connection, node, holding, &["gone"]);
        assert!(matches!(wait, Attached::Wait), "{wait:?}");
    }
    thread::sleep(Duration::from_millis(3100));
    let wait = server.attach(connection, "b", &b, &["gone"]);
    assert!(matches!(wait, Attached::Wait), "a has more: {wait:?}");
    let restore = server.attach(connection, "a", &a, &["gone"]);
    assert!(matches!(restore, Attached::Restore(_)), "{restore:?}");
}

#[test]
#[ignore = "make test-engine runs it"]
fn signs_of_life_are_by_the_clock_of_the_engine() {
    let server = Server::start("beat");
    let connection = &mut server.connect();
    let open = server.opened(connection);
    let of = open.lineage.epoch();
    let beat = |connection: &mut Connection, node: &str, timeout: u64| {
        server
            .keys
            .beat(connection, of, node, timeout, "1.0 name")
            .unwrap()
    };
    assert!(beat(connection, "a", 10_000).is_open);
    thread::sleep(Duration::from_millis(50));
    let both = beat(connection, "b", 10_000);
    let mut nodes: Vec<&str> = both.nodes.iter().map(|sign| sign.node.as_str()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["a", "b"]);
    let a = both.nodes.iter().find(|sign| sign.node == "a").unwrap();
    assert!((40..5000).contains(&a.age), "{}", a.age);
    assert_eq!(a.about, "1.0 name");
    let alone = beat(connection, "b", 20);
    assert_eq!(alone.nodes.len(), 1, "a is buried: {alone:?}");
    beat(connection, "b", 20);
    assert_eq!(server.append(connection, 1, 0), Appended::At(Offset(1)));
    server.keys.leave(connection, None, "b").unwrap();
    server.keys.leave(connection, Some(of), "b").unwrap();
    let after = beat(connection, "c", 10_000);
    assert_eq!((after.nodes.len(), after.left), (1, vec!["b".to_owned()]));

    // What the engine has written of it, each once, and the append between.
    let log = server
        .keys
        .read(connection, Id::default(), 100, Duration::from_millis(1))
        .unwrap();
    let places: Vec<_> = log.iter().map(|entry| (entry.id, entry.messages)).collect();
    assert_eq!(places, [1, 2, 3, 4, 5, 6].map(|extra| (id(0, extra), 0)));
    let told = log.iter().filter(|entry| entry.batch == 0).map(|entry| {
        let read = records::read(entry.records.clone()).unwrap();
        assert_eq!((read.records.len(), read.unknown), (1, 0));
        (entry.node.as_str(), read.records[0].clone())
    });
    let came = || Record::Came {
        about: "1.0 name".to_owned(),
    };
    let gone = |node: &str| Record::Gone {
        node: node.to_owned(),
    };
    let expected = [
        ("a", came()),
        ("b", came()),
        ("b", gone("a")),
        ("b", gone("b")),
        ("c", came()),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    thread::sleep(Duration::from_millis(50));
    assert!(
        beat(connection, "c", 20).left.is_empty(),
        "that was long ago"
    );

    // The engine was away: nobody could give a sign.
    for field in ["last", "seen:a"] {
        let command = ["HSET", "{test:0}nodes", field, "1"].map(str::as_bytes);
        connection.call(&command).unwrap();
    }
    let both = beat(connection, "c", 10_000).nodes;
    assert!(both.iter().any(|sign| sign.node == "a"), "{both:?}");
    thread::sleep(Duration::from_millis(50));
    assert_eq!(
        beat(connection, "c", 20).nodes.len(),
        1,
        "a is silent still"
    );

    connection.call(&[b"FLUSHALL"]).unwrap();
    assert!(!beat(connection, "c", 10_000).is_open);
}
