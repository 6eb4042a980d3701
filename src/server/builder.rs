//! Building a server: its settings, its hooks, and what its threads share.

use std::fmt;
use std::iter;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::sync::Arc;

use http::{Request, Response};

use super::Server;
use super::accept::Gate;
use super::capacity::ClientLimit;
use super::writers::Writers;
use crate::close::Departure;
use crate::config::Config;
use crate::connection::Admission;
use crate::connection::Service;
use crate::connection::Threads;
use crate::doors::{self, Doors, Entrance};
use crate::embed::Answerer;
use crate::embed::Client;
use crate::embed::Handle;
use crate::embed::Shared;
use crate::embed::{Handler, Hooks};
use crate::embed::{Refusal, Upgrade};
#[cfg(feature = "redis")]
use crate::engine::Engine;
use crate::error::Error;
use crate::hub::Inbox;
use crate::hub::Places;
use crate::hub::Publisher;
use crate::message::Message;
use crate::names::Peer;
use crate::net::Listener;
use crate::net::{Certificates, Stop};
use crate::outbox::OutboxRules;
use crate::stats::Counters;
#[cfg(feature = "deflate")]
use crate::wire::Deflate;

/// The address of a server that listens on Unix sockets only.
const NO_ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// Builds a [`Server`] with settings and hooks; made by
/// [`Server::builder`].
///
/// Without any, the server is a plain relay with the default [`Config`].
///
/// ```
/// use hubcast::{Message, Server};
///
/// let running = Server::builder()
///     .configure(|config| config.append_newline = true)
///     .on_message(|client, message| {
///         let text = message.as_text()?;
///         Some(Message::from(format!("{}: {text}", client.id())))
///     })
///     .bind("127.0.0.1:0")?
///     .spawn()?;
///
/// let url = format!("ws://{}/", running.local_addr());
/// let (mut client, _) = tungstenite::connect(url)?;
/// client.send("hello".into())?;
/// assert_eq!(client.read()?.to_text()?, "1: hello\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is bound"]
pub struct ServerBuilder {
    config: Config,
    hooks: Hooks,
    answerer: Option<Answerer>,
    others: Vec<Listener>,
}

impl Server {
    /// Binds a plain relay with the default [`Config`]. Port 0 takes a free
    /// port; [`local_addr`](Server::local_addr) says which.
    ///
    /// Blocks only where a name has to be looked up.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or the system lacks what the
    /// server needs.
    ///
    /// ```
    /// use hubcast::{ErrorKind, Server};
    ///
    /// let server = Server::bind("127.0.0.1:0")?;
    /// let error = Server::bind(server.local_addr()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Bind, "the port is in use");
    /// # Ok::<(), hubcast::Error>(())
    /// ```
    pub fn bind(address: impl ToSocketAddrs + fmt::Debug) -> Result<Server, Error> {
        Server::builder().bind(address)
    }

    /// A plain relay on a listener that is bound already; see
    /// [`ServerBuilder::from_listener`].
    ///
    /// # Errors
    ///
    /// As [`bind`](Server::bind).
    pub fn from_listener(listener: impl Into<Listener>) -> Result<Server, Error> {
        Server::builder().from_listener(listener)
    }

    /// A builder, for a server with settings or hooks; see
    /// [`ServerBuilder`].
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }
}

impl ServerBuilder {
    /// Sets all settings at once. Settings made before are replaced.
    ///
    /// They are checked by [`bind`](ServerBuilder::bind), not here.
    pub fn config(mut self, config: Config) -> ServerBuilder {
        self.config = config;
        self
    }

    /// Changes some settings and keeps the others.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use hubcast::{ErrorKind, Server};
    ///
    /// let builder = Server::builder().configure(|config| {
    ///     config.max_clients = 50;
    ///     config.ping_interval = Duration::from_secs(5);
    ///     config.write_timeout = Duration::ZERO; // this one cannot be
    /// });
    /// let error = builder.bind("127.0.0.1:0").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Config);
    /// assert_eq!(error.to_string(), "write-timeout must be more than 0");
    /// ```
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> ServerBuilder {
        change(&mut self.config);
        self
    }

    /// Sets the handler, whose hooks take part in what clients do. Default:
    /// none, the server is a plain relay.
    ///
    /// A closure for one of the hooks takes the place of the handler's.
    pub fn handler(mut self, handler: impl Handler) -> ServerBuilder {
        self.hooks.handler = Some(Arc::new(handler));
        self
    }

    /// Sets a closure as [`Handler::on_upgrade`]: it decides which requests are
    /// let in.
    ///
    /// ```
    /// use http::StatusCode;
    /// use hubcast::{Refusal, Server};
    ///
    /// let running = Server::builder()
    ///     .on_upgrade(|upgrade| match upgrade.room() {
    ///         "/lobby" => Ok(()),
    ///         _ => Err(Refusal::new(StatusCode::NOT_FOUND, "there is only /lobby")),
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    ///
    /// let url = format!("ws://{}", running.local_addr());
    /// assert!(tungstenite::connect(format!("{url}/cellar")).is_err());
    /// assert!(tungstenite::connect(format!("{url}/lobby")).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_upgrade<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&mut Upgrade<'_>) -> Result<(), Refusal> + Send + Sync + 'static,
    {
        self.hooks.on_upgrade = Some(Box::new(hook));
        self
    }

    /// Sets a closure as [`Handler::on_join`]: it is called with each client
    /// that has joined.
    ///
    /// ```
    /// use hubcast::Server;
    ///
    /// let running = Server::builder()
    ///     .on_join(|client| {
    ///         // It fails only when the server is stopping.
    ///         let _ = client.send(format!("welcome to {}", client.room()));
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    ///
    /// let url = format!("ws://{}/lobby", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// assert_eq!(client.read()?.to_text()?, "welcome to /lobby");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_join<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&Client) + Send + Sync + 'static,
    {
        self.hooks.on_join = Some(Box::new(hook));
        self
    }

    /// Sets a closure as [`Handler::on_message`]: it relays, changes or stops
    /// what a client sends.
    ///
    /// ```
    /// use hubcast::Server;
    ///
    /// let running = Server::builder()
    ///     .on_message(|client, message| {
    ///         if message.as_text() == Some("ping?") {
    ///             let _ = client.send("pong!"); // to the sender alone
    ///             return None; // and to nobody else
    ///         }
    ///         Some(message)
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    ///
    /// let url = format!("ws://{}/", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// client.send("ping?".into())?;
    /// assert_eq!(client.read()?.to_text()?, "pong!");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_message<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&Client, Message) -> Option<Message> + Send + Sync + 'static,
    {
        self.hooks.on_message = Some(Box::new(hook));
        self
    }

    /// Sets a closure as [`Handler::on_leave`]: it hears how and why a
    /// connection ended.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use hubcast::{Cause, Server};
    ///
    /// let (sender, departures) = mpsc::channel();
    /// let running = Server::builder()
    ///     .on_leave(move |_client, departure| {
    ///         let _ = sender.send(departure.clone());
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    ///
    /// let url = format!("ws://{}/", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// client.close(None)?;
    /// drop(client);
    /// assert_eq!(departures.recv()?.cause, Cause::ClosedByPeer);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_leave<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&Client, &Departure) + Send + Sync + 'static,
    {
        self.hooks.on_leave = Some(Box::new(hook));
        self
    }

    /// Sets a closure that answers requests itself: pages, JSON, redirects on the
    /// server's own port. Where it returns `None`, the server answers as it does
    /// without it. Default: none.
    ///
    /// It is shown every request but those for a WebSocket, which
    /// [`on_upgrade`](ServerBuilder::on_upgrade) decides about, and those for
    /// the operator (`/-/`). It comes before all rules for rooms: neither the
    /// Origin nor a token is looked at, and what it answers is for everybody
    /// whom it answers. A browser shows other sites' pages an answer only if
    /// [`Config::allow_origin`] or the answer itself allows it.
    ///
    /// Only the head of the request is there. A body that it may have is not
    /// read; [`Config::allow_publish`] is for those.
    ///
    /// The server says `Connection`, `Content-Length`, `Transfer-Encoding`,
    /// `Upgrade` and `Date` itself. Without a `Content-Type` the answer has
    /// `application/octet-stream`. An informational status (1xx) is no final
    /// answer: 500 is sent instead, and logged. `HEAD` gets the head alone. A
    /// panic is answered with 500.
    ///
    /// It runs on the thread of the connection, in the stack of
    /// [`Config::stack_size`], and may take its time; the request keeps its place
    /// among [`Config::max_handshakes`] for as long.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    ///
    /// use http::{Response, header};
    /// use hubcast::Server;
    ///
    /// let running = Server::builder()
    ///     .on_request(|request, _peer| match request.uri().path() {
    ///         "/version" => {
    ///             let answer = Response::builder().header(header::CONTENT_TYPE, "text/plain");
    ///             answer.body(b"7\n".to_vec()).ok()
    ///         }
    ///         _ => None,
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    ///
    /// let mut stream = TcpStream::connect(running.local_addr())?;
    /// stream.write_all(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    /// let mut answer = String::new();
    /// stream.read_to_string(&mut answer)?;
    /// assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    /// assert!(answer.ends_with("\r\n\r\n7\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_request<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&Request<()>, Peer) -> Option<Response<Vec<u8>>> + Send + Sync + 'static,
    {
        self.answerer = Some(Answerer(Arc::new(hook)));
        self
    }

    /// Binds the server to an address; see [`Server::bind`]. From here on
    /// connections are queued by the system; they are served once the server
    /// runs.
    ///
    /// If a name stands for several addresses, the server is bound to the first
    /// that is free.
    ///
    /// # Errors
    ///
    /// A setting is out of range or the address cannot be parsed
    /// ([`ErrorKind::Config`](crate::ErrorKind::Config)), the address cannot be
    /// listened on ([`Bind`](crate::ErrorKind::Bind)), or the system lacks what
    /// the server needs ([`Start`](crate::ErrorKind::Start)).
    pub fn bind(self, address: impl ToSocketAddrs + fmt::Debug) -> Result<Server, Error> {
        self.check()?;
        let listener = Listener::bind(address)?;
        self.from_listener(listener)
    }

    fn check(&self) -> Result<(), Error> {
        self.config.check()?;
        doors::check(&self.config)
    }

    /// Listens on this, too. Whatever listener a client comes by, it finds the
    /// same rooms; [`Config`]'s limits hold for all together.
    pub fn also_listen(mut self, listener: impl Into<Listener>) -> ServerBuilder {
        self.others.push(listener.into());
        self
    }

    /// Takes a listener that is bound already, for example a Unix socket, or one
    /// from a service manager or a test. It is made non-blocking; its backlog
    /// stays as it is.
    ///
    /// # Errors
    ///
    /// As [`bind`](ServerBuilder::bind).
    ///
    /// ```
    /// use std::net::TcpListener;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let server = hubcast::Server::builder().from_listener(listener)?;
    /// assert_eq!(server.local_addr(), address);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_listener(self, listener: impl Into<Listener>) -> Result<Server, Error> {
        self.check()?;
        let config = self.config;
        let certificates = Certificates::of(&config)?;
        let mut listeners: Vec<Listener> = iter::once(listener.into()).chain(self.others).collect();
        let secured = match certificates {
            Some(_) => listeners.len(),
            None => 0,
        };
        let plain = config.plain_listen.as_ref().map(Listener::bind);
        listeners.extend(plain.transpose()?);
        for listener in &listeners {
            usable(listener, &config)?;
            if let Err(error) = listener.bound_unsent(config.unsent_bytes) {
                // An odd system is no reason not to serve.
                log::warn!("{listener}: cannot bound what the system keeps for a client: {error}");
            }
        }
        let address = listeners.iter().find_map(Listener::local_addr);
        let address = address.unwrap_or(NO_ADDRESS);
        let admin = config
            .admin_listen
            .as_ref()
            .map(Listener::bind)
            .transpose()?;
        if let Some(admin) = &admin {
            nonblocking(admin)?;
            if let Some(address) = admin.local_addr()
                && config.admin_token.is_none()
                && !address.ip().is_loopback()
            {
                log::warn!(
                    "everybody who can reach {address} may list clients and rooms there; \
                     --admin-token asks for a token"
                );
            }
        }
        let event =
            || Stop::new().map_err(|error| Error::start("cannot make a socket pair", error));
        let stop = event()?;
        let leaving = (!config.drain.is_zero()).then(event).transpose()?;
        let limit = ClientLimit::new(config.max_clients, config.max_handshakes);
        for remark in config.remarks() {
            log::warn!("{remark}");
        }
        let (inbox, commands) = Inbox::new();
        let counters = Arc::new(Counters::default());
        let threads = Arc::new(Threads::default());
        let writers = Writers {
            inbox: inbox.clone(),
            threads: threads.clone(),
            write_timeout: config.write_timeout,
            stack_size: config.stack_size,
        };
        let outboxes = OutboxRules {
            max_messages: config.queue_messages,
            max_bytes: config.queue_bytes,
            slow_consumer: config.slow_consumer,
            writers: Box::new(writers),
        };
        let admission = Arc::new(Admission::new(
            limit.clients,
            limit.handshakes,
            limit.beside,
            counters.clone(),
        ));
        let main = listeners
            .into_iter()
            .enumerate()
            .map(|(number, listener)| Gate {
                // Only a proxy on this machine comes by a Unix socket.
                over_tls: number < secured && listener.local_addr().is_some(),
                listener,
                entrance: Entrance::Main,
                admission: admission.clone(),
            });
        let places = Places::new(limit.clients, config.max_clients_per_ip, counters.clone());
        let admin = admin.map(|listener| Gate {
            listener,
            entrance: Entrance::Admin,
            over_tls: certificates.is_some(),
            admission: Arc::new(Admission::of_operator()),
        });
        let publisher = Publisher::new(inbox.clone());
        #[cfg(feature = "deflate")]
        let publisher = publisher.with_deflate(config.deflate.then(|| {
            let (threshold, level) = (config.deflate_threshold, config.deflate_level);
            Deflate::new(threshold, level, counters.clone())
        }));
        #[cfg(feature = "redis")]
        let engine = config.engine.as_ref().map(|_| Engine::new(&config));
        #[cfg(feature = "redis")]
        let engine = engine.transpose()?;
        #[cfg(feature = "redis")]
        let publisher = publisher.with_engine(
            engine.as_ref().map(Engine::spool),
            engine.as_ref().and_then(Engine::tag),
        );
        let shared = Arc::new(Shared {
            #[cfg(feature = "redis")]
            engine,
            config,
            publisher,
            inbox,
            stop,
            leaving,
            certificates,
            counters,
        });
        let hooks = self.hooks.into_handler();
        let handle = Handle {
            shared: shared.clone(),
        };
        let service = Service {
            doors: Doors::new(handle, hooks.clone(), Arc::new(places))?
                .with_answerer(self.answerer),
            shared,
            hooks,
            outboxes: Arc::new(outboxes),
        };
        Ok(Server {
            gates: main.chain(admin).collect(),
            address,
            service: Arc::new(service),
            threads,
            commands,
            limit,
        })
    }
}

/// Checks a listener of the clients, and makes it non-blocking.
fn usable(listener: &Listener, config: &Config) -> Result<(), Error> {
    nonblocking(listener)?;
    let address = listener.local_addr();
    let is_open = address.is_some_and(|address| !address.ip().is_loopback());
    let is_guarded = config.publish_token.is_some() || config.token_verifier.is_some();
    if config.allow_publish && !is_guarded && is_open {
        return Err(Error::config(format!(
            "allow-publish on {listener}, which others can reach, needs a publish-token"
        )));
    }
    Ok(())
}

fn nonblocking(listener: &Listener) -> Result<(), Error> {
    let made = listener.set_nonblocking();
    made.map_err(|error| Error::bind(format!("cannot use the listener {listener}"), error))
}
