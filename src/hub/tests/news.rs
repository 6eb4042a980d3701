//! What the operator is told: who has left, and what happens.

use super::*;

impl World {
    fn operator(&mut self) -> Peer {
        let (mut peer, mut join) = self.peer("/-/events", Encoding::Events);
        let address = peer.state.peer;
        let room = peer.state.room.clone();
        let mut state = ClientState::new(peer.id, address, room, Place::anywhere(), None);
        state.is_watching = true;
        peer.state = Arc::new(state);
        if let Command::Join(joining) = &mut join {
            joining.client = peer.state.clone();
            joining.start.watch = Some(Watch::News);
        }
        self.hub.apply(join);
        peer
    }

    /// What the operator has read: each event's name, and its object.
    fn news_of(&mut self, operator: &Peer) -> Vec<(String, String)> {
        let items = self.received(operator);
        items
            .into_iter()
            .map(|item| {
                let (_, rest) = item.split_once("\"event\":\"").expect(&item);
                let (name, _) = rest.split_once('"').unwrap();
                (name.to_owned(), item)
            })
            .collect()
    }

    fn departures(&mut self) -> Vec<String> {
        let departed = self.ask(|reply| Command::Departures { reply });
        departed
            .iter()
            .map(|one| {
                let mut out = String::new();
                crate::wire::json::object(&mut out, |object| one.write(object));
                out
            })
            .collect()
    }
}

fn names(told: &[(String, String)]) -> Vec<&str> {
    told.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn the_operator_is_told_who_comes_and_goes_and_which_rooms_there_are() {
    let mut world = World::new();
    let early = world.join("/a");
    let operator = world.operator();
    assert_eq!(world.rooms().len(), 1, "it is in no room");
    let told = world.news_of(&operator);
    assert_eq!(names(&told), ["following"]);
    assert!(told[0].1.contains("\"rooms\":1"), "{}", told[0].1);
    let late = world.join("/b");
    world.broadcast("/b", "hello");
    world.leave(&late);
    world.peer_closed(&early);
    world.leave(&early);
    let told = world.news_of(&operator);
    assert_eq!(
        names(&told),
        ["opened", "joined", "emptied", "left", "emptied", "left"]
    );
    for (index, (_, item)) in told.iter().enumerate() {
        assert!(
            item.starts_with(&format!("{{\"n\":{},", index + 2)),
            "{item}"
        );
    }
    assert!(told[3].1.contains("\"cause\":\"end_of_stream\""));
    assert!(told[3].1.contains("\"sent_messages\":1,"));
    assert!(told[5].1.contains("\"cause\":\"closed_by_peer\""));
    world.leave(&operator);
    assert!(!world.hub.news.is_followed());
    world.join("/c");
    world.hub.end_pass();
    assert_eq!(world.hub.news.next_deadline(), None);
}

#[test]
fn drops_are_told_together() {
    let mut world = World::with(SlowConsumer::DropNewest, |_| {});
    let operator = world.operator();
    let slow = world.join("/");
    slow.socket.set_room(0);
    world.news_of(&operator);
    for _ in 0..3 * MAX_MESSAGES {
        world.broadcast("/", "x");
        world.hub.end_pass();
    }
    let told = world.news_of(&operator);
    assert_eq!(
        names(&told),
        ["dropped"],
        "the others wait for their second"
    );
    assert!(world.hub.news.next_deadline().is_some());
}

#[test]
fn those_that_have_left_are_known_by_the_number_in_their_close() {
    let mut world = World::new();
    let slow = world.join_stalled("/");
    for _ in 0..2 * MAX_MESSAGES {
        world.broadcast("/", "x");
        world.hub.end_pass();
    }
    let close = world.received(&slow).pop().unwrap();
    let case = format!("behind #{}", slow.id);
    assert!(close.ends_with(&case), "{close}");
    world.leave(&slow);
    let departures = world.departures();
    assert_eq!(departures.len(), 1);
    let departed = &departures[0];
    for part in [
        format!("\"id\":{},", slow.id),
        "\"rooms\":[\"/\"],\"cause\":\"evicted\"".to_owned(),
        format!("\"sent_code\":1008,\"sent_reason\":\"slow consumer: {MAX_MESSAGES} messages"),
    ] {
        assert!(departed.contains(&part), "{part}: {departed}");
    }
}

#[test]
fn a_thousand_departures_are_remembered() {
    let mut world = World::new();
    let mut last = None;
    for _ in 0..1100 {
        let peer = world.join("/");
        world.leave(&peer);
        last = Some(peer.id);
    }
    let departures = world.departures();
    assert_eq!(departures.len(), 1000);
    assert!(departures[0].contains(&format!("\"id\":{},", last.unwrap())));
}
