//! What a request says, whatever door it is for: its host, its origin, its
//! room, the tokens of its headers.

use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::{Request, StatusCode};

use crate::config::{Config, is_token};
use crate::doors::origin;
use crate::http1::answer::Answer;
use crate::http1::authority;
use crate::names::{ADMIN_PREFIX, MAX_ROOM};

/// The host that is asked for: one Host header, which the authority of an
/// absolute-form target overrides (RFC 9112 §3.2).
pub(crate) fn the_host(request: &Request<()>) -> Result<&str, Answer> {
    let host = single(request.headers(), HOST)?
        .ok_or_else(|| Answer::bad_request("the header Host is missing"))?
        .to_str()
        .ok()
        .filter(|host| authority::parse_authority(host).is_some())
        .ok_or_else(|| Answer::bad_request("the header Host is malformed"))?;
    let authority = request.uri().authority();
    Ok(authority.map_or(host, |authority| authority.as_str()))
}

/// Refuses what a browser sends for a page of another site (RFC 6455 §10.2).
pub(crate) fn check_origin(request: &Request<()>, config: &Config) -> Result<(), Answer> {
    let headers = request.headers();
    let host = the_host(request)?;
    let Some(origin) = single(headers, ORIGIN)? else {
        // No browser sent this, or it is a plain GET, of which a browser
        // says whether another site's page asks (Fetch Metadata).
        return match headers.get("sec-fetch-site") {
            Some(site) if site == "cross-site" && !is_navigation(headers) => Err(foreign()),
            _ => Ok(()),
        };
    };
    let origin = origin.to_str().unwrap_or_default();
    if origin::is_allowed(origin, host, &config.allow_origin) {
        return Ok(());
    }
    Err(foreign())
}

/// The Origin of a request, where it is one that is let in.
pub(crate) fn allowed_origin<'a>(
    request: &'a Request<()>,
    config: &Config,
) -> Option<&'a HeaderValue> {
    let origin = request.headers().get(ORIGIN)?;
    check_origin(request, config).is_ok().then_some(origin)
}

/// A person follows a link from another site: that is no trick.
fn is_navigation(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-mode")
        .is_some_and(|mode| mode == "navigate")
}

fn foreign() -> Answer {
    Answer::text(
        StatusCode::FORBIDDEN,
        "this Origin is not allowed here; the server's operator can allow it with --allow-origin",
    )
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The value of a parameter of the query, percent-decoded.
pub(crate) fn query_parameter(request: &Request<()>, name: &str) -> Option<String> {
    let pairs = request.uri().query()?.split('&');
    let mut values = pairs.filter_map(|pair| pair.split_once('='));
    let (_, value) = values.find(|(key, _)| *key == name)?;
    percent_decode(value)
}

/// The value of a header that must not come twice.
pub(crate) fn single(
    headers: &HeaderMap,
    name: HeaderName,
) -> Result<Option<&HeaderValue>, Answer> {
    let mut values = headers.get_all(&name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Answer::bad_request(format!(
            "the header {name} may come only once"
        )));
    }
    Ok(first)
}

/// The comma-separated tokens of a header, over all of its lines.
pub(crate) fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|token| is_token(token))
}

/// The room that a path names: the path, percent-decoded, with nothing
/// normalised away.
pub(crate) fn room_of(path: &str) -> Result<String, Answer> {
    let room = percent_decode(path).ok_or_else(|| {
        Answer::bad_request("the path is not percent-encoded UTF-8; %25 stands for a percent sign")
    })?;
    if room.chars().any(char::is_control) {
        return Err(Answer::bad_request("the path holds a control character"));
    }
    if room.starts_with(ADMIN_PREFIX) {
        return Err(Answer::text(
            StatusCode::NOT_FOUND,
            "no room is named like that: /-/ is the operator's",
        ));
    }
    if room.len() > MAX_ROOM {
        return Err(Answer::text(
            StatusCode::URI_TOO_LONG,
            format!("a room name is at most {MAX_ROOM} bytes long"),
        ));
    }
    Ok(room)
}

/// Decodes `%XX` (RFC 3986 §2.1); `None` where that is malformed or the
/// result is not UTF-8. Ten lines here, or one crate more for everybody who
/// embeds this one.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(
            *data_encoding::HEXUPPER_PERMISSIVE
                .decode(digits)
                .ok()?
                .first()?,
        );
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_decoded_paths() {
        for (path, room) in [
            ("/", "/"),
            ("/lobby", "/lobby"),
            ("/lob%62y", "/lobby"),
            ("/caf%C3%A9", "/café"),
            ("/a%2Fb", "/a/b"),
            ("/../x//y/", "/../x//y/"),
            ("/%25", "/%"),
        ] {
            assert_eq!(room_of(path).unwrap(), room, "{path}");
        }
        for path in ["/%", "/%4", "/%zz", "/%ff", "/%00", "/%0A", "/%C2%85"] {
            let status = room_of(path).unwrap_err().status;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        }
        assert!(room_of(&format!("/{}", "x".repeat(255))).is_ok());
        let long = room_of(&format!("/{}", "x".repeat(256))).unwrap_err();
        assert_eq!(long.status, StatusCode::URI_TOO_LONG);
    }
}
