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

impl From<InboxError> for End {
    fn from(error: InboxError) -> End {
        match error {
            #[cfg(feature = "redis")]
            InboxError::Full => End::Fail(Violation {
                reason: "too much waits for the engine; try again later".to_owned(),
                cause: Cause::EngineAway,
            }),
            // The hub has ended, and with it the server.
            _ => End::Gone(Cause::Shutdown),
        }
    }
}

/// The end after a panic, a hook's or our own: the peer need not know whose.
pub(super) fn panicked(cause: Cause) -> End {
    End::Fail(Violation {
        reason: "internal error".to_owned(),
        cause,
    })
}
