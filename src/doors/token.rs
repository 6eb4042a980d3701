//! Tokens: the secret that a client must bring to be let in.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD};
use http::header::{COOKIE, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE};
use http::{Request, StatusCode};

use crate::config::Config;
use crate::error::Error;
use crate::http1::Answer;
use crate::http1::{bearers, is_token, percent_decode, query_parameters, tokens};
use crate::secret::Secret;

/// The subprotocol entry that carries a token, since a browser's WebSocket
/// cannot set a header. The token is the base64url of its bytes, unpadded.
const TOKEN_ENTRY: &str = "hubcast.token.";

/// What bits of the last digit stand for nothing is not looked at.
const ENTRY: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// Why a request does not bring what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Missing,
    Wrong,
    /// The verifier's word about it.
    Because(&'static str),
    /// It brings several, and so tries several at once.
    Several,
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Answer {
        let line = match refused {
            Refused::Several => {
                return Answer::bad_request("the request brings several tokens; send one");
            }
            Refused::Because(why) => format!("the token {why}"),
            Refused::Missing | Refused::Wrong => "the token for this is missing or wrong; \
                send it as `Authorization: Bearer TOKEN` or as ?token=TOKEN"
                .to_owned(),
        };
        Answer::text(StatusCode::UNAUTHORIZED, line).header(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"hubcast\""),
        )
    }
}

/// The token that a request brings: as a bearer token, a subprotocol entry, or
/// `?token=`; or in a cookie of this name, which counts only where nothing else
/// brings one, because a browser sends it unasked. It may bring the same in
/// several ways, but not one and another.
pub(super) fn brought(request: &Request<()>, cookie: Option<&str>) -> Result<String, Refused> {
    let offers = tokens(request.headers(), SEC_WEBSOCKET_PROTOCOL);
    let entries = offers.filter(|offer| is_entry(offer)).map(of_entry);
    let bearers = bearers(request.headers()).map(|token| Some(token.to_owned()));
    let queries = query_parameters(request, "token");
    let mut brought = entries.chain(bearers).chain(queries);
    let mut cookies = cookie
        .into_iter()
        .flat_map(|name| of_cookies(request.headers(), name));
    let (token, is_other) = match brought.next() {
        Some(token) => (token.clone(), brought.any(|other| other != token)),
        None => match cookies.next() {
            Some(token) => (token.clone(), cookies.any(|other| other != token)),
            None => return Err(Refused::Missing),
        },
    };
    if is_other {
        return Err(Refused::Several);
    }
    // One that cannot be decoded is none.
    Ok(token.unwrap_or_default())
}

pub(super) fn is_one_of(secrets: &[Secret], token: &str) -> bool {
    secrets.iter().any(|secret| secret.is(token))
}

/// Whether a subprotocol entry carries a token, and so is never answered.
pub(super) fn is_entry(entry: &str) -> bool {
    entry.starts_with(TOKEN_ENTRY)
}

/// # Errors
///
/// A cookie that no request can bring, that brings nothing, or that the pages
/// of every site could use.
pub(super) fn check_cookie(config: &Config) -> Result<(), Error> {
    let Some(name) = &config.token_cookie else {
        return Ok(());
    };
    if !is_token(name) {
        return Err(Error::config(format!(
            "token-cookie {name:?} is no name of a cookie (RFC 6265 §4.1.1), such as hubcast"
        )));
    }
    let has_token = config.token.is_some() || config.publish_token.is_some();
    if !has_token && config.token_verifier.is_none() {
        return Err(Error::config("token-cookie has no effect without a token"));
    }
    if config.allow_origin.iter().any(|origin| origin == "*") {
        return Err(Error::config(
            "token-cookie and allow-origin * exclude each other: the pages of every site \
             could use their visitors' cookies; name the origins",
        ));
    }
    Ok(())
}

/// The values of the cookies with this name, percent-decoded.
fn of_cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = Option<String>> {
    let lines = headers.get_all(COOKIE).into_iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| percent_decode(value))
}

fn of_entry(entry: &str) -> Option<String> {
    let encoded = entry.strip_prefix(TOKEN_ENTRY)?;
    let bytes = ENTRY.decode(encoded.as_bytes()).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        request: &Request<()>,
        secrets: &[Secret],
        cookie: Option<&str>,
    ) -> Result<(), Refused> {
        match is_one_of(secrets, &brought(request, cookie)?) {
            true => Ok(()),
            false => Err(Refused::Wrong),
        }
    }

    fn request(uri: &str, header: Option<(&str, &str)>) -> Request<()> {
        let mut builder = Request::builder().uri(uri);
        if let Some((name, value)) = header {
            builder = builder.header(name, value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn each_way_of_bringing_the_token_is_taken() {
        let secret = Secret::from("s3cret/ü");
        let entry = format!(
            "chat, hubcast.token.{}",
            ENTRY.encode("s3cret/ü".as_bytes())
        );
        for request in [
            request("/", Some(("sec-websocket-protocol", &entry))),
            request("/?a=b&token=s3cret%2F%C3%BC", None),
        ] {
            check(&request, std::slice::from_ref(&secret), None).unwrap();
        }
        let bearer = request("/", Some(("authorization", "bearer s3cret")));
        check(&bearer, &[secret, Secret::from("s3cret")], None).unwrap();
    }

    #[test]
    fn a_cookie_counts_where_nothing_else_brings_a_token() {
        let secrets = [Secret::from("b")];
        let ask = |uri, cookies| {
            check(
                &request(uri, Some(("cookie", cookies))),
                &secrets,
                Some("hub"),
            )
        };
        assert_eq!(ask("/?token=b", "hub=a"), Ok(()));
        assert_eq!(ask("/?token=a", "hub=b"), Err(Refused::Wrong));
        assert_eq!(ask("/", "hub=a; hub=b"), Err(Refused::Several));
        assert_eq!(ask("/", "x=b"), Err(Refused::Missing));
    }

    #[test]
    fn a_cookie_is_taken_by_its_name() {
        let secrets = [Secret::from("a; ü")];
        let with = |cookies| request("/", Some(("cookie", cookies)));
        for cookies in [
            "hub=a%3B%20%C3%BC",
            "x=y; hub=a%3B%20%C3%BC; hub=a%3B%20%C3%BC;z",
            "a=;hub=a%3b%20%c3%bc",
        ] {
            check(&with(cookies), &secrets, Some("hub")).unwrap();
            check(&with(cookies), &secrets, Some("Hub")).unwrap_err();
            check(&with(cookies), &secrets, None).unwrap_err();
        }
        for cookies in [
            "hub",
            "hub=",
            "hub=%",
            "hubhub=a%3B%20%C3%BC",
            "x=hub=a%3B%20%C3%BC",
        ] {
            check(&with(cookies), &secrets, Some("hub")).unwrap_err();
        }
    }

    #[test]
    fn a_wrong_token_is_not() {
        let secret = Secret::from("right");
        for request in [
            request("/", None),
            request("/?token=", None),
            request("/?token=righ", None),
            request("/?token=rightt", None),
            request("/", Some(("authorization", "right"))),
            request("/", Some(("authorization", "Basic right"))),
            request("/", Some(("sec-websocket-protocol", "hubcast.token.right"))),
        ] {
            let refused = check(&request, std::slice::from_ref(&secret), Some("hub"));
            let answer = Answer::from(refused.unwrap_err());
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            assert!(!answer.body.contains("right"));
        }
    }

    #[test]
    fn one_request_tries_one_token() {
        let secret = Secret::from("b");
        let entry = |token: &str| format!("hubcast.token.{}", ENTRY.encode(token.as_bytes()));
        let several = [entry("a"), entry("b")].join(", ");
        for request in [
            request("/", Some(("sec-websocket-protocol", &several))),
            request("/?token=a&token=b", None),
            request("/?token=a", Some(("authorization", "Bearer b"))),
            request(
                "/?token=b",
                Some(("sec-websocket-protocol", "hubcast.token.%%")),
            ),
        ] {
            let refused = check(&request, std::slice::from_ref(&secret), None);
            assert_eq!(refused, Err(Refused::Several), "{request:?}");
        }
        let same = [entry("b"), entry("b")].join(", ");
        let mut request = request("/?token=b", Some(("sec-websocket-protocol", &same)));
        check(&request, std::slice::from_ref(&secret), None).unwrap();
        for token in ["b", "a"] {
            let line = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
            request.headers_mut().append("authorization", line);
        }
        let refused = check(&request, std::slice::from_ref(&secret), None);
        assert_eq!(refused, Err(Refused::Several));
    }
}
