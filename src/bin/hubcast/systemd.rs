//! What systemd is told (sd_notify(3)). Elsewhere nobody asks, and nothing is
//! said.

use std::io;
use std::thread;

use hubcast::Handle;
use sd_notify::NotifyState;

use crate::background;

/// No client can name this room, so asking for its clients is cheap.
const NO_ROOM: &str = "/-/watchdog";

/// The server listens.
pub(crate) fn ready(handle: Handle) -> io::Result<()> {
    tell(NotifyState::Ready);
    let Some(period) = sd_notify::watchdog_enabled() else {
        return Ok(());
    };
    // Only a hub that answers keeps the watchdog quiet.
    let watch = move || {
        while handle.clients_in(NO_ROOM).is_ok() {
            tell(NotifyState::Watchdog);
            thread::sleep(period / 2);
        }
    };
    background::start("hubcast-watchdog", Box::new(watch))
}

pub(crate) fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::debug!("systemd is not told: {error}");
    }
}
