//! Why reading ends.

use crate::close::{Cause, CloseFrame, Violation};
use crate::hub::InboxError;

/// Why reading ends.
pub(super) enum End {
    /// The peer's Close frame has come.
    Closed(CloseFrame),
    /// The connection is closed by us: how, and why.
    Fail(Violation),
    /// The stream has ended or failed, so nothing more can be sent.
    Gone(Cause),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> End {
        End::Fail(violation)
    }
}

/// The hub has ended, and with it the server.
impl From<InboxError> for End {
    fn from(_: InboxError) -> End {
        End::Gone(Cause::Shutdown)
    }
}

/// The end after a panic, a hook's or our own: the peer need not know whose.
pub(super) fn panicked(cause: Cause) -> End {
    End::Fail(Violation {
        reason: "internal error".to_owned(),
        cause,
    })
}
