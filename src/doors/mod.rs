//! What a request may be for: its door is found, guarded and opened here.
//!
//! One file for each door, and one for each rule that several share: origin,
//! token, and what everybody passes who enters a room. The connection's
//! thread asks [`Doors::open`] and sees nothing else.

mod admin;
mod caller;
mod entry;
#[cfg(feature = "deflate")]
mod extensions;
#[cfg(feature = "pages")]
mod files;
mod forwarded;
mod hall;
mod lines;
mod metrics;
#[cfg(any(fuzzing, test))]
pub(crate) mod model;
mod news;
#[cfg(feature = "redis")]
mod nodes;
mod origin;
mod own;
mod pace;
mod page;
mod plain_text;
mod process;
mod publish;
mod remarks;
mod removal;
mod retries;
mod rights;
mod room;
mod rooms;
mod sse;
mod start;
mod token;
mod websocket;

pub(crate) use caller::{Caller, Entrance};
pub(crate) use entry::Entry;
pub(crate) use forwarded::Proxies;
pub(crate) use hall::Doors;
pub(crate) use plain_text::to_tls;

use std::slice;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, HeaderName, HeaderValue,
    ORIGIN, VARY,
};
use http::{Method, Request, StatusCode};

use crate::config::Config;
use crate::error::Error;
use crate::http1::Body;
use crate::http1::{Answer, stopping};
use crate::http1::{accepts, the_host};
use crate::names::ADMIN_PREFIX;
use crate::rights::Rights;
use crate::secret::Secret;
use admin::Question;
use lines::Format;
use origin::Origins;
use rights::Wanted;

/// The methods that are answered.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, OPTIONS");

/// What a page of an allowed site may read of the headers.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "hubcast-client, hubcast-position, hubcast-resume, idempotent-replayed, retry-after",
);

/// The outcome of a request.
#[derive(Debug)]
pub(crate) enum Opened {
    /// The peer enters a room, as a client.
    Room(Box<Entry>),
    /// The peer gets this answer, and the connection ends.
    Answered(Answer),
}

fn entered(entry: Entry) -> Opened {
    Opened::Room(Box::new(entry))
}

/// What a request is for.
#[derive(Debug)]
enum Door {
    /// A room, by WebSocket.
    WebSocket,
    /// A room, by server-sent events.
    Events,
    /// A room, by lines.
    Lines(Format),
    /// Publishing in a room.
    Publish,
    /// A file of the folder of pages.
    #[cfg(feature = "pages")]
    File(files::Found),
    /// The chat page of a room.
    Page,
    /// The script for pages of one's own.
    Script,
    /// How many clients a room has.
    Room,
    /// The icon that browsers ask for on their own.
    Icon,
    /// A room, without saying how.
    Hint,
    /// A browser's question before a request to another site (Fetch, CORS).
    Preflight,
    /// A question of the operator's.
    Admin(Question),
}

/// The conditions under which a door opens.
struct Needs<'a> {
    origin: OriginRule,
    /// The request must bring one of these secrets, if there are any, or a token
    /// that allows what is wanted.
    secrets: &'a [Secret],
    /// `None`: no token is needed.
    wanted: Option<Wanted>,
}

/// Which pages' requests are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OriginRule {
    /// All.
    None,
    /// Those of the server's own host, and of the origins that are allowed.
    Rooms,
    /// Those of the server's own host.
    Own,
}

impl Doors {
    /// Finds the door of a request and opens it, or says why not. `body` is
    /// read only where there is one to read.
    pub(crate) fn open(
        &self,
        request: &Request<()>,
        caller: &Caller,
        body: &mut Body<'_>,
    ) -> Opened {
        let mut answer = match self.enter(request, caller, body) {
            Ok(Opened::Room(_)) if self.handle.shared.stop.is_triggered() => stopping(),
            Ok(Opened::Room(entry)) => return Opened::Room(entry),
            Ok(Opened::Answered(answer)) | Err(answer) => answer,
        };
        answer.head_only = request.method() == Method::HEAD;
        let has_own = |name| answer.headers.iter().any(|(other, _)| *other == name);
        if !self.is_operators(request, caller) && !has_own(ACCESS_CONTROL_ALLOW_ORIGIN) {
            answer.headers.extend(self.cors(request));
        }
        Opened::Answered(answer)
    }

    /// What lets a page of an allowed site read the answer, also where it sends
    /// the cookie with the token.
    // Not inlined: `Readers` says why the stack counts.
    #[inline(never)]
    fn cors(&self, request: &Request<()>) -> Vec<(HeaderName, HeaderValue)> {
        let Some(origin) = self.origins.allowed(request) else {
            return Vec::new();
        };
        let mut headers = vec![
            (VARY, HeaderValue::from_static("origin")),
            (ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
            (ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED),
        ];
        if self.config().token_cookie.is_some() {
            let yes = HeaderValue::from_static("true");
            headers.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, yes));
        }
        headers
    }

    fn enter(
        &self,
        request: &Request<()>,
        caller: &Caller,
        body: &mut Body<'_>,
    ) -> Result<Opened, Answer> {
        the_host(request)?;
        if !self.is_operators(request, caller)
            && !websocket::is_asked(request)
            && let Some(answer) = self.own_answer(request, caller)
        {
            return Ok(Opened::Answered(answer));
        }
        let door = self.find(request, caller)?;
        let rights = self.guard(&door, request, caller)?;
        if !matches!(door, Door::WebSocket) {
            self.remarks.lost_upgrade(request, caller);
        }
        match door {
            Door::WebSocket => self.websocket(request, caller, rights).map(entered),
            Door::Events => self.events(request, caller, rights).map(entered),
            Door::Lines(format) => self.lines(request, caller, rights, format).map(entered),
            Door::Publish => self
                .publish(request, caller, rights, body)
                .map(Opened::Answered),
            #[cfg(feature = "pages")]
            Door::File(found) => Ok(Opened::Answered(files::answer(found, request))),
            Door::Page => self.page(request).map(Opened::Answered),
            Door::Script => Ok(Opened::Answered(page::script())),
            Door::Room => self.room(request, caller, rights).map(Opened::Answered),
            Door::Icon => Ok(Opened::Answered(no_icon())),
            Door::Hint => Err(websocket::upgrade_required(
                "this is a WebSocket server; connect with a WebSocket client, \
                 for example: websocat ws://HOST:PORT/",
            )),
            Door::Preflight => Ok(Opened::Answered(preflight(request))),
            Door::Admin(Question::Events) => self.news(request, caller, rights).map(entered),
            Door::Admin(question) => {
                let path = request.uri().path();
                Ok(Opened::Answered(self.answer(question, path)))
            }
        }
    }

    /// Whether a request is for the operator's paths, whatever they answer.
    pub(super) fn is_operators(&self, request: &Request<()>, caller: &Caller) -> bool {
        let is_below = request.uri().path().starts_with(ADMIN_PREFIX);
        caller.entrance == Entrance::Admin || (is_below && !self.is_for_script(request))
    }

    /// Whether a request is for the script, which belongs to the page.
    fn is_for_script(&self, request: &Request<()>) -> bool {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        self.config().page && is_read && request.uri().path() == page::SCRIPT_PATH
    }

    /// Which door a request is for.
    // Not inlined: `Readers` says why the stack counts.
    #[inline(never)]
    fn find(&self, request: &Request<()>, caller: &Caller) -> Result<Door, Answer> {
        let config = self.config();
        let path = request.uri().path();
        if self.is_operators(request, caller) {
            return self.question(request, caller).map(Door::Admin);
        }
        if self.is_for_script(request) {
            return Ok(Door::Script);
        }
        if websocket::is_asked(request) {
            return Ok(Door::WebSocket);
        }
        if *request.method() == Method::GET
            && let Some(format) = lines::named(request)?
        {
            return Ok(Door::Lines(format));
        }
        let accepts = |kind| accepts(request.headers(), kind);
        #[cfg(feature = "pages")]
        if let Some(folder) = &config.pages
            && matches!(*request.method(), Method::GET | Method::HEAD)
            && !accepts("text/event-stream")
            && let Some(found) = files::find(folder, path)
        {
            return Ok(Door::File(found));
        }
        match *request.method() {
            Method::GET if accepts("text/event-stream") => Ok(Door::Events),
            Method::GET | Method::HEAD => Ok(match config.page && accepts("text/html") {
                false if accepts("application/json") => Door::Room,
                _ if path == "/favicon.ico" => Door::Icon,
                true => Door::Page,
                false => match lines::accepted(request) {
                    Some(format) if *request.method() == Method::GET => Door::Lines(format),
                    _ => Door::Hint,
                },
            }),
            Method::POST | Method::PUT if config.allow_publish => Ok(Door::Publish),
            Method::POST | Method::PUT => Err(publish::is_off()),
            Method::OPTIONS => Ok(Door::Preflight),
            _ => Err(Answer::text(
                StatusCode::METHOD_NOT_ALLOWED,
                "this method has no meaning here",
            )
            .header(ALLOW, METHODS)),
        }
    }

    /// The conditions of each door, all in one place, so that none is
    /// forgotten.
    fn needs(&self, door: &Door) -> Needs<'_> {
        let config = self.config();
        let rooms = config.token.as_slice();
        let (origin, secrets, wanted) = match door {
            Door::WebSocket | Door::Events | Door::Lines(_) | Door::Room | Door::Hint => {
                (OriginRule::Rooms, rooms, Some(Wanted::Read))
            }
            // The publish token is enough: the rooms' token is not needed
            // beside it.
            Door::Publish => match &config.publish_token {
                Some(token) => {
                    let secrets = slice::from_ref(token);
                    (OriginRule::Rooms, secrets, Some(Wanted::Write))
                }
                None => (OriginRule::Rooms, rooms, Some(Wanted::Write)),
            },
            #[cfg(feature = "pages")]
            Door::File(_) => (OriginRule::None, &[][..], None),
            Door::Page | Door::Script | Door::Icon => (OriginRule::None, &[][..], None),
            Door::Preflight => (OriginRule::Rooms, &[][..], None),
            // Who may enter a room is not yet the operator, and a page that may
            // is not the operator's page.
            Door::Admin(_) => (OriginRule::Own, &[][..], None),
        };
        Needs {
            origin,
            secrets,
            wanted,
        }
    }

    /// Returns the client's rights, where they have a limit.
    // Not inlined: `Readers` says why the stack counts.
    #[inline(never)]
    fn guard(
        &self,
        door: &Door,
        request: &Request<()>,
        caller: &Caller,
    ) -> Result<Option<Arc<Rights>>, Answer> {
        let needs = self.needs(door);
        let checked = match needs.origin {
            OriginRule::None => Ok(()),
            OriginRule::Rooms => self.origins.check(request),
            OriginRule::Own => Origins::check_own(request),
        };
        if checked.is_err() && needs.origin == OriginRule::Rooms {
            self.remarks.foreign_origin(request.headers(), caller);
        }
        checked?;
        if matches!(
            door,
            Door::Events | Door::Lines(_) | Door::Publish | Door::Admin(Question::Events)
        ) {
            self.origins.check_referer(request)?;
        }
        if let Door::Admin(question) = door {
            return self.guard_operators(*question, request, caller);
        }
        match needs.wanted {
            Some(wanted) => self.check_token(request, needs.secrets, wanted, caller),
            None => Ok(None),
        }
    }

    /// The lists and figures are answered to the server's own machine, at the
    /// operator's own listener, and to whoever brings the operator's token.
    /// Where there is such a token, the listener alone is not enough.
    fn guard_operators(
        &self,
        question: Question,
        request: &Request<()>,
        caller: &Caller,
    ) -> Result<Option<Arc<Rights>>, Answer> {
        let is_for_all = matches!(
            question,
            Question::Health | Question::Ready | Question::Methods
        );
        if is_for_all || caller.is_near(request) {
            return Ok(None);
        }
        let config = self.config();
        match &config.admin_token {
            None if caller.entrance == Entrance::Admin => Ok(None),
            None if config.token_verifier.is_none() => Err(admin::far_away()),
            token => {
                let secrets = token.as_slice();
                self.check_token(request, secrets, Wanted::Admin, caller)
            }
        }
    }
}

/// Checks the settings that the doors read, before anything is bound.
///
/// # Errors
///
/// A setting has a value that no request can match; the text names it.
pub(crate) fn check(config: &Config) -> Result<(), Error> {
    entry::check_subprotocols(&config.subprotocol)?;
    token::check_cookie(config)?;
    Origins::parse(&config.allow_origin)?;
    #[cfg(feature = "pages")]
    files::check(config)?;
    Proxies::parse(&config.trust_proxy).map(drop)
}

/// There is no icon, and that is fine.
fn no_icon() -> Answer {
    Answer::new(StatusCode::NO_CONTENT, "image/x-icon", String::new())
}

fn preflight(request: &Request<()>) -> Answer {
    let answer = Answer::new(StatusCode::NO_CONTENT, "text/plain", String::new());
    let answer = answer.header(ALLOW, METHODS);
    if !request.headers().contains_key(ORIGIN) {
        return answer;
    }
    let headers =
        HeaderValue::from_static("authorization, content-type, idempotency-key, last-event-id");
    answer
        .header(ACCESS_CONTROL_ALLOW_METHODS, METHODS)
        .header(ACCESS_CONTROL_ALLOW_HEADERS, headers)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;
    use crate::hub::Places;
    use crate::server::Server;

    fn ask(change: impl FnOnce(&mut crate::Config), path: &str, entrance: Entrance) -> StatusCode {
        let server = Server::builder().configure(change).bind("127.0.0.1:0");
        let request = Request::builder().uri(path).header("host", "a");
        let request = request.body(()).unwrap();
        let elsewhere = Caller {
            id: crate::names::ClientId(1),
            peer: SocketAddr::from(([192, 0, 2, 1], 9)).into(),
            certificates: &[],
            entrance,
            has_near_address: false,
        };
        let handle = server.unwrap().handle();
        let doors = Doors::new(handle.clone(), None, Places::unlimited()).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut body = Body {
            socket: &TcpStream::connect(socket.local_addr().unwrap())
                .unwrap()
                .into(),
            stop: &handle.shared.stop,
            early: Vec::new(),
            deadline: Instant::now(),
        };
        match doors.open(&request, &elsewhere, &mut body) {
            Opened::Answered(answer) => answer.status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_script_is_the_pages_and_not_the_operators() {
        let script = page::SCRIPT_PATH;
        assert_eq!(ask(|_| {}, script, Entrance::Main), StatusCode::OK);
        let no_page = |config: &mut crate::Config| config.page = false;
        let forbidden = StatusCode::FORBIDDEN;
        assert_eq!(ask(no_page, script, Entrance::Main), forbidden);
        let apart = |config: &mut crate::Config| config.admin_listen = Some("127.0.0.1:0".into());
        assert_eq!(ask(apart, script, Entrance::Main), StatusCode::OK);
        let missing = StatusCode::NOT_FOUND;
        assert_eq!(ask(apart, script, Entrance::Admin), missing);
    }

    #[test]
    fn other_machines_see_who_is_here_only_where_the_operator_says_so() {
        let metrics = "/-/metrics";
        assert_eq!(ask(|_| {}, "/-/healthz", Entrance::Main), StatusCode::OK);
        for path in [metrics, "/-/clients", "/-/rooms"] {
            assert_eq!(ask(|_| {}, path, Entrance::Main), StatusCode::FORBIDDEN);
        }
        let with_token = |config: &mut crate::Config| config.token = Some("t".into());
        let brought = "/-/metrics?token=t";
        let forbidden = StatusCode::FORBIDDEN;
        assert_eq!(ask(with_token, brought, Entrance::Main), forbidden);
        let of_operator = |config: &mut crate::Config| config.admin_token = Some("t".into());
        assert_eq!(ask(of_operator, brought, Entrance::Main), StatusCode::OK);
        let unauthorized = StatusCode::UNAUTHORIZED;
        assert_eq!(ask(of_operator, metrics, Entrance::Main), unauthorized);
        let apart = |config: &mut crate::Config| config.admin_listen = Some("127.0.0.1:0".into());
        assert_eq!(ask(apart, metrics, Entrance::Admin), StatusCode::OK);
        let both = |config: &mut crate::Config| {
            apart(config);
            of_operator(config);
        };
        assert_eq!(ask(both, metrics, Entrance::Admin), unauthorized);
        assert_eq!(ask(both, brought, Entrance::Admin), StatusCode::OK);
    }
}
