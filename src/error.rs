//! Errors: one opaque type with a kind, and one for a message that could not be
//! sent.

use std::{error, fmt, io};

use crate::message::Message;

/// Why a server could not be started or ended badly.
///
/// The text is one line that names the thing, the value and the cause; the
/// operating system's error, where there is one, is also the
/// [`source`](error::Error::source). What to do about it depends on the
/// [`kind`](Error::kind).
///
/// ```
/// use hubcast::{ErrorKind, Server};
///
/// let server = Server::bind("127.0.0.1:0")?;
/// let address = server.local_addr();
/// let error = Server::bind(address).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Bind);
/// let text = format!("cannot listen on {address}: ");
/// assert!(error.to_string().starts_with(&text));
/// # Ok::<(), hubcast::Error>(())
/// ```
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<io::Error>,
}

/// What kind of thing went wrong; see [`Error::kind`]. New kinds may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A field of [`Config`](crate::Config) is out of range, or the address
    /// cannot be parsed. The text names the field and the values it may have.
    Config,
    /// The address cannot be listened on: it is in use, not this machine's,
    /// or not permitted.
    Bind,
    /// The system refused a thread or a descriptor the server needs to start.
    Start,
    /// The engine refuses this server, or is required and not reached.
    #[cfg(feature = "redis")]
    Engine,
    /// A thread of the server ended unexpectedly, which is a bug.
    Internal,
}

impl Error {
    pub(crate) fn config(context: impl Into<String>) -> Error {
        Error {
            kind: ErrorKind::Config,
            context: context.into(),
            source: None,
        }
    }

    pub(crate) fn bind(context: impl Into<String>, source: io::Error) -> Error {
        Error {
            kind: ErrorKind::Bind,
            context: context.into(),
            source: Some(source),
        }
    }

    pub(crate) fn start(context: impl Into<String>, source: io::Error) -> Error {
        Error {
            kind: ErrorKind::Start,
            context: context.into(),
            source: Some(source),
        }
    }

    #[cfg(feature = "redis")]
    pub(crate) fn engine(context: impl Into<String>) -> Error {
        Error {
            kind: ErrorKind::Engine,
            context: context.into(),
            source: None,
        }
    }

    pub(crate) fn internal(context: impl Into<String>) -> Error {
        Error {
            kind: ErrorKind::Internal,
            context: context.into(),
            source: None,
        }
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A program whose `main` returns this error prints its `Debug`, so that
        // is the readable text.
        write!(f, "{self} ({:?})", self.kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// A message that was not accepted, and why. It hands the message back.
///
/// Returned by the methods of [`Handle`](crate::Handle) that send. Exactly one
/// of the `is_` methods is true. `Debug` and `Display` leave the message out.
///
/// ```
/// use hubcast::{Message, Server};
///
/// let running = Server::bind("127.0.0.1:0")?.spawn()?;
/// let handle = running.handle();
/// running.shutdown()?;
/// let error = handle.broadcast("/", "too late").unwrap_err();
/// assert!(error.is_stopped() && !error.is_full());
/// assert_eq!(error.to_string(), "sending to a server that has stopped");
/// assert_eq!(error.into_message(), Message::from("too late"));
/// # Ok::<(), hubcast::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SendError {
    message: Message,
    reason: SendErrorReason,
}

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendErrorReason {
    Full,
    /// Accepted, and not in the log yet.
    #[cfg(feature = "redis")]
    Late,
    Stopped,
    TooLarge,
}

impl SendError {
    pub(crate) fn new(message: Message, reason: SendErrorReason) -> SendError {
        SendError { message, reason }
    }

    /// The message that was not accepted.
    pub fn into_message(self) -> Message {
        self.message
    }

    /// Whether too much waits already: for the hub, which only
    /// [`try_broadcast`](crate::Handle::try_broadcast) returns, because it does
    /// not wait; or for an engine that is away.
    pub fn is_full(&self) -> bool {
        self.reason == SendErrorReason::Full
    }

    /// Whether the message was accepted, and is not in the log yet because the
    /// engine is away: it comes when the engine does, so it must not be sent
    /// again. Only [`broadcast_confirmed`](crate::Handle::broadcast_confirmed)
    /// returns this.
    #[cfg(feature = "redis")]
    pub fn is_late(&self) -> bool {
        self.reason == SendErrorReason::Late
    }

    /// Whether the server is stopping or has stopped. It will take no message
    /// again.
    pub fn is_stopped(&self) -> bool {
        self.reason == SendErrorReason::Stopped
    }

    /// Whether the message is larger than
    /// [`Config::max_message_size`](crate::Config::max_message_size).
    pub fn is_too_large(&self) -> bool {
        self.reason == SendErrorReason::TooLarge
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendError({:?})", self.reason)
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            SendErrorReason::Full => "sending on a full inbox",
            #[cfg(feature = "redis")]
            SendErrorReason::Late => "sending through an engine that is away",
            SendErrorReason::Stopped => "sending to a server that has stopped",
            SendErrorReason::TooLarge => "sending a message larger than max_message_size",
        })
    }
}

impl error::Error for SendError {}

/// The server has stopped, so the call has no effect.
///
/// ```
/// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
/// let handle = running.handle();
/// running.shutdown()?;
/// let stopped = handle.clients().unwrap_err();
/// assert_eq!(stopped.to_string(), "asking a server that has stopped");
/// # Ok::<(), hubcast::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asking a server that has stopped")
    }
}

impl error::Error for Stopped {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn an_error_names_the_thing_and_keeps_its_cause() {
        let error = Error::bind(
            "cannot listen on 127.0.0.1:1",
            io::ErrorKind::AddrInUse.into(),
        );
        assert_eq!(error.kind(), ErrorKind::Bind);
        assert_eq!(
            error.to_string(),
            "cannot listen on 127.0.0.1:1: address in use"
        );
        assert!(error.source().is_some());
    }

    #[test]
    fn a_send_error_hands_the_message_back() {
        let error = SendError::new(Message::from("kept"), SendErrorReason::Full);
        assert!(error.is_full() && !error.is_stopped());
        assert_eq!(error.into_message(), Message::from("kept"));
    }
}
