//! The methods of a handle that name the clients themselves.

use super::client::Client;
use super::handle::Handle;
use crate::error::{SendError, SendErrorReason, Stopped};
use crate::hub::{Audience, Command};
use crate::message::Message;
use crate::names::room_name;

impl Handle {
    /// Sends a message to the clients of a room for whom `filter` is true,
    /// for example by the value that was attached to them.
    ///
    /// The filter runs on the calling thread, over the clients that are in the
    /// room now. It may take long, and may use the handle. Waits for the hub to
    /// list the clients.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Handle::broadcast).
    ///
    /// ```
    /// use hubcast::Server;
    ///
    /// struct Language(String);
    ///
    /// let running = Server::builder()
    ///     .on_upgrade(|upgrade| {
    ///         let language = upgrade.request().uri().query().unwrap_or("en");
    ///         upgrade.attach(Language(language.to_owned()));
    ///         Ok(())
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    /// let handle = running.handle();
    ///
    /// let url = format!("ws://{}/?fr", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// for (language, greeting) in [("en", "good morning"), ("fr", "bonjour")] {
    ///     let speaks = |Language(theirs): &Language| theirs == language;
    ///     handle.broadcast_where("/", |c| c.attached().is_some_and(speaks), greeting)?;
    /// }
    /// assert_eq!(client.read()?.to_text()?, "bonjour");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broadcast_where(
        &self,
        room: &str,
        mut filter: impl FnMut(&Client) -> bool,
        message: impl Into<Message>,
    ) -> Result<(), SendError> {
        let message = message.into();
        let Ok(members) = self.members(room) else {
            return Err(SendError::new(message, SendErrorReason::Stopped));
        };
        let chosen = members.into_iter().filter(|client| filter(client));
        let to = Audience::Clients(chosen.map(|client| client.id()).collect());
        self.publish(to, message)
    }

    /// The clients of a room, to look at their attached values or to keep one.
    /// Waits for the hub to answer.
    ///
    /// # Errors
    ///
    /// The server has stopped.
    ///
    /// ```
    /// use hubcast::{Client, Server};
    ///
    /// struct Nick(String);
    ///
    /// let running = Server::builder()
    ///     .on_upgrade(|upgrade| {
    ///         let nick = upgrade.request().uri().query().unwrap_or("somebody");
    ///         upgrade.attach(Nick(nick.to_owned()));
    ///         Ok(())
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    /// let handle = running.handle();
    ///
    /// let url = format!("ws://{}/?ann", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// let nick = |client: &Client| client.attached().map(|Nick(nick)| nick.clone());
    /// let nicks: Vec<String> = handle.members("/")?.iter().filter_map(nick).collect();
    /// assert_eq!(nicks, ["ann"]);
    /// # drop(client);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn members(&self, room: &str) -> Result<Vec<Client>, Stopped> {
        let room = room_name(room);
        let states = self.query(|reply| Command::Members { room, reply })?;
        let client = |state| Client::of(state, self);
        Ok(states.into_iter().filter_map(client).collect())
    }
}
