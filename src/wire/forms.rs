//! The same messages in several encodings.

use bytes::Bytes;

use super::burst::{Burst, Encoding};
use super::lines::{self, Taken};
use super::{positions, sse};
use crate::names::ClientId;
use crate::position::{Epoch, Position};

/// The same messages in every encoding that somebody needs.
///
/// The thread that publishes encodes: what takes time in proportion to bytes
/// must not run on the hub. The positions are known on the hub only, which
/// writes them before each message, in one copy for all who need it.
#[derive(Clone, Debug)]
pub(crate) struct Forms {
    pub(crate) frames: Burst,
    pub(crate) events: Option<Burst>,
    /// Boxed, because commands of the hub hold forms, and few rooms need these.
    pub(crate) lines: Option<Box<LineForms>>,
    #[cfg(feature = "deflate")]
    pub(crate) deflated: Option<Burst>,
}

/// The same messages in lines, for those rooms that programs follow so.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineForms {
    text: Option<Burst>,
    json: Option<Burst>,
}

impl LineForms {
    /// Encodes the lines that somebody needs, if somebody does.
    pub(crate) fn encode(
        frames: &Burst,
        needs_text: bool,
        needs_json: bool,
        from: Option<ClientId>,
    ) -> Option<Box<LineForms>> {
        (needs_text || needs_json).then(|| {
            Box::new(LineForms {
                text: needs_text.then(|| lines::encode(frames)),
                json: needs_json.then(|| lines::encode_json(frames, Some(Taken::now(from)))),
            })
        })
    }
}

impl Forms {
    /// The bytes of all forms together.
    pub(crate) fn len(&self) -> usize {
        let others = [
            self.events.as_ref(),
            self.lines.as_ref().and_then(|lines| lines.text.as_ref()),
            self.lines.as_ref().and_then(|lines| lines.json.as_ref()),
            #[cfg(feature = "deflate")]
            self.deflated.as_ref(),
        ];
        let others = others.into_iter().flatten();
        self.frames.bytes.len() + others.map(|burst| burst.bytes.len()).sum::<usize>()
    }

    /// Makes a form that is missing: somebody has begun to need it while the
    /// messages were on their way. Nothing is compressed here; plain frames will
    /// do.
    pub(super) fn complete(&mut self, encoding: Encoding) {
        let frames = &self.frames;
        if encoding.is_events() {
            self.events.get_or_insert_with(|| sse::encode(frames));
        } else if encoding.is_json() {
            let encode = || lines::encode_json(frames, None);
            let lines = self.lines.get_or_insert_default();
            lines.json.get_or_insert_with(encode);
        } else if encoding.is_lines() {
            let lines = self.lines.get_or_insert_default();
            lines.text.get_or_insert_with(|| lines::encode(frames));
        }
    }

    /// Takes the messages out in one encoding, with positions of this epoch,
    /// and with their `room`, if they are for one. What is taken is gone,
    /// because a copy of shared bytes costs an allocation. So the encodings must
    /// be taken in the order of [`Encoding::ALL`].
    pub(crate) fn take(&mut self, encoding: Encoding, epoch: Epoch, room: Option<&str>) -> Burst {
        self.complete(encoding);
        match encoding {
            Encoding::Frames => std::mem::take(&mut self.frames),
            Encoding::PositionedFrames => positions::encode(&self.frames, epoch, None),
            Encoding::Events => self
                .events
                .take()
                .unwrap_or_default()
                .placed_like(&self.frames),
            Encoding::PositionedEvents => {
                let events = self.events.clone().unwrap_or_default();
                sse::with_ids(&events.placed_like(&self.frames), epoch)
            }
            Encoding::RoomFrames
            | Encoding::RoomEvents
            | Encoding::PositionedRoomEvents
            | Encoding::RoomLines
            | Encoding::RoomJsonLines
            | Encoding::PositionedRoomJsonLines => self.take_named(encoding, epoch, room),
            Encoding::Lines => {
                let lines = self.lines.as_mut().and_then(|lines| lines.text.take());
                lines.unwrap_or_default().placed_like(&self.frames)
            }
            Encoding::JsonLines => {
                let objects = self.lines.as_mut().and_then(|lines| lines.json.take());
                objects.unwrap_or_default().placed_like(&self.frames)
            }
            Encoding::PositionedJsonLines => {
                let objects = self.lines.as_ref().and_then(|lines| lines.json.clone());
                let objects = objects.unwrap_or_default().placed_like(&self.frames);
                lines::with_positions(&objects, epoch)
            }
            #[cfg(feature = "deflate")]
            Encoding::Deflated => {
                let deflated = self
                    .deflated
                    .take()
                    .map(|burst| burst.placed_like(&self.frames));
                deflated.unwrap_or_else(|| self.frames.clone())
            }
            #[cfg(feature = "deflate")]
            Encoding::DeflatedShared | Encoding::Deflated4KiB | Encoding::Deflated256 => {
                let longest = encoding.longest_compressed();
                let fits = self.frames.longest <= longest;
                let deflated = self.deflated.as_ref().filter(|_| fits);
                deflated
                    .unwrap_or(&self.frames)
                    .clone()
                    .placed_like(&self.frames)
            }
        }
    }
}

impl Forms {
    /// The messages for a client of several rooms.
    fn take_named(&self, encoding: Encoding, epoch: Epoch, room: Option<&str>) -> Burst {
        let of = |form: Option<&Burst>| form.cloned().unwrap_or_default().placed_like(&self.frames);
        let lines = self.lines.as_deref();
        let named = if encoding.is_events() {
            let events = sse::in_room(&of(self.events.as_ref()), room);
            match encoding.has_positions() {
                true => sse::with_ids(&events, epoch),
                false => events,
            }
        } else if encoding.is_json() {
            let objects = of(lines.and_then(|lines| lines.json.as_ref()));
            let objects = lines::objects_in_room(&objects, room);
            match encoding.has_positions() {
                true => lines::with_positions(&objects, epoch),
                false => objects,
            }
        } else if encoding.is_lines() {
            let text = of(lines.and_then(|lines| lines.text.as_ref()));
            lines::lines_in_room(&text, room)
        } else {
            positions::encode(&self.frames, epoch, room)
        };
        named.encoded_as(encoding)
    }
}

impl From<Burst> for Forms {
    fn from(frames: Burst) -> Forms {
        Forms {
            frames,
            events: None,
            lines: None,
            #[cfg(feature = "deflate")]
            deflated: None,
        }
    }
}

/// Says to a client that follows positions that between two of them something
/// is missing.
pub(crate) fn gap_notice(encoding: Encoding, from: Position, to: Position) -> Bytes {
    match encoding {
        _ if encoding.is_events() => sse::gap(from, to),
        _ if encoding.is_json() => lines::gap(from, to),
        _ => positions::gap(from, to),
    }
}
