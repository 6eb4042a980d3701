use std::io::IoSlice;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::fake::{FakeSocket, FakeWriters, frames};
use super::model::{self, Tally};
use std::collections::VecDeque;

use super::*;
use crate::close::{CloseCode, CloseFrame};
use crate::fuzzing::choices::Choices;
use crate::outbox::writer;
use crate::wire::frame;
use crate::wire::{Burst, BurstBuilder};

/// An outbox for at most 3 messages and 100 bytes, its socket full or not.
struct Fixture {
    outbox: Outbox,
    socket: Arc<FakeSocket>,
    writers: FakeWriters,
}

const MAX_MESSAGES: usize = 3;
const MAX_BYTES: usize = 100;

impl Fixture {
    fn new(slow_consumer: SlowConsumer) -> Fixture {
        let writers = FakeWriters::default();
        let id = ClientId(1);
        let socket = writers.socket(id);
        let rules = OutboxRules {
            max_messages: MAX_MESSAGES,
            max_bytes: MAX_BYTES,
            slow_consumer,
            writers: Box::new(writers.clone()),
        };
        Fixture {
            outbox: Outbox::new(id, socket.clone(), Arc::new(rules)),
            socket,
            writers,
        }
    }

    /// With a socket that is full: the writer has the message `w` already.
    fn full(slow_consumer: SlowConsumer) -> Fixture {
        let mut fixture = Fixture::new(slow_consumer);
        fixture.socket.set_room(0);
        assert_eq!(fixture.push(&["w"]), Outcome::Done);
        fixture
    }

    fn pong(&mut self, payload: &[u8]) -> Outcome {
        let pong = frame::pong(payload);
        self.outbox.pong(pong.clone(), pong)
    }

    /// Pushes texts as one burst.
    fn push(&mut self, texts: &[&str]) -> Outcome {
        self.deliver(&[burst(texts)])
    }

    fn deliver(&mut self, bursts: &[Burst]) -> Outcome {
        Delivery::prepare(bursts, &mut Vec::new(), |d| self.outbox.push(d))
    }

    fn close(&mut self) -> Outcome {
        self.outbox
            .close(frame::close(&CloseFrame::new(CloseCode::NORMAL, "end")))
    }

    /// Lets the writer write everything. Returns what came out since the last
    /// call.
    fn came_out(&mut self) -> Vec<String> {
        while self.socket.write(usize::MAX) {
            assert_eq!(self.outbox.written(), Outcome::Done);
        }
        frames(&self.socket.take_out())
    }
}

fn burst(texts: &[&str]) -> Burst {
    let mut builder = BurstBuilder::default();
    texts.iter().for_each(|text| builder.text(text, false));
    builder.take()
}

#[test]
fn an_answer_that_does_not_fit_goes_out_whole_before_anything_else() {
    for room in [0, 5] {
        let mut fixture = Fixture::new(SlowConsumer::Disconnect);
        fixture.socket.set_room(room);
        let outcome = fixture
            .outbox
            .answer(Bytes::from_static(b"HTTP/1.1 101 \r\n\r\n"));
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(fixture.outbox.backlog_messages(), 0, "it is no message");
        assert_eq!(fixture.push(&["a"]), Outcome::Done);
        while fixture.socket.write(usize::MAX) {
            assert_eq!(fixture.outbox.written(), Outcome::Done);
        }
        let out = fixture.socket.take_out();
        let rest = out.strip_prefix(b"HTTP/1.1 101 \r\n\r\n").unwrap();
        assert_eq!(frames(rest), ["a"]);
    }
}

#[test]
fn an_open_socket_gets_everything_from_the_hub_itself() {
    let mut fixture = Fixture::new(SlowConsumer::Disconnect);
    for text in ["a", "b"] {
        assert_eq!(fixture.push(&[text]), Outcome::Done);
    }
    assert_eq!(fixture.outbox.ping(frame::ping(b"1")), Outcome::Done);
    assert_eq!(fixture.pong(b"2"), Outcome::Done);
    assert_eq!(
        frames(&fixture.socket.take_out()),
        ["a", "b", "P1", "p2"].map(str::to_owned)
    );
    assert_eq!(fixture.socket.wire().writers_started, 0);
    assert_eq!(fixture.outbox.backlog_bytes(), 0);
}

#[test]
fn several_small_bursts_are_one_plain_send_and_large_ones_a_vectored_one() {
    let mut fixture = Fixture::new(SlowConsumer::Disconnect);
    fixture.deliver(&[burst(&["a", "b"]), burst(&["c"])]);
    assert_eq!(fixture.came_out(), ["a", "b", "c"].map(str::to_owned));
    assert_eq!(fixture.socket.wire().plain_sends, 1);
    let large = "x".repeat(40_000);
    fixture.deliver(&[burst(&[&large]), burst(&[&large]), burst(&["c"])]);
    assert_eq!(fixture.socket.wire().vectored_sends, 1);
    assert_eq!(fixture.socket.take_out().len(), 2 * 40_004 + 3);
    // One burst is sent as it is, however large.
    fixture.deliver(&[burst(&[&large, &large])]);
    assert_eq!(fixture.socket.wire().plain_sends, 2);
}

#[test]
fn a_frame_that_was_begun_is_finished_before_anything_else() {
    let mut fixture = Fixture::new(SlowConsumer::DropNewest);
    fixture.socket.set_room(3 + 2);
    fixture.push(&["a", "begun", "c"]);
    fixture.pong(b"");
    fixture.push(&["d"]);
    assert_eq!(fixture.outbox.backlog_messages(), 3);
    assert_eq!(fixture.outbox.backlog_bytes(), 5 + 3 + 3);
    assert_eq!(
        fixture.came_out(),
        ["a", "begun", "p", "c", "d"].map(str::to_owned)
    );
}

#[test]
fn a_frame_cut_in_the_second_burst_of_a_large_delivery_is_finished() {
    let large = "x".repeat(70_000);
    for cut in [1, 9, 70_010, 70_011, 70_012, 140_019] {
        let mut fixture = Fixture::new(SlowConsumer::DropNewest);
        fixture.socket.set_room(cut);
        fixture.deliver(&[burst(&[&large]), burst(&[&large])]);
        let mut out = fixture.socket.take_out();
        assert_eq!(out.len(), cut);
        while fixture.socket.write(1000) || fixture.socket.is_writing() {
            if !fixture.socket.is_writing() {
                fixture.outbox.written();
            }
        }
        out.extend(fixture.socket.take_out());
        let whole = [burst(&[&large]).bytes, burst(&[&large]).bytes].concat();
        assert!(out == whole, "cut at {cut}");
    }
}

#[test]
fn the_hub_writes_again_once_the_backlog_is_gone() {
    let mut fixture = Fixture::full(SlowConsumer::Disconnect);
    assert_eq!(fixture.came_out(), ["w"]);
    fixture.socket.set_room(usize::MAX);
    fixture.push(&["a"]);
    assert_eq!(frames(&fixture.socket.take_out()), ["a"]);
    // The writer thread is kept: it serves the next backlog too.
    fixture.socket.set_room(0);
    fixture.push(&["b"]);
    assert_eq!(fixture.came_out(), ["b"]);
    assert_eq!(fixture.socket.wire().writers_started, 1);
}

#[test]
fn evict_overflows_at_the_bound_on_messages() {
    let mut fixture = Fixture::full(SlowConsumer::Disconnect);
    assert_eq!(fixture.push(&["a", "b"]), Outcome::Done);
    assert_eq!(fixture.outbox.backlog_messages(), MAX_MESSAGES);
    assert_eq!(fixture.push(&["c"]), Outcome::Overflow);
    assert_eq!(fixture.outbox.backlog_messages(), MAX_MESSAGES);
}

#[test]
fn evict_overflows_at_the_bound_on_bytes() {
    let mut fixture = Fixture::full(SlowConsumer::Disconnect);
    // The writer's 3 bytes count: 97 are left, headers included.
    assert_eq!(fixture.push(&[&"a".repeat(50)]), Outcome::Done);
    assert_eq!(fixture.push(&[&"b".repeat(43)]), Outcome::Done);
    assert_eq!(fixture.outbox.backlog_bytes(), MAX_BYTES);
    let mut fixture = Fixture::full(SlowConsumer::Disconnect);
    assert_eq!(fixture.push(&[&"a".repeat(50)]), Outcome::Done);
    assert_eq!(fixture.push(&[&"b".repeat(44)]), Outcome::Overflow);
}

#[test]
fn one_message_may_always_wait_however_large() {
    for policy in [
        SlowConsumer::Disconnect,
        SlowConsumer::DropOldest,
        SlowConsumer::DropNewest,
    ] {
        let mut fixture = Fixture::full(policy);
        let large = "x".repeat(10 * MAX_BYTES);
        assert_eq!(fixture.push(&[&large]), Outcome::Done);
        assert_eq!(fixture.outbox.dropped(), 0, "{policy:?}");
        assert_eq!(fixture.outbox.backlog_messages(), 2);
    }
}

#[test]
fn after_an_overflow_the_begun_frame_and_the_close_still_come_and_nothing_else() {
    let mut fixture = Fixture::new(SlowConsumer::Disconnect);
    fixture.socket.set_room(4);
    let overflow = fixture.push(&["begun", "a", "b", "c", "d"]);
    assert_eq!(overflow, Outcome::Overflow);
    // What is in the writer's hands cannot be taken back: the begun frame.
    assert_eq!(fixture.outbox.discard(), (4, 3 + 3 * 3));
    assert_eq!(fixture.close(), Outcome::Done);
    assert_eq!(fixture.push(&["late"]), Outcome::Done);
    assert_eq!(
        fixture.came_out(),
        ["begun", "CLOSE 1000 end"].map(str::to_owned)
    );
}

#[test]
fn an_overflow_without_a_begun_frame_leaves_the_hub_to_send_the_close() {
    let mut fixture = Fixture::new(SlowConsumer::Disconnect);
    fixture.socket.set_room(0);
    let overflow = fixture.push(&["a", "b", "c", "d"]);
    assert_eq!(overflow, Outcome::Overflow);
    assert_eq!(fixture.outbox.dropped(), 1);
    assert_eq!(fixture.outbox.discard(), (3, 9));
    assert_eq!(fixture.outbox.dropped(), 4);
    fixture.socket.set_room(usize::MAX);
    assert_eq!(fixture.close(), Outcome::Done);
    assert_eq!(frames(&fixture.socket.take_out()), ["CLOSE 1000 end"]);
    assert_eq!(fixture.socket.wire().writers_started, 0);
}

#[test]
fn drop_oldest_keeps_the_newest_in_order() {
    let mut fixture = Fixture::full(SlowConsumer::DropOldest);
    fixture.push(&["a", "b", "c"]);
    fixture.push(&["d"]);
    // The writer's message counts, so two more may wait.
    assert_eq!(fixture.outbox.dropped(), 2);
    assert_eq!(fixture.came_out(), ["w", "c", "d"].map(str::to_owned));
}

#[test]
fn drop_oldest_drops_as_many_as_a_large_message_needs() {
    let mut fixture = Fixture::full(SlowConsumer::DropOldest);
    fixture.push(&[&"a".repeat(40), &"b".repeat(40)]);
    fixture.push(&[&"c".repeat(90)]);
    assert_eq!(fixture.outbox.dropped(), 2);
    assert_eq!(fixture.came_out(), ["w".to_owned(), "c".repeat(90)]);
}

#[test]
fn drop_newest_keeps_the_oldest_in_order() {
    let mut fixture = Fixture::full(SlowConsumer::DropNewest);
    fixture.push(&["a", "b", "c"]);
    fixture.push(&["d"]);
    assert_eq!(fixture.outbox.dropped(), 2);
    assert_eq!(fixture.came_out(), ["w", "a", "b"].map(str::to_owned));
}

#[test]
fn drop_newest_may_queue_a_small_message_behind_a_large_one_it_dropped() {
    let mut fixture = Fixture::full(SlowConsumer::DropNewest);
    fixture.push(&["a", &"b".repeat(MAX_BYTES), "c"]);
    assert_eq!(fixture.outbox.dropped(), 1);
    assert_eq!(fixture.came_out(), ["w", "a", "c"].map(str::to_owned));
}

#[test]
fn pings_and_pongs_that_wait_are_replaced_by_the_newest_and_overtake_messages() {
    let mut fixture = Fixture::full(SlowConsumer::DropNewest);
    fixture.push(&["a"]);
    for n in 0..100_000 {
        let payload = [b'0' + (n % 10) as u8];
        assert_eq!(fixture.pong(&payload), Outcome::Done);
        assert_eq!(fixture.outbox.ping(frame::ping(&payload)), Outcome::Done);
    }
    assert_eq!(fixture.outbox.backlog_messages(), 2);
    assert_eq!(fixture.outbox.backlog_bytes(), 6);
    assert_eq!(fixture.outbox.dropped(), 0);
    assert_eq!(
        fixture.came_out(),
        ["w", "p9", "P9", "a"].map(str::to_owned)
    );
}

#[test]
fn all_pongs_of_a_read_go_out_at_once_or_the_newest_waits() {
    let all = Bytes::from_static(b"\x8a\x011\x8a\x012\x8a\x013");
    for (mut fixture, out) in [
        (
            Fixture::new(SlowConsumer::Disconnect),
            vec!["p1", "p2", "p3"],
        ),
        (Fixture::full(SlowConsumer::Disconnect), vec!["w", "p3"]),
    ] {
        let outcome = fixture.outbox.pong(all.clone(), all.slice(6..));
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(fixture.came_out(), out);
    }
}

#[test]
fn of_pongs_that_do_not_fit_the_begun_one_and_the_newest_go_out() {
    let all = Bytes::from_static(b"\x8a\x011\x8a\x012\x8a\x013\x8a\x014");
    for (room, out, waits) in [
        (0, vec!["p4"], 3),
        (1, vec!["p1", "p4"], 2 + 3),
        (3, vec!["p1", "p4"], 3),
        (8, vec!["p1", "p2", "p3", "p4"], 1 + 3),
        (10, vec!["p1", "p2", "p3", "p4"], 2),
    ] {
        let mut fixture = Fixture::new(SlowConsumer::Disconnect);
        fixture.socket.set_room(room);
        let outcome = fixture.outbox.pong(all.clone(), all.slice(9..));
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(fixture.outbox.backlog_bytes(), waits, "{room}");
        assert_eq!(fixture.outbox.backlog_messages(), 0);
        assert_eq!(fixture.came_out(), out, "{room}");
    }
}

#[test]
fn a_ping_that_does_not_fit_is_no_message_of_the_backlog() {
    let mut fixture = Fixture::new(SlowConsumer::Disconnect);
    fixture.socket.set_room(1);
    fixture.outbox.ping(frame::ping(b"x"));
    assert_eq!(fixture.outbox.backlog_messages(), 0);
    assert_eq!(fixture.outbox.backlog_bytes(), 2);
    assert_eq!(fixture.push(&["a", "b", "c"]), Outcome::Done);
    assert_eq!(fixture.outbox.backlog_messages(), 3);
    assert_eq!(fixture.came_out(), ["Px", "a", "b", "c"].map(str::to_owned));
}

#[test]
fn a_close_goes_behind_everything_and_nothing_follows_it() {
    let mut fixture = Fixture::full(SlowConsumer::Disconnect);
    fixture.push(&["a"]);
    assert_eq!(fixture.close(), Outcome::Done);
    assert_eq!(fixture.push(&["late"]), Outcome::Done);
    assert_eq!(fixture.outbox.ping(frame::ping(b"late")), Outcome::Done);
    assert_eq!(fixture.pong(b"late"), Outcome::Done);
    assert_eq!(fixture.close(), Outcome::Done);
    assert_eq!(
        fixture.came_out(),
        ["w", "a", "CLOSE 1000 end"].map(str::to_owned)
    );
    fixture.socket.set_room(usize::MAX);
    fixture.push(&["later"]);
    fixture.outbox.ping(frame::ping(b"later"));
    fixture.close();
    assert!(fixture.came_out().is_empty());
}

#[test]
fn a_close_that_is_cut_is_finished_by_the_writer() {
    for room in 0..5 {
        let mut fixture = Fixture::new(SlowConsumer::Disconnect);
        fixture.socket.set_room(room);
        assert_eq!(fixture.close(), Outcome::Done);
        fixture.outbox.finish();
        assert_eq!(fixture.push(&["late"]), Outcome::Done);
        assert_eq!(fixture.socket.wire().finished, 0);
        assert_eq!(fixture.outbox.backlog_messages(), 0);
        assert_eq!(fixture.came_out(), ["CLOSE 1000 end"]);
        assert_eq!(fixture.socket.wire().finished, 1);
    }
}

#[test]
fn our_direction_ends_when_the_close_is_out_and_not_before() {
    let mut fixture = Fixture::full(SlowConsumer::Disconnect);
    fixture.outbox.finish();
    assert_eq!(fixture.socket.wire().finished, 0);
    fixture.close();
    assert_eq!(fixture.socket.wire().finished, 0);
    assert_eq!(
        fixture.came_out(),
        ["w", "CLOSE 1000 end"].map(str::to_owned)
    );
    assert_eq!(fixture.socket.wire().finished, 1);

    let mut fixture = Fixture::new(SlowConsumer::Disconnect);
    fixture.close();
    assert_eq!(fixture.socket.wire().finished, 0);
    fixture.outbox.finish();
    assert_eq!(fixture.socket.wire().finished, 1);
}

#[test]
fn discarding_tells_how_far_behind_and_keeps_what_the_writer_has() {
    let mut fixture = Fixture::full(SlowConsumer::Disconnect);
    assert_eq!(fixture.push(&["a", "b"]), Outcome::Done);
    fixture.outbox.ping(frame::ping(b""));
    fixture.pong(b"");
    assert_eq!(fixture.outbox.discard(), (3, 9));
    assert_eq!(fixture.outbox.dropped(), 2);
    assert_eq!(fixture.outbox.backlog_messages(), 1);
    assert_eq!(fixture.came_out(), ["w"]);
    assert_eq!(fixture.outbox.discard(), (0, 0));
}

#[test]
fn shedding_drops_one_message_as_the_policy_says() {
    for (policy, left) in [
        (SlowConsumer::DropOldest, ["w", "b"]),
        (SlowConsumer::DropNewest, ["w", "a"]),
    ] {
        let mut fixture = Fixture::new(policy);
        assert!(!fixture.outbox.shed(), "nothing waits");
        fixture.socket.set_room(0);
        fixture.push(&["w"]);
        assert!(!fixture.outbox.shed(), "the writer has it");
        fixture.push(&["a", "b"]);
        assert!(fixture.outbox.shed());
        assert_eq!(fixture.outbox.dropped(), 1);
        assert_eq!(fixture.came_out(), left.map(str::to_owned));
    }
    let mut fixture = Fixture::full(SlowConsumer::Disconnect);
    fixture.push(&["a"]);
    assert!(!fixture.outbox.shed());
    assert_eq!(fixture.outbox.backlog_messages(), 2);
}

#[test]
fn a_socket_that_fails_is_a_cause_to_end() {
    let kind = io::ErrorKind::BrokenPipe;
    let operations: [fn(&mut Fixture) -> Outcome; 4] = [
        |fixture| fixture.push(&["a"]),
        |fixture| fixture.outbox.ping(frame::ping(b"")),
        |fixture| fixture.pong(b""),
        Fixture::close,
    ];
    for operation in operations {
        let mut fixture = Fixture::new(SlowConsumer::Disconnect);
        fixture.socket.wire().error = Some(kind);
        let failed = Outcome::Failed(Cause::WriteFailed(kind));
        assert_eq!(operation(&mut fixture), failed);
    }
}

#[test]
fn a_writer_thread_that_cannot_be_started_is_a_cause_to_end() {
    let mut fixture = Fixture::new(SlowConsumer::Disconnect);
    fixture.writers.refuse();
    assert_eq!(fixture.push(&["a"]), Outcome::Done);
    fixture.socket.set_room(0);
    let failed = Outcome::Failed(Cause::NoWriterThread);
    assert_eq!(fixture.push(&["b"]), failed);
}

#[test]
fn abort_reaches_the_socket() {
    let fixture = Fixture::new(SlowConsumer::Disconnect);
    fixture.outbox.abort();
    assert_eq!(fixture.socket.wire().aborted, 1);
}

/// Seeds for each policy; a failure prints its own.
const SEEDS: u64 = 300;
const STEPS: usize = 150;

fn model_holds(slow_consumer: SlowConsumer, seeds: u64) -> Tally {
    let mut tally = Tally::default();
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            model::run(&mut Choices::Seed(seed), slow_consumer, STEPS, &mut tally);
        }));
        assert!(run.is_ok(), "{slow_consumer:?}: seed {seed}");
    }
    println!("{slow_consumer:?}: {tally:?}");
    // Every kind of thing has happened, again and again.
    assert!(tally.steps > 5_000, "{tally:?}");
    for often in [
        tally.messages,
        tally.begun,
        tally.owed,
        tally.chunks,
        tally.replaced,
        tally.closed,
        tally.failed,
    ] {
        assert!(often > 10, "{tally:?}");
    }
    tally
}

#[test]
fn with_evict_any_schedule_gives_whole_frames_in_order_and_loses_none() {
    // Runs that end with an eviction are short.
    let tally = model_holds(SlowConsumer::Disconnect, 3 * SEEDS);
    assert!(tally.overflows > SEEDS, "{tally:?}");
    assert!(tally.dropped >= tally.overflows);
    assert_eq!(tally.shed, 0);
}

#[test]
fn with_drop_oldest_any_schedule_gives_whole_frames_in_order() {
    let tally = model_holds(SlowConsumer::DropOldest, SEEDS);
    assert!(tally.dropped > SEEDS && tally.shed > SEEDS, "{tally:?}");
    assert_eq!(tally.overflows, 0);
}

#[test]
fn with_drop_newest_any_schedule_gives_whole_frames_in_order() {
    let tally = model_holds(SlowConsumer::DropNewest, SEEDS);
    assert!(tally.dropped > SEEDS && tally.shed > SEEDS, "{tally:?}");
    assert_eq!(tally.overflows, 0);
}

/// A socket for the writer's side: takes the given amounts, one a call, each
/// after a while, and notes how long it was allowed to block.
#[derive(Debug)]
struct Dripping {
    amounts: Mutex<VecDeque<io::Result<usize>>>,
    allowed: Mutex<Vec<Duration>>,
    out: Mutex<Vec<u8>>,
    each_takes: Duration,
}

impl Dripping {
    fn new(each_takes: Duration, amounts: impl IntoIterator<Item = io::Result<usize>>) -> Dripping {
        Dripping {
            amounts: Mutex::new(amounts.into_iter().collect()),
            allowed: Mutex::default(),
            out: Mutex::default(),
            each_takes,
        }
    }
}

impl Outlet for Dripping {
    fn try_send(&self, _: &[u8]) -> io::Result<Sent> {
        unreachable!("the hub does not write here");
    }

    fn try_send_vectored(&self, _: &[IoSlice<'_>]) -> io::Result<Sent> {
        unreachable!("the hub does not write here");
    }

    fn send_within(&self, slices: &[IoSlice<'_>], timeout: Duration) -> io::Result<usize> {
        self.allowed.lock().unwrap().push(timeout);
        let start = Instant::now();
        while start.elapsed() < self.each_takes {
            std::hint::spin_loop();
        }
        let amount = self.amounts.lock().unwrap().pop_front();
        let amount = amount.unwrap_or(Ok(usize::MAX))?;
        let bytes = slices.iter().flat_map(|slice| slice.iter()).take(amount);
        let mut out = self.out.lock().unwrap();
        let before = out.len();
        out.extend(bytes);
        Ok(out.len() - before)
    }

    fn finish(&self) {}

    fn end(&self) {}

    fn abort(&self) {}
}

fn chunk(frames: &[&'static [u8]]) -> Chunk {
    let mut chunk = Chunk::new(0);
    chunk.frames = frames.iter().copied().map(Bytes::from_static).collect();
    chunk
}

#[test]
fn the_writer_writes_a_chunk_whole_whatever_the_socket_takes() {
    for amount in 1..10 {
        let socket = Dripping::new(Duration::ZERO, (0..10).map(|_| Ok(amount)));
        let written = chunk(&[b"one", b"2", b"three"]).write(&socket, Duration::from_secs(60));
        assert_eq!(written, Ok(()));
        assert_eq!(*socket.out.lock().unwrap(), b"one2three");
    }
}

#[test]
fn each_frame_has_the_write_timeout_and_a_drip_does_not_stretch_it() {
    let timeout = Duration::from_secs(60);
    let socket = Dripping::new(Duration::from_micros(50), [1, 1, 2, 1].map(Ok));
    let written = chunk(&[b"one", b"two"]).write(&socket, timeout);
    assert_eq!(written, Ok(()));
    let allowed = socket.allowed.lock().unwrap();
    assert!(allowed[1] < allowed[0] && allowed[2] < allowed[1]);
    assert!(allowed[3] > allowed[2], "the second frame has its own time");
    assert!(allowed[4] < allowed[3]);
    assert!(allowed.iter().all(|allowed| *allowed <= timeout));
}

#[test]
fn a_frame_that_is_not_out_in_time_ends_the_client_though_bytes_move() {
    let socket = Dripping::new(Duration::from_millis(1), (0..1000).map(|_| Ok(1)));
    let frame: &'static [u8] = &[0; 1000];
    let written = chunk(&[frame]).write(&socket, Duration::from_millis(20));
    assert_eq!(written, Err(Cause::WriteTimeout));
    assert!(socket.out.lock().unwrap().len() <= 20);
}

#[test]
fn errors_of_the_writers_socket_are_causes() {
    for (result, cause) in [
        (Ok(0), Cause::WriteFailed(io::ErrorKind::WriteZero)),
        (
            Err(io::ErrorKind::ConnectionReset.into()),
            Cause::WriteFailed(io::ErrorKind::ConnectionReset),
        ),
        (Err(io::ErrorKind::WouldBlock.into()), Cause::WriteTimeout),
    ] {
        let socket = Dripping::new(Duration::ZERO, [result]);
        let written = chunk(&[b"one"]).write(&socket, Duration::from_secs(60));
        assert_eq!(written, Err(cause));
    }
}

#[test]
fn the_writer_reports_each_chunk_until_nobody_listens() {
    let (sender, chunks) = crossbeam_channel::bounded(3);
    for frame in [b"a", b"b", b"c"] {
        sender.send(chunk(&[frame])).unwrap();
    }
    drop(sender);
    let socket = Dripping::new(Duration::ZERO, []);
    let reports = Mutex::new(0);
    let timeout = Duration::from_secs(60);
    writer::run(ClientId(1), &socket, &chunks, timeout, |result| {
        assert_eq!(result, Ok(()));
        *reports.lock().unwrap() += 1;
        *reports.lock().unwrap() < 2
    });
    assert_eq!(*socket.out.lock().unwrap(), b"ab");
    writer::run(ClientId(1), &socket, &chunks, timeout, |_| true);
    assert_eq!(*socket.out.lock().unwrap(), b"abc");
}

/// Tells the client of gaps, and numbers the texts as they are in the log.
fn told(slow_consumer: SlowConsumer) -> Fixture {
    let mut fixture = Fixture::new(slow_consumer);
    let position: Position = "00000000-0".parse().unwrap();
    fixture
        .outbox
        .tell_gaps(Encoding::PositionedFrames, position.epoch);
    fixture
}

fn numbered(numbers: std::ops::Range<u64>) -> Burst {
    let mut builder = BurstBuilder::default();
    numbers
        .clone()
        .for_each(|number| builder.text(number.to_string(), false));
    let mut burst = builder.take();
    burst.place(Offset(numbers.start));
    burst
}

#[test]
fn who_is_told_learns_in_place_what_drop_oldest_dropped() {
    let mut fixture = told(SlowConsumer::DropOldest);
    fixture.socket.set_room(0);
    fixture.deliver(&[numbered(1..2)]);
    fixture.deliver(&[numbered(2..9)]);
    let out = ["1", "!gap 00000000-1 00000000-6\n", "7", "8"];
    assert_eq!(fixture.came_out(), out.map(str::to_owned));
    assert_eq!(fixture.outbox.backlog_bytes(), 0);
}

#[test]
fn who_is_told_learns_in_place_what_drop_newest_dropped() {
    let mut fixture = told(SlowConsumer::DropNewest);
    fixture.socket.set_room(0);
    fixture.deliver(&[numbered(1..6)]);
    assert!(fixture.socket.write(usize::MAX));
    fixture.outbox.written();
    fixture.deliver(&[numbered(6..7)]);
    fixture.deliver(&[numbered(7..9)]);
    let gaps = [
        "!gap 00000000-3 00000000-5\n",
        "!gap 00000000-6 00000000-8\n",
    ];
    let out = ["1", "2", "3", gaps[0], "6", gaps[1]];
    assert_eq!(fixture.came_out(), out.map(str::to_owned));
}

#[test]
fn in_any_schedule_each_message_comes_or_lies_in_a_gap() {
    let mut seed = 7;
    let mut below = move |n: u64| {
        seed = u64::wrapping_mul(seed, 6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % n
    };
    let mut gaps = 0;
    for round in 0..400 {
        let policy = [SlowConsumer::DropOldest, SlowConsumer::DropNewest][round % 2];
        let mut fixture = told(policy);
        let (mut next, mut out) = (1, Vec::new());
        for _ in 0..60 {
            match below(4) {
                0 | 1 => {
                    let count = 1 + below(4);
                    fixture.deliver(&[numbered(next..next + count)]);
                    next += count;
                }
                2 if fixture.socket.write(usize::MAX) => {
                    fixture.outbox.written();
                }
                2 => drop(fixture.outbox.shed()),
                _ => fixture.socket.set_room(below(30) as usize),
            }
        }
        out.extend(fixture.came_out());
        let mut at = 0;
        for text in out {
            if let Some(gap) = text.strip_prefix("!gap ") {
                let ends = gap.trim_end().split(' ');
                let ends: Vec<Position> = ends.map(|end| end.parse().unwrap()).collect();
                assert_eq!(ends[0].offset, Offset(at));
                assert!(ends[1].offset > ends[0].offset);
                at = ends[1].offset.0;
                gaps += 1;
            } else {
                assert_eq!(text, (at + 1).to_string());
                at += 1;
            }
        }
        assert_eq!(at + 1, next, "the end is told, too");
    }
    assert!(gaps > 400, "{gaps}");
}

#[test]
fn the_first_message_that_an_evicted_client_misses_is_known() {
    let mut fixture = Fixture::new(SlowConsumer::Disconnect);
    assert_eq!(fixture.outbox.first_queued(), None);
    fixture.socket.set_room(0);
    fixture.deliver(&[numbered(5..6)]);
    assert_eq!(fixture.outbox.first_queued(), None, "the writer has it");
    fixture.push(&["not in the log"]);
    assert_eq!(fixture.outbox.first_queued(), None);
    assert_eq!(fixture.deliver(&[numbered(6..9)]), Outcome::Overflow);
    assert_eq!(fixture.outbox.first_queued(), Some(Offset(6)));
}
