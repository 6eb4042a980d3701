//! What a request says about history: which of the room's messages its client
//! wants first, and in which form.

use http::Request;
use http::header::HeaderName;

use super::rooms::Asked;
use crate::http1::Answer;
use crate::http1::{percent_decode, single};
use crate::hub::{Start, Watch};
use crate::names::name_flaw;
use crate::since::Since;

/// How the browser's EventSource says what it has seen last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a request says about history.
#[derive(Debug, Default)]
pub(super) struct Wish {
    pub(super) start: Start,
    /// The client wants to be told where each message stands.
    pub(super) positions: bool,
    /// Each message must say which room it is for.
    pub(super) names_rooms: bool,
}

/// Reads the parameters `last`, `since`, `positions` and `gap`, and the
/// header `Last-Event-ID`.
pub(super) fn wish(request: &Request<()>) -> Result<Wish, Answer> {
    let close_on_gap = match parameter(request, "gap")?.as_deref() {
        None => false,
        Some("close") => true,
        Some(other) => {
            return Err(Answer::bad_request(format!(
                "gap={} means nothing; there is gap=close",
                shown(other)
            )));
        }
    };
    let positions = match parameter(request, "positions")?.as_deref() {
        None => false,
        Some("" | "1" | "true") => true,
        Some(other) => {
            return Err(Answer::bad_request(format!(
                "positions={} means nothing; write ?positions",
                shown(other)
            )));
        }
    };
    let names_rooms = Asked::of(request)?.are_named;
    let watch = watch(request)?;
    if names_rooms && watch.is_some() {
        let line = "presence is of one room, which the path names";
        return Err(Answer::bad_request(line));
    }
    Ok(Wish {
        start: Start {
            since: since(request)?,
            close_on_gap,
            watch,
        },
        positions,
        names_rooms,
    })
}

/// Whether the client wants to follow who is in the room, and how.
pub(super) fn watch(request: &Request<()>) -> Result<Option<Watch>, Answer> {
    match parameter(request, "presence")?.as_deref() {
        None => Ok(None),
        Some("" | "1" | "true") => Ok(Some(Watch::Some)),
        Some("all") => Ok(Some(Watch::All)),
        Some(other) => Err(Answer::bad_request(format!(
            "presence={} means nothing; write ?presence or ?presence=all",
            shown(other)
        ))),
    }
}

/// How the client wants to be shown in the room.
pub(super) fn name(request: &Request<()>) -> Result<Option<String>, Answer> {
    let Some(name) = parameter(request, "name")?.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    match name_flaw(&name) {
        None => Ok(Some(name)),
        Some(flaw) => Err(Answer::bad_request(format!("name={} {flaw}", shown(&name)))),
    }
}

/// From where on messages are wanted. The header is newer than the URL, which
/// a client that reconnects repeats; so it counts first. `last` is for who
/// does not know where it was.
pub(super) fn since(request: &Request<()>) -> Result<Option<Since>, Answer> {
    let last = parameter(request, "last")?
        .map(|text| last(&text))
        .transpose()?;
    let parse = |name: &str, text: &str| {
        let since = text.parse::<Since>();
        since.map_err(|error| Answer::bad_request(format!("{name}: {error}")))
    };
    let header = single(request.headers(), LAST_EVENT_ID)?;
    if let Some(header) = header.filter(|value| !value.is_empty()) {
        let text = String::from_utf8_lossy(header.as_bytes());
        return parse("Last-Event-ID", &text).map(Some);
    }
    match parameter(request, "since")? {
        Some(text) => parse("since", &text).map(Some),
        None => Ok(last),
    }
}

fn last(text: &str) -> Result<Since, Answer> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let count = text.parse().ok().filter(|_| digits);
    count.map(Since::Last).ok_or_else(|| {
        Answer::bad_request(format!(
            "last={} is not a number of messages such as last=20",
            shown(text)
        ))
    })
}

/// The beginning of a text, for an error.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}

/// The value of a parameter of the query, percent-decoded; empty where only
/// its name is there.
fn parameter(request: &Request<()>, name: &str) -> Result<Option<String>, Answer> {
    let mut pairs = request.uri().query().unwrap_or_default().split('&');
    let value = pairs.find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (pair == name).then_some(""),
    });
    let Some(value) = value else {
        return Ok(None);
    };
    percent_decode(value).map(Some).ok_or_else(|| {
        Answer::bad_request(format!(
            "{name}={} is not percent-encoded UTF-8",
            shown(value)
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request(query: &str, id: Option<&str>) -> Request<()> {
        let request = Request::builder().uri(format!("/lobby?{query}"));
        let request = match id {
            Some(id) => request.header(LAST_EVENT_ID, id),
            None => request,
        };
        request.body(()).unwrap()
    }

    #[test]
    fn what_is_wanted_is_what_the_query_says() {
        let position = |text: &str| Some(Since::Position(text.parse().unwrap()));
        for (query, since) in [
            ("", None),
            ("token=x", None),
            ("last=20", Some(Since::Last(20))),
            ("last=0", Some(Since::Last(0))),
            ("since=30s", Some(Since::Ago(Duration::from_secs(30)))),
            ("since=k3f9x2qa-7", position("k3f9x2qa-7")),
            ("since=k3f9x2qa%2D7", position("k3f9x2qa-7")),
            ("last=20&since=k3f9x2qa-7", position("k3f9x2qa-7")),
        ] {
            let wish = wish(&request(query, None)).unwrap();
            assert_eq!(wish.start.since, since, "{query}");
            assert!(!wish.positions && !wish.start.close_on_gap);
        }
        for query in [
            "positions&gap=close",
            "gap=close&positions=",
            "positions=1&gap=close",
        ] {
            let wish = wish(&request(query, None)).unwrap();
            assert!(wish.positions && wish.start.close_on_gap, "{query}");
        }
    }

    #[test]
    fn the_header_is_newer_than_the_url() {
        let id = Some("k3f9x2qa-9");
        let expected = Some(Since::Position("k3f9x2qa-9".parse().unwrap()));
        for query in ["", "last=5", "since=k3f9x2qa-7"] {
            let wish = wish(&request(query, id)).unwrap();
            assert_eq!(wish.start.since, expected, "{query}");
        }
        let wish = wish(&request("last=5", Some(""))).unwrap();
        assert_eq!(wish.start.since, Some(Since::Last(5)));
    }

    #[test]
    fn bad_input_is_named_with_its_value_and_what_is_possible() {
        let long = format!("since={}", "x".repeat(10_000));
        for (query, id, parts) in [
            ("last=-1", None, ["\"-1\"", "last=20"]),
            ("last=", None, ["\"\"", "last=20"]),
            ("last=+1", None, ["\"+1\"", "last=20"]),
            ("last=18446744073709551616", None, ["\"18446744", "last=20"]),
            ("since=", None, ["since: \"\"", "k3f9x2qa-10482"]),
            ("since=-1s", None, ["since: \"-1s\"", "30s"]),
            (
                "since=k3f9x2qa-18446744073709551616",
                None,
                ["-18446744", "30s"],
            ),
            ("since=%ff", None, ["since=", "UTF-8"]),
            (&long, None, ["since: \"xxx", "30s"]),
            ("gap=open", None, ["\"open\"", "gap=close"]),
            ("positions=no", None, ["\"no\"", "?positions"]),
            ("", Some("17"), ["Last-Event-ID: \"17\"", "k3f9x2qa-10482"]),
        ] {
            let answer = wish(&request(query, id)).unwrap_err();
            assert_eq!(answer.status, 400, "{query}");
            assert!(answer.body.len() < 300, "{}", answer.body);
            for part in parts {
                assert!(answer.body.contains(part), "{part}: {}", answer.body);
            }
        }
    }
}
