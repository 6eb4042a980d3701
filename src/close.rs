//! All of closing: close codes, Close frames, and departures (how and why a
//! connection ended).

use std::{fmt, io};

/// The longest close reason, 123 bytes: a control frame holds 125 bytes, two
/// of them are the code (RFC 6455 §5.5, §5.5.1).
pub const MAX_REASON: usize = 123;

/// A close code (RFC 6455 §7.4) that may stand in a Close frame.
///
/// ```
/// use hubcast::CloseCode;
///
/// assert_eq!(CloseCode::NORMAL.value(), 1000);
/// assert_eq!(CloseCode::new(4000).map(|code| code.value()), Some(4000));
/// assert!(CloseCode::new(1006).is_none(), "1006 never goes on the wire");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the endpoint goes away; the server's shutdown.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1002: a protocol error.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// 1003: a kind of data the endpoint does not accept.
    pub const UNSUPPORTED_DATA: CloseCode = CloseCode(1003);
    /// 1007: data that does not fit its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// 1008: a policy was violated; slow consumers are evicted with it.
    pub const POLICY_VIOLATION: CloseCode = CloseCode(1008);
    /// 1009: a message is too large.
    pub const TOO_LARGE: CloseCode = CloseCode(1009);
    /// 1011: the server failed; a handler panicked.
    pub const INTERNAL_ERROR: CloseCode = CloseCode(1011);
    /// 1012: the service restarts.
    pub const SERVICE_RESTART: CloseCode = CloseCode(1012);
    /// 1013: try again later.
    pub const TRY_AGAIN_LATER: CloseCode = CloseCode(1013);
    /// 4410, hubcast's own: of what a client wants to resume with, something
    /// is missing.
    pub const INCOMPLETE_RESUME: CloseCode = CloseCode(4410);

    /// The code of that value, or `None` if it must not be sent: below 1000,
    /// reserved (1004, 1005, 1006, 1015, 1016 to 2999), or above 4999 (RFC 6455
    /// §7.4.1, §7.4.2).
    pub fn new(value: u16) -> Option<CloseCode> {
        match value {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(CloseCode(value)),
            _ => None,
        }
    }

    /// The number on the wire.
    pub fn value(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The body of a Close frame: nothing, or a code and a reason (RFC 6455
/// §5.5.1).
///
/// Its text, for a log, has the reason escaped: it may come from a peer.
///
/// ```
/// use hubcast::{CloseCode, CloseFrame};
///
/// let frame = CloseFrame::new(CloseCode::NORMAL, "bye\n");
/// assert_eq!(frame.to_string(), r#"1000 "bye\n""#);
/// assert_eq!(CloseFrame::empty().code, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CloseFrame {
    /// The close code; `None` is a Close frame without a body.
    pub code: Option<CloseCode>,
    /// The close reason, at most [`MAX_REASON`] bytes of UTF-8.
    pub reason: String,
}

impl CloseFrame {
    /// A Close frame with a code and a reason. A reason longer than
    /// [`MAX_REASON`] bytes is cut at a character boundary.
    ///
    /// ```
    /// use hubcast::{CloseCode, CloseFrame};
    ///
    /// let frame = CloseFrame::new(CloseCode::NORMAL, "é".repeat(100));
    /// assert_eq!(frame.reason.len(), 122);
    /// ```
    pub fn new(code: CloseCode, reason: impl Into<String>) -> CloseFrame {
        let mut reason = reason.into();
        if reason.len() > MAX_REASON {
            let mut end = MAX_REASON;
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            reason.truncate(end);
        }
        CloseFrame {
            code: Some(code),
            reason,
        }
    }

    /// This frame with some more words at the end of its reason, which is cut
    /// for them if it must be.
    pub(crate) fn ending_with(&self, words: &str) -> CloseFrame {
        let Some(code) = self.code else {
            return self.clone();
        };
        let mut reason = self.reason.clone();
        let room = MAX_REASON.saturating_sub(words.len() + 1);
        while reason.len() > room {
            reason.pop();
        }
        if !reason.is_empty() {
            reason.push(' ');
        }
        reason.push_str(words);
        CloseFrame::new(code, reason)
    }

    /// A Close frame without a body.
    pub fn empty() -> CloseFrame {
        CloseFrame {
            code: None,
            reason: String::new(),
        }
    }
}

impl fmt::Display for CloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            None => write!(f, "no code"),
            Some(code) if self.reason.is_empty() => write!(f, "{code}"),
            Some(code) => write!(f, "{code} {:?}", self.reason),
        }
    }
}

/// Why a connection ended: the first thing that happened. Part of a
/// [`Departure`].
///
/// The text is a phrase for a log; [`name`](Cause::name) is for counters.
///
/// ```
/// use hubcast::Cause;
///
/// assert!(Cause::ClosedByPeer.is_normal());
/// assert_eq!(Cause::PongTimeout.name(), "pong_timeout");
/// assert_eq!(Cause::PongTimeout.to_string(), "no pong in time");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The peer sent a Close frame; or, receiving events, ended the stream.
    ClosedByPeer,
    /// The stream ended without a Close frame: the peer crashed, or was
    /// killed, or a middlebox cut the connection.
    EndOfStream,
    /// Reading from the socket failed.
    ReadFailed(io::ErrorKind),
    /// Writing to the socket failed.
    WriteFailed(io::ErrorKind),
    /// A frame did not go out within
    /// [`Config::write_timeout`](crate::Config::write_timeout).
    WriteTimeout,
    /// The peer stayed silent after a Ping for
    /// [`Config::pong_timeout`](crate::Config::pong_timeout).
    PongTimeout,
    /// A message was begun and not completed within
    /// [`Config::message_timeout`](crate::Config::message_timeout); closed
    /// with 1008.
    MessageTimeout,
    /// The peer broke the protocol; the text says which rule. Closed with
    /// 1002.
    ProtocolError(String),
    /// A text message or a close reason was not UTF-8; closed with 1007.
    InvalidUtf8,
    /// A message was larger than
    /// [`Config::max_message_size`](crate::Config::max_message_size); closed
    /// with 1009.
    TooLarge,
    /// A message had more fragments than
    /// [`Config::max_fragments`](crate::Config::max_fragments); closed with
    /// 1008.
    TooManyFragments,
    /// A slow consumer was evicted with this backlog; closed with 1008.
    Evicted {
        /// Messages that waited.
        messages: usize,
        /// Bytes that waited.
        bytes: usize,
    },
    /// A message to a room that the client's [`Rights`](crate::Rights) let it
    /// only read, or from a client of several rooms, `/?room=a&room=b`; closed
    /// with 1008.
    ReadOnly,
    /// The client's [`Rights`](crate::Rights) have ended; closed with 1008.
    TokenExpired,
    /// Your program disconnected the client, with
    /// [`Handle::disconnect`](crate::Handle::disconnect).
    Disconnected,
    /// The client asked to be closed if messages are missing that it wants
    /// to resume with, and some are; closed with 4410.
    IncompleteResume,
    /// What the client sent did not go into the log in time, because the engine
    /// is away and too much waits for it; closed with 1013.
    EngineAway,
    /// The server shut down; closed with 1001, or by a
    /// [`drain`](crate::Config::drain) with 1012.
    Shutdown,
    /// The client had been here for [`Config::max_age`](crate::Config::max_age);
    /// closed with 1001.
    MaxAge,
    /// A hook of the handler panicked; closed with 1011.
    HandlerPanicked,
    /// The system refused the client's writer thread.
    NoWriterThread,
    /// A compressed message could not be inflated: it was no deflate stream, or
    /// cut off. Closed with 1007.
    InvalidDeflate,
    /// The server itself failed at this connection: a fault of hubcast's, not
    /// of a handler. Closed with 1011.
    InternalError,
}

impl Cause {
    /// Whether this is an ordinary end: a Close from the peer, a disconnect by
    /// your program, one that the client asked for in case it cannot resume, its
    /// age, or the server's shutdown.
    pub fn is_normal(&self) -> bool {
        matches!(
            self,
            Cause::ClosedByPeer
                | Cause::Disconnected
                | Cause::IncompleteResume
                | Cause::Shutdown
                | Cause::MaxAge
        )
    }

    /// A short name without spaces, for counters; see
    /// [`Stats::departed`](crate::Stats::departed).
    pub fn name(&self) -> &'static str {
        Cause::NAMES[self.index()]
    }

    /// The names of all causes.
    pub(crate) const NAMES: [&'static str; 23] = [
        "closed_by_peer",
        "end_of_stream",
        "read_failed",
        "write_failed",
        "write_timeout",
        "pong_timeout",
        "message_timeout",
        "protocol_error",
        "invalid_utf8",
        "too_large",
        "too_many_fragments",
        "evicted",
        "disconnected",
        "shutdown",
        "handler_panicked",
        "no_writer_thread",
        "invalid_deflate",
        "internal_error",
        "incomplete_resume",
        "read_only",
        "token_expired",
        "engine_away",
        "max_age",
    ];

    /// The place of this cause in [`Cause::NAMES`].
    pub(crate) fn index(&self) -> usize {
        match self {
            Cause::ClosedByPeer => 0,
            Cause::EndOfStream => 1,
            Cause::ReadFailed(_) => 2,
            Cause::WriteFailed(_) => 3,
            Cause::WriteTimeout => 4,
            Cause::PongTimeout => 5,
            Cause::MessageTimeout => 6,
            Cause::ProtocolError(_) => 7,
            Cause::InvalidUtf8 => 8,
            Cause::TooLarge => 9,
            Cause::TooManyFragments => 10,
            Cause::Evicted { .. } => 11,
            Cause::Disconnected => 12,
            Cause::Shutdown => 13,
            Cause::HandlerPanicked => 14,
            Cause::NoWriterThread => 15,
            Cause::InvalidDeflate => 16,
            Cause::InternalError => 17,
            Cause::IncompleteResume => 18,
            Cause::ReadOnly => 19,
            Cause::TokenExpired => 20,
            Cause::EngineAway => 21,
            Cause::MaxAge => 22,
        }
    }

    /// The code of the Close frame that the server sends for this cause (RFC
    /// 6455 §7.4.1). `None`: it sends none, or the peer or the program has
    /// chosen it.
    pub(crate) fn close_code(&self) -> Option<CloseCode> {
        match self {
            Cause::ClosedByPeer
            | Cause::EndOfStream
            | Cause::ReadFailed(_)
            | Cause::WriteFailed(_)
            | Cause::WriteTimeout
            | Cause::PongTimeout
            | Cause::Disconnected
            | Cause::NoWriterThread => None,
            Cause::MessageTimeout
            | Cause::TooManyFragments
            | Cause::Evicted { .. }
            | Cause::ReadOnly
            | Cause::TokenExpired => Some(CloseCode::POLICY_VIOLATION),
            Cause::ProtocolError(_) => Some(CloseCode::PROTOCOL_ERROR),
            Cause::InvalidUtf8 | Cause::InvalidDeflate => Some(CloseCode::INVALID_PAYLOAD),
            Cause::TooLarge => Some(CloseCode::TOO_LARGE),
            Cause::EngineAway => Some(CloseCode::TRY_AGAIN_LATER),
            Cause::IncompleteResume => Some(CloseCode::INCOMPLETE_RESUME),
            Cause::Shutdown | Cause::MaxAge => Some(CloseCode::GOING_AWAY),
            Cause::HandlerPanicked | Cause::InternalError => Some(CloseCode::INTERNAL_ERROR),
        }
    }

    /// The Close frame that the server sends for this cause.
    pub(crate) fn close_frame(&self, reason: impl Into<String>) -> CloseFrame {
        match self.close_code() {
            Some(code) => CloseFrame::new(code, reason),
            None => CloseFrame::empty(),
        }
    }

    /// The cause for a write that failed with this error.
    pub(crate) fn of_write(error: &io::Error) -> Cause {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Cause::WriteTimeout,
            kind => Cause::WriteFailed(kind),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::ClosedByPeer => write!(f, "closed by peer"),
            Cause::EndOfStream => write!(f, "end of stream without Close"),
            Cause::ReadFailed(kind) => write!(f, "read failed: {kind}"),
            Cause::WriteFailed(kind) => write!(f, "write failed: {kind}"),
            Cause::WriteTimeout => write!(f, "write timed out"),
            Cause::PongTimeout => write!(f, "no pong in time"),
            Cause::MessageTimeout => write!(f, "message not completed in time"),
            Cause::ProtocolError(rule) => write!(f, "protocol error: {rule}"),
            Cause::InvalidUtf8 => write!(f, "text that is not UTF-8"),
            Cause::TooLarge => write!(f, "message too large"),
            Cause::TooManyFragments => write!(f, "message in too many fragments"),
            Cause::Evicted { messages, bytes } => {
                write!(
                    f,
                    "evicted as a slow consumer, {messages} messages ({bytes} bytes) behind"
                )
            }
            Cause::Disconnected => write!(f, "disconnected by the program"),
            Cause::IncompleteResume => write!(f, "messages are missing for a resume"),
            Cause::EngineAway => write!(f, "the engine is away and too much waits for it"),
            Cause::Shutdown => write!(f, "server shutdown"),
            Cause::MaxAge => write!(f, "reached max-age"),
            Cause::HandlerPanicked => write!(f, "handler panicked"),
            Cause::NoWriterThread => write!(f, "the system refused a writer thread"),
            Cause::InvalidDeflate => write!(f, "message that cannot be inflated"),
            Cause::InternalError => write!(f, "internal error"),
            Cause::ReadOnly => write!(f, "message where it may only read"),
            Cause::TokenExpired => write!(f, "token expired"),
        }
    }
}

/// A rule that a client broke: the cause, and the reason in our Close frame.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) cause: Cause,
    pub(crate) reason: String,
}

/// How and why a connection ended: the cause, and the Close frames that were
/// sent and received.
///
/// A departure is a value, not an error: connections end. It is given to
/// [`Handler::on_leave`](crate::Handler::on_leave), and its text is how the
/// log tells it.
///
/// ```
/// use std::sync::mpsc;
///
/// use hubcast::{CloseCode, Server};
///
/// let (sender, departures) = mpsc::channel();
/// let running = Server::builder()
///     .on_join(|client| {
///         let _ = client.disconnect(CloseCode::TRY_AGAIN_LATER, "closed for lunch");
///     })
///     .on_leave(move |_client, departure| {
///         let _ = sender.send(departure.clone());
///     })
///     .bind("127.0.0.1:0")?
///     .spawn()?;
///
/// let url = format!("ws://{}/", running.local_addr());
/// let (mut client, _) = tungstenite::connect(url)?;
/// while client.read().is_ok() {} // answers the Close frame
/// # drop(client);
/// let departure = departures.recv()?;
/// assert!(departure.is_normal());
/// let sent = departure.sent.and_then(|frame| frame.code);
/// assert_eq!(sent, Some(CloseCode::TRY_AGAIN_LATER));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Departure {
    /// What ended the connection.
    pub cause: Cause,
    /// The Close frame the server sent, if it sent one. A client that had
    /// stopped reading may not have received it.
    pub sent: Option<CloseFrame>,
    /// The Close frame the peer sent, if it did.
    pub received: Option<CloseFrame>,
}

impl Departure {
    /// Whether the connection ended as connections ordinarily end; see
    /// [`Cause::is_normal`].
    pub fn is_normal(&self) -> bool {
        self.cause.is_normal()
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        match (&self.sent, &self.received) {
            (None, None) => Ok(()),
            (Some(sent), None) => write!(f, " (sent {sent})"),
            (None, Some(received)) => write!(f, " (received {received})"),
            (Some(sent), Some(received)) => write!(f, " (sent {sent}, received {received})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_exist() {
        for value in [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999,
        ] {
            assert!(CloseCode::new(value).is_some(), "{value}");
        }
        for value in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert!(CloseCode::new(value).is_none(), "{value}");
        }
    }

    #[test]
    fn a_departure_tells_the_whole_story() {
        let departure = Departure {
            cause: Cause::ClosedByPeer,
            sent: Some(CloseFrame::new(CloseCode::NORMAL, "")),
            received: Some(CloseFrame::new(CloseCode::NORMAL, "bye\u{1b}[2J")),
        };
        assert!(departure.is_normal());
        assert_eq!(
            departure.to_string(),
            "closed by peer (sent 1000, received 1000 \"bye\\u{1b}[2J\")"
        );
    }

    #[test]
    fn names_are_unique() {
        let mut names = Cause::NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Cause::NAMES.len());
    }
}
