//! What a thread does.

/// What a thread does. In a box, because what starts a thread is compiled anew
/// for each type of closure, with 2 KB each time.
pub(crate) type Task = Box<dyn FnOnce() + Send>;
