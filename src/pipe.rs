//! Standard input and output as doors to a room.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use hubcast::{Handle, Message, Subscription};

/// A line longer than this is broadcast in pieces.
const MAX_LINE: u64 = 64 * 1024;

/// Broadcasts each line of standard input, on a thread of its own. The end
/// of input leaves the server running, or shuts it down.
pub(crate) fn broadcast_stdin(handle: Handle, room: String, exit: bool) -> io::Result<()> {
    let pump = move || {
        if let Err(error) = broadcast_lines(&handle, &room, io::stdin().lock()) {
            log::warn!("standard input: {error}");
        }
        log::info!("standard input has ended");
        if exit {
            handle.shutdown();
        }
    };
    thread::Builder::new()
        .name("hubcast-stdin".to_owned())
        .spawn(pump)?;
    Ok(())
}

fn broadcast_lines(handle: &Handle, room: &str, mut input: impl BufRead) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut piece = io::Read::take(&mut input, MAX_LINE);
        if piece.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        match handle.broadcast(room, text) {
            Ok(()) => {}
            Err(error) if error.is_stopped() => return Ok(()),
            Err(error) => log::warn!("a line of standard input is lost: {error}"),
        }
    }
}

/// Prints what a room receives, on a thread of its own. What is returned ends
/// when all is printed, once the server has ended.
pub(crate) fn print_to_stdout(subscription: Subscription) -> io::Result<Receiver<()>> {
    let (printing, printed) = channel();
    let pump = move || {
        let _printing: Sender<()> = printing;
        if let Err(error) = print_messages(subscription, io::stdout()) {
            log::warn!("standard output: {error}");
        }
    };
    thread::Builder::new()
        .name("hubcast-stdout".to_owned())
        .spawn(pump)?;
    Ok(printed)
}

fn print_messages(mut messages: Subscription, mut output: impl Write) -> io::Result<()> {
    let mut missed = 0;
    while let Some(message) = messages.next() {
        if messages.missed() > missed {
            missed = messages.missed();
            log::warn!("standard output is too slow: {missed} messages missed so far");
        }
        writeln!(output, "{}", printable(&message))?;
    }
    Ok(())
}

/// One line, whatever the message holds: a terminal is not to obey it.
fn printable(message: &Message) -> String {
    let Some(text) = message.as_text() else {
        return format!("[binary, {} bytes]", message.len());
    };
    let mut line = String::with_capacity(text.len());
    for c in text.strip_suffix('\n').unwrap_or(text).chars() {
        if c.is_control() && c != '\t' {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use hubcast::Server;

    #[test]
    fn lines_become_messages() {
        let running = Server::bind("127.0.0.1:0").unwrap().spawn().unwrap();
        let handle = running.handle();
        let mut log = handle.subscribe("log").unwrap();
        broadcast_lines(&handle, "log", &b"one\ntwo\r\n\nlast \xff"[..]).unwrap();
        for text in ["one", "two", "", "last \u{fffd}"] {
            assert_eq!(log.next(), Some(Message::from(text)));
        }
    }

    #[test]
    fn control_characters_are_printed_escaped() {
        let message = Message::from("a\tb\u{1b}[2J\nc\n");
        assert_eq!(printable(&message), "a\tb\\u{1b}[2J\\nc");
        assert_eq!(printable(&Message::from(vec![1, 2])), "[binary, 2 bytes]");
    }
}
