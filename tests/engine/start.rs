//! What is wrong with the engine at the start is one clear line, and the end.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::kit::wait::wait_for;
use crate::redis::{Keeps, Redis};
use crate::rig::{Node, deadline, eventually, program};

/// Starts the program, which must end with 1 and one line.
#[track_caller]
pub fn ends(options: &[&str], expected: &[&str]) {
    ends_with(1, options, expected);
}

/// Starts the program, which must end with this code and one line.
#[track_caller]
pub fn ends_with(code: i32, options: &[&str], expected: &[&str]) {
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0"]).args(options);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let poll = Duration::from_millis(5);
    let ended = wait_for(deadline(), poll, || child.try_wait());
    if ended.unwrap().is_none() {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    for part in expected {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert!(!said.contains("hush"), "no password is shown: {said}");
}

#[test]
#[ignore = "make test-engine runs it"]
fn a_password_is_wanted() {
    let redis = Redis::start_with(Keeps::Nothing, &["--requirepass", "s3cret"]);
    let port = redis.port;
    ends(&["--engine", &redis.url()], &["password", "NOAUTH"]);
    let wrong = format!("redis://:hush@127.0.0.1:{port}");
    ends(&["--engine", &wrong], &["password", "WRONGPASS"]);
    Node::launch(&format!("redis://:s3cret@127.0.0.1:{port}"), &[]).await_ready();
}

#[test]
#[ignore = "make test-engine runs it"]
fn a_right_is_missing() {
    let redis = Redis::start(Keeps::Nothing);
    let rights = [
        "ACL", "SETUSER", "ann", "on", ">pw", "~*", "+@all", "-eval", "-evalsha",
    ];
    redis.cli(&rights);
    let url = format!("redis://ann:pw@127.0.0.1:{}", redis.port);
    ends(&["--engine", &url], &["does not permit", "EVAL"]);
}

#[test]
#[ignore = "make test-engine runs it"]
fn a_newer_layout() {
    let redis = Redis::start(Keeps::Nothing);
    redis.cli(&["HSET", "{hubcast:0}meta", "layout", "9"]);
    ends(
        &["--engine", &redis.url()],
        &["newer version", "layout 9", "layout 1"],
    );
}

/// A server that answers everything with the same bytes, for ever.
fn fake(answer: &'static [u8], is_endless: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut request = [0; 4096];
                while stream.read(&mut request).is_ok_and(|read| read > 0) {
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                    let more = [b'x'; 65536];
                    while is_endless && stream.write_all(&more).is_ok() {}
                }
            });
        }
    });
    format!("redis://{address}")
}

#[test]
#[ignore = "make test-engine runs it"]
fn an_old_version() {
    let info = b"$50\r\nredis_version:6.0.16\r\nrun_id:abc\r\nrole:master\r\n   \r\n";
    ends(&["--engine", &fake(info, false)], &["6.0.16", "6.2"]);
}

/// What is no engine is waited for: it may be one later. The line says what it
/// is, nothing panics, and memory is bounded.
#[test]
#[ignore = "make test-engine runs it"]
fn what_is_no_engine() {
    for (engine, expected) in [
        (
            fake(b"HTTP/1.1 400 Bad Request\r\n\r\n", false),
            "HTTP/1.1 400",
        ),
        (
            fake(b"\x15\x03\x01\x00\x02\x02\x46", false),
            "does not speak",
        ),
        (fake(b"$1073741824\r\n", true), "larger than"),
        (fake(b"$60000000\r\n", true), "the engine"),
        ("redis://127.0.0.1:1".to_owned(), "cannot connect"),
    ] {
        let node = Node::launch(&engine, &[]);
        eventually("the log says what is there", || {
            node.log().contains(expected)
        });
        assert_eq!(node.get("/-/healthz").status, 200);
        assert_eq!(node.get("/-/readyz").status, 503);
        assert!(node.resident() < 300 << 20, "{engine}: {}", node.resident());
        let log = node.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
#[ignore = "make test-engine runs it"]
fn an_engine_that_is_required() {
    let begun = std::time::Instant::now();
    let output = program()
        .args(["--listen", "127.0.0.1:0", "--engine", "redis://127.0.0.1:1"])
        .arg("--engine-required")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("cannot connect to the engine at 127.0.0.1:1"),
        "{said}"
    );
    assert!(begun.elapsed().as_secs() >= 9);
}
