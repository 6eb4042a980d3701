//! A room's shared stream: short messages compressed together, once for all
//! members that follow it.
//!
//! A member that keeps its window (RFC 7692 §7.2.3.2) holds whatever it has
//! inflated. Members come, go and miss messages, so their windows differ. But
//! now and then the room's compressor forgets everything: the next message, a
//! key frame, is one that every such member can inflate, whatever it holds.
//! The messages after it refer to nothing before it. Whoever has been sent all
//! of them is *attached*, and is sent the next one; everybody else is sent
//! messages that stand alone, as without a stream, until the next key frame.
//!
//! A compressed message that is not of the stream moves a member's window, too,
//! so that the member is detached. So is one whose socket is full: its queue
//! never holds anything but messages that stand alone, any of which may be
//! dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::stats::Counters;
use crate::wire::burst::{is_compressed, parts};
use crate::wire::{Burst, Forms, SharedCompressor};

/// The hub has no time for more, and the higher levels gain little: they search
/// the whole window.
const LEVEL: u8 = 1;
/// The most rooms that have a stream. Each takes some 320 KiB.
const MAX_STREAMS: usize = 64;
/// A stream that was used no longer ago than this does not make way for
/// another: where more rooms are busy than can have one, none would last.
const BUSY: Duration = Duration::from_secs(10);
/// With fewer members in it, a room is not given a stream.
const MIN_MEMBERS: usize = 2;
/// Shorter messages are sent as they are.
const SHORTEST: usize = 16;
/// Longer messages are compressed alone, by the thread that publishes: they
/// gain little by what came before, and the hub has no time for them.
const LONGEST: usize = 1024;
/// Where somebody waits for it, a key frame comes after this many messages, or
/// this much time.
const KEY_MESSAGES: u32 = 20;
const KEY_TIME: Duration = Duration::from_secs(1);
/// Of this many messages it is asked whether they have become shorter by a
/// tenth; else the stream pauses.
const TRIAL: u32 = 64;
const PAUSE: Duration = Duration::from_secs(30);

/// The streams of all rooms that have one. Belongs to the hub.
#[derive(Debug)]
pub(super) struct Streams {
    streams: Vec<Stream>,
    /// The number of the newest key frame of any stream.
    last_key: u32,
    /// That of a stream that has ended: rooms may come and go quickly.
    spare: Option<SharedCompressor>,
    counters: Arc<Counters>,
}

/// The stream of one room.
#[derive(Debug)]
struct Stream {
    room: u32,
    compressor: SharedCompressor,
    /// The number of its newest key frame; zero: the next message must be one.
    key: u32,
    key_at: Instant,
    since_key: u32,
    used: Instant,
    /// Whether a member waits for a key frame.
    is_awaited: bool,
    paused_until: Option<Instant>,
    trial: Trial,
}

/// What has become of messages since it was last asked.
#[derive(Debug, Default)]
struct Trial {
    messages: u32,
    before: usize,
    after: usize,
}

/// The messages of one fan-out as a part of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Stretch {
    pub(super) list: Vec<Burst>,
    /// The key frame since which a member must have had everything; zero: the
    /// stretch begins with one, or with something else that stands alone.
    pub(super) needs: u32,
    /// The key frame to which a member is attached that was sent all of it;
    /// zero: to none.
    pub(super) gives: u32,
}

impl Streams {
    pub(super) fn new(counters: &Arc<Counters>) -> Streams {
        Streams {
            streams: Vec::new(),
            last_key: 0,
            spare: None,
            counters: counters.clone(),
        }
    }

    /// The messages of a fan-out in the stream of their room, in which so many
    /// members can follow it. `None` if the room has no stream, or the stream
    /// has nothing of these messages.
    pub(super) fn stretch(
        &mut self,
        room: u32,
        members: usize,
        messages: &[Forms],
    ) -> Option<Stretch> {
        let now = Instant::now();
        let at = self.find_or_make(room, members, now)?;
        let Streams {
            streams,
            last_key,
            counters,
            ..
        } = self;
        let stream = &mut streams[at];
        if !stream.begin(now) {
            return None;
        }
        let mut writer = Writer {
            stream,
            last_key,
            counters,
            now,
            needs: None,
        };
        let bursts = messages.iter().map(|forms| writer.burst(forms));
        let Some(list) = bursts.collect::<Option<Vec<Burst>>>() else {
            // Its compressor has failed, or there are no numbers left.
            self.streams.swap_remove(at);
            return None;
        };
        let needs = writer.needs?;
        stream.judge(now);
        Some(Stretch {
            list,
            needs,
            gives: stream.key,
        })
    }

    /// The stream of a room, which is made if the room may have one.
    fn find_or_make(&mut self, room: u32, members: usize, now: Instant) -> Option<usize> {
        let found = self.streams.iter().position(|stream| stream.room == room);
        if found.is_some() || members < MIN_MEMBERS {
            return found;
        }
        let compressor = if self.streams.len() < MAX_STREAMS {
            match self.spare.take() {
                None => SharedCompressor::make(LEVEL)?,
                Some(spare) => spare,
            }
        } else {
            let streams = self.streams.iter().enumerate();
            let (oldest, stream) = streams.min_by_key(|(_, stream)| stream.used)?;
            if now.duration_since(stream.used) < BUSY {
                return None;
            }
            self.streams.swap_remove(oldest).compressor
        };
        self.streams.push(Stream::new(room, compressor, now));
        Some(self.streams.len() - 1)
    }

    /// Whether members of a room wait for the next key frame.
    pub(super) fn wait_for_key(&mut self, room: u32, is_awaited: bool) {
        let mut streams = self.streams.iter_mut();
        if let Some(stream) = streams.find(|stream| stream.room == room) {
            stream.is_awaited = is_awaited;
        }
    }

    /// Ends the stream of a room that nobody follows any more.
    pub(super) fn end(&mut self, room: u32) {
        let found = self.streams.iter().position(|stream| stream.room == room);
        if let Some(at) = found {
            self.spare = Some(self.streams.swap_remove(at).compressor);
        }
    }
}

impl Stream {
    fn new(room: u32, compressor: SharedCompressor, now: Instant) -> Stream {
        Stream {
            room,
            compressor,
            key: 0,
            key_at: now,
            since_key: 0,
            used: now,
            is_awaited: false,
            paused_until: None,
            trial: Trial::default(),
        }
    }

    /// Prepares for the next messages; false if there is a pause.
    fn begin(&mut self, now: Instant) -> bool {
        self.used = now;
        if self.paused_until.is_some_and(|until| now < until) {
            return false;
        }
        self.paused_until = None;
        let is_due = self.since_key >= KEY_MESSAGES || now.duration_since(self.key_at) >= KEY_TIME;
        if self.is_awaited && is_due {
            self.key = 0;
        }
        true
    }

    /// Pauses if what it does is of no use.
    fn judge(&mut self, now: Instant) {
        if self.trial.messages < TRIAL {
            return;
        }
        let trial = std::mem::take(&mut self.trial);
        if trial.after > trial.before / 10 * 9 {
            self.paused_until = Some(now + PAUSE);
            self.key = 0;
        }
    }
}

/// Writes messages into a stream.
struct Writer<'a> {
    stream: &'a mut Stream,
    last_key: &'a mut u32,
    counters: &'a Counters,
    now: Instant,
    /// What the first message that moves a window refers to.
    needs: Option<u32>,
}

impl Writer<'_> {
    /// The frames of these messages; `None` if the stream cannot go on.
    fn burst(&mut self, forms: &Forms) -> Option<Burst> {
        let alone = forms.deflated.as_ref().unwrap_or(&forms.frames);
        let mut bytes = Vec::new();
        let frames = forms.frames.slices().zip(alone.slices());
        for (plain, alone) in frames {
            let len = parts(plain).1.len();
            if len < SHORTEST || forms.frames.must_stay_plain() {
                bytes.extend_from_slice(plain);
            } else if len > LONGEST {
                bytes.extend_from_slice(alone);
                if is_compressed(alone) {
                    // It moves the windows of all, but not the compressor's.
                    self.needs.get_or_insert(0);
                    self.stream.key = 0;
                }
            } else {
                self.append(plain, len, &mut bytes)?;
            }
        }
        Some(forms.frames.with_bytes(bytes))
    }

    /// Appends a message to the stream.
    fn append(&mut self, plain: &[u8], len: usize, bytes: &mut Vec<u8>) -> Option<()> {
        let stream = &mut *self.stream;
        if stream.key == 0 {
            self.needs.get_or_insert(0);
            *self.last_key = self.last_key.checked_add(1)?;
            stream.key = *self.last_key;
            (stream.key_at, stream.since_key) = (self.now, 0);
            stream.compressor.forget().then_some(())?;
            self.counters.key_frames.add(1);
        }
        self.needs.get_or_insert(stream.key);
        let packed = stream.compressor.append(plain, bytes)?;
        stream.since_key += 1;
        stream.trial.messages += 1;
        stream.trial.before += len;
        stream.trial.after += packed;
        self.counters.shared.count(len, packed);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::choices::Choices;
    use crate::message::Message;
    use crate::wire::burst::single;

    fn streams() -> Streams {
        Streams::new(&Arc::default())
    }

    fn message(text: impl Into<Message>) -> Forms {
        single(&text.into(), false).into()
    }

    /// One short message in the stream of a room.
    fn say(streams: &mut Streams, room: usize, members: usize) -> Option<Stretch> {
        let messages = [message("a message like the others of its room")];
        streams.stretch(room as u32, members, &messages)
    }

    #[test]
    fn the_rooms_that_have_a_stream_are_bounded_and_the_idle_make_way() {
        let mut streams = streams();
        assert!(say(&mut streams, 0, 1).is_none(), "nobody to share it with");
        for room in 0..MAX_STREAMS {
            assert!(say(&mut streams, room, 2).is_some());
        }
        assert!(say(&mut streams, 0, 1).is_some(), "it has one already");
        assert!(say(&mut streams, MAX_STREAMS, 2).is_none(), "all are busy");
        streams.end(3);
        assert!(say(&mut streams, MAX_STREAMS, 2).is_some());
        assert!(say(&mut streams, 3, 2).is_none());
        let idle = streams.streams.iter_mut().find(|stream| stream.room == 5);
        idle.unwrap().used = Instant::now().checked_sub(BUSY).unwrap();
        let stretch = say(&mut streams, 3, 2).unwrap();
        assert_eq!(stretch.needs, 0, "it begins with a key frame");
        assert!(say(&mut streams, 5, 2).is_none());
        assert_eq!(streams.streams.len(), MAX_STREAMS);
    }

    #[test]
    fn a_key_frame_comes_where_somebody_waits_and_not_too_soon() {
        let mut streams = streams();
        let first = say(&mut streams, 0, 2).unwrap();
        assert_eq!(first.needs, 0);
        let key = first.gives;
        let is_delta = |stretch: &Stretch| (stretch.needs, stretch.gives) == (key, key);
        // So that time alone brings none.
        streams.streams[0].key_at = Instant::now() + Duration::from_secs(3600);
        for _ in 0..2 * KEY_MESSAGES {
            assert!(is_delta(&say(&mut streams, 0, 2).unwrap()));
        }
        streams.wait_for_key(0, true);
        let next = say(&mut streams, 0, 2).unwrap();
        assert_eq!(next.needs, 0);
        assert_ne!(next.gives, key);
        for _ in 1..KEY_MESSAGES {
            assert_eq!(say(&mut streams, 0, 2).unwrap().needs, next.gives);
        }
        assert_eq!(say(&mut streams, 0, 2).unwrap().needs, 0);
        streams.streams[0].key_at = Instant::now().checked_sub(KEY_TIME).unwrap();
        assert_eq!(say(&mut streams, 0, 2).unwrap().needs, 0);
    }

    #[test]
    fn what_does_not_become_shorter_pauses_the_stream() {
        let mut streams = streams();
        let mut choices = Choices::Seed(1);
        let mut noise = || {
            (0..100)
                .map(|_| choices.below(256) as u8)
                .collect::<Vec<u8>>()
        };
        for _ in 0..TRIAL {
            assert!(streams.stretch(0, 2, &[message(noise())]).is_some());
        }
        assert!(say(&mut streams, 0, 2).is_none());
        streams.streams[0].paused_until = Some(Instant::now());
        assert_eq!(say(&mut streams, 0, 2).unwrap().needs, 0);
    }

    #[test]
    fn short_and_plain_messages_are_not_of_the_stream() {
        let mut streams = streams();
        assert!(say(&mut streams, 0, 2).is_some());
        assert!(streams.stretch(0, 2, &[message("short")]).is_none());
        let long = "a message that nobody may compress";
        let plain = single(&Message::from(long), false).uncompressed();
        assert!(streams.stretch(0, 2, &[plain.into()]).is_none());
    }
}
