//! What a browser gets for a room: the page, one document with nothing from
//! outside, and the script for pages of one's own.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Request, StatusCode};

use super::hall::Doors;
use super::rooms::room_of;
use crate::http1::Answer;

/// Each piece is a file that editors and formatters understand.
const PAGE: &str = concat!(
    include_str!("page/head.html"),
    "<style>\n",
    include_str!("page/page.css"),
    "</style>\n</head>\n",
    include_str!("page/body.html"),
    "<script>\n",
    include_str!("page/page.js"),
    "</script>\n</body>\n</html>\n",
);

/// A client of rooms for pages of one's own, and where it is.
const SCRIPT: &str = include_str!("page/client.js");
pub(super) const SCRIPT_PATH: &str = "/-/client.js";

/// Only the page's own script and style run, and it talks only to its own
/// server. The hashes are those of the two elements' contents; a test checks
/// them.
const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-SSmH/PdYxAtKP7d0AB7H+BVHqqo4yImfkTuUtByG95A='; \
    script-src 'sha256-0u+YUxa3sUdBr0LxHGddjUQzUGbYxj0veUfVY7lyBHQ='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

impl Doors {
    /// The page. It reads its own address, and on its body what the room can do
    /// beyond passing messages on.
    pub(super) fn page(&self, request: &Request<()>) -> Result<Answer, Answer> {
        let room = room_of(request.uri().path())?;
        let settings = self.config().room_settings(&room);
        let marks = [
            (settings.history > 0, "data-remembers "),
            (settings.presence, "data-presence "),
        ];
        let marks = marks
            .iter()
            .filter_map(|(is_so, mark)| is_so.then_some(*mark));
        let body = format!("<body {}", marks.collect::<String>());
        let html = PAGE.replacen("<body ", &body, 1);
        let page = Answer::new(StatusCode::OK, "text/html; charset=utf-8", html);
        Ok(page
            .header(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))
            .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
            .header(REFERRER_POLICY, HeaderValue::from_static("no-referrer"))
            .header(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
            // Other clients get another answer at this address.
            .header(VARY, HeaderValue::from_static("accept")))
    }
}

/// The script. Scripts of other origins that are allowed may import it, too.
pub(super) fn script() -> Answer {
    let kind = "text/javascript; charset=utf-8";
    Answer::new(StatusCode::OK, kind, SCRIPT.to_owned())
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
        .header(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_policy_names_the_hashes_of_the_pages_script_and_style() {
        for tag in ["script", "style"] {
            let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
            let (_, rest) = PAGE.split_once(&open).unwrap();
            let (content, rest) = rest.split_once(&close).unwrap();
            assert!(!rest.contains(&open), "one <{tag}> only");
            let hash = BASE64.encode(Sha256::digest(content));
            assert!(POLICY.contains(&hash), "the hash of <{tag}> is {hash}");
        }
    }

    #[test]
    fn the_page_needs_nothing_from_outside() {
        // A namespace is a name; nothing is loaded from it.
        let page = PAGE.replace("http://www.w3.org/2000/svg", "");
        for way_out in ["http://", "https://", "@import", "innerHTML"] {
            assert!(!page.contains(way_out), "{way_out}");
        }
    }
}
