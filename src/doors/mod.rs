//! Which door a request is for, and whether it opens.

pub(crate) mod admin;
pub(crate) mod json;
pub(crate) mod metrics;
#[cfg(any(fuzzing, test))]
pub(crate) mod model;
pub(crate) mod origin;
pub(crate) mod page;
pub(crate) mod publish;
pub(crate) mod token;

use std::net::SocketAddr;

use http::header::{ACCEPT, ALLOW, HeaderValue, ORIGIN};
use http::{HeaderMap, Method, Request, StatusCode};

use crate::doors::publish::Announced;
use crate::embed::handle::Handle;
use crate::embed::upgrade::{self, Agreed, Upgrade};
use crate::http1::answer::Answer;
use crate::http1::request::{check_origin, room_of, the_host};
use crate::names::ADMIN_PREFIX;

/// The methods that have a meaning here.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");

/// The listener that a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// The server's own.
    Main,
    /// The operator's, where there is one.
    Admin,
}

/// Who makes a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) peer: SocketAddr,
    pub(crate) entrance: Entrance,
    /// It is on the server's own machine.
    pub(crate) is_near: bool,
}

/// What a request is let in to.
#[derive(Debug)]
pub(crate) enum Door {
    /// A room, as a client.
    Room(Agreed),
    /// A room, to publish one message.
    Publish(String, Announced),
    /// Nothing: this answer is all.
    Answer(Answer),
}

/// Finds the door for a request and opens it, or says why not.
pub(crate) fn open(
    handle: &Handle,
    request: &Request<()>,
    caller: &Caller,
) -> Result<Door, Answer> {
    the_host(request)?;
    let peer = caller.peer;
    let config = &handle.shared.config;
    let hook = |upgrade: &mut Upgrade<'_>| match &handle.shared.handler {
        Some(handler) => handler.on_upgrade(upgrade),
        None => Ok(()),
    };
    let path = request.uri().path();
    if path.starts_with(ADMIN_PREFIX) || caller.entrance == Entrance::Admin {
        return admin(handle, request, caller).map(Door::Answer);
    }
    if upgrade::is_asked(request) {
        return upgrade::accept(request, peer, config, hook).map(Door::Room);
    }
    match *request.method() {
        Method::GET if accepts(request.headers(), "text/event-stream") => {
            upgrade::accept_events(request, peer, config, hook).map(Door::Room)
        }
        Method::GET | Method::HEAD => look(handle, request).map(Door::Answer),
        Method::POST => {
            let room = may_publish(handle, request, peer, hook)?;
            let announced = publish::announced(request, config.max_message_size)?;
            Ok(Door::Publish(room, announced))
        }
        Method::OPTIONS => options(handle, request).map(Door::Answer),
        _ => Err(Answer::text(
            StatusCode::METHOD_NOT_ALLOWED,
            "this method has no meaning here",
        )
        .header(ALLOW, METHODS)),
    }
}

/// A plain GET or HEAD of a room: its page, or what else to do.
fn look(handle: &Handle, request: &Request<()>) -> Result<Answer, Answer> {
    let config = &handle.shared.config;
    if request.uri().path() == "/favicon.ico" {
        // Browsers ask for it on their own; there is none, and that is fine.
        return Ok(Answer::new(
            StatusCode::NO_CONTENT,
            "image/x-icon",
            String::new(),
        ));
    }
    if config.page && accepts(request.headers(), "text/html") {
        room_of(request.uri().path())?;
        return Ok(page::answer());
    }
    check_origin(request, config)?;
    token::check(request, config.token.as_slice())?;
    Err(upgrade::upgrade_required(
        "this is a WebSocket server; connect with a WebSocket client, \
         for example: websocat ws://HOST:PORT/",
    ))
}

/// Whether the Accept header names this type (RFC 9110 §12.5.1).
fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let lines = headers.get_all(ACCEPT).into_iter();
    let mut ranges = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    ranges.any(|range| {
        let name = range.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case(kind)
    })
}

/// Whether a request may publish; returns the room. A handler that decides
/// who enters a room decides about who publishes there, too.
fn may_publish(
    handle: &Handle,
    request: &Request<()>,
    peer: SocketAddr,
    hook: impl FnOnce(&mut Upgrade<'_>) -> Result<(), crate::embed::upgrade::Refusal>,
) -> Result<String, Answer> {
    let config = &handle.shared.config;
    if !config.allow_publish {
        return Err(Answer::text(
            StatusCode::FORBIDDEN,
            "publishing over HTTP is off; the server's operator can allow it with --allow-publish",
        ));
    }
    check_origin(request, config)?;
    // Who may publish may do so without the token of the rooms.
    let tokens = match &config.publish_token {
        Some(token) => std::slice::from_ref(token),
        None => config.token.as_slice(),
    };
    token::check(request, tokens)?;
    upgrade::room_for(request, peer, hook)
}

/// What a browser asks before a request to another site (Fetch, CORS).
fn options(handle: &Handle, request: &Request<()>) -> Result<Answer, Answer> {
    check_origin(request, &handle.shared.config)?;
    let mut answer = Answer::new(StatusCode::NO_CONTENT, "text/plain", String::new());
    answer = answer.header(ALLOW, METHODS);
    if request.headers().contains_key(ORIGIN) {
        let headers = HeaderValue::from_static("authorization, content-type");
        answer = answer
            .header(http::header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
            .header(http::header::ACCESS_CONTROL_ALLOW_HEADERS, headers);
    }
    Ok(answer)
}

/// What the operator asks under `/-/`.
fn admin(handle: &Handle, request: &Request<()>, caller: &Caller) -> Result<Answer, Answer> {
    let config = &handle.shared.config;
    let here = match config.admin_listen {
        Some(_) => Entrance::Admin,
        None => Entrance::Main,
    };
    if !config.admin || caller.entrance != here {
        return Err(Answer::text(
            StatusCode::NOT_FOUND,
            "nothing is answered under /-/ here",
        ));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Answer::text(StatusCode::METHOD_NOT_ALLOWED, "ask with GET")
            .header(ALLOW, HeaderValue::from_static("GET, HEAD")));
    }
    check_origin(request, config)?;
    let path = request.uri().path();
    if path != admin::HEALTH {
        token::check(request, config.token.as_slice())?;
        // Who is here is not for everybody to read.
        if config.token.is_none() && here == Entrance::Main && !caller.is_near {
            return Err(Answer::text(
                StatusCode::FORBIDDEN,
                "this is answered to the server's own machine only; \
                 its operator can allow it with --token or --admin-listen",
            ));
        }
    }
    Ok(admin::answer(handle, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Server;

    fn ask(change: impl FnOnce(&mut crate::Config), path: &str, entrance: Entrance) -> StatusCode {
        let server = Server::builder().configure(change).bind("127.0.0.1:0");
        let request = Request::builder().uri(path).header("host", "a");
        let request = request.body(()).unwrap();
        let elsewhere = Caller {
            peer: ([192, 0, 2, 1], 9).into(),
            entrance,
            is_near: false,
        };
        match open(&server.unwrap().handle(), &request, &elsewhere) {
            Ok(Door::Answer(answer)) | Err(answer) => answer.status,
            other => panic!("{other:?}"),
        }
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
        assert_eq!(ask(with_token, brought, Entrance::Main), StatusCode::OK);
        let apart = |config: &mut crate::Config| config.admin_listen = Some("127.0.0.1:0".into());
        assert_eq!(ask(apart, metrics, Entrance::Admin), StatusCode::OK);
    }
}
