//! Which rooms a request is for: the one that its path names, or several that
//! its query does.

use http::{Request, StatusCode};

use crate::http1::{Answer, percent_decode, query_parameters};
use crate::names::{MAX_ROOM, RoomFlaw, room_flaw, room_name};

/// The most rooms of one client.
const MAX_ROOMS: usize = 16;

/// The rooms of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// At least one, and none twice.
    pub(super) rooms: Vec<String>,
    /// The query names them, so each message must say which one it is for.
    pub(super) are_named: bool,
}

impl Asked {
    /// Reads the path, and each `room` of the query.
    pub(super) fn of(request: &Request<()>) -> Result<Asked, Answer> {
        let path = request.uri().path();
        let mut rooms: Vec<String> = Vec::new();
        for name in query_parameters(request, "room") {
            let room = named(name)?;
            if !rooms.contains(&room) {
                rooms.push(room);
            }
            if rooms.len() > MAX_ROOMS {
                let line = format!("a client may follow {MAX_ROOMS} rooms on one connection");
                return Err(Answer::bad_request(line));
            }
        }
        if rooms.is_empty() {
            return Ok(Asked {
                rooms: vec![room_of(path)?],
                are_named: false,
            });
        }
        if path != "/" {
            let line = "where the query names rooms, the path must be /, as in /?room=a&room=b";
            return Err(Answer::bad_request(line));
        }
        Ok(Asked {
            rooms,
            are_named: true,
        })
    }

    /// Refuses what is not done in several rooms.
    pub(super) fn only(self, what: &str) -> Result<(), Answer> {
        match self.are_named {
            false => Ok(()),
            true => Err(Answer::bad_request(format!(
                "{what} is for one room, which the path names; ?room= is for those who follow"
            ))),
        }
    }
}

/// The room of a value of `?room=`, which may lack the slash. `None`: it was not
/// percent-encoded.
fn named(value: Option<String>) -> Result<String, Answer> {
    match value.as_deref() {
        None => Err(Answer::bad_request("room= is not percent-encoded UTF-8")),
        Some("") => Err(Answer::bad_request(
            "room= names no room; the room / is room=/",
        )),
        Some(name) => {
            let room = room_name(name);
            check_room(&room)?;
            Ok(room.to_string())
        }
    }
}

/// The room that a path names: the path, percent-decoded and not normalised.
pub(super) fn room_of(path: &str) -> Result<String, Answer> {
    let room = percent_decode(path).ok_or_else(|| {
        Answer::bad_request("the path is not percent-encoded UTF-8; %25 stands for a percent sign")
    })?;
    check_room(&room)?;
    Ok(room)
}

/// Refuses a name that no room can have.
fn check_room(room: &str) -> Result<(), Answer> {
    match room_flaw(room) {
        None => Ok(()),
        Some(RoomFlaw::Control) => Err(Answer::bad_request(
            "the room's name holds a control character",
        )),
        Some(RoomFlaw::Operators) => Err(Answer::text(
            StatusCode::NOT_FOUND,
            "no room is named like that: /-/ is the operator's",
        )),
        Some(RoomFlaw::TooLong) => Err(Answer::text(
            StatusCode::URI_TOO_LONG,
            format!("a room name is at most {MAX_ROOM} bytes long"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(uri: &str) -> Result<Asked, Answer> {
        Asked::of(&Request::builder().uri(uri).body(()).unwrap())
    }

    #[test]
    fn the_query_names_several_rooms() {
        for (uri, rooms, are_named) in [
            ("/lobby", &["/lobby"][..], false),
            ("/lobby?rooms=a", &["/lobby"], false),
            ("/?room=a", &["/a"], true),
            ("/?room=a&room=/b", &["/a", "/b"], true),
            ("/?last=3&room=a&room=%2Fa&room=/", &["/a", "/"], true),
            ("/?room=caf%C3%A9", &["/café"], true),
        ] {
            let asked = ask(uri).unwrap();
            assert_eq!(
                (&asked.rooms[..], asked.are_named),
                (
                    &rooms.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>()[..],
                    are_named
                ),
                "{uri}"
            );
        }
    }

    #[test]
    fn what_names_no_room_is_refused() {
        let many: String = (0..17).map(|n| format!("&room={n}")).collect();
        let long = format!("/?room={}", "x".repeat(256));
        for (uri, status, part) in [
            ("/?room=", 400, "names no room"),
            ("/?room=%ff", 400, "percent-encoded"),
            ("/?room=a%0Ab", 400, "control character"),
            ("/?room=/-/clients", 404, "operator"),
            ("/?room=-/clients", 404, "operator"),
            ("/lobby?room=a", 400, "the path must be /"),
            (&long, 414, "256 bytes"),
            (&format!("/?{many}"), 400, "16 rooms"),
        ] {
            let answer = ask(uri).unwrap_err();
            assert_eq!(answer.status, status, "{uri}");
            assert!(answer.body.contains(part), "{uri}: {}", answer.body);
        }
    }

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
