//! Standard input and output as doors to a room.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crossbeam_channel::{Receiver, Sender, bounded};
use hubcast::{Handle, Message, Position, Reception, Subscription};
use rustix::event::{PollFd, PollFlags, poll};

use crate::background;
use crate::json::quoted;
use crate::values::Format;

/// A line longer than this is broadcast in pieces.
const MAX_LINE: usize = 64 * 1024;
/// The shortest time between two log lines about lost messages.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Broadcasts each line of standard input, on a thread of its own; a line longer
/// than a message may be, in pieces. Without a room, each line names its own. The
/// end of input leaves the server running,
/// or shuts it down.
pub(crate) fn broadcast_stdin(
    handle: Handle,
    room: Option<String>,
    max_message_size: usize,
    exit: bool,
) -> io::Result<()> {
    let pump = move || {
        let input = BufReader::new(Patient(io::stdin()));
        let mut lines = Lines::new(&handle, room, max_message_size);
        if let Err(error) = lines.broadcast(input) {
            log::warn!("standard input: {error}");
        }
        lines.lost.log_rest();
        log::info!("standard input has ended");
        if exit {
            handle.shutdown();
        }
    };
    background::start("hubcast-stdin", Box::new(pump))
}

/// Broadcasts lines in a room, or each in the room that it names.
#[derive(Debug)]
struct Lines<'a> {
    handle: &'a Handle,
    /// The room, that of the line at hand; none while that has named none.
    room: Option<String>,
    name_rooms: bool,
    /// The longest piece, in bytes.
    max_piece: usize,
    lost: Losses,
}

impl<'a> Lines<'a> {
    fn new(handle: &'a Handle, room: Option<String>, max_message_size: usize) -> Lines<'a> {
        Lines {
            handle,
            name_rooms: room.is_none(),
            room,
            max_piece: max_message_size.min(MAX_LINE),
            lost: Losses::new("a line of standard input, or a piece of one, was lost"),
        }
    }

    /// Broadcasts lines until the input or the server ends.
    fn broadcast(&mut self, mut input: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        let mut begun = false;
        loop {
            let space = (MAX_LINE - line.len()) as u64;
            Read::take(&mut input, space).read_until(b'\n', &mut line)?;
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
            let mut text = text.strip_suffix('\r').unwrap_or(text);
            if self.name_rooms && !begun {
                text = self.take_room(text);
            }
            // If the last piece of a long line is empty, it is not sent.
            let is_done = begun && text.is_empty();
            if !is_done && !self.publish(text) {
                return Ok(());
            }
            begun = !ended;
            line = rest;
        }
    }

    /// Takes the room from the beginning of a line; returns the text. A line that
    /// names none is lost as a whole.
    fn take_room<'t>(&mut self, line: &'t str) -> &'t str {
        let named = line
            .split_once('\t')
            .filter(|(room, _)| room.starts_with('/'));
        let (room, text) = named.unwrap_or_default();
        self.room = match hubcast::check_room(room) {
            Ok(()) => Some(room.to_owned()),
            Err(_) if named.is_none() => {
                self.lost
                    .add(1, "a line must be /ROOM, a tab, and the text");
                None
            }
            Err(error) => {
                self.lost.add(1, &error.to_string());
                None
            }
        };
        text
    }

    /// Broadcasts a text in as many pieces as it takes; false once the server
    /// has stopped.
    fn publish(&mut self, text: &str) -> bool {
        let Some(room) = &self.room else {
            return true;
        };
        let mut rest = text;
        loop {
            let (piece, behind) = rest.split_at(piece_of(rest, self.max_piece));
            match self.handle.broadcast(room, piece) {
                Ok(()) => {}
                Err(error) if error.is_stopped() => return false,
                Err(error) => self.lost.add(1, &error.to_string()),
            }
            rest = behind;
            if rest.is_empty() {
                return true;
            }
        }
    }
}

/// How many bytes of a text make a piece of at most `max_piece` bytes. A wider
/// character is a piece by itself.
fn piece_of(text: &str, max_piece: usize) -> usize {
    if text.len() <= max_piece {
        return text.len();
    }
    let fitting = (1..=max_piece).rev().find(|&at| text.is_char_boundary(at));
    fitting.unwrap_or_else(|| text.chars().next().map_or(0, char::len_utf8))
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
pub(crate) fn print_to_stdout(
    subscription: Subscription,
    printer: Printer,
) -> io::Result<Receiver<()>> {
    let (printing, printed) = bounded(0);
    let pump = move || {
        let _printing: Sender<()> = printing;
        if let Err(error) = printer.print(subscription, Patient(io::stdout())) {
            log::warn!("standard output: {error}");
        }
    };
    background::start("hubcast-stdout", Box::new(pump))?;
    Ok(printed)
}

/// Prints a line for each message of a room, and one where messages are missing.
#[derive(Debug)]
pub(crate) struct Printer {
    room: String,
    format: Format,
}

/// Held while a line is printed: of several rooms, each has a thread.
static PRINTING: Mutex<()> = Mutex::new(());

impl Printer {
    pub(crate) fn new(room: &str, format: Format) -> Printer {
        let slash = if room.starts_with('/') { "" } else { "/" };
        Printer {
            room: format!("{slash}{room}"),
            format,
        }
    }

    fn print(&self, mut messages: Subscription, mut output: impl Write) -> io::Result<()> {
        let mut lost = Losses::new("standard output is too slow: messages were missed");
        let mut last = messages.position();
        while let Some(reception) = messages.next_or_gap() {
            // A message outside of the log leaves the position as it was.
            let position = messages.position().filter(|at| Some(*at) != last);
            last = messages.position();
            let mut line = match reception {
                Reception::Message(message) => self.message(&message, position),
                Reception::Gap(missed) => {
                    lost.add(missed, "a line says where");
                    self.gap(missed)
                }
                _ => continue,
            };
            line.push('\n');
            let _turn = PRINTING.lock().unwrap_or_else(PoisonError::into_inner);
            output.write_all(line.as_bytes())?;
        }
        lost.log_rest();
        Ok(())
    }

    fn message(&self, message: &Message, position: Option<Position>) -> String {
        if self.format != Format::Ndjson {
            return self.line(&message.to_line());
        }
        let position = position.map(|at| format!("\"position\":\"{at}\","));
        let content = match message.as_text() {
            Some(text) => format!("\"text\":{}", quoted(text)),
            None => format!("\"base64\":\"{}\"", BASE64.encode(message.as_bytes())),
        };
        self.object(&(position.unwrap_or_default() + &content))
    }

    fn gap(&self, missed: u64) -> String {
        match self.format {
            Format::Ndjson => self.object(&format!("\"missed\":{missed}")),
            _ => self.line(&format!(
                "[{missed} messages missed: this output was not read]"
            )),
        }
    }

    fn line(&self, text: &str) -> String {
        match self.format {
            Format::Rooms => format!("{}\t{text}", self.room),
            _ => text.to_owned(),
        }
    }

    fn object(&self, members: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_millis();
        format!("{{\"at\":{now},\"room\":{},{members}}}", quoted(&self.room))
    }
}

/// Counts lost messages, and logs them at most once in `LOG_PAUSE`.
#[derive(Debug)]
struct Losses {
    what: &'static str,
    count: u64,
    logged: u64,
    last: Option<Instant>,
}

impl Losses {
    fn new(what: &'static str) -> Losses {
        Losses {
            what,
            count: 0,
            logged: 0,
            last: None,
        }
    }

    fn add(&mut self, lost: u64, why: &str) {
        self.count += lost;
        if self.last.is_none_or(|last| last.elapsed() >= LOG_PAUSE) {
            log::warn!("{} ({} so far): {why}", self.what, self.count);
            self.last = Some(Instant::now());
            self.logged = self.count;
        }
    }

    /// Logs how many were lost since the last line.
    fn log_rest(&mut self) {
        if self.count > self.logged {
            log::warn!("{} ({} in all)", self.what, self.count);
            self.logged = self.count;
        }
    }
}

/// A stream whose calls wait instead of failing with `WouldBlock`. Another
/// process that shares it may have made it non-blocking.
#[derive(Debug)]
struct Patient<F>(F);

impl<F: AsFd> Patient<F> {
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.0, flags)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl<F: AsFd> Read for Patient<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.0, &mut *buffer) {
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::IN)?,
                read => return Ok(read?),
            }
        }
    }
}

impl<F: AsFd> Write for Patient<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.0, bytes) {
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hubcast::{Running, Server};
    use std::os::unix::net::UnixStream;
    use std::thread;

    fn server(max_message_size: usize) -> Running {
        let server = Server::builder().configure(|c| c.max_message_size = max_message_size);
        server.bind("127.0.0.1:0").unwrap().spawn().unwrap()
    }

    /// The messages that this input becomes, and how many were lost.
    fn messages(max_message_size: usize, input: &[u8]) -> (Vec<String>, u64) {
        let running = server(max_message_size);
        let handle = running.handle();
        let room = handle.subscribe("log").unwrap();
        let mut lines = Lines::new(&handle, Some("log".to_owned()), max_message_size);
        lines.broadcast(input).unwrap();
        let lost = lines.lost.count;
        running.shutdown().unwrap();
        let texts = room.map(|message| message.as_text().unwrap().to_owned());
        (texts.collect(), lost)
    }

    #[test]
    fn lines_become_messages() {
        let (texts, lost) = messages(1000, b"one\ntwo\r\n\nlast \xff");
        assert_eq!(texts, ["one", "two", "", "last \u{fffd}"]);
        assert_eq!(lost, 0);
    }

    #[test]
    fn lines_may_name_their_rooms() {
        let running = server(1000);
        let handle = running.handle();
        let rooms = ["/a", "/b c"].map(|room| handle.subscribe(room).unwrap());
        let mut lines = Lines::new(&handle, None, 1000);
        let long = "x".repeat(MAX_LINE);
        let input = format!(
            "/a\tone\n/b c\t\ttwo\r\nno room\na\tno slash\n/-/x\toperators\n\n/a\t{long}\n{long}y\n/a\t"
        );
        lines.broadcast(input.as_bytes()).unwrap();
        assert_eq!(lines.lost.count, 5);
        running.shutdown().unwrap();
        let [a, b] = rooms.map(|room| {
            room.map(|message| message.as_text().unwrap().to_owned())
                .collect::<Vec<_>>()
        });
        assert_eq!(a.concat(), format!("one{long}"));
        assert_eq!(a.last().unwrap(), "");
        assert_eq!(b, ["\ttwo"]);
    }

    #[test]
    fn messages_are_printed_as_programs_want_them() {
        let text = Message::from("a\t\"b\"\n");
        let printer = |format| Printer::new("lobby", format);
        let rooms = printer(Format::Rooms);
        assert_eq!(rooms.message(&Message::from("hi"), None), "/lobby\thi");
        assert!(rooms.gap(7).starts_with("/lobby\t[7 messages missed"));
        let ndjson = printer(Format::Ndjson);
        let at = "k3f9x2qa-7".parse().unwrap();
        let line = ndjson.message(&text, Some(at));
        assert!(line.starts_with("{\"at\":1"), "{line}");
        let rest = ",\"room\":\"/lobby\",\"position\":\"k3f9x2qa-7\",\"text\":\"a\\u0009\\\"b\\\"\\u000a\"}";
        assert!(line.ends_with(rest), "{line}");
        let line = ndjson.message(&Message::from(vec![0xff, 0]), None);
        assert!(
            line.ends_with(",\"room\":\"/lobby\",\"base64\":\"/wA=\"}"),
            "{line}"
        );
        assert!(ndjson.gap(7).ends_with(",\"missed\":7}"));
    }

    #[test]
    fn a_line_that_is_longer_than_a_message_comes_in_pieces() {
        let line = "0123456789\u{1f389}".repeat(100);
        let (texts, lost) = messages(1000, format!("{line}\r\nnext\n").as_bytes());
        assert_eq!(texts.concat(), line + "next");
        assert_eq!((texts.len(), lost), (3, 0));
        assert!(texts[0].len() > 990);
        // What stands for bad bytes is wider than they are.
        let (texts, lost) = messages(10, &[0xff; 20]);
        assert_eq!((texts.concat(), lost), ("\u{fffd}".repeat(20), 0));
        // A character that is no message by itself is lost, and counted.
        let (texts, lost) = messages(3, "ab\u{1f389}cd\n".as_bytes());
        assert_eq!((texts.concat().as_str(), lost), ("abcd", 1));
    }

    #[test]
    fn losses_are_logged_once_in_a_while_and_counted() {
        let mut lost = Losses::new("lost");
        for _ in 0..1000 {
            lost.add(2, "why");
        }
        assert_eq!((lost.count, lost.logged), (2000, 2));
        lost.log_rest();
        assert_eq!(lost.logged, 2000);
    }

    #[test]
    fn a_stream_that_does_not_block_is_waited_for() {
        let (mine, theirs) = UnixStream::pair().unwrap();
        mine.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let bytes = vec![7; 1 << 20];
        let copy = bytes.clone();
        let writing = thread::spawn(move || Patient(mine).write_all(&copy));
        let mut read = Vec::new();
        Patient(theirs).read_to_end(&mut read).unwrap();
        writing.join().unwrap().unwrap();
        assert!(read == bytes);
    }
}
