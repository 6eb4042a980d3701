//! What the embedding program answers itself.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::{Request, Response, StatusCode};

use super::caller::Caller;
use super::hall::Doors;
use crate::http1::Answer;

impl Doors {
    /// The program's answer, if it has one for this request.
    pub(super) fn own_answer(&self, request: &Request<()>, caller: &Caller) -> Option<Answer> {
        let answerer = self.answerer.as_ref()?;
        (answerer.0)(request, caller.peer).map(answer)
    }
}

/// A response as an answer. What frames it is the server's to say, so headers
/// about that are left out.
fn answer(response: Response<Vec<u8>>) -> Answer {
    let (parts, body) = response.into_parts();
    let mut status = parts.status;
    if status.is_informational() {
        log::warn!("a hook answered with {status}, which is no final answer; 500 is sent");
        status = StatusCode::INTERNAL_SERVER_ERROR;
    }
    let mut answer = Answer::new(status, "application/octet-stream", String::new());
    for (name, value) in &parts.headers {
        match *name {
            CONNECTION | CONTENT_LENGTH | TRANSFER_ENCODING | UPGRADE | DATE => {}
            CONTENT_TYPE => answer.content_type = HeaderValue::clone(value),
            _ => answer.headers.push((name.clone(), value.clone())),
        }
    }
    answer.bytes = Some(Box::new(body.into()));
    answer
}
