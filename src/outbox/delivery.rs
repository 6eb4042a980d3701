//! The bytes of one fan-out.

use std::io::{self, IoSlice};

use bytes::Bytes;

use crate::net::{Outlet, Sent};
use crate::position::Offset;
use crate::wire::Burst;

/// The bytes of one fan-out, prepared once for all receivers.
#[derive(Debug)]
pub(crate) struct Delivery<'a> {
    pub(super) bursts: &'a [Burst],
    /// All of it in one piece, if it is small enough to be worth the copy.
    joined: Option<&'a [u8]>,
    slices: &'a [IoSlice<'a>],
    pub(crate) bytes: usize,
    pub(crate) messages: usize,
}

/// Bursts up to this size together are copied into one buffer once per
/// fan-out: a plain send is cheaper than a vectored one for every client.
const JOIN_BYTES: usize = 64 * 1024;
/// The most bursts one delivery may hold.
pub(crate) const MAX_BURSTS: usize = 64;

impl<'a> Delivery<'a> {
    /// Prepares at most [`MAX_BURSTS`] bursts and passes them to `give`.
    /// `scratch` is working space, kept so that nothing is allocated.
    pub(crate) fn prepare<R>(
        bursts: &[Burst],
        scratch: &mut Vec<u8>,
        give: impl FnOnce(&Delivery<'_>) -> R,
    ) -> R {
        debug_assert!(bursts.len() <= MAX_BURSTS);
        let bytes = bursts.iter().map(|burst| burst.bytes.len()).sum();
        let messages = bursts.iter().map(|burst| burst.messages as usize).sum();
        let mut delivery = Delivery {
            bursts,
            joined: None,
            slices: &[],
            bytes,
            messages,
        };
        match bursts {
            [burst] => {
                delivery.joined = Some(&burst.bytes);
                give(&delivery)
            }
            _ if bytes <= JOIN_BYTES => {
                scratch.clear();
                bursts
                    .iter()
                    .for_each(|burst| scratch.extend_from_slice(&burst.bytes));
                delivery.joined = Some(scratch);
                give(&delivery)
            }
            _ => {
                let mut slices = [IoSlice::new(&[]); MAX_BURSTS];
                for (slice, burst) in slices.iter_mut().zip(bursts) {
                    *slice = IoSlice::new(&burst.bytes);
                }
                delivery.slices = &slices[..bursts.len()];
                give(&delivery)
            }
        }
    }

    /// The frames, and where their messages stand in the log.
    pub(super) fn frames(&self) -> impl Iterator<Item = (Bytes, Offset)> {
        self.bursts.iter().flat_map(|burst| {
            let frames = burst.frames().enumerate();
            frames.map(|(index, frame)| (frame, burst.offset(index)))
        })
    }

    /// Sends as much as fits, without blocking.
    pub(super) fn try_send(&self, socket: &dyn Outlet) -> io::Result<Sent> {
        match self.joined {
            Some(bytes) => socket.try_send(bytes),
            None => socket.try_send_vectored(self.slices),
        }
    }
}
