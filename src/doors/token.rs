//! Tokens: the secret that a client must bring to be let in.

use std::sync::LazyLock;

use data_encoding::{BASE64URL_NOPAD, Encoding};
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE};
use http::{Request, StatusCode};

use crate::http1::Answer;
use crate::http1::{bearers, query_parameters, tokens};
use crate::secret::Secret;

/// The subprotocol entry that carries a token, since a browser's WebSocket
/// cannot set a header. The token is the base64url of its bytes, unpadded.
const TOKEN_ENTRY: &str = "hubcast.token.";

/// What bits of the last digit stand for nothing is not looked at.
static ENTRY: LazyLock<Encoding> = LazyLock::new(|| {
    let mut entry = BASE64URL_NOPAD.specification();
    entry.check_trailing_bits = false;
    // Valid, since only that one switch of a valid one has changed.
    entry.encoding().unwrap_or(BASE64URL_NOPAD)
});

/// Why a request does not bring what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Missing,
    Wrong,
    /// It brings several, and so tries several at once.
    Several,
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Answer {
        if refused == Refused::Several {
            return Answer::bad_request("the request brings several tokens; send one");
        }
        let line = "the token for this is missing or wrong; \
                    send it as `Authorization: Bearer TOKEN` or as ?token=TOKEN";
        Answer::text(StatusCode::UNAUTHORIZED, line).header(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"hubcast\""),
        )
    }
}

/// Refuses a request that does not bring one of these secrets, if there are
/// any: as a bearer token, a subprotocol entry, or `?token=`. It may bring the
/// same in several ways, but not one and another.
pub(super) fn check(request: &Request<()>, secrets: &[Secret]) -> Result<(), Refused> {
    if secrets.is_empty() {
        return Ok(());
    }
    let offers = tokens(request.headers(), SEC_WEBSOCKET_PROTOCOL);
    let entries = offers.filter(|offer| is_entry(offer)).map(of_entry);
    let bearers = bearers(request.headers()).map(|token| Some(token.to_owned()));
    let queries = query_parameters(request, "token");
    let mut brought = entries.chain(bearers).chain(queries);
    let Some(token) = brought.next() else {
        return Err(Refused::Missing);
    };
    if brought.any(|other| other != token) {
        return Err(Refused::Several);
    }
    // One that cannot be decoded is none.
    let token = token.unwrap_or_default();
    match secrets.iter().any(|secret| secret.is(&token)) {
        true => Ok(()),
        false => Err(Refused::Wrong),
    }
}

/// Whether a subprotocol entry carries a token, and so is never answered.
pub(super) fn is_entry(entry: &str) -> bool {
    entry.starts_with(TOKEN_ENTRY)
}

fn of_entry(entry: &str) -> Option<String> {
    let encoded = entry.strip_prefix(TOKEN_ENTRY)?;
    let bytes = ENTRY.decode(encoded.as_bytes()).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            BASE64URL_NOPAD.encode("s3cret/ü".as_bytes())
        );
        for request in [
            request("/", Some(("sec-websocket-protocol", &entry))),
            request("/?a=b&token=s3cret%2F%C3%BC", None),
        ] {
            check(&request, std::slice::from_ref(&secret)).unwrap();
        }
        let bearer = request("/", Some(("authorization", "bearer s3cret")));
        check(&bearer, &[secret, Secret::from("s3cret")]).unwrap();
        check(&request("/", None), &[]).unwrap();
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
            let answer = Answer::from(check(&request, std::slice::from_ref(&secret)).unwrap_err());
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            assert!(!answer.body.contains("right"));
        }
    }

    #[test]
    fn one_request_tries_one_token() {
        let secret = Secret::from("b");
        let entry =
            |token: &str| format!("hubcast.token.{}", BASE64URL_NOPAD.encode(token.as_bytes()));
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
            let refused = check(&request, std::slice::from_ref(&secret));
            assert_eq!(refused, Err(Refused::Several), "{request:?}");
        }
        let same = [entry("b"), entry("b")].join(", ");
        let mut request = request("/?token=b", Some(("sec-websocket-protocol", &same)));
        check(&request, std::slice::from_ref(&secret)).unwrap();
        for token in ["b", "a"] {
            let line = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
            request.headers_mut().append("authorization", line);
        }
        let refused = check(&request, std::slice::from_ref(&secret));
        assert_eq!(refused, Err(Refused::Several));
    }
}
