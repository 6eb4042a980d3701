//! Standard input and output of the program as doors to a room.

use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdout;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::kit::frame::Opcode;
use crate::support::{Program, Raw, deadline};

/// The longest line that is one message.
const MAX_LINE: usize = 64 * 1024;

/// Joins a room of the program and waits until it is in.
fn member(program: &mut Program, room: &str) -> Raw {
    let raw = Raw::open(program.address, room);
    program.expect_log("joined");
    raw
}

#[track_caller]
fn text(member: &mut Raw) -> String {
    let frame = member.data();
    assert_eq!(frame.opcode, Opcode::Text, "{frame:?}");
    String::from_utf8(frame.payload).unwrap()
}

/// The lines that the program prints.
fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

#[track_caller]
fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(deadline()).expect("a line")
}

#[test]
fn lines_of_standard_input_are_messages_and_its_end_ends_nothing() {
    let (mut program, mut input, _output) = Program::start_piped(&["--stdin=log"]);
    let mut members = [(); 2].map(|()| member(&mut program, "/log"));
    let mut other = member(&mut program, "/");
    input
        .write_all("one\ntwo \u{1f389}\r\n\n\tthree\n".as_bytes())
        .unwrap();
    for member in &mut members {
        for line in ["one", "two \u{1f389}", "", "\tthree"] {
            assert_eq!(text(member), line);
        }
    }
    // Line by line, as it comes.
    input.write_all(b"fo").unwrap();
    input.write_all(b"ur\nwithout an end").unwrap();
    assert_eq!(text(&mut members[0]), "four");
    drop(input);
    assert_eq!(text(&mut members[0]), "without an end");
    program.expect_log("standard input has ended");
    other.send(Opcode::Text, b"the first here");
    assert_eq!(other.data().payload, b"the first here");
    members[0].send(Opcode::Text, b"still open");
    assert_eq!(text(&mut members[0]), "still open");
}

#[test]
fn the_end_of_standard_input_ends_the_server_in_order_where_that_is_wanted() {
    let args = ["--stdin=/log", "--exit-on-eof"];
    let (mut program, mut input, _output) = Program::start_piped(&args);
    let mut client = member(&mut program, "/log");
    for number in 0..1000 {
        writeln!(input, "line {number}").unwrap();
    }
    drop(input);
    for number in 0..1000 {
        assert_eq!(text(&mut client), format!("line {number}"));
    }
    let close = client.data();
    assert_eq!(close.close_code(), Some(1001));
    client.send(Opcode::Close, &close.payload);
    client.expect_end();
    drop(client);
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn standard_input_that_is_open_does_not_hold_up_the_end() {
    let (mut program, input, _output) = Program::start_piped(&["--stdin=/", "--exit-on-eof"]);
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(0));
    drop(input);
}

#[test]
fn the_end_of_standard_input_needs_a_room() {
    let output = Program::command(&["--exit-on-eof"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn standard_output_prints_one_line_for_each_message_escaped() {
    let (mut program, mut input, output) = Program::start_piped(&["--stdin=/", "--stdout=/"]);
    let lines = lines_of(output);
    let mut client = member(&mut program, "/");
    for (message, line) in [
        ("hello \u{1f389}", "hello \u{1f389}"),
        ("", ""),
        ("with an end\n", "with an end"),
        ("two\nlines\r\n", "two\\nlines\\r"),
        (
            "\u{1b}[2J\u{7}\u{9b}\0\u{7f}\ttab",
            "\\u{1b}[2J\\u{7}\\u{9b}\\u{0}\\u{7f}\ttab",
        ),
    ] {
        client.send(Opcode::Text, message.as_bytes());
        assert_eq!(next(&lines), line);
    }
    client.send(Opcode::Binary, &[0, 1, 2]);
    assert_eq!(next(&lines), "[binary, 3 bytes]");
    // What is not UTF-8 is still a line, and so is what came from here.
    input.write_all(b"from \xff here\x1b\n").unwrap();
    assert_eq!(next(&lines), "from \u{fffd} here\\u{1b}");
    let mut other = member(&mut program, "/other");
    other.send(Opcode::Text, b"not printed");
    assert_eq!(text(&mut other), "not printed");
    client.send(Opcode::Text, b"the last");
    assert_eq!(next(&lines), "the last");
}

#[test]
fn a_terminal_that_is_gone_ends_no_server() {
    let (mut program, _input, output) = Program::start_piped(&["--stdout=/"]);
    drop(output);
    let mut client = member(&mut program, "/");
    // A process that is just being started by another test may hold the
    // other end for a moment: so more than once.
    for _ in 0..100 {
        client.send(Opcode::Text, b"nobody reads this there");
        assert_eq!(text(&mut client), "nobody reads this there");
        thread::sleep(Duration::from_millis(5)); // its pace
    }
    let line = program.expect_log("standard output");
    assert!(line.contains("WARN"), "{line}");
    client.send(Opcode::Text, b"still here");
    assert_eq!(text(&mut client), "still here");
}

#[test]
fn a_terminal_that_stalls_holds_up_nobody_and_learns_what_it_missed() {
    const SENT: usize = 400; // 25 MiB, of which 16 wait
    let (mut program, _input, output) = Program::start_piped(&["--stdout=/"]);
    let mut client = member(&mut program, "/");
    let message = vec![b'x'; MAX_LINE];
    for _ in 0..SENT {
        client.send(Opcode::Text, &message);
        assert_eq!(client.data().payload.len(), MAX_LINE);
    }
    let lines = lines_of(output);
    let mut printed = 0;
    let gap = loop {
        let line = next(&lines);
        match line.strip_prefix('[') {
            Some(gap) => break gap.split(' ').next().unwrap().to_owned(),
            None => assert!(line.as_bytes() == message),
        }
        printed += 1;
    };
    // In its place: behind all that was kept, before what comes now.
    assert!(printed > 200);
    assert_eq!(printed + gap.parse::<usize>().unwrap(), SENT);
    client.send(Opcode::Text, b"behind the gap");
    assert_eq!(next(&lines), "behind the gap");
    let line = program.expect_log("standard output is too slow");
    assert!(line.contains("messages were missed"), "{line}");
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn a_burst_of_short_lines_is_printed_whole() {
    const LINES: usize = 60_000;
    let args = ["--stdin=/", "--exit-on-eof", "--stdout=/"];
    let (mut program, mut input, output) = Program::start_piped(&args);
    let text: String = (0..LINES).map(|n| format!("line {n}\n")).collect();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    // Nothing was read so far, and there was room for it.
    let lines = lines_of(output);
    for number in 0..LINES {
        assert_eq!(next(&lines), format!("line {number}"));
    }
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn lines_longer_than_a_message_come_in_pieces_and_none_is_lost() {
    let args = ["--stdin=/", "--max-message-size=1KiB", "--stdout=/", "-E"];
    let (mut program, mut input, output) = Program::start_piped(&args);
    let line = "x".repeat(1100);
    for _ in 0..2000 {
        writeln!(input, "{line}").unwrap();
    }
    drop(input);
    let lines = lines_of(output);
    for _ in 0..2000 {
        assert_eq!((next(&lines).len(), next(&lines).len()), (1024, 76));
    }
    assert_eq!(program.wait().code(), Some(0));
    let log = program.whole_log();
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn all_that_came_before_the_end_is_printed() {
    for _ in 0..5 {
        let args = ["--stdin=/", "--exit-on-eof", "--stdout=/"];
        let (mut program, mut input, output) = Program::start_piped(&args);
        let lines = lines_of(output);
        for number in 0..500 {
            writeln!(input, "line {number}").unwrap();
        }
        drop(input);
        assert_eq!(program.wait().code(), Some(0));
        for number in 0..500 {
            assert_eq!(next(&lines), format!("line {number}"));
        }
    }
}

/// Sends this line and another and returns the messages before the other.
fn pieces_of(line: &str) -> Vec<String> {
    let (mut program, mut input, _output) = Program::start_piped(&["--stdin=/"]);
    let mut client = member(&mut program, "/");
    writeln!(input, "{line}\nthe next").unwrap();
    let mut pieces = Vec::new();
    loop {
        match text(&mut client) {
            last if last == "the next" => return pieces,
            piece => pieces.push(piece),
        }
    }
}

#[test]
fn a_long_line_comes_in_pieces() {
    let line = "0123456789".repeat(20_000);
    let pieces = pieces_of(&line);
    assert_eq!(pieces.len(), line.len().div_ceil(MAX_LINE));
    assert!(pieces.concat() == line);
}

#[test]
fn the_pieces_of_a_line_end_between_characters() {
    for begun in 0..4 {
        let line = "x".repeat(begun) + &"\u{1f389}".repeat(40_000);
        let pieces = pieces_of(&line);
        assert_eq!(pieces.len(), line.len().div_ceil(MAX_LINE));
        assert!(pieces.concat() == line, "{begun}");
    }
}

#[test]
fn a_line_as_long_as_may_be_is_one_message() {
    for line in ["x".repeat(MAX_LINE), "x".repeat(MAX_LINE - 1)] {
        let pieces = pieces_of(&line);
        assert_eq!(pieces.len(), 1, "{:?}", pieces.get(1));
        assert!(pieces[0] == line);
    }
    let within = "x".repeat(MAX_LINE - 1) + "\r" + "y";
    assert!(pieces_of(&within).concat() == within, "nothing is lost");
}

#[test]
fn one_pipe_feeds_many_rooms_and_prints_many() {
    let args = [
        "--stdin-rooms",
        "--stdout=/a,b",
        "--stdout-format=rooms",
        "-E",
    ];
    let (mut program, mut input, output) = Program::start_piped(&args);
    let lines = lines_of(output);
    let mut a = member(&mut program, "/a");
    let mut b = member(&mut program, "/b");
    input.write_all(b"/a\tto a\nto nobody\n/b\tto b\n").unwrap();
    assert_eq!(text(&mut a), "to a");
    assert_eq!(text(&mut b), "to b");
    program.expect_log("a line must be /ROOM, a tab, and the text");
    b.send(Opcode::Text, b"from b");
    let mut printed: Vec<String> = (0..3).map(|_| next(&lines)).collect();
    printed.sort();
    assert_eq!(printed, ["/a\tto a", "/b\tfrom b", "/b\tto b"]);
    drop(input);
    assert_eq!(a.data().close_code(), Some(1001));
}

#[test]
fn what_a_room_receives_is_printed_as_json_for_programs() {
    let args = [
        "--stdin=/a",
        "--stdout=/a",
        "--stdout-format=ndjson",
        "--history=5",
    ];
    let (mut program, mut input, output) = Program::start_piped(&args);
    let lines = lines_of(output);
    let mut a = member(&mut program, "/a");
    input.write_all(b"\"quoted\"\n").unwrap();
    assert_eq!(text(&mut a), "\"quoted\"");
    a.send(Opcode::Binary, &[0, 255]);
    let line = next(&lines);
    assert!(
        line.starts_with("{\"at\":1") && line.contains("\"position\":\""),
        "{line}"
    );
    assert!(line.ends_with(",\"text\":\"\\\"quoted\\\"\"}"), "{line}");
    let line = next(&lines);
    assert!(line.ends_with(",\"base64\":\"AP8=\"}"), "{line}");
}
