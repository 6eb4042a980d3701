//! Threads beside the server's.

use std::io;
use std::thread;

/// Starts a thread that nobody waits for. What it does comes in a box, because
/// what starts a thread is compiled anew for each type of closure.
pub(crate) fn start(name: &str, task: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(task).map(drop)
}
