//! What the server is for: a message of one client reaches all of its room.

use tungstenite::Message;

use crate::support::{connect, next_text, server};

#[test]
fn everybody_in_the_room_receives_a_message_the_sender_included() {
    let server = server(|_| {});
    let mut clients = [connect(&server, "/"), connect(&server, "/")];
    clients[0].send(Message::from("héllo")).unwrap();
    for client in &mut clients {
        assert_eq!(next_text(client), "héllo");
    }
}

#[test]
fn rooms_do_not_hear_each_other() {
    let server = server(|_| {});
    let mut root = connect(&server, "/");
    let mut lobby = connect(&server, "/lobby?name=ann");
    lobby.send(Message::from("in the lobby")).unwrap();
    assert_eq!(next_text(&mut lobby), "in the lobby");
    root.send(Message::from("at the root")).unwrap();
    assert_eq!(next_text(&mut root), "at the root");
    let rooms = server.handle().rooms().unwrap();
    assert!(
        rooms
            .iter()
            .any(|room| room.name == "/lobby" && room.clients == 1)
    );
}

#[test]
fn without_echo_only_the_others_receive_a_message() {
    let server = server(|config| config.echo = false);
    let mut ann = connect(&server, "/");
    let mut bob = connect(&server, "/");
    ann.send(Message::from("from ann")).unwrap();
    assert_eq!(next_text(&mut bob), "from ann");
    bob.send(Message::from("from bob")).unwrap();
    assert_eq!(next_text(&mut ann), "from bob");
}

#[test]
fn a_newline_is_appended_to_text_and_to_nothing_else() {
    let server = server(|config| config.append_newline = true);
    let mut client = connect(&server, "/");
    client.send(Message::from("line")).unwrap();
    assert_eq!(next_text(&mut client), "line\n");
    client.send(Message::from(vec![1, 2])).unwrap();
    assert_eq!(client.read().unwrap(), Message::from(vec![1, 2]));
}
