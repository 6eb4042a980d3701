//! Checks the check: whether the ledger notices what a benchmark must not overlook.
//! Takes a few microseconds, so it is done before every measurement.

use super::Result;
use super::frame::{self, Dialect, Opcode};
use super::ledger::Ledger;
use super::stamp::{STAMP_LEN, Stamp};

const FILLER: &[u8] = b"....";

/// Fails unless two clients that receive the same are right, and whatever else the
/// second may receive is wrong.
pub(crate) fn run() -> Result<()> {
    let sound = [message(0, 0), message(1, 0), message(0, 1)];
    let mut changed = sound.clone();
    changed[1][STAMP_LEN + 3] ^= 1;
    let [a, b, c] = sound.clone();
    let wrong = [
        ("lost", vec![a.clone(), c.clone()]),
        ("doubled", vec![a.clone(), a.clone(), b.clone(), c.clone()]),
        ("swapped", vec![b, a, c]),
        ("changed", changed.to_vec()),
        ("closed", vec![frame(Opcode::Close, &[3, 232])]),
    ];
    if !is_accepted(&sound, &sound) {
        return Err("self-check: the ledger refuses what is right".into());
    }
    for (what, second) in wrong {
        if is_accepted(&sound, &second) || is_accepted(&second, &sound) {
            return Err(format!("self-check: the ledger overlooks what was {what}").into());
        }
    }
    Ok(())
}

/// Whether two clients of one room may have received these.
fn is_accepted(first: &[Vec<u8>], second: &[Vec<u8>]) -> bool {
    let mut ledger = Ledger::new(2, 2, Opcode::Binary, FILLER.to_vec());
    let mut finished = Vec::new();
    let fine = [first, second].into_iter().all(|frames| {
        let bytes = frames.concat();
        let taken = ledger.take(&mut 0, &bytes, 0, &mut finished);
        taken.is_ok_and(|taken| taken.bytes == bytes.len())
    });
    fine && ledger.finished() == 3 && finished == [0, 1, 0]
}

fn message(sender: u32, sequence: u64) -> Vec<u8> {
    let stamp = Stamp {
        sender,
        sequence,
        sent: 0,
    };
    let mut payload = [0; STAMP_LEN].to_vec();
    stamp.write(&mut payload);
    payload.extend_from_slice(FILLER);
    frame(Opcode::Binary, &payload)
}

fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::push(&mut frame, Dialect::Server, opcode.last(), payload);
    frame
}
