//! What the engine holds, and what it answers about it.

use std::time::Duration;

use bytes::Bytes;

use super::connection::{Connection, Fault};
use super::resp::Reply;
use super::scripts::Scripts;
use crate::position::{Epoch, Lineage, Offset};

/// The layout of what the engine holds, as this version writes it.
const LAYOUT: &str = "1";
/// How long nodes have to attach, and a node to take its next step in
/// restoring.
const RESTORE_PATIENCE: &str = "3000";

/// The keys of one log. The braces keep them together in a cluster.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) log: String,
    meta: String,
    nodes: String,
    attached: String,
    scripts: Scripts,
}

/// What a node has of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    /// How many epochs the log has had; zero: the node has nothing of it.
    pub(super) depth: u64,
    pub(super) epoch: Option<Epoch>,
    pub(super) head: Offset,
}

/// A log that is open: batches may be appended.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// The process that has it.
    pub(super) run: String,
    pub(super) depth: u64,
    pub(super) lineage: Lineage,
    pub(super) next: Offset,
}

/// The log that a node must restore.
#[derive(Clone, Debug)]
pub(super) struct Remains {
    pub(super) depth: u64,
    /// `None`: nothing is there.
    pub(super) lineage: Option<Lineage>,
    /// The offset of its last message.
    pub(super) last: Offset,
}

#[derive(Debug)]
pub(super) enum Attached {
    Open(Open),
    Wait,
    Restore(Remains),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Appended {
    At(Offset),
    /// The log has the batch already.
    Done,
    /// The node must attach.
    Closed,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) node: String,
    pub(super) batch: u64,
    pub(super) messages: u64,
    pub(super) epoch: Epoch,
    /// The engine's time, in milliseconds since the beginning of 1970.
    pub(super) time: u64,
    pub(super) records: Bytes,
}

/// Where an entry stands: the offset of its last message, and for entries
/// without messages their number behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) last: Offset,
    pub(super) extra: u64,
}

/// A batch on its way into the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Append<'a> {
    pub(super) epoch: Epoch,
    pub(super) node: &'a str,
    pub(super) batch: u64,
    pub(super) messages: u64,
    pub(super) records: &'a [u8],
    /// Entries before this one may go.
    pub(super) trim: Id,
}

/// What a sign of life brings back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) is_open: bool,
    pub(super) next: Offset,
    /// The engine's time, in milliseconds since the beginning of 1970.
    pub(super) now: u64,
    pub(super) nodes: Vec<Sign>,
    /// The nodes that have said goodbye lately.
    pub(super) left: Vec<String>,
}

/// A node's last sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) node: String,
    /// How long ago it was, in milliseconds.
    pub(super) age: u64,
    pub(super) about: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Keys {
        let key = |name: &str| format!("{{{prefix}:0}}{name}");
        Keys {
            log: key("log"),
            meta: key("meta"),
            nodes: key("nodes"),
            attached: key("attached"),
            scripts: Scripts::new(),
        }
    }

    pub(super) fn append(
        &self,
        connection: &mut Connection,
        append: &Append<'_>,
    ) -> Result<Appended, Fault> {
        let run = connection.run.clone();
        let answer = self.scripts.append.run(
            connection,
            &[&self.log, &self.meta, &self.nodes],
            &[
                run.as_bytes(),
                append.epoch.to_string().as_bytes(),
                append.node.as_bytes(),
                append.batch.to_string().as_bytes(),
                append.messages.to_string().as_bytes(),
                append.records,
                append.trim.to_string().as_bytes(),
            ],
        )?;
        let parts = answer.list().unwrap_or_default();
        match (
            parts.first().and_then(Reply::text),
            parts.get(1).and_then(Reply::number),
        ) {
            (Some("appended"), Some(first)) => Ok(Appended::At(Offset(first))),
            (Some("done"), _) => Ok(Appended::Done),
            (Some("closed"), _) => Ok(Appended::Closed),
            _ => Err(odd("append")),
        }
    }

    /// Says what this node has of the log; `others` are the nodes that it
    /// knows to be alive.
    pub(super) fn attach(
        &self,
        connection: &mut Connection,
        node: &str,
        holding: &Holding,
        others: &[String],
    ) -> Result<Attached, Fault> {
        let run = connection.run.clone();
        let depth = holding.depth.to_string();
        let epoch = holding
            .epoch
            .map_or("-".to_owned(), |epoch| epoch.to_string());
        let head = holding.head.0.to_string();
        let own = [&run, node, &depth, &epoch, &head, RESTORE_PATIENCE, LAYOUT];
        let others = others.iter().map(String::as_str);
        let arguments: Vec<&[u8]> = own.into_iter().chain(others).map(str::as_bytes).collect();
        let keys = [&*self.log, &self.meta, &self.nodes, &self.attached];
        let answer = self.scripts.attach.run(connection, &keys, &arguments)?;
        let parts = answer.list().unwrap_or_default();
        match parts.first().and_then(Reply::text) {
            Some("open") => Ok(Attached::Open(open(run, parts)?)),
            Some("wait") => Ok(Attached::Wait),
            Some("restore") => {
                let [_, depth, epoch, last, ancestors] = parts else {
                    return Err(odd("attach"));
                };
                Ok(Attached::Restore(Remains {
                    depth: depth.number().ok_or_else(|| odd("attach"))?,
                    lineage: lineage(epoch, ancestors),
                    last: Offset(last.number().ok_or_else(|| odd("attach"))?),
                }))
            }
            Some("layout") => Err(newer(parts.get(1).and_then(Reply::text))),
            _ => Err(odd("attach")),
        }
    }

    /// Puts entries back; false if it is not this node that restores.
    pub(super) fn restore(
        &self,
        connection: &mut Connection,
        node: &str,
        replace: bool,
        (depth, lineage): (u64, &Lineage),
        entries: &[Entry],
    ) -> Result<bool, Fault> {
        let run = connection.run.clone();
        let mode = if replace { "replace" } else { "add" };
        let (depth, epoch) = (depth.to_string(), lineage.epoch().to_string());
        let ancestors = lineage.ancestors();
        let texts: Vec<[String; 5]> = entries
            .iter()
            .map(|entry| {
                [
                    entry.id.to_string(),
                    entry.batch.to_string(),
                    entry.messages.to_string(),
                    entry.epoch.to_string(),
                    entry.time.to_string(),
                ]
            })
            .collect();
        let own = [
            &run,
            node,
            RESTORE_PATIENCE,
            mode,
            &depth,
            &epoch,
            &ancestors,
        ];
        let mut arguments: Vec<&[u8]> = own.into_iter().map(str::as_bytes).collect();
        for (entry, [id, batch, messages, epoch, time]) in entries.iter().zip(&texts) {
            let fields = [id, &entry.node, batch, messages, epoch, time];
            arguments.extend(fields.into_iter().map(|field| field.as_bytes()));
            arguments.push(&entry.records);
        }
        let keys = [&*self.log, &self.meta, &self.nodes];
        let answer = self.scripts.restore.run(connection, &keys, &arguments)?;
        Ok(answer.text() == Some("ok"))
    }

    /// Opens a log that was restored, under the epoch of `lineage`; `None` if
    /// it is not this node that restores. `next` is the first offset if the
    /// log is empty.
    pub(super) fn open(
        &self,
        connection: &mut Connection,
        node: &str,
        depth: u64,
        lineage: &Lineage,
        next: Offset,
    ) -> Result<Option<Open>, Fault> {
        let run = connection.run.clone();
        let (depth, epoch) = (depth.to_string(), lineage.epoch().to_string());
        let (ancestors, next) = (lineage.ancestors(), next.0.to_string());
        let arguments = [&run, node, &depth, &epoch, &ancestors, &next].map(str::as_bytes);
        let keys = [&*self.log, &self.meta, &self.nodes, &self.attached];
        let answer = self.scripts.open.run(connection, &keys, &arguments)?;
        let parts = answer.list().unwrap_or_default();
        match parts.first().and_then(Reply::text) {
            Some("open") => open(run, parts).map(Some),
            Some("closed") => Ok(None),
            _ => Err(odd("open")),
        }
    }

    /// Gives a sign of life; nodes without one for `timeout` are buried.
    pub(super) fn beat(
        &self,
        connection: &mut Connection,
        epoch: Epoch,
        node: &str,
        timeout: u64,
        about: &str,
    ) -> Result<Beat, Fault> {
        let run = connection.run.clone();
        let (epoch, timeout) = (epoch.to_string(), timeout.to_string());
        let arguments = [&run, &epoch, node, &timeout, about].map(str::as_bytes);
        let keys = [&*self.log, &self.meta, &self.nodes];
        let answer = self.scripts.beat.run(connection, &keys, &arguments)?;
        let parts = answer.list().unwrap_or_default();
        let [state, next, now, signs @ ..] = parts else {
            return Err(odd("beat"));
        };
        let now = now.number().ok_or_else(|| odd("beat"))?;
        let left = signs
            .chunks_exact(3)
            .filter(|sign| sign[1].text() == Some("left"));
        let left = left.filter_map(|sign| Some(sign[0].text()?.to_owned()));
        let left = left.collect();
        let signs = signs.chunks_exact(3).filter_map(|sign| {
            Some(Sign {
                node: sign[0].text()?.to_owned(),
                age: now.saturating_sub(sign[1].number()?),
                about: sign[2].text()?.to_owned(),
            })
        });
        Ok(Beat {
            is_open: state.text() == Some("open"),
            next: Offset(next.number().ok_or_else(|| odd("beat"))?),
            now,
            nodes: signs.collect(),
            left,
        })
    }

    /// Whether the engine permits what is needed, and can read the log.
    pub(super) fn try_out(&self, connection: &mut Connection, node: &str) -> Result<(), Fault> {
        let layout = connection.call(&[b"HGET", self.meta.as_bytes(), b"layout"])?;
        if layout.number().unwrap_or(0) > 1 {
            return Err(newer(layout.text()));
        }
        self.leave(connection, None, node)?;
        self.first(connection)?;
        let end = Id {
            last: Offset::MAX,
            extra: 0,
        };
        self.read(connection, end, 1, std::time::Duration::from_millis(1))?;
        Ok(())
    }

    /// Says goodbye, to the others through the log of this epoch.
    pub(super) fn leave(
        &self,
        connection: &mut Connection,
        epoch: Option<Epoch>,
        node: &str,
    ) -> Result<(), Fault> {
        let run = connection.run.clone();
        let epoch = epoch.map_or("-".to_owned(), |epoch| epoch.to_string());
        let arguments = [&run, &epoch, node].map(str::as_bytes);
        let keys = [&*self.log, &self.meta, &self.nodes, &self.attached];
        self.scripts.leave.run(connection, &keys, &arguments)?;
        Ok(())
    }

    /// Drops the older half of the log, because the engine is full; nothing if a
    /// part of it is younger than `unread`, for a node may not have read it.
    pub(super) fn halve(&self, connection: &mut Connection, unread: Duration) -> Result<(), Fault> {
        let log = self.log.as_bytes();
        let last = connection.call(&[b"XREVRANGE", log, b"+", b"-", b"COUNT", b"1"])?;
        let last = entries(&last)?.into_iter().next();
        let (Some(first), Some(last)) = (self.first(connection)?, last) else {
            return Ok(());
        };
        let middle = first.id.last.0.midpoint(last.id.last.0).to_string();
        let Some(middle) = self.first_from(connection, middle.as_bytes())? else {
            return Ok(());
        };
        let time = connection.call(&[b"TIME"])?;
        let time = time.list().and_then(|time| time.first()?.number());
        let now = Duration::from_secs(time.ok_or_else(|| odd("TIME"))?);
        if now.saturating_sub(Duration::from_millis(middle.time)) >= unread {
            let middle = middle.id.to_string();
            connection.call(&[b"XTRIM", log, b"MINID", middle.as_bytes()])?;
        }
        Ok(())
    }

    /// The first entry of the log.
    pub(super) fn first(&self, connection: &mut Connection) -> Result<Option<Entry>, Fault> {
        self.first_from(connection, b"-")
    }

    fn first_from(&self, connection: &mut Connection, id: &[u8]) -> Result<Option<Entry>, Fault> {
        let log = self.log.as_bytes();
        let reply = connection.call(&[b"XRANGE", log, id, b"+", b"COUNT", b"1"])?;
        Ok(entries(&reply)?.into_iter().next())
    }

    /// Waits for entries behind an id; none if `block` passes first.
    pub(super) fn read(
        &self,
        connection: &mut Connection,
        after: Id,
        count: usize,
        block: Duration,
    ) -> Result<Vec<Entry>, Fault> {
        let (count, millis) = (count.to_string(), block.as_millis().to_string());
        let after = after.to_string();
        let arguments = [
            "XREAD", "COUNT", &count, "BLOCK", &millis, "STREAMS", &self.log, &after,
        ];
        let patience = block + super::connection::PATIENCE;
        let reply = connection.call_within(&arguments.map(str::as_bytes), patience)?;
        match &reply {
            Reply::Nothing => Ok(Vec::new()),
            Reply::Many(streams) => match streams.as_slice() {
                [Reply::Many(stream)] => entries(stream.get(1).ok_or_else(|| odd("XREAD"))?),
                _ => Err(odd("XREAD")),
            },
            _ => Err(odd("XREAD")),
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.last.0, self.extra)
    }
}

fn odd(command: &str) -> Fault {
    Fault::Away(format!("the engine's answer to {command} makes no sense"))
}

fn newer(layout: Option<&str>) -> Fault {
    Fault::Denied(format!(
        "the log was written by a newer version of hubcast, in layout {}; this one knows layout {LAYOUT}",
        layout.unwrap_or("?"),
    ))
}

fn lineage(epoch: &Reply, ancestors: &Reply) -> Option<Lineage> {
    Lineage::from_texts(epoch.text()?, ancestors.text()?)
}

fn open(run: String, parts: &[Reply]) -> Result<Open, Fault> {
    let [_, depth, epoch, next, ancestors] = parts else {
        return Err(odd("attach"));
    };
    Ok(Open {
        run,
        depth: depth.number().ok_or_else(|| odd("attach"))?,
        lineage: lineage(epoch, ancestors).ok_or_else(|| odd("attach"))?,
        next: Offset(next.number().ok_or_else(|| odd("attach"))?),
    })
}

pub(super) fn entries(reply: &Reply) -> Result<Vec<Entry>, Fault> {
    let list = reply.list().ok_or_else(|| odd("XREAD"))?;
    list.iter()
        .map(|reply| entry(reply).ok_or_else(|| odd("XREAD")))
        .collect()
}

/// An entry whose bytes are its own, so that it holds no whole reply in
/// memory.
fn entry(reply: &Reply) -> Option<Entry> {
    let [id, fields] = reply.list()? else {
        return None;
    };
    let (last, extra) = id.text()?.split_once('-')?;
    let fields = fields.list()?;
    let field = |name: &str| {
        let mut pairs = fields.chunks_exact(2);
        pairs
            .find(|pair| pair[0].text() == Some(name))
            .map(|pair| &pair[1])
    };
    let id = Id {
        last: Offset(last.parse().ok()?),
        extra: extra.parse().ok()?,
    };
    let messages = field("c")?.number()?;
    let Reply::Bytes(records) = field("d")? else {
        return None;
    };
    (messages <= id.last.0).then_some(Entry {
        id,
        node: field("n")?.text()?.to_owned(),
        batch: field("b")?.number()?,
        messages,
        epoch: Epoch::parse(field("e")?.text()?)?,
        time: field("t")?.number()?,
        records: Bytes::copy_from_slice(records),
    })
}
