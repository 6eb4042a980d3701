//! What a handle does, and to whom.

use hubcast::{Client, CloseCode, MAX_REASON, Message, Reception};

use super::{close, expect_texts, in_time, with_id};
use crate::kit::frame::Opcode;
use crate::support::{Raw, eventually, server};

#[test]
fn each_broadcast_reaches_whom_it_names_and_nobody_else() {
    let server = server(|_| {});
    let handle = server.handle();
    let (mut ann, ann_id) = with_id(&server, "/lobby");
    let (mut bob, bob_id) = with_id(&server, "/lobby");
    let (mut eve, _) = with_id(&server, "/cellar");

    handle.broadcast("/lobby", "room").unwrap();
    handle.broadcast("lobby", "room without a slash").unwrap();
    handle.try_broadcast("/lobby", "tried").unwrap();
    handle
        .broadcast_except("/lobby", ann_id, "not ann")
        .unwrap();
    let is_ann = |client: &Client| client.id() == ann_id;
    handle
        .broadcast_where("/lobby", is_ann, "only ann")
        .unwrap();
    handle.broadcast_all("all").unwrap();
    handle.broadcast_all_except(bob_id, "all but bob").unwrap();
    handle.send(bob_id, "to bob").unwrap();
    handle.broadcast("/attic", "nobody").unwrap();
    handle.broadcast_all("the end").unwrap();

    let room = ["room", "room without a slash", "tried"];
    expect_texts(&mut ann, &room);
    expect_texts(&mut ann, &["only ann", "all", "all but bob", "the end"]);
    expect_texts(&mut bob, &room);
    expect_texts(&mut bob, &["not ann", "all", "to bob", "the end"]);
    expect_texts(&mut eve, &["all", "all but bob", "the end"]);
}

#[test]
fn text_stays_text_and_bytes_stay_bytes_and_a_newline_is_for_text() {
    let server = server(|config| config.append_newline = true);
    let mut client = Raw::connect(&server, "/");
    let handle = server.handle();
    handle.broadcast("/", "text").unwrap();
    handle.broadcast("/", vec![1, 2, 3]).unwrap();
    handle.broadcast("/", String::new()).unwrap();
    expect_texts(&mut client, &["text\n"]);
    let frame = client.data();
    assert_eq!(
        (frame.opcode, frame.payload),
        (Opcode::Binary, vec![1, 2, 3])
    );
    expect_texts(&mut client, &["\n"]);
}

#[test]
fn a_client_may_be_in_many_rooms_and_hears_everything_once_and_in_order() {
    let server = server(|_| {});
    let handle = server.handle();
    let (mut client, id) = with_id(&server, "/a");
    let mut other = Raw::connect(&server, "/b");
    handle.enter_room(id, "/b").unwrap();
    handle.enter_room(id, "b").unwrap();
    handle.enter_room(id, "/c").unwrap();
    let rooms = &handle.clients_in("/c").unwrap()[0].rooms;
    assert_eq!(rooms, &["/a", "/b", "/c"]);

    let mut expected = Vec::new();
    for number in 0..200 {
        let room = ["/a", "/b", "/c", "/d"][number % 4];
        let text = format!("{number} to {room}");
        handle.broadcast(room, text.as_str()).unwrap();
        if room != "/d" {
            expected.push(text);
        }
    }
    handle.broadcast_all("all").unwrap();
    expected.push("all".to_owned());
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    expect_texts(&mut client, &expected);

    // What it sends goes to the room it came in by, even when it has left it.
    handle.exit_room(id, "/a").unwrap();
    handle.enter_room(id, "/a").unwrap();
    handle.exit_room(id, "/c").unwrap();
    client.send(Opcode::Text, b"from the client");
    expect_texts(&mut client, &["from the client"]);
    handle.broadcast("/c", "not for it").unwrap();
    for room in ["/a", "/b", "/nowhere"] {
        handle.exit_room(id, room).unwrap();
    }
    let info = handle.clients().unwrap();
    let info = info.iter().find(|info| info.id == id).unwrap();
    assert_eq!(info.rooms, [""; 0]);
    handle.broadcast("/a", "not for it").unwrap();
    handle.send(id, "for it alone").unwrap();
    handle.broadcast_all("for everybody").unwrap();
    expect_texts(&mut client, &["for it alone", "for everybody"]);

    // The other one was in its room all the time.
    let heard = (0..200).filter(|number| number % 4 == 1);
    let heard: Vec<String> = heard.map(|number| format!("{number} to /b")).collect();
    let heard: Vec<&str> = heard.iter().map(String::as_str).collect();
    expect_texts(&mut other, &heard);
    expect_texts(&mut other, &["all", "for everybody"]);
}

#[test]
fn rooms_come_with_their_first_client_and_go_with_their_last() {
    let server = server(|_| {});
    let handle = server.handle();
    assert!(handle.rooms().unwrap().is_empty());
    let clients = ["/a", "/a", "/b"].map(|room| Raw::connect(&server, room));
    let mut rooms = handle.rooms().unwrap();
    rooms.sort_by(|one, other| one.name.cmp(&other.name));
    let rooms: Vec<(String, usize)> = rooms
        .into_iter()
        .map(|room| (room.name, room.clients))
        .collect();
    assert_eq!(rooms, [("/a".to_owned(), 2), ("/b".to_owned(), 1)]);
    assert_eq!(handle.clients_in("/a").unwrap().len(), 2);
    assert_eq!(handle.members("/b").unwrap().len(), 1);
    assert!(handle.clients_in("/c").unwrap().is_empty());
    clients.into_iter().for_each(close);
    eventually("all rooms to be forgotten", || {
        handle.rooms().unwrap().is_empty() && handle.stats().rooms == 0
    });
}

#[test]
fn the_counters_add_up() {
    let server = server(|_| {});
    let handle = server.handle();
    let (mut client, id) = with_id(&server, "/");
    let mut other = Raw::connect(&server, "/");
    let before = handle.clients().unwrap();
    let before = before.iter().find(|info| info.id == id).unwrap();
    assert_eq!((before.received_messages, before.sent_messages), (0, 0));
    for _ in 0..10 {
        client.send(Opcode::Binary, &[0; 200]);
        client.data();
        other.data();
    }
    let clients = handle.clients().unwrap();
    let info = clients.iter().find(|info| info.id == id).unwrap();
    assert_eq!((info.received_messages, info.sent_messages), (10, 10));
    // A header has four bytes, and eight with the mask.
    assert_eq!((info.received_bytes, info.sent_bytes), (2080, 2040));
    assert_eq!((info.queue_messages, info.dropped_messages), (0, 0));
    close(client);
    drop(other);
    eventually("both to be counted out", || {
        let stats = handle.stats();
        let left: u64 = stats.departures.iter().map(|(_, count)| count).sum();
        stats.clients == 0 && left == 2
    });
    let stats = handle.stats();
    assert_eq!((stats.accepted, stats.joins), (2, 2));
    assert_eq!((stats.received_messages, stats.broadcasts), (10, 10));
    assert_eq!((stats.deliveries, stats.sent_bytes), (20, 4080));
    assert_eq!(stats.departed("closed_by_peer"), 1);
    assert_eq!(stats.departed("end_of_stream"), 1);
}

#[test]
fn ids_are_not_used_again_and_late_commands_are_harmless() {
    let server = server(|_| {});
    let handle = server.handle();
    let mut ids = Vec::new();
    for _ in 0..20 {
        let (client, id) = with_id(&server, "/");
        assert!(!ids.contains(&id));
        ids.push(id);
        close(client);
        eventually("its end", || handle.clients().unwrap().is_empty());
        let code = CloseCode::NORMAL;
        handle.send(id, "too late").unwrap();
        handle.enter_room(id, "/ghosts").unwrap();
        handle.exit_room(id, "/").unwrap();
        handle.disconnect(id, code, "too late").unwrap();
    }
    let mut client = Raw::connect(&server, "/");
    assert_eq!(handle.rooms().unwrap().len(), 1);
    handle.broadcast_all("for the living").unwrap();
    expect_texts(&mut client, &["for the living"]);
}

#[test]
fn a_long_reason_is_cut_where_a_character_ends() {
    let server = server(|_| {});
    let (mut client, id) = with_id(&server, "/");
    let code = CloseCode::new(4999).unwrap();
    let reason = "é".repeat(200);
    server.handle().disconnect(id, code, reason).unwrap();
    let close = client.data();
    assert_eq!(close.close_code(), Some(4999));
    assert!(close.payload.len() - 2 <= MAX_REASON);
    let reason = std::str::from_utf8(&close.payload[2..]).unwrap();
    assert_eq!(reason, "é".repeat(61));
}

#[test]
fn a_message_that_is_too_large_is_handed_back() {
    let server = server(|config| config.max_message_size = 10);
    let mut client = Raw::connect(&server, "/");
    let handle = server.handle();
    let error = handle.broadcast("/", vec![7; 11]).unwrap_err();
    assert!(error.is_too_large() && !error.is_stopped() && !error.is_full());
    assert_eq!(error.into_message(), Message::from(vec![7; 11]));
    handle.broadcast("/", vec![7; 10]).unwrap();
    assert_eq!(client.data().payload, [7; 10]);
}

#[test]
fn a_subscription_hears_its_room_until_the_end() {
    let server = server(|_| {});
    let handle = server.handle();
    let mut lobby = handle.subscribe("lobby").unwrap();
    let mut client = Raw::connect(&server, "/lobby");
    client.send(Opcode::Text, "from the client".as_bytes());
    client.data();
    handle.broadcast("/cellar", "elsewhere").unwrap();
    handle.broadcast("/lobby", vec![0xff]).unwrap();
    assert_eq!(lobby.next(), Some(Message::from("from the client")));
    assert_eq!(lobby.next(), Some(Message::from(vec![0xff])));
    assert_eq!(lobby.missed(), 0);
    close(client);
    server.shutdown().unwrap();
    assert_eq!(in_time("the end", move || lobby.next()), None);
}

#[test]
fn a_subscription_hears_what_is_for_all_rooms() {
    let server = server(|_| {});
    let handle = server.handle();
    let mut lobby = handle.subscribe("/lobby").unwrap();
    let (mut client, id) = with_id(&server, "/lobby");
    handle.broadcast_all("all").unwrap();
    handle.broadcast_all_except(id, "others").unwrap();
    handle.broadcast("/lobby", "room").unwrap();
    expect_texts(&mut client, &["all", "room"]);
    let heard = in_time("the room", move || [(); 3].map(|()| lobby.next()));
    assert_eq!(
        heard,
        ["all", "others", "room"].map(|text| Some(Message::from(text)))
    );
}

#[test]
fn a_subscription_that_is_not_read_holds_nobody_up() {
    let server = server(|config| {
        config.queue_messages = 100_000;
        config.queue_bytes = 1 << 30;
    });
    let handle = server.handle();
    let mut idle = handle.subscribe("/").unwrap();
    let mut client = Raw::connect(&server, "/");
    let message = |number: u32| number.to_be_bytes().repeat(2048);
    for number in 0..3000u32 {
        handle.broadcast("/", message(number)).unwrap();
    }
    for number in 0..3000u32 {
        assert_eq!(client.data().payload, message(number));
    }
    close(client);
    let missed = idle.missed();
    server.shutdown().unwrap();
    let heard: Vec<Message> = idle.by_ref().collect();
    assert!(missed > 0);
    assert_eq!(heard.len() as u64 + missed, 3000);
    let first: Vec<Message> = (0..heard.len() as u32)
        .map(|number| Message::from(message(number)))
        .collect();
    assert!(heard == first, "what it missed came later");
}

#[test]
fn a_gap_stands_where_the_messages_were_missed() {
    let server = server(|_| {});
    let handle = server.handle();
    let mut slow = handle.subscribe("/").unwrap();
    let large = || vec![0; 1 << 20];
    for _ in 0..20 {
        handle.broadcast("/", large()).unwrap();
    }
    // It is answered behind everything that was sent before.
    handle.clients().unwrap();
    let mut heard = 0;
    while let Some(Reception::Message(message)) = slow.next_or_gap() {
        assert_eq!(message, Message::from(large()));
        heard += 1;
    }
    // Nothing has come since, and the gap is there.
    assert!(heard > 0 && heard + slow.missed() == 20);
    handle.broadcast("/", "behind").unwrap();
    let behind = in_time("the message behind", move || slow.next_or_gap());
    assert_eq!(behind, Some(Reception::Message(Message::from("behind"))));
}
