//! A model of the reader: the commands that a client's bytes must cause,
//! however they are cut.
//!
//! The bytes go through a reader in several ways of cutting them. Each time
//! the commands that reach the hub must be those of a decoder that is written
//! here by hand, from RFC 6455 §5, for bytes that are all there at once.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::reader::Reader;
use super::service::Service;
use crate::close::{Cause, CloseCode, CloseFrame};
use crate::config::{Config, SlowConsumer};
use crate::doors::Doors;
use crate::embed::Client;
use crate::embed::Handle;
use crate::embed::Handler;
use crate::embed::Shared;
use crate::fuzzing::choices::Choices;
use crate::hub::ClientState;
use crate::hub::Publisher;
use crate::hub::{Audience, Command};
use crate::hub::{Commands, Inbox};
use crate::hub::{Place, Places};
use crate::names::ClientId;
use crate::net::Stop;
use crate::net::Stream;
use crate::outbox::OutboxRules;
use crate::outbox::fake::FakeWriters;
use crate::wire::Encoding;

/// The longest input. What one read brings must fit into the inbox, which
/// nobody empties meanwhile.
const MAX_INPUT: usize = 4096;

/// Runs the bytes through readers and through the model. Returns how much
/// memory that may take at once.
pub(crate) fn run(settings: u8, cuts: u64, bytes: &[u8]) -> usize {
    let bytes = &bytes[..bytes.len().min(MAX_INPUT)];
    with_ground(settings, |ground| {
        let expected = decode(bytes, &ground.service.shared.config);
        let mut choices = Choices::Seed(cuts);
        // Whole, as one read of the socket may bring it.
        ground.check(&expected, &mut [bytes].into_iter(), Way::Reads);
        let mut cut = Cut(bytes, || 1 + choices.below(20));
        ground.check(&expected, &mut cut, Way::Reads);
        let mut cut = Cut(bytes, || 1 + choices.below(200));
        ground.check(&expected, &mut cut, Way::Direct);
        if bytes.len() < 300 {
            ground.check(&expected, &mut bytes.chunks(1), Way::WithPauses);
        }
        // A message that is collected, with as much room again, one that is
        // inflated, the same, and one that is encoded; and copies of the input,
        // this model's too.
        5 * ground.service.shared.config.max_message_size + 16 * MAX_INPUT
    })
}

/// What a client's bytes have caused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// All frames that were published, joined.
    published: Vec<u8>,
    messages: u64,
    /// The Pong frames, joined.
    pongs: Vec<u8>,
    end: Ending,
}

#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// The stream ended within or between messages.
    Stream,
    /// The peer's Close frame came; this one is the answer.
    Closed {
        received: CloseFrame,
        reply: CloseFrame,
    },
    /// A rule was broken: the code of our Close, and the name of the cause.
    Failed(u16, &'static str),
}

/// How the pieces come to the reader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Each by a read into the buffer.
    Reads,
    /// The peer is silent for a moment behind each.
    WithPauses,
    /// Straight into the message, wherever one is open.
    Direct,
}

/// What a reader needs around it. There is no hub: the test reads the inbox.
struct Ground {
    service: Service,
    commands: Commands,
    /// A connection whose peer has gone: every read says so.
    ended: Stream,
}

/// Relays everything, as no handler does.
struct Hook;

impl Handler for Hook {}

/// Lets `act` use the surroundings for these settings. They are kept between
/// runs, because they are expensive.
fn with_ground<R>(settings: u8, act: impl FnOnce(&Ground) -> R) -> R {
    thread_local! {
        static GROUNDS: RefCell<Vec<Option<Rc<Ground>>>> = const { RefCell::new(Vec::new()) };
    }
    let place = usize::from(settings) % 64;
    let ground = GROUNDS.with_borrow_mut(|grounds| {
        grounds.resize(64, None);
        let ground = grounds[place].get_or_insert_with(|| Rc::new(Ground::new(place)));
        ground.clone()
    });
    act(&ground)
}

impl Ground {
    fn new(settings: usize) -> Ground {
        let config = Config {
            max_message_size: [1000, 1, 125, 70_000][settings % 4],
            max_fragments: [3, 1000][settings / 4 % 2],
            append_newline: settings & 8 != 0,
            echo: settings & 8 == 0,
            #[cfg(feature = "deflate")]
            deflate: settings & 32 != 0,
            ..Config::default()
        };
        let (inbox, commands) = Inbox::new();
        let outboxes = OutboxRules {
            max_messages: 1,
            max_bytes: 1,
            slow_consumer: SlowConsumer::Disconnect,
            writers: Box::new(FakeWriters::default()),
        };
        let publisher = Publisher::new(inbox.clone());
        #[cfg(feature = "deflate")]
        let publisher = publisher.with_deflate(
            deflates(&config).then(|| crate::wire::Deflate::new(256, 1, Arc::default())),
        );
        let shared = Arc::new(Shared {
            #[cfg(feature = "redis")]
            engine: None,
            config,
            publisher,
            inbox,
            stop: Stop::new().unwrap(),
            leaving: None,
            certificates: None,
            counters: Arc::default(),
        });
        let handle = Handle {
            shared: shared.clone(),
        };
        let service = Service {
            doors: Doors::new(handle, None, Places::unlimited()).unwrap(),
            shared,
            hooks: (settings & 16 != 0).then(|| Arc::new(Hook) as Arc<dyn Handler>),
            outboxes: Arc::new(outboxes),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ended = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        Ground {
            service,
            commands,
            ended: ended.into(),
        }
    }

    fn client(&self) -> Client {
        let peer = SocketAddr::from(([127, 0, 0, 1], 9)).into();
        let state = ClientState::new(ClientId(7), peer, "/room".into(), Place::anywhere(), None);
        Client {
            state: Arc::new(state),
            handle: self.service.handle(),
            attachment: None,
        }
    }

    /// How the client of these surroundings has agreed to be sent messages.
    #[cfg(feature = "deflate")]
    fn encoding(&self) -> Encoding {
        match deflates(&self.service.shared.config) {
            true => Encoding::Deflated,
            false => Encoding::Frames,
        }
    }

    #[cfg(not(feature = "deflate"))]
    fn encoding(&self) -> Encoding {
        Encoding::Frames
    }

    /// Runs a reader on these pieces, each as one read of the socket.
    fn check(&self, expected: &Heard, pieces: &mut dyn Iterator<Item = &[u8]>, way: Way) {
        let client = self.client();
        let mut heard = Heard {
            published: Vec::new(),
            messages: 0,
            pongs: Vec::new(),
            end: Ending::Stream,
        };
        let mut reader = Reader::new(&self.service, &client, &self.ended, self.encoding());
        let mut buffer = [MaybeUninit::uninit(); 256];
        let mut step = Ok(());
        for piece in pieces {
            step = match way {
                Way::Direct => hear_directly(&mut reader, piece),
                _ => reader.heard(&mut piece.to_vec()),
            };
            if step.is_ok() && way == Way::WithPauses {
                step = reader.silence(Duration::from_millis(1));
            }
            self.take_commands(&mut heard);
            if step.is_err() {
                break;
            }
        }
        if step.is_ok() {
            step = reader.step(&mut buffer);
        }
        let received = reader.conclude(step, &mut buffer);
        self.take_commands(&mut heard);
        let cause = client.state.cause.get().unwrap();
        match &mut heard.end {
            Ending::Stream => assert_eq!(*cause, Cause::EndOfStream),
            Ending::Closed { received: at, .. } => {
                assert_eq!(*cause, Cause::ClosedByPeer);
                *at = received.clone().unwrap();
            }
            Ending::Failed(_, name) => assert_eq!(cause.name(), *name),
        }
        let closed = matches!(heard.end, Ending::Closed { .. });
        assert_eq!(received.is_some(), closed);
        let received_messages = client.state.received_messages.load(Ordering::Relaxed);
        assert_eq!(received_messages, heard.messages);
        assert_eq!(heard, *expected);
    }

    /// Takes the commands that have reached the inbox.
    fn take_commands(&self, heard: &mut Heard) {
        for command in self.commands.receiver.try_iter() {
            assert_eq!(heard.end, Ending::Stream, "a command behind the end");
            match command {
                Command::Publish { to, forms, .. } => {
                    let burst = forms.frames;
                    let Audience::Room { room, except } = to else {
                        panic!("published to another audience: {to:?}");
                    };
                    assert_eq!(&*room, "/room");
                    let echo = self.service.shared.config.echo;
                    assert_eq!(except, (!echo).then_some(ClientId(7)));
                    assert_eq!(burst.frames().count(), burst.messages as usize);
                    heard.messages += u64::from(burst.messages);
                    heard.published.extend_from_slice(&burst.bytes);
                }
                Command::Pong { id, all, newest } => {
                    assert_eq!(id, ClientId(7));
                    assert!(all.ends_with(&newest));
                    assert_eq!(newest.len(), 2 + usize::from(newest[1]));
                    heard.pongs.extend_from_slice(&all);
                }
                Command::PeerClosed { id, reply } => {
                    assert_eq!(id, ClientId(7));
                    let received = CloseFrame::empty();
                    heard.end = Ending::Closed { received, reply };
                }
                Command::Close {
                    id,
                    frame,
                    cause,
                    finish,
                } => {
                    assert_eq!(id, ClientId(7));
                    assert!(finish, "who broke a rule is not waited for");
                    let code = frame.code.map_or(0, CloseCode::value);
                    heard.end = Ending::Failed(code, cause.name());
                }
                other => panic!("an unexpected command: {other:?}"),
            }
        }
    }
}

/// Brings a piece to the reader by as many reads as it takes.
fn hear_directly(reader: &mut Reader<'_>, mut piece: &[u8]) -> Result<(), super::end::End> {
    while !piece.is_empty() {
        let Some(room) = reader.decoder.room(1) else {
            return reader.heard(&mut piece.to_vec());
        };
        let (now, later) = piece.split_at(room.len().min(piece.len()));
        room[..now.len()].copy_from_slice(now);
        reader.heard_directly(now.len())?;
        piece = later;
    }
    Ok(())
}

/// Bytes in pieces of the lengths that a function gives.
struct Cut<'a, F>(&'a [u8], F);

impl<'a, F: FnMut() -> usize> Iterator for Cut<'a, F> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (piece, rest) = self.0.split_at((self.1)().min(self.0.len()));
        self.0 = rest;
        Some(piece)
    }
}

/// Decodes a whole stream after RFC 6455 §5, in the plainest way.
fn decode(bytes: &[u8], config: &Config) -> Heard {
    let mut heard = Heard {
        published: Vec::new(),
        messages: 0,
        pongs: Vec::new(),
        end: Ending::Stream,
    };
    let mut model = Model {
        config,
        open: None,
        fragments: 0,
        heard: &mut heard,
    };
    let mut rest = bytes;
    loop {
        match model.frame(rest) {
            Ok(Some(len)) => rest = &rest[len..],
            Ok(None) => return heard,
            Err(end) => {
                heard.end = end;
                return heard;
            }
        }
    }
}

struct Model<'a> {
    config: &'a Config,
    /// The message that was begun.
    open: Option<Begun>,
    /// The fragments of the newest message, complete or not.
    fragments: usize,
    heard: &'a mut Heard,
}

/// A message that was begun.
struct Begun {
    is_text: bool,
    is_compressed: bool,
    bytes: Vec<u8>,
}

fn broken_rule() -> Ending {
    Ending::Failed(1002, "protocol_error")
}

impl Model<'_> {
    /// Takes the first frame of `bytes`; returns its length, or `None` if it is
    /// incomplete.
    fn frame(&mut self, bytes: &[u8]) -> Result<Option<usize>, Ending> {
        let [first, second, ..] = *bytes else {
            return Ok(None);
        };
        let (fin, opcode, is_masked) = (first & 0x80 != 0, first & 0x0f, second & 0x80 != 0);
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let header = 2 + extended + if is_masked { 4 } else { 0 };
        if bytes.len() < header {
            return Ok(None);
        }
        let digits = bytes[2..2 + extended].iter();
        let len = match extended {
            0 => u64::from(second & 0x7f),
            _ => digits.fold(0, |n, digit| n << 8 | u64::from(*digit)),
        };
        let is_known = matches!(opcode, 0..=2 | 8..=10);
        let is_compressed = first & 0x40 != 0;
        let may_compress = deflates(self.config) && matches!(opcode, 1 | 2);
        let is_reserved = first & 0x30 != 0 || is_compressed && !may_compress;
        if !is_known || !is_masked || is_reserved || len > i64::MAX as u64 {
            return Err(broken_rule());
        }
        match opcode {
            0 if self.open.is_none() => return Err(broken_rule()),
            1 | 2 if self.open.is_some() => return Err(broken_rule()),
            8.. if !fin || len > 125 => return Err(broken_rule()),
            0 => self.fragments += 1,
            1 | 2 => {
                self.fragments = 1;
                self.open = Some(Begun {
                    is_text: opcode == 1,
                    is_compressed,
                    bytes: Vec::new(),
                });
            }
            _ => {}
        }
        if self.fragments > self.config.max_fragments {
            return Err(Ending::Failed(1008, "too_many_fragments"));
        }
        let begun = self.open.as_ref().map_or(0, |begun| begun.bytes.len());
        if opcode < 8 && len > (self.config.max_message_size - begun) as u64 {
            return Err(Ending::Failed(1009, "too_large"));
        }
        let end = header + len as usize;
        let mask = bytes[header - 4..header].iter().cycle();
        let payload = bytes[header..].iter().take(len as usize);
        let payload: Vec<u8> = payload.zip(mask).map(|(b, m)| b ^ m).collect();
        let is_whole = bytes.len() >= end;
        if opcode < 8 {
            self.data(fin && is_whole, payload)?;
        } else if is_whole {
            self.control(opcode, payload)?;
        }
        Ok(is_whole.then_some(end))
    }

    /// A piece of the open message, perhaps its last.
    fn data(&mut self, is_last: bool, payload: Vec<u8>) -> Result<(), Ending> {
        let Some(mut begun) = self.open.take() else {
            return Err(broken_rule());
        };
        begun.bytes.extend(payload);
        if begun.is_compressed {
            if !is_last {
                self.open = Some(begun);
                return Ok(());
            }
            begun.bytes = inflated(&begun.bytes, self.config.max_message_size)?;
        }
        let (is_text, mut message) = (begun.is_text, begun.bytes);
        let utf8 = std::str::from_utf8(&message);
        let cut_off = utf8.is_err_and(|error| error.error_len().is_none());
        if is_text && utf8.is_err() && (is_last || !cut_off) {
            return Err(Ending::Failed(1007, "invalid_utf8"));
        }
        if !is_last {
            self.open = Some(Begun {
                is_text,
                is_compressed: false,
                bytes: message,
            });
            return Ok(());
        }
        if is_text && self.config.append_newline {
            message.push(b'\n');
        }
        self.heard.messages += 1;
        let published = &mut self.heard.published;
        published.push(if is_text { 0x81 } else { 0x82 });
        match message.len() {
            len @ 0..126 => published.push(len as u8),
            len @ 126..65_536 => {
                published.push(126);
                published.extend((len as u16).to_be_bytes());
            }
            len => {
                published.push(127);
                published.extend((len as u64).to_be_bytes());
            }
        }
        published.extend(message);
        Ok(())
    }

    fn control(&mut self, opcode: u8, payload: Vec<u8>) -> Result<(), Ending> {
        match opcode {
            9 => {
                self.heard.pongs.extend([0x8a, payload.len() as u8]);
                self.heard.pongs.extend(payload);
                Ok(())
            }
            10 => Ok(()),
            _ => Err(close(&payload)),
        }
    }
}

#[cfg(feature = "deflate")]
fn deflates(config: &Config) -> bool {
    config.deflate
}

#[cfg(not(feature = "deflate"))]
fn deflates(_: &Config) -> bool {
    false
}

/// A compressed message as it was (RFC 7692 §7.2.2).
#[cfg(feature = "deflate")]
fn inflated(payload: &[u8], limit: usize) -> Result<Vec<u8>, Ending> {
    use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_with_limit};

    if payload.is_empty() {
        return Ok(Vec::new());
    }
    // An empty block, and a last one that is empty.
    let tail = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];
    match decompress_to_vec_with_limit(&[payload, &tail].concat(), limit + 1) {
        Ok(message) if message.len() <= limit => Ok(message),
        Err(error) if error.status != TINFLStatus::HasMoreOutput => {
            Err(Ending::Failed(1007, "invalid_deflate"))
        }
        _ => Err(Ending::Failed(1009, "too_large")),
    }
}

#[cfg(not(feature = "deflate"))]
fn inflated(_: &[u8], _: usize) -> Result<Vec<u8>, Ending> {
    Err(broken_rule())
}

/// What a Close frame with this payload means.
fn close(payload: &[u8]) -> Ending {
    let [high, low, reason @ ..] = payload else {
        let empty = CloseFrame::empty;
        return match payload {
            [] => Ending::Closed {
                received: empty(),
                reply: empty(),
            },
            _ => broken_rule(),
        };
    };
    let Some(code) = CloseCode::new(u16::from_be_bytes([*high, *low])) else {
        return broken_rule();
    };
    let Ok(reason) = std::str::from_utf8(reason) else {
        return Ending::Failed(1007, "invalid_utf8");
    };
    let received = CloseFrame::new(code, reason);
    Ending::Closed {
        reply: CloseFrame {
            reason: String::new(),
            ..received.clone()
        },
        received,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::panic::catch_unwind;
    use std::time::Instant;

    use super::*;

    /// Frames of a client, mostly right ones, often cut short.
    fn frames(choices: &mut Choices<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut is_open = false;
        for _ in 0..1 + choices.below(16) {
            let opcode = match choices.below(16) {
                0..10 if is_open => 0,
                0..7 => 1,
                7..10 => 2,
                10..13 => 9,
                13 => 10,
                14 => 8,
                _ => choices.below(256) as u8,
            };
            let fin = opcode > 7 || choices.below(2) == 0;
            is_open = if opcode < 3 { !fin } else { is_open };
            let text = "aé€😀".as_bytes();
            let payload = match choices.below(16) {
                0..3 => Vec::new(),
                3..13 if opcode != 8 => {
                    let at = [1, 3, 6, 10][choices.below(4)];
                    text[..at].to_vec()
                }
                13 => text[choices.below(10)..].to_vec(),
                14 => vec![b'x'; [124, 125, 126, 300][choices.below(4)]],
                _ => (998 + choices.below(20) as u16).to_be_bytes().to_vec(),
            };
            let (payload, rsv1) = match opcode {
                1 | 2 if choices.one_in(4) => (packed(&payload), 0x40),
                _ => (payload, 0),
            };
            let cut = match choices.one_in(32) {
                true => choices.below(payload.len() + 1),
                false => payload.len(),
            };
            let mask = [choices.below(256) as u8, 0, 255, 7];
            bytes.push(u8::from(fin) << 7 | rsv1 | opcode);
            match payload.len() {
                len @ 0..126 => bytes.push(0x80 | len as u8),
                len => {
                    bytes.push(0x80 | 126);
                    bytes.extend((len as u16).to_be_bytes());
                }
            }
            bytes.extend(mask);
            let masked = payload.iter().zip(mask.iter().cycle());
            bytes.extend(masked.map(|(b, m)| b ^ m).take(cut));
        }
        bytes
    }

    #[cfg(feature = "deflate")]
    fn packed(payload: &[u8]) -> Vec<u8> {
        miniz_oxide::deflate::compress_to_vec(payload, 1)
    }

    #[cfg(not(feature = "deflate"))]
    fn packed(payload: &[u8]) -> Vec<u8> {
        payload.to_vec()
    }

    #[test]
    fn random_streams_come_to_the_same_however_they_are_cut() {
        let (mut endings, mut messages) = (BTreeMap::new(), 0);
        for seed in 0..3_000 {
            let mut choices = Choices::Seed(seed);
            let bytes = frames(&mut choices);
            let settings = choices.below(64) as u8;
            let ran = catch_unwind(|| run(settings, seed, &bytes));
            assert!(ran.is_ok(), "seed {seed}: {bytes:02x?}");
            let config = Config {
                max_fragments: 3,
                max_message_size: 200,
                ..Config::default()
            };
            let heard = decode(&bytes, &config);
            messages += heard.messages;
            let ending = match heard.end {
                Ending::Stream => "end_of_stream",
                Ending::Closed { .. } => "closed_by_peer",
                Ending::Failed(_, name) => name,
            };
            *endings.entry(ending).or_insert(0) += 1;
        }
        // Every way to end has come, again and again.
        println!("{messages} messages, {endings:?}");
        assert!(messages > 1_000, "{messages}");
        assert!(
            endings.len() >= 4 && endings.values().all(|n| *n > 50),
            "{endings:?}"
        );
    }

    #[test]
    fn the_model_reads_the_examples_of_rfc_6455_section_5_7() {
        let config = Config::default();
        let heard = decode(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", &config);
        assert_eq!(heard.published, b"\x81\x05Hello");
        assert_eq!(heard.end, Ending::Stream);
        let heard = decode(b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", &config);
        assert_eq!(heard.pongs, b"\x8a\x05Hello");
        let heard = decode(b"\x81\x05Hello", &config);
        assert_eq!(heard.end, broken_rule());
    }

    #[test]
    fn the_pings_of_a_read_are_answered_by_one_command() {
        let ping = b"\x89\x81\0\0\0\0x";
        with_ground(3, |ground| {
            let client = ground.client();
            let mut reader = Reader::new(&ground.service, &client, &ground.ended, Encoding::Frames);
            assert!(reader.heard(&mut ping.repeat(500)).is_ok());
            let commands: Vec<Command> = ground.commands.receiver.try_iter().collect();
            let [Command::Pong { all, newest, .. }] = &commands[..] else {
                panic!("{commands:?}");
            };
            assert_eq!(all[..], b"\x8a\x01x".repeat(500));
            assert_eq!(&newest[..], b"\x8a\x01x");
        });
    }

    #[test]
    fn each_message_of_a_sender_that_never_pauses_has_its_own_time() {
        let bytes = b"\x82\x84\0\0\0\0abcd".repeat(20);
        with_ground(0, |ground| {
            let client = ground.client();
            let mut reader = Reader::new(&ground.service, &client, &ground.ended, Encoding::Frames);
            let limit = ground.service.shared.config.message_timeout;
            // No read ends where a message does.
            let (first, rest) = bytes.split_at(5);
            for piece in [first].into_iter().chain(rest.chunks(10)) {
                assert!(reader.heard(&mut piece.to_vec()).is_ok());
                // As if the next read took most of the time.
                let earlier = |begun: Instant| begun.checked_sub(limit * 2 / 3).unwrap();
                reader.begun = reader.begun.map(earlier);
            }
            assert_eq!(ground.commands.receiver.try_iter().count(), 20);
            // One that does not end is found all the same.
            assert!(reader.heard(&mut first.to_vec()).is_ok());
            reader.begun = reader.begun.map(|begun| begun.checked_sub(limit).unwrap());
            let late = reader.heard(&mut bytes[5..6].to_vec());
            assert!(matches!(late, Err(super::super::end::End::Fail(_))));
        });
    }

    #[test]
    fn a_panic_outside_a_hook_is_not_the_handlers() {
        with_ground(0, |ground| {
            let client = ground.client();
            let mut reader = Reader::new(&ground.service, &client, &ground.ended, Encoding::Frames);
            reader.fail(Cause::InternalError);
            assert_eq!(client.state.cause.get(), Some(&Cause::InternalError));
            let commands: Vec<Command> = ground.commands.receiver.try_iter().collect();
            let [Command::Close { frame, cause, .. }] = &commands[..] else {
                panic!("{commands:?}");
            };
            assert_eq!(frame.code, Some(CloseCode::INTERNAL_ERROR));
            assert_eq!(cause.name(), "internal_error");
        });
    }

    #[test]
    fn a_large_message_is_a_burst_of_its_own() {
        let frame = |len: usize| {
            let mut bytes = vec![0x82, 0x80 | 127];
            bytes.extend((len as u64).to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(vec![0; len]);
            bytes
        };
        let bytes = [frame(1), frame(60_000), frame(2), frame(3)].concat();
        // Settings whose largest message is 70,000 bytes.
        with_ground(3, |ground| {
            let expected = decode(&bytes, &ground.service.shared.config);
            ground.check(&expected, &mut bytes.chunks(4096), Way::WithPauses);
            let client = ground.client();
            let mut reader = Reader::new(&ground.service, &client, &ground.ended, Encoding::Frames);
            for piece in bytes.chunks(4096) {
                assert!(reader.heard(&mut piece.to_vec()).is_ok());
            }
            let bursts = ground
                .commands
                .receiver
                .try_iter()
                .map(|command| match command {
                    Command::Publish { forms, .. } => {
                        (forms.frames.messages, forms.frames.bytes.len() > 4096)
                    }
                    other => panic!("an unexpected command: {other:?}"),
                });
            let bursts: Vec<(u32, bool)> = bursts.collect();
            assert_eq!(bursts, [(1, false), (1, true), (2, false)]);
        });
    }
}
