//! The hooks by which a program takes part.

use std::fmt;
use std::sync::Arc;

use crate::close::Departure;
use crate::embed::client::Client;
use crate::embed::upgrade::{Refusal, Upgrade};
use crate::message::Message;

/// The hooks by which a program takes part in what the server does; given to
/// [`ServerBuilder::handler`](crate::ServerBuilder::handler).
///
/// Every hook has a default, which does what the plain relay does. Where one
/// hook is enough, a closure does:
/// [`ServerBuilder::on_message`](crate::ServerBuilder::on_message) and its
/// like.
///
/// # Threads
///
/// The hooks for one client run on that client's own thread, one after
/// another, in the order of its messages; those of different clients run at
/// the same time. A hook may take its time and may call anything on a
/// [`Handle`](crate::Handle): it holds up only the client it is called for,
/// whose further messages wait. It cannot block the hub, nor deadlock it. Its
/// stack has [`Config::stack_size`](crate::Config::stack_size). A thread may serve
/// another client after this one, so thread-local values may be there already.
/// Over TLS, `on_upgrade` runs on another thread, before all others.
///
/// # Panics
///
/// A hook that panics ends that client's connection, and nothing else: with
/// Close 1011, or in `on_upgrade` with the answer 500.
///
/// ```
/// use hubcast::{Client, Handler, Message};
///
/// /// Shouts everything.
/// struct Shout;
///
/// impl Handler for Shout {
///     fn on_message(&self, _client: &Client, message: Message) -> Option<Message> {
///         message.as_text().map(|text| Message::from(text.to_uppercase()))
///     }
/// }
///
/// let server = hubcast::Server::builder().handler(Shout).bind("127.0.0.1:0")?;
/// assert_ne!(server.local_addr().port(), 0);
/// # Ok::<(), hubcast::Error>(())
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Called with a valid request for a room, before it is accepted. May
    /// refuse it, choose the room and the subprotocol, and attach a value to
    /// the client. Default: accepts.
    ///
    /// For a client that asks for several rooms, `/?room=a&room=b`, it is called
    /// once for each of them, as if it were the only one.
    ///
    /// The checks of the settings come first: the origin, the token. The time
    /// it takes is not part of
    /// [`Config::handshake_timeout`](crate::Config::handshake_timeout).
    ///
    /// # Errors
    ///
    /// The refusal to answer the request with.
    fn on_upgrade(&self, upgrade: &mut Upgrade<'_>) -> Result<(), Refusal> {
        let _ = upgrade;
        Ok(())
    }

    /// Called when the client has joined its room, before its first message. It
    /// receives everything that is broadcast to the room from here on. Default:
    /// does nothing.
    fn on_join(&self, client: &Client) {
        let _ = client;
    }

    /// Called with each message of the client. The returned message, which may
    /// be another one, is relayed to the room that the client came in by;
    /// `None` relays nothing. Default: the message.
    ///
    /// Messages that the hook sends through a handle reach the hub before the
    /// one it returns. Only messages of clients come here: not those that your
    /// program broadcasts, and not those that are published over HTTP, where
    /// [`Config::allow_publish`](crate::Config::allow_publish) allows that.
    fn on_message(&self, client: &Client, message: Message) -> Option<Message> {
        let _ = client;
        Some(message)
    }

    /// Called when the client has left, whatever the cause; the last hook.
    /// Called once for each [`on_join`](Handler::on_join), even if that has
    /// panicked. Default: does nothing.
    fn on_leave(&self, client: &Client, departure: &Departure) {
        let _ = (client, departure);
    }
}

type UpgradeHook = dyn Fn(&mut Upgrade<'_>) -> Result<(), Refusal> + Send + Sync;
type JoinHook = dyn Fn(&Client) + Send + Sync;
type MessageHook = dyn Fn(&Client, Message) -> Option<Message> + Send + Sync;
type LeaveHook = dyn Fn(&Client, &Departure) + Send + Sync;

/// Closures as hooks; a hook without a closure is the handler's.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) handler: Option<Arc<dyn Handler>>,
    pub(crate) on_upgrade: Option<Box<UpgradeHook>>,
    pub(crate) on_join: Option<Box<JoinHook>>,
    pub(crate) on_message: Option<Box<MessageHook>>,
    pub(crate) on_leave: Option<Box<LeaveHook>>,
}

impl Hooks {
    /// The handler to call; `None` for a plain relay.
    pub(crate) fn into_handler(self) -> Option<Arc<dyn Handler>> {
        let has_closure = self.on_upgrade.is_some()
            || self.on_join.is_some()
            || self.on_message.is_some()
            || self.on_leave.is_some();
        if has_closure {
            return Some(Arc::new(self));
        }
        self.handler
    }
}

impl Handler for Hooks {
    fn on_upgrade(&self, upgrade: &mut Upgrade<'_>) -> Result<(), Refusal> {
        match (&self.on_upgrade, &self.handler) {
            (Some(hook), _) => hook(upgrade),
            (None, Some(handler)) => handler.on_upgrade(upgrade),
            (None, None) => Ok(()),
        }
    }

    fn on_join(&self, client: &Client) {
        match (&self.on_join, &self.handler) {
            (Some(hook), _) => hook(client),
            (None, Some(handler)) => handler.on_join(client),
            (None, None) => {}
        }
    }

    fn on_message(&self, client: &Client, message: Message) -> Option<Message> {
        match (&self.on_message, &self.handler) {
            (Some(hook), _) => hook(client, message),
            (None, Some(handler)) => handler.on_message(client, message),
            (None, None) => Some(message),
        }
    }

    fn on_leave(&self, client: &Client, departure: &Departure) {
        match (&self.on_leave, &self.handler) {
            (Some(hook), _) => hook(client, departure),
            (None, Some(handler)) => handler.on_leave(client, departure),
            (None, None) => {}
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}
