//! What a token must allow to pass a door.

use std::sync::Arc;

use http::{Request, StatusCode};

use super::caller::Caller;
use super::hall::Doors;
use super::rooms::{Asked, room_of};
use super::token::{self, Refused};
use crate::http1::Answer;
use crate::rights::Rights;
use crate::secret::Secret;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    Read,
    Write,
    Admin,
}

impl Wanted {
    fn check(self, rights: &Rights, request: &Request<()>) -> Result<(), Answer> {
        let (is_allowed, what) = match self {
            Wanted::Read => {
                let rooms = Asked::of(request)?.rooms;
                let may_read = rooms.iter().all(|room| rights.may_read(room));
                match rooms.len() {
                    1 => (may_read, "read this room"),
                    _ => (may_read, "read all of these rooms"),
                }
            }
            Wanted::Write => {
                let room = room_of(request.uri().path())?;
                (rights.may_write(&room), "write to this room")
            }
            Wanted::Admin => (rights.is_admin(), "ask the operator's questions"),
        };
        match is_allowed {
            true => Ok(()),
            false => Err(Answer::text(
                StatusCode::FORBIDDEN,
                format!("this token does not allow to {what}"),
            )),
        }
    }
}

impl Doors {
    /// Lets in who brings one of these secrets, which allow everything, or a
    /// token of which the verifier says that it allows what is wanted; and
    /// everybody where there is neither. Returns the rights, where they have a
    /// limit.
    pub(super) fn check_token(
        &self,
        request: &Request<()>,
        secrets: &[Secret],
        wanted: Wanted,
        caller: &Caller,
    ) -> Result<Option<Arc<Rights>>, Answer> {
        let verifier = &self.config().token_verifier;
        if secrets.is_empty() && verifier.is_none() {
            return Ok(None);
        }
        // A cookie is for the rooms: it comes unasked.
        let cookie = match wanted {
            Wanted::Read | Wanted::Write => self.config().token_cookie.as_deref(),
            Wanted::Admin => None,
        };
        let token = token::brought(request, cookie).inspect_err(|refused| {
            if *refused == Refused::Several {
                self.remarks.wrong_token(caller);
            }
        })?;
        if token::is_one_of(secrets, &token) {
            return Ok(None);
        }
        let verified = match verifier {
            Some(verifier) => verifier.verify(&token).map_err(Refused::Because),
            None => Err(Refused::Wrong),
        };
        let rights = verified.map_err(|refused| {
            self.remarks.wrong_token(caller);
            Answer::from(refused)
        })?;
        wanted.check(&rights, request)?;
        Ok(Some(Arc::new(rights)))
    }
}
