//! `--explain`: what the options come to, and then it ends.

use std::net::TcpListener;
use std::process::Command;

/// What `--explain` says of these options, and the exit code.
fn explain(args: &[&str]) -> (String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_hubcast"))
        .arg("--explain")
        .args(args)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    (text, output.status.code().unwrap())
}

#[track_caller]
fn says(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            text.lines().any(|said| said.trim() == *line),
            "{line}\n{text}"
        );
    }
}

#[test]
fn the_memory_bound_is_that_of_the_guide() {
    let (text, code) = explain(&["--max-clients=100"]);
    assert_eq!(code, 0, "{text}");
    says(
        &text,
        &[
            "clients: at most 100 (as configured)",
            "the program       4 MiB",
            "reading       203.5 MiB  100 × (32 KiB + read-buffer 4 KiB + 2 × max-message-size 1 MiB)",
            "queues          300 MiB  100 × (queue-bytes + 2 × max-message-size)",
            "the hub          96 MiB  1280 × 64 KiB + 16 × max-message-size",
            "at most       603.5 MiB",
            "127.0.0.1:8080: this machine alone",
            "POST, PUT               nobody: --allow-publish is off",
        ],
    );
}

#[test]
fn doors_are_told_with_those_to_whom_they_open() {
    // That the port is taken is no reason not to explain.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    let token = "0123456789abcdef0123456789abcdef";
    let (text, code) = explain(&[
        &listen,
        "--listen=unix:/nowhere/hubcast.sock",
        &format!("--token={token}"),
        "--allow-publish",
        "--allow-origin=https://a.example",
        "--no-page",
        "--admin-token=ffffffffffffffffffffffffffffffff",
        "--slow-consumer=drop-oldest",
        "--history=5",
    ]);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains(token) && text.contains("history-total and 5 %"));
    says(
        &text,
        &[
            "unix:/nowhere/hubcast.sock: who may write to this file",
            "POST, PUT               who brings the token; of pages, those of the same host \
             and of https://a.example",
            "the chat page           nobody: --no-page",
            "all else of /-/         this machine, and who brings the admin token",
            "256 MiB that wait for all: its oldest messages are dropped",
        ],
    );
}

#[test]
fn what_would_not_start_is_not_explained() {
    let (text, code) = explain(&["--listen=0.0.0.0:0", "--allow-publish"]);
    assert!(
        code == 2 && text.contains("needs a publish-token"),
        "{code} {text}"
    );
    let (text, code) = explain(&["--queue-bytes=0"]);
    assert!(code == 2 && text.contains("queue-bytes"), "{code} {text}");
}
