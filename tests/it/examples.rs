//! The examples do what they say: each is started and talked to.
//!
//! `cargo test` has built them, beside this test's own executable; with
//! `--all-targets` or `--test` it does not. `in_process_test` is not among
//! them: it consists of tests, and `cargo test` runs those.

use std::process::Command;

use tungstenite::client::IntoClientRequest;
use tungstenite::http::{HeaderMap, StatusCode};
use tungstenite::{HandshakeError, Message};

use crate::kit::child::Child;
use crate::support::{Client, connect_to, deadline, dial, next_close, next_text};

/// A running example, killed when dropped.
struct Example(Child);

impl Example {
    /// Starts an example on a free port and waits until it listens.
    fn start(name: &str, environment: &[(&str, &str)]) -> Example {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let mut command = Command::new(profile.join("examples").join(name));
        command.arg("127.0.0.1:0");
        command.envs(environment.iter().copied());
        let child = Child::start(command, deadline());
        Example(child.unwrap_or_else(|error| panic!("{error}; cargo build --examples")))
    }

    fn connect(&self, room: &str) -> Client {
        connect_to(self.0.address(), room)
    }
}

fn say(client: &mut Client, text: &str) {
    client.send(Message::from(text)).unwrap();
}

/// What `sender` says reaches all of them, as `heard`.
#[track_caller]
fn all_hear(clients: &mut [&mut Client], heard: &str) {
    for client in clients {
        assert_eq!(next_text(client), heard);
    }
}

#[test]
fn ticker_gives_every_reading_to_everybody() {
    let example = Example::start("ticker", &[]);
    let mut ann = example.connect("/");
    let mut bob = example.connect("/");
    say(&mut bob, "may I?");
    let readings = [next_text(&mut bob), next_text(&mut bob)];
    for reading in &readings {
        assert!(reading.starts_with(r#"{"celsius":2"#), "{reading}");
    }
    let heard_by_ann: Vec<String> = (0..4).map(|_| next_text(&mut ann)).collect();
    assert!(
        heard_by_ann.windows(2).any(|pair| pair == readings),
        "{readings:?} is not in {heard_by_ann:?}"
    );
}

#[test]
fn chat_has_nicknames_who_and_history() {
    let example = Example::start("chat", &[]);
    let mut ann = example.connect("/?ann");
    assert_eq!(next_text(&mut ann), "* ann is here");
    say(&mut ann, "hello");
    assert_eq!(next_text(&mut ann), "ann: hello");

    let mut bob = example.connect("/?bob");
    all_hear(&mut [&mut bob], "* ann is here");
    all_hear(&mut [&mut bob], "ann: hello");
    all_hear(&mut [&mut ann, &mut bob], "* bob is here");
    say(&mut bob, "/nick robert");
    all_hear(&mut [&mut ann, &mut bob], "* bob is now robert");
    say(&mut ann, "/who");
    let who = next_text(&mut ann);
    assert!(
        who == "* here: ann, robert" || who == "* here: robert, ann",
        "{who}"
    );

    for n in 0..30 {
        say(&mut bob, &format!("{n}"));
        all_hear(&mut [&mut ann, &mut bob], &format!("robert: {n}"));
    }
    drop(bob);
    all_hear(&mut [&mut ann], "* robert has left");
    let mut eve = example.connect("/");
    for n in 11..30 {
        assert_eq!(next_text(&mut eve), format!("robert: {n}"));
    }
    assert_eq!(next_text(&mut eve), "* robert has left");
    all_hear(&mut [&mut ann, &mut eve], "* somebody is here");
}

/// Tries to come in; returns the client and the answer's headers, or the
/// status and headers of the refusal.
fn knock(
    example: &Example,
    path: &str,
    header: Option<(&'static str, &str)>,
) -> Result<(Client, HeaderMap), (StatusCode, HeaderMap)> {
    let url = format!("ws://{}{path}", example.0.address());
    let mut request = url.into_client_request().unwrap();
    if let Some((name, value)) = header {
        let value = value.parse().unwrap();
        request.headers_mut().insert(name, value);
    }
    match tungstenite::client(request, dial(example.0.address())) {
        Ok((client, response)) => Ok((client, response.headers().clone())),
        Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            Err((response.status(), response.headers().clone()))
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn auth_lets_in_by_header_subprotocol_or_query() {
    let example = Example::start("auth", &[("TOKENS", "ann=s3cret,bob=pa55")]);
    let (mut ann, _) = knock(&example, "/", Some(("authorization", "Bearer s3cret"))).unwrap();
    say(&mut ann, "by header");
    assert_eq!(next_text(&mut ann), "ann: by header");

    let offer = Some(("sec-websocket-protocol", "token.pa55, chat"));
    let (mut bob, headers) = knock(&example, "/", offer).unwrap();
    assert_eq!(headers["sec-websocket-protocol"], "chat");
    say(&mut bob, "by subprotocol");
    all_hear(&mut [&mut ann, &mut bob], "bob: by subprotocol");

    let (mut too, _) = knock(&example, "/?lang=en&token=pa55", None).unwrap();
    say(&mut too, "by query");
    all_hear(&mut [&mut ann, &mut bob, &mut too], "bob: by query");
}

#[test]
fn auth_refuses_everybody_else() {
    let example = Example::start("auth", &[("TOKENS", "ann=s3cret,bob=pa55,eve=")]);
    for (path, header) in [
        ("/", None),
        ("/?token=", None),
        ("/?token=s3cre", None),
        ("/?token=s3crets", None),
        ("/", Some(("authorization", "Bearer S3cret"))),
        ("/", Some(("authorization", "Basic s3cret"))),
        ("/", Some(("sec-websocket-protocol", "chat, s3cret"))),
    ] {
        let (status, headers) = knock(&example, path, header).unwrap_err();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} {header:?}");
        assert_eq!(headers["www-authenticate"], "Bearer");
    }
}

#[test]
fn moderated_rewrites_stops_and_disconnects() {
    let example = Example::start("moderated", &[]);
    let mut ann = example.connect("/");
    say(&mut ann, "well, darn");
    assert_eq!(next_text(&mut ann), "1: well, ****");

    let mut bob = example.connect("/");
    say(&mut bob, "see http://spam.example/");
    assert_eq!(next_text(&mut bob), "moderator: no links, please (1 of 3)");
    say(&mut bob, &"x".repeat(201));
    assert_eq!(next_text(&mut bob), "moderator: shorter, please (2 of 3)");
    bob.send(Message::from(vec![0])).unwrap();
    assert_eq!(next_text(&mut bob), "moderator: only text, please (3 of 3)");
    assert_eq!(next_close(&mut bob), (1008, "too many warnings".to_owned()));

    say(&mut ann, "peace");
    assert_eq!(next_text(&mut ann), "1: peace", "nothing of bob's came");
}

#[test]
fn the_dashboard_gives_a_newcomer_what_was_before() {
    let example = Example::start("dashboard", &[]);
    let mut first = example.connect("/memory");
    let figure = next_text(&mut first);
    assert!(figure.parse::<u64>().unwrap() > 0, "{figure}");
    // The last figures are there at once.
    let mut second = example.connect("/memory");
    assert_eq!(next_text(&mut second), figure);
}
