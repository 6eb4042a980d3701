//! Tokens: the secret that a client must bring to be let in.

use data_encoding::BASE64URL_NOPAD;
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE};
use http::{Request, StatusCode};

use crate::http1::Answer;
use crate::http1::{bearer, query_parameter, tokens};
use crate::secret::Secret;

/// The subprotocol entry that carries a token, since a browser's WebSocket
/// cannot set a header. The token is the base64url of its bytes, unpadded.
const TOKEN_ENTRY: &str = "hubcast.token.";

/// Refuses a request that does not bring one of these secrets, if there are
/// any: as a bearer token, a subprotocol entry, or `?token=`.
pub(super) fn check(request: &Request<()>, secrets: &[Secret]) -> Result<(), Answer> {
    if secrets.is_empty() {
        return Ok(());
    }
    let known = |candidate: &str| secrets.iter().any(|secret| secret.is(candidate));
    let offers = tokens(request.headers(), SEC_WEBSOCKET_PROTOCOL);
    let is_in = bearer(request.headers()).is_some_and(known)
        || offers.filter_map(of_entry).any(|token| known(&token))
        || query_parameter(request, "token").is_some_and(|token| known(&token));
    if is_in {
        return Ok(());
    }
    let line = "the token for this is missing or wrong; \
                send it as `Authorization: Bearer TOKEN` or as ?token=TOKEN";
    Err(Answer::text(StatusCode::UNAUTHORIZED, line).header(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"hubcast\""),
    ))
}

/// Whether a subprotocol entry carries a token, and so is never answered.
pub(super) fn is_entry(entry: &str) -> bool {
    entry.starts_with(TOKEN_ENTRY)
}

fn of_entry(entry: &str) -> Option<String> {
    let encoded = entry.strip_prefix(TOKEN_ENTRY)?;
    let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?;
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
            let answer = check(&request, std::slice::from_ref(&secret)).unwrap_err();
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            assert!(!answer.body.contains("right"));
        }
    }
}
