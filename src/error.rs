//! Errors: one opaque type with a kind, and one for what could not be sent.

use std::{error, fmt, io};

use crate::message::Message;

/// Why a server could not be started or ended badly.
///
/// The text is one line that names the thing and the value; the operating
/// system's error, where there is one, is the [`source`](error::Error::source).
/// New kinds may come, so the kind is asked for and not matched on.
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<io::Error>,
}

/// What kind of thing went wrong; see [`Error::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A field of the configuration has a value that cannot be.
    Config,
    /// The address cannot be listened on.
    Bind,
    /// The system refused a thread or a descriptor the server needs to start.
    Start,
    /// A thread of the server ended that must not; a bug.
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
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("context", &self.context)
            .field("source", &self.source)
            .finish()
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
#[derive(Clone, PartialEq, Eq)]
pub struct SendError {
    message: Message,
    reason: SendErrorReason,
}

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendErrorReason {
    Full,
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

    /// Whether the hub's inbox was full; only the methods that do not wait
    /// say so.
    pub fn is_full(&self) -> bool {
        self.reason == SendErrorReason::Full
    }

    /// Whether the server is stopping or gone: it takes no message again.
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
            SendErrorReason::Stopped => "sending to a server that has stopped",
            SendErrorReason::TooLarge => "sending a message larger than max_message_size",
        })
    }
}

impl error::Error for SendError {}

/// The server is stopping or gone: what was asked of it cannot be done.
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
