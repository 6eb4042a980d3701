//! What an engine sends is input like any other: whatever is done to the bytes
//! of a reply, it ends in entries that a node takes, or in an error, within
//! the memory that a reply may have.

use std::sync::Arc;
use std::time::Duration;

use super::address::Address;
use super::keys::{Id, Keys, Open, entries};
use super::node::Node;
use super::resp::{Parser, write_command};
use super::spool::Spool;
use super::tail::{Retention, Tail};
use crate::engine::records;
use crate::fuzzing::choices::Choices;
use crate::net::Stop;
use crate::position::{Epoch, Lineage, Offset};
use crate::since::Since;
use crate::wire::BurstBuilder;

const MAX_REPLY: usize = 16 * 1024;

/// A node that has read the log up to 10.
fn node() -> Node {
    let node = Node::new(
        ("a".to_owned(), "a".to_owned()),
        Address::parse("redis://nowhere").unwrap(),
        Duration::from_secs(10),
        Keys::new("test"),
        Arc::new(Spool::new(1 << 16, 1000, Duration::ZERO)),
        (
            Tail::new(1 << 16),
            Retention::new(1 << 16, Duration::from_secs(60)),
        ),
        Arc::new(Stop::new().unwrap()),
    );
    let open = Open {
        run: "run".to_owned(),
        depth: 1,
        lineage: Lineage::from_texts("aaaaaaaa", "bbbbbbbb-7").unwrap(),
        next: Offset(11),
    };
    node.attached(open.clone());
    node.adopt(&open, None);
    node
}

/// The reply of an XRANGE: entries as a node writes them.
fn reply(choices: &mut Choices<'_>) -> Vec<u8> {
    let count = 1 + choices.below(4);
    let mut out = format!("*{count}\r\n").into_bytes();
    let mut last = 10;
    for batch in 1..=count {
        let mut frames = BurstBuilder::default();
        let messages = 1 + choices.below(3);
        for _ in 0..messages {
            frames.text("hällo", false);
        }
        let mut written = Vec::new();
        records::write_messages(&mut written, "/lobby", 3, &frames.take().bytes);
        last += messages;
        let epoch = ["aaaaaaaa", "bbbbbbbb", "cccccccc"][choices.below(3)];
        out.extend_from_slice(b"*2\r\n");
        let id = format!("{last}-0");
        out.extend_from_slice(format!("${}\r\n{id}\r\n", id.len()).as_bytes());
        let (batch, messages) = (batch.to_string(), messages.to_string());
        let node = ["a", "b"][choices.below(2)];
        // A command is written as an array of texts, too.
        let fields: [&[u8]; 12] = [
            b"n",
            node.as_bytes(),
            b"b",
            batch.as_bytes(),
            b"c",
            messages.as_bytes(),
            b"e",
            epoch.as_bytes(),
            b"t",
            b"1700000000000",
            b"d",
            &written,
        ];
        write_command(&mut out, &fields);
    }
    out
}

fn change(bytes: &mut Vec<u8>, choices: &mut Choices<'_>) {
    for _ in 0..choices.below(4) {
        let at = choices.below(bytes.len());
        match choices.below(4) {
            0 => bytes[at] = choices.below(256) as u8,
            1 => bytes[at] = b"0123456789$*-+:"[choices.below(15)],
            2 => drop(bytes.remove(at)),
            _ => bytes.insert(at, b"0129\r\n$*"[choices.below(8)]),
        }
    }
}

/// Reads as a connection does. Returns how many messages a node has taken.
fn take(bytes: &[u8], choices: &mut Choices<'_>) -> usize {
    let (node, mut parser) = (node(), Parser::new(MAX_REPLY));
    let mut taken = 0;
    for piece in bytes.chunks(1 + choices.below(200)) {
        parser.buffer.extend_from_slice(piece);
        assert!(parser.buffer.capacity() <= 4 * MAX_REPLY);
        loop {
            let reply = match parser.next() {
                Ok(Some(reply)) => reply,
                Ok(None) => break,
                Err(_) => return taken,
            };
            let Ok(entries) = entries(&reply) else {
                continue;
            };
            if let Some(read) = node.take("run", entries) {
                assert!(read.cursor > Id::default());
                taken += read.committed.placed.len();
            }
        }
    }
    taken
}

#[test]
fn any_reply_is_taken_or_refused() {
    let mut taken = 0;
    for seed in 0..4000 {
        let mut choices = Choices::Seed(seed);
        let mut bytes = reply(&mut choices);
        change(&mut bytes, &mut choices);
        taken += take(&bytes, &mut choices);
    }
    assert!(taken > 300, "{taken}");
}

#[test]
fn any_position_is_read_or_refused() {
    let pieces = [
        "k3f9x2qa",
        "-",
        "1",
        "0",
        "18446744073709551615",
        "ä",
        " ",
        "30s",
        "9",
    ];
    for seed in 0..4000 {
        let mut choices = Choices::Seed(seed);
        let count = choices.below(6);
        let text: String = (0..count)
            .map(|_| pieces[choices.below(pieces.len())])
            .collect();
        if let Ok(position) = text.parse::<crate::position::Position>() {
            assert_eq!(position.to_string(), text);
        }
        let _ = text.parse::<Since>();
        let _ = Epoch::parse(&text);
        let _ = Lineage::from_texts(&text, &text);
    }
}
