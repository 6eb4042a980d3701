//! A client, as your program sees it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::close::CloseCode;
use crate::embed::handle::Handle;
use crate::error::{SendError, Stopped};
use crate::hub::{Attachment, ClientState};
use crate::message::Message;
use crate::names::{ClientId, Peer};
use crate::rights::Rights;

/// One client, as the hooks of a [`Handler`](crate::Handler) see it, and as
/// [`Handle::members`] lists it.
///
/// # Threads and cloning
///
/// Cheap to clone and usable from any thread; a clone may be kept. It does
/// not keep the connection open: what is sent to a client that has left goes
/// nowhere, without an error. It keeps what is attached to the client.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use hubcast::Server;
///
/// /// What is attached to every client.
/// #[derive(Default)]
/// struct Count(AtomicU32);
///
/// let running = Server::builder()
///     .on_upgrade(|upgrade| {
///         upgrade.attach(Count::default());
///         Ok(())
///     })
///     .on_message(|client, _message| {
///         let Count(count) = client.attached()?;
///         let number = 1 + count.fetch_add(1, Ordering::Relaxed);
///         let _ = client.send(format!("message {number} of {}", client.id()));
///         None
///     })
///     .bind("127.0.0.1:0")?
///     .spawn()?;
///
/// let url = format!("ws://{}/", running.local_addr());
/// let (mut client, _) = tungstenite::connect(url)?;
/// for number in 1..=3 {
///     client.send("hello".into())?;
///     assert_eq!(client.read()?.to_text()?, format!("message {number} of 1"));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) state: Arc<ClientState>,
    pub(crate) handle: Handle,
    pub(crate) attachment: Option<Attachment>,
}

impl Client {
    /// The client of this state; `None` if it has left and its attached value
    /// was dropped.
    pub(super) fn of(state: Arc<ClientState>, handle: &Handle) -> Option<Client> {
        let attachment = match &state.attachment {
            None => None,
            Some(weak) => Some(weak.upgrade()?),
        };
        Some(Client {
            state,
            handle: handle.clone(),
            attachment,
        })
    }

    /// The client's id.
    pub fn id(&self) -> ClientId {
        self.state.id
    }

    /// The peer's address. Behind a proxy it is the proxy's, unless
    /// [`Config::trust_proxy`](crate::Config::trust_proxy) or
    /// [`Config::proxy_protocol`](crate::Config::proxy_protocol) say otherwise.
    pub fn peer(&self) -> Peer {
        self.state.peer
    }

    /// The rights that the client's token gives, or that
    /// [`Upgrade::set_rights`](crate::Upgrade::set_rights) has set; `None` where
    /// nothing limits them.
    pub fn rights(&self) -> Option<&Rights> {
        self.state.rights.as_deref()
    }

    /// The room the client came in by; of several, the first. Its messages are
    /// relayed there, even after [`Handle::exit_room`].
    pub fn room(&self) -> &str {
        &self.state.room
    }

    /// How the client is shown to those who follow who is in its room; see
    /// [`Upgrade::name`](crate::Upgrade::name).
    pub fn name(&self) -> Option<&str> {
        self.state.name.as_deref()
    }

    /// What [`Upgrade::attach`](crate::Upgrade::attach) attached, if it is a
    /// `T`; otherwise `None`. To change it later, attach something that can
    /// be changed through a shared reference, such as a `Mutex`.
    pub fn attached<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.attachment.as_ref()?.downcast_ref()
    }

    /// The server's handle, to speak to others than this client.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Sends a message to this client alone; see [`Handle::send`].
    ///
    /// # Errors
    ///
    /// The server is stopping or gone, or the message is too large.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.handle.send(self.id(), message)
    }

    /// Closes this client's connection; see [`Handle::disconnect`].
    ///
    /// # Errors
    ///
    /// The server has stopped, so the client is gone anyway.
    pub fn disconnect(&self, code: CloseCode, reason: impl Into<String>) -> Result<(), Stopped> {
        self.handle.disconnect(self.id(), code, reason)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.state.id)
            .field("peer", &self.state.peer)
            .field("room", &self.state.room)
            .finish_non_exhaustive()
    }
}
