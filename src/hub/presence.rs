//! Who is in a room, as those see it who follow that instead of what is said.

use std::collections::{BTreeMap, HashMap, VecDeque};
#[cfg(feature = "redis")]
use std::sync::Arc;
use std::time::Instant;

#[cfg(feature = "redis")]
use super::attendance::Attendance;
use super::info::Present;
use crate::names::ClientId;
#[cfg(feature = "redis")]
use crate::names::NodeTag;
use crate::position::Position;
use crate::wire::json::{self, Object};

/// A room with more members than this shows their number only.
pub(super) const MANY: usize = 1000;

/// How a client follows who is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// The members, or their number where there are many.
    Some,
    /// The members, however many.
    All,
    /// None: it is an operator, and follows what happens on the server.
    News,
}

/// Who is in a room, and who follows that.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// The members by the ids under which they are shown.
    here: BTreeMap<ClientId, Shown>,
    /// How many of them are on other nodes.
    #[cfg(feature = "redis")]
    pub(super) elsewhere: usize,
    /// Members that have come back in time are shown under their former ids.
    shown_as: HashMap<ClientId, ClientId>,
    /// Members that have left and may come back by their names, and when that
    /// is over, the first one first.
    leaving: HashMap<Box<str>, ClientId>,
    over: VecDeque<(Instant, ClientId)>,
    /// The places of those who follow.
    pub(super) watchers: Vec<(u32, Watch)>,
    /// What has changed since they were told.
    joined: BTreeMap<ClientId, Shown>,
    left: Vec<(ClientId, Option<Box<str>>, &'static str)>,
}

/// A member that is shown.
#[derive(Clone, Debug)]
struct Shown {
    name: Option<Box<str>>,
    /// It has left: until when it may come back unnoticed, and why it left.
    leaving: Option<(Instant, &'static str)>,
}

impl Presence {
    /// Whether nobody is here, or follows, or must be told.
    pub(super) fn is_idle(&self) -> bool {
        self.here.is_empty() && self.watchers.is_empty() && !self.has_changed()
    }

    pub(super) fn has_changed(&self) -> bool {
        !self.joined.is_empty() || !self.left.is_empty()
    }

    pub(super) fn enter(&mut self, id: ClientId, name: Option<&str>) {
        let former = name.and_then(|name| self.leaving.remove(name));
        if let Some((former, shown)) =
            former.and_then(|former| Some((former, self.here.get_mut(&former)?)))
        {
            shown.leaving = None;
            self.shown_as.insert(id, former);
            return;
        }
        let shown = Shown {
            name: name.map(Box::from),
            leaving: None,
        };
        self.here.insert(id, shown.clone());
        self.joined.insert(id, shown);
    }

    /// A member has left. Until `until` one of its name may come back; true:
    /// somebody must look again then.
    pub(super) fn exit(&mut self, id: ClientId, why: &'static str, until: Option<Instant>) -> bool {
        let id = self.shown_as.remove(&id).unwrap_or(id);
        let Some(shown) = self.here.get_mut(&id) else {
            return false;
        };
        if let (Some(until), Some(name)) = (until, &shown.name) {
            shown.leaving = Some((until, why));
            self.leaving.insert(name.clone(), id);
            self.over.push_back((until, id));
            return true;
        }
        self.forget(id, why);
        false
    }

    fn forget(&mut self, id: ClientId, why: &'static str) {
        let Some(shown) = self.here.remove(&id) else {
            return;
        };
        if let Some(name) = &shown.name
            && self.leaving.get(name) == Some(&id)
        {
            self.leaving.remove(name);
        }
        // Whoever has not been told that it came need not know that it left.
        if self.joined.remove(&id).is_none() {
            self.left.push((id, shown.name, why));
        }
    }

    /// Forgets the members whose time to come back is over.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(until, id)) = self.over.front().filter(|(until, _)| *until <= now) {
            self.over.pop_front();
            // It may have come back, and may have left again since.
            match self.here.get(&id).and_then(|shown| shown.leaving) {
                Some((leaving, why)) if leaving == until => self.forget(id, why),
                _ => {}
            }
        }
    }

    /// A client of another node has entered. That node has waited already
    /// whether it comes back.
    #[cfg(feature = "redis")]
    pub(super) fn enter_elsewhere(&mut self, id: ClientId, name: Option<Box<str>>) {
        let leaving = None;
        let shown = Shown { name, leaving };
        if self.here.insert(id, shown.clone()).is_none() {
            self.elsewhere += 1;
            self.joined.insert(id, shown);
        }
    }

    /// A client of another node has left.
    #[cfg(feature = "redis")]
    pub(super) fn exit_elsewhere(&mut self, id: ClientId, why: &'static str) {
        if self.here.contains_key(&id) {
            self.elsewhere -= 1;
            self.forget(id, why);
        }
    }

    /// The clients of this node that are shown, for other nodes.
    #[cfg(feature = "redis")]
    pub(super) fn shown_of(
        &self,
        node: Option<NodeTag>,
    ) -> impl Iterator<Item = (u64, Option<Box<str>>)> {
        let own = self.here.iter().filter(move |(id, _)| id.tag() == node);
        own.map(|(id, shown)| (id.value(), shown.name.clone()))
    }

    /// What has changed of this node's clients, for other nodes.
    #[cfg(feature = "redis")]
    pub(super) fn changes_of(
        &self,
        node: Option<NodeTag>,
        room: &Arc<str>,
    ) -> impl Iterator<Item = Attendance> {
        let joined = self.joined.iter().filter(|(id, _)| id.tag() == node);
        let members: Vec<_> = joined
            .map(|(id, shown)| (id.value(), shown.name.clone()))
            .collect();
        let joined = Attendance::Joined {
            room: room.clone(),
            members,
        };
        let left = [false, true].map(|is_lost| {
            let left = self.left.iter();
            let left = left.filter(|(id, _, why)| id.tag() == node && (*why == "lost") == is_lost);
            Attendance::Left {
                room: room.clone(),
                members: left.map(|(id, ..)| id.value()).collect(),
                is_lost,
            }
        });
        let all = std::iter::once(joined).chain(left);
        all.filter(|part| part.len() > 0)
    }

    /// Everybody who is here, for one who begins to follow.
    pub(super) fn everybody(&self, at: Position, watch: Watch) -> Notice {
        let mut notice = Notice::at(at);
        match self.shows_names(watch) {
            false => notice.number(self.here.len()),
            true => notice.list("here", self.members().map(|(id, name)| (id, name, None))),
        }
        notice
    }

    /// Who is here: the ids and names that are shown.
    pub(super) fn members(&self) -> impl Iterator<Item = (ClientId, Option<&str>)> {
        let members = self.here.iter();
        members.map(|(id, shown)| (*id, shown.name.as_deref()))
    }

    /// The same for those who ask once.
    pub(super) fn present(&self) -> Vec<Present> {
        let members = self.members().map(|(id, name)| Present {
            id,
            name: name.map(str::to_owned),
        });
        members.collect()
    }

    /// What has changed, for those who follow in this way.
    pub(super) fn changes(&self, at: Position, watch: Watch) -> Notice {
        let mut notice = Notice::at(at);
        if !self.shows_names(watch) {
            notice.number(self.here.len());
            return notice;
        }
        if !self.joined.is_empty() {
            let joined = self.joined.iter();
            notice.list(
                "joined",
                joined.map(|(id, shown)| (*id, shown.name.as_deref(), None)),
            );
        }
        if !self.left.is_empty() {
            let left = self.left.iter();
            notice.list(
                "left",
                left.map(|(id, name, why)| (*id, name.as_deref(), Some(*why))),
            );
        }
        notice
    }

    pub(super) fn told(&mut self) {
        self.joined.clear();
        self.left.clear();
    }

    fn shows_names(&self, watch: Watch) -> bool {
        watch == Watch::All || self.here.len() <= MANY
    }
}

/// What those are told who follow: an object, and its parts as events.
#[derive(Debug)]
pub(super) struct Notice {
    at: Position,
    parts: Vec<(&'static str, String)>,
}

impl Notice {
    fn at(at: Position) -> Notice {
        Notice {
            at,
            parts: Vec::new(),
        }
    }

    fn number(&mut self, clients: usize) {
        self.parts.push(("clients", clients.to_string()));
    }

    fn list<'a>(
        &mut self,
        name: &'static str,
        members: impl Iterator<Item = (ClientId, Option<&'a str>, Option<&'static str>)>,
    ) {
        let mut list = String::new();
        json::array(&mut list, members, |out, (id, name, why)| {
            json::object(out, |object| write_member(object, id, name, why));
        });
        self.parts.push((name, list));
    }

    /// The notice as one message.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        json::object(&mut text, |object| {
            object.string("at", &self.at.to_string());
            for (name, value) in &self.parts {
                object.plain(name, value);
            }
        });
        text
    }

    /// The notice as events: the name and the data of each.
    pub(super) fn events(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.parts.iter().map(|(name, value)| {
            let mut text = String::new();
            json::object(&mut text, |object| {
                object.string("at", &self.at.to_string()).plain(name, value);
            });
            (*name, text)
        })
    }
}

/// A member as an object: its id, its name, and why it left.
pub(crate) fn write_member(
    object: &mut Object<'_>,
    id: ClientId,
    name: Option<&str>,
    why: Option<&str>,
) {
    object.string("id", &id.to_string());
    if let Some(name) = name {
        object.string("name", name);
    }
    if let Some(why) = why {
        object.string("why", why);
    }
}
