//! Standard input and output as doors to a room.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use hubcast::{Handle, Message, Subscription};

/// A line longer than this is broadcast in pieces.
const MAX_LINE: usize = 64 * 1024;

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
    let mut begun = false;
    loop {
        let space = (MAX_LINE - line.len()) as u64;
        io::Read::take(&mut input, space).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let ended = line.ends_with(b"\n") || line.len() < MAX_LINE;
        let rest = match ended {
            true => Vec::new(),
            false => line.split_off(whole(&line)),
        };
        let text = String::from_utf8_lossy(&line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        // If the last piece of a long line is empty, it is not sent.
        let sent = match begun && text.is_empty() {
            true => Ok(()),
            false => handle.broadcast(room, text),
        };
        begun = !ended;
        line = rest;
        match sent {
            Ok(()) => {}
            Err(error) if error.is_stopped() => return Ok(()),
            Err(error) => log::warn!("a line of standard input is lost: {error}"),
        }
    }
}

/// How many bytes of an incomplete line to send as a piece, so that neither a
/// character nor a line end is torn.
fn whole(line: &[u8]) -> usize {
    let from_end = |n: usize| line.len().checked_sub(n).map(|at| line[at]);
    for n in 1..=3 {
        let length = match from_end(n) {
            Some(0x80..0xc0) => continue,
            Some(b'\r' | 0xc0..0xe0) => 2,
            Some(0xe0..0xf0) => 3,
            Some(0xf0..) => 4,
            _ => 1,
        };
        return line.len() - if n < length { n } else { 0 };
    }
    line.len()
}

/// Prints what a room receives, on a thread of its own. The channel that is
/// returned disconnects once the server has ended and everything was printed.
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

/// A message as one line, escaped so that it cannot steer a terminal.
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
