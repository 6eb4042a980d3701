//! `hubcast probe`: one line and an exit code, for relays that work and those
//! that do not.

use std::process::Command;

use crate::support::{deadline, server};

/// What a probe prints, and its exit code.
fn probe(args: &[&str]) -> (String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_hubcast"))
        .arg("probe")
        .args(args)
        .env("HUBCAST_LISTEN", "0.0.0.0:8080")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        String::from_utf8(text).unwrap(),
        output.status.code().unwrap(),
    )
}

#[test]
fn a_relay_that_works_is_told_in_one_line() {
    for echo in [true, false] {
        let server = server(|config| config.echo = echo);
        let url = format!("ws://{}/probe", server.local_addr());
        // For so long it waits for echoes that do not come.
        let timeout = format!("--timeout={}ms", deadline().as_millis() / 20);
        let (line, code) = probe(&[&url, "-c3", "-n20", "--rate=2000", &timeout]);
        assert_eq!(code, 0, "{line}");
        let received = if echo {
            "received=60/60"
        } else {
            "received=40/40"
        };
        let start = format!("clients=3 messages=20 {received} lost=0 in order p50=");
        assert!(line.starts_with(&start) && line.ends_with("ms\n"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
}

#[test]
fn a_health_check_needs_no_other_program() {
    let server = server(|_| {});
    let url = format!("http://{}", server.local_addr());
    let (line, code) = probe(&[&format!("{url}/-/healthz")]);
    assert_eq!((line, code), (format!("{url}/-/healthz: 200\n"), 0));
    let (line, code) = probe(&[&format!("{url}/-/none?token=secret")]);
    assert_eq!((line, code), (format!("hubcast: {url}/-/none: 404\n"), 1));
}

#[test]
fn what_does_not_work_is_said_with_its_code() {
    let server = server(|config| config.token = Some("a token that is long enough".into()));
    let url = format!("ws://{}/", server.local_addr());
    let (line, code) = probe(&[&url]);
    assert_eq!(
        (line, code),
        (format!("hubcast: {url}: 401, no WebSocket\n"), 1)
    );
    // A server that takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let (line, code) = probe(&[&url, "--timeout=200ms"]);
    assert_eq!(
        (line, code),
        (format!("hubcast: {url}: no answer in time\n"), 1)
    );
    for url in ["https://127.0.0.1/", "127.0.0.1:8080"] {
        let (line, code) = probe(&[url]);
        assert!(code == 2 && line.contains("ws://"), "{code} {line}");
    }
    let (line, code) = probe(&[]);
    assert!(code == 2 && line.contains("hubcast probe <URL>"), "{line}");
}
