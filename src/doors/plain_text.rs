//! The answer to plain HTTP on a port that speaks TLS.

use http::header::{HeaderValue, LOCATION, UPGRADE};
use http::{Method, Request, StatusCode};

use crate::http1::{Answer, the_host};

/// Leads a browser to the same address over TLS. Everything else gets a
/// sentence: a WebSocket client follows no redirect, and what a POST has
/// brought has crossed the network in the clear.
pub(crate) fn to_tls(request: &Request<()>) -> Answer {
    let is_head = request.method() == Method::HEAD;
    let can_follow = is_head || request.method() == Method::GET;
    let mut answer = Answer::bad_request("this port speaks TLS: use wss:// and https://");
    if can_follow
        && !request.headers().contains_key(UPGRADE)
        && let Some(location) = location(request)
    {
        answer.status = StatusCode::PERMANENT_REDIRECT;
        answer = answer.header(LOCATION, location);
    }
    answer.head_only = is_head;
    answer
}

fn location(request: &Request<()>) -> Option<HeaderValue> {
    let host = the_host(request).ok()?;
    let target = request.uri().path_and_query()?;
    HeaderValue::from_str(&format!("https://{host}{target}")).ok()
}
