//! The manners of a process: what it inherits, and what it does where nobody
//! reads what it prints.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};

use rustix::process::Signal;

use crate::kit::frame::{Opcode, masked};
use crate::support::{Program, Raw};

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

fn output_of(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Program::command(args);
    command.envs(variables.iter().copied());
    command.stdin(Stdio::null()).output().unwrap()
}

/// The program, run by a shell that does something first.
fn behind(first: &str, args: &[&str]) -> Command {
    let program = Program::command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{first}; exec \"$0\" \"$@\"")]);
    shell.arg(program.get_program()).args(program.get_args());
    shell.env("RUST_LOG", "info");
    shell
}

fn status_with_stderr(args: &[&str], stderr: impl Into<Stdio>) -> ExitStatus {
    let mut command = Program::command(args);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(stderr).status().unwrap()
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let mut program = Program::launch(behind("trap '' HUP INT", &[]));
    let mut client = Raw::open(program.address, "/");
    program.expect_log("joined");
    for signal in [Signal::HUP, Signal::INT] {
        program.signal(signal);
    }
    // Signals that came are handled before the process answers this.
    for _ in 0..20 {
        client.send_bytes(&masked(Opcode::Text, b"still here"));
        assert_eq!(client.data().payload, b"still here");
    }
    program.signal(Signal::TERM);
    assert_eq!(client.data().close_code(), Some(1001));
    drop(client);
    assert_eq!(program.wait().code(), Some(0));
    let log = program.whole_log();
    assert!(log.contains("signal received"), "{log}");
    assert!(!log.contains("SIGHUP received"), "{log}");
}

#[test]
fn each_of_three_signals_ends_the_server_in_order() {
    for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
        let mut program = Program::start(&[]);
        program.signal(signal);
        assert_eq!(program.wait().code(), Some(0), "{signal:?}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2_where_nobody_reads_why() {
    for args in [&["--bogus"][..], &["--read-buffer=3"], &["--token=a\tb"]] {
        let status = status_with_stderr(args, full());
        assert_eq!(status.code(), Some(2), "{args:?}");
        let closed = behind("exec 2>&-", args).status().unwrap();
        assert_eq!(closed.code(), Some(2), "{args:?}");
    }
}

#[test]
fn what_cannot_run_is_exit_code_1_where_nobody_reads_why() {
    let program = Program::start(&[]);
    let taken = format!("--listen={}", program.address);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hubcast"));
    let status = command.arg(taken).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_log_that_nobody_can_read_ends_no_server() {
    let to_the_end = ["--stdin=/", "--exit-on-eof"];
    assert_eq!(status_with_stderr(&to_the_end, full()).code(), Some(0));
    let mut command = Program::command(&to_the_end);
    command.env("RUST_LOG", "a=b=c").stdin(Stdio::null());
    assert_eq!(command.stderr(full()).status().unwrap().code(), Some(0));
    let closed = behind("exec <&- 2>&-", &to_the_end).status().unwrap();
    assert_eq!(closed.code(), Some(0));
}

#[test]
fn a_log_file_that_may_not_grow_ends_no_server() {
    let mut program = Program::launch(behind("ulimit -f 1", &["-vv"]));
    for _ in 0..20 {
        let mut client = Raw::open(program.address, "/");
        client.send_bytes(&masked(Opcode::Text, b"hello"));
        assert_eq!(client.data().payload, b"hello");
    }
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(0));
    assert!(program.whole_log().len() <= 1024, "more than the limit");
}

#[test]
fn help_that_is_read_in_part_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Program::command(&["--help"]);
    let output = command.stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let full = Program::command(&["--help"]).stdout(full()).output();
    let full = full.unwrap();
    assert_eq!((full.status.code(), full.stderr.len()), (Some(1), 0));
}

#[test]
fn empty_variables_and_switches_that_are_off_change_nothing() {
    let mut command = Program::command(&[]);
    for name in ["STDIN", "STDOUT", "MAX_CLIENTS", "TOKEN", "ADMIN_LISTEN"] {
        command.env(format!("HUBCAST_{name}"), "");
    }
    for (name, off) in [("EXIT_ON_EOF", "0"), ("NO_ADMIN", "no")] {
        command.env(format!("HUBCAST_{name}"), off);
    }
    let mut program = Program::launch(command);
    let mut client = Raw::open(program.address, "/");
    program.expect_log("joined");
    client.send_bytes(&masked(Opcode::Text, b"hello"));
    assert_eq!(client.data().payload, b"hello");
    drop(client);
    program.signal(Signal::TERM);
    let log = program.whole_log();
    assert!(!log.contains("standard input"), "{log}");
}

#[test]
fn an_error_names_the_variable() {
    for (name, value) in [
        ("HUBCAST_MAX_CLIENTS", "many"),
        ("HUBCAST_NO_ECHO", "maybe"),
        ("HUBCAST_READ_BUFFER", "3"),
        ("HUBCAST_ALLOW_ORIGIN", "example.org"),
        ("HUBCAST_TOKEN", " "),
        ("HUBCAST_STDOUT", "/-/metrics"),
        ("HUBCAST_SUBPROTOCOL", "hubcast.token.eA"),
        ("HUBCAST_MAX_MESSAGE_SIZE", "64GiB"),
        ("HUBCAST_TOKEN_FILE", "/no/such/file"),
        ("PORT", "http"),
    ] {
        // Not the tests' command: it says an address, which comes first.
        let mut command = Command::new(env!("CARGO_BIN_EXE_hubcast"));
        let output = command.env(name, value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(name), "{said}");
    }
}

/// A file of this test's own, with these permissions.
fn file(name: &str, bytes: &[u8], mode: u32) -> PathBuf {
    let name = format!("hubcast-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_token_file_that_everybody_can_read_is_remarked_on() {
    for (mode, is_remarked_on) in [(0o644, true), (0o640, false)] {
        let path = file("token", b"\xef\xbb\xbfs3cret\r\n", mode);
        let path = path.to_str().unwrap();
        let args = ["--token-file", path, "--stdin=/", "--exit-on-eof"];
        let output = output_of(&args, &[]);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{log}");
        let remark = "every user of this machine can read the token-file";
        assert_eq!(log.contains(remark), is_remarked_on, "{log}");
        assert!(!log.contains("s3cret"));
        fs::remove_file(path).unwrap();
    }
}
