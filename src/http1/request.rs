//! What a request says: its host, its query, the tokens of its headers.

use http::header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Request, Version};

use crate::http1::Answer;
use crate::http1::authority;

/// The host that is asked for: one Host header, which must be the authority of
/// an absolute-form target too (RFC 9112 §3.2.2). A client of HTTP/1.0 need not
/// say it; then it is empty.
pub(crate) fn the_host(request: &Request<()>) -> Result<&str, Answer> {
    let authority = request.uri().authority().map(Authority::as_str);
    let Some(host) = single(request.headers(), HOST)? else {
        return match request.version() {
            Version::HTTP_10 => Ok(authority.unwrap_or_default()),
            _ => Err(Answer::bad_request("the header Host is missing")),
        };
    };
    let parsed = |host: &str| authority::parse_authority(host);
    let host = host.to_str().ok().filter(|host| parsed(host).is_some());
    let host = host.ok_or_else(|| Answer::bad_request("the header Host is malformed"))?;
    if authority.is_some_and(|authority| parsed(authority) != parsed(host)) {
        return Err(Answer::bad_request(
            "the request target and the header Host name different hosts",
        ));
    }
    Ok(host)
}

/// The tokens of `Authorization: Bearer` (RFC 6750 §2.1), which may be any
/// UTF-8 here, as it may everywhere else.
pub(crate) fn bearers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(AUTHORIZATION)
        .into_iter()
        .filter_map(|value| {
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        })
}

/// The values of a parameter of the query, percent-decoded; `None` for one that
/// cannot be.
pub(crate) fn query_parameters<'a>(
    request: &'a Request<()>,
    name: &'a str,
) -> impl Iterator<Item = Option<String>> + 'a {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    pairs
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| percent_decode(value))
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

/// Decodes `%XX` (RFC 3986 §2.1); `None` where that is malformed or the result
/// is not UTF-8. Ten lines here save everybody who embeds this library a crate.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (&[high, low], tail) = rest.split_first_chunk()?;
        bytes.push(digit(high)? << 4 | digit(low)?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// Whether this is a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether the Accept header names this type (RFC 9110 §12.5.1).
pub(crate) fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let lines = headers.get_all(ACCEPT).into_iter();
    let mut ranges = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    ranges.any(|range| {
        let name = range.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case(kind)
    })
}
