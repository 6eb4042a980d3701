//! Tokens: what a client must know to be let in.

use std::fmt;
use std::hint::black_box;

use data_encoding::BASE64URL_NOPAD;
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE};
use http::{Request, StatusCode};

use crate::http::Answer;
use crate::request::{bearer, query_parameter, tokens};

/// The subprotocol entry that carries a token, since a browser's WebSocket
/// cannot set a header. The token is the base64url of its bytes, unpadded.
const TOKEN_ENTRY: &str = "hubcast.token.";

/// A secret text, such as a token. It is compared in a time that does not
/// depend on where it differs, and shown nowhere. It is made of a `&str` or a
/// `String`, and neither read nor compared but by [`is`](Secret::is).
///
/// ```
/// use hubcast::Secret;
///
/// let secret = Secret::from("open sesame");
/// assert!(secret.is("open sesame") && !secret.is("open says me"));
/// assert_eq!(format!("{secret:?}"), "Secret(…)");
/// ```
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Whether this is the secret.
    pub fn is(&self, candidate: &str) -> bool {
        let (secret, candidate) = (self.0.as_bytes(), candidate.as_bytes());
        let mut difference = u8::from(secret.len() != candidate.len());
        for (i, byte) in candidate.iter().enumerate() {
            difference |= byte ^ secret.get(i).copied().unwrap_or(!byte);
        }
        black_box(difference) == 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_owned())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Refuses a request that does not bring one of these secrets, if there are
/// any: as a bearer token, a subprotocol entry, or `?token=`.
pub(crate) fn check(request: &Request<()>, secrets: &[Secret]) -> Result<(), Answer> {
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
pub(crate) fn is_token_entry(entry: &str) -> bool {
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
