//! Those who follow who is in a room.

use super::*;
use crate::hub::Watch;

/// A world that shows who is in its rooms, `/` remembers messages too.
fn world(grace: Duration) -> World {
    World::with(SlowConsumer::Disconnect, |config| {
        config.presence = true;
        config.presence_grace = grace;
    })
}

impl World {
    pub(super) fn named(&mut self, room: &str, name: &str) -> Peer {
        let (mut peer, mut join) = self.peer(room, Encoding::Frames);
        if let Command::Join(joining) = &mut join {
            let place = Place::anywhere();
            let address = peer.state.peer;
            let mut state = ClientState::new(peer.id, address, room.into(), place, None);
            state.name = Some(name.into());
            peer.state = Arc::new(state);
            joining.client = peer.state.clone();
        }
        self.hub.apply(join);
        peer
    }

    pub(super) fn watcher(&mut self, room: &str, encoding: Encoding, watch: Watch) -> Peer {
        let (mut peer, mut join) = self.peer(room, encoding);
        if let Command::Join(joining) = &mut join {
            let place = Place::anywhere();
            let address = peer.state.peer;
            let mut state = ClientState::new(peer.id, address, room.into(), place, None);
            state.is_watching = true;
            peer.state = Arc::new(state);
            joining.client = peer.state.clone();
            joining.start.watch = Some(watch);
        }
        self.hub.apply(join);
        peer
    }

    /// What a watcher is told, without the position.
    pub(super) fn told(&mut self, watcher: &Peer) -> Vec<String> {
        let received = self.received(watcher).into_iter();
        let told = received.map(|text| {
            let (_, rest) = text.split_once("\",").expect("at comes first");
            format!("{{{rest}")
        });
        told.collect()
    }
}

#[test]
fn everybody_first_and_then_each_change_in_one_message_a_pass() {
    let mut world = world(Duration::ZERO);
    let (ann, other) = (world.named("/", "ann"), world.named("/other", "eve"));
    let watcher = world.watcher("/", Encoding::Frames, Watch::Some);
    assert_eq!(
        world.told(&watcher),
        [r#"{"here":[{"id":"1","name":"ann"}]}"#]
    );
    let (bob, _) = (world.named("/", "bob"), world.join("/"));
    world.leave(&ann);
    world.leave(&other);
    assert_eq!(
        world.told(&watcher),
        [
            r#"{"joined":[{"id":"4","name":"bob"},{"id":"5"}],"left":[{"id":"1","name":"ann","why":"lost"}]}"#
        ]
    );
    world.peer_closed(&bob);
    let left = r#"{"left":[{"id":"4","name":"bob","why":"closed"}]}"#;
    assert_eq!(world.told(&watcher), [left]);
    world.leave(&bob);
    assert!(world.told(&watcher).is_empty());
}

#[test]
fn a_watcher_hears_nothing_of_the_room_and_is_not_in_it() {
    let mut world = world(Duration::ZERO);
    let watcher = world.watcher("/", Encoding::Frames, Watch::Some);
    world.broadcast("/", "hello");
    assert_eq!(world.told(&watcher), [r#"{"here":[]}"#]);
    assert!(world.rooms().is_empty());
    assert_eq!(world.clients(None).len(), 1);
    world.leave(&watcher);
    world.hub.end_pass();
    assert_eq!(world.hub.rooms.iter().count(), 0, "the room is forgotten");
}

#[test]
fn who_comes_and_goes_within_a_pass_is_not_told() {
    let mut world = world(Duration::ZERO);
    let watcher = world.watcher("/", Encoding::Frames, Watch::Some);
    world.told(&watcher);
    let brief = world.named("/", "brief");
    world.leave(&brief);
    assert!(world.told(&watcher).is_empty());
}

#[test]
fn who_comes_back_in_time_by_the_same_name_was_never_gone() {
    let mut world = world(Duration::from_secs(3600));
    let watcher = world.watcher("/", Encoding::Frames, Watch::Some);
    let ann = world.named("/", "ann");
    let here = world.told(&watcher);
    assert_eq!(
        here.last().unwrap(),
        r#"{"joined":[{"id":"2","name":"ann"}]}"#
    );
    world.leave(&ann);
    assert!(world.told(&watcher).is_empty());
    let again = world.named("/", "ann");
    assert!(world.told(&watcher).is_empty());
    // For those who have seen it all along, it is the same one.
    let late = world.watcher("/", Encoding::Frames, Watch::Some);
    assert_eq!(world.told(&late), [r#"{"here":[{"id":"2","name":"ann"}]}"#]);
    world.leave(&again);
    world.hub.end_pass();
    let wake = world.hub.next_deadline().unwrap();
    assert!(wake > Instant::now() + Duration::from_secs(3000));
    // Without a name nobody can be known again.
    let nobody = world.join("/");
    world.told(&watcher);
    world.leave(&nobody);
    assert_eq!(
        world.told(&watcher),
        [r#"{"left":[{"id":"5","why":"lost"}]}"#]
    );
}

#[test]
fn who_does_not_come_back_in_time_has_left() {
    let mut world = world(Duration::from_nanos(1));
    let watcher = world.watcher("/", Encoding::Frames, Watch::Some);
    let (first, second) = (world.named("/", "ann"), world.named("/", "ann"));
    world.told(&watcher);
    world.leave(&first);
    assert_eq!(
        world.told(&watcher),
        [r#"{"left":[{"id":"2","name":"ann","why":"lost"}]}"#]
    );
    world.leave(&second);
    world.hub.end_pass();
    world.leave(&watcher);
    world.hub.end_pass();
    assert_eq!(world.hub.rooms.iter().count(), 0);
    assert_eq!(world.hub.next_deadline(), None);
}

#[test]
fn a_large_room_shows_how_many_are_there_unless_all_are_asked_for() {
    let mut world = world(Duration::ZERO);
    let some = world.watcher("/", Encoding::Frames, Watch::Some);
    let all = world.watcher("/", Encoding::Frames, Watch::All);
    let [mut last, _] = [(), ()].map(|()| world.join("/"));
    for _ in 0..999 {
        last = world.join("/");
    }
    let told = world.received(&some);
    assert!(
        told.last().unwrap().ends_with(r#","clients":1001}"#),
        "{told:?}"
    );
    world.hub.end_pass();
    world.leave(&last);
    world.hub.end_pass();
    let told = world.received(&some);
    assert!(
        told[0].ends_with(r#""left":[{"id":"1003","why":"lost"}]}"#),
        "{told:?}"
    );
    drop(all);
}

#[test]
fn to_clients_of_events_each_change_is_an_event() {
    let mut world = world(Duration::ZERO);
    let ann = world.named("/", "ann");
    let watcher = world.watcher("/", Encoding::Events, Watch::Some);
    let _bob = world.named("/", "bob<script>");
    world.leave(&ann);
    world.hub.end_pass();
    let out = String::from_utf8(watcher.socket.take_out()).unwrap();
    let at = world.hub.log.position(world.hub.log.head());
    assert_eq!(
        out,
        format!(
            "event: here\ndata: {{\"at\":\"{at}\",\"here\":[{{\"id\":\"1\",\"name\":\"ann\"}}]}}\n\n\
             event: joined\ndata: {{\"at\":\"{at}\",\"joined\":[{{\"id\":\"3\",\
             \"name\":\"bob\\u003cscript\\u003e\"}}]}}\n\n\
             event: left\ndata: {{\"at\":\"{at}\",\"left\":[{{\"id\":\"1\",\"name\":\"ann\",\
             \"why\":\"lost\"}}]}}\n\n"
        )
    );
}

/// Members come, go and come back at random: whoever follows has the same
/// list as whoever asks anew.
#[test]
fn what_was_told_adds_up_to_who_is_here() {
    let mut world = world(Duration::from_nanos(1));
    let watcher = world.watcher("/", Encoding::Frames, Watch::All);
    let mut present: Vec<Peer> = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut state = 5_u64;
    let mut below = move |n: usize| {
        state = u64::wrapping_mul(state, 6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for _ in 0..2000 {
        match below(5) {
            0 | 1 => {
                let name = ["ann", "bob", "eve", "joe"][below(4)];
                present.push(world.named("/", name));
            }
            2 | 3 if !present.is_empty() => {
                let peer = present.swap_remove(below(present.len()));
                world.leave(&peer);
            }
            _ => {
                for text in world.received(&watcher) {
                    for (list, is_here) in [("here", true), ("joined", true), ("left", false)] {
                        let Some((_, rest)) = text.split_once(&format!("\"{list}\":[")) else {
                            continue;
                        };
                        let list = rest.split(']').next().unwrap();
                        for id in list.split("\"id\":\"").skip(1) {
                            let id = id.split('"').next().unwrap().to_owned();
                            let changed = match is_here {
                                true => seen.insert(id),
                                false => seen.remove(&id),
                            };
                            assert!(changed, "{text}");
                        }
                    }
                }
                let here = world.hub.here("/").present;
                let here: BTreeSet<String> = here.iter().map(|p| p.id.to_string()).collect();
                assert_eq!(seen, here);
                assert_eq!(here.len(), present.len());
            }
        }
    }
}
