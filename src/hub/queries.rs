//! Queries: the hub's answers about its clients and rooms.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::client_state::ClientState;
use super::info::{ClientInfo, RoomInfo};

use super::Hub;
use super::member::Member;
use super::rooms::Room;

impl Hub {
    pub(super) fn client_infos(&self, room: Option<&str>) -> Vec<ClientInfo> {
        let room = room.map(|name| self.rooms.find(name));
        let members = self.members.iter().map(|(_, member)| member);
        members
            .filter(|member| match room {
                None => !member.ending,
                Some(room) => member.rooms.iter().any(|m| Some(m.room) == room),
            })
            .map(|member| self.client_info(member))
            .collect()
    }

    pub(super) fn client_info(&self, member: &Member) -> ClientInfo {
        let client = &member.client;
        let rooms = member.rooms.iter().filter_map(|m| self.rooms.get(m.room));
        ClientInfo {
            id: client.id,
            peer: client.peer,
            name: client.name().map(str::to_owned),
            rooms: rooms.map(|room| room.name.to_string()).collect(),
            age: client.joined.elapsed(),
            queue_messages: member.outbox.backlog_messages(),
            queue_bytes: member.outbox.backlog_bytes(),
            received_messages: client.received_messages.load(Ordering::Relaxed),
            received_bytes: client.received_bytes.load(Ordering::Relaxed),
            sent_messages: member.sent_messages,
            sent_bytes: member.sent_bytes,
            dropped_messages: member.outbox.dropped(),
            rtt: client.rtt(),
            #[cfg(feature = "deflate")]
            deflate: member.encoding.is_deflated(),
        }
    }

    pub(super) fn count(&self, room: &str) -> usize {
        let room = self.rooms.find(room).and_then(|room| self.rooms.get(room));
        room.map_or(0, Room::clients)
    }

    pub(super) fn room_infos(&self) -> Vec<RoomInfo> {
        let infos = self.rooms.iter().map(|room| RoomInfo {
            name: room.name.to_string(),
            clients: room.clients(),
            #[cfg(feature = "redis")]
            is_of_all_nodes: self.others.are_told() && room.shows_presence(),
        });
        infos.filter(|info| info.clients > 0).collect()
    }

    pub(super) fn member_states(&self, room: &str) -> Vec<Arc<ClientState>> {
        let room = self.rooms.find(room).and_then(|room| self.rooms.get(room));
        room.iter()
            .flat_map(|room| &room.members)
            .filter_map(|place| Some(self.members.get(*place)?.client.clone()))
            .collect()
    }
}
