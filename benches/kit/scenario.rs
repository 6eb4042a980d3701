//! What is measured. Scenarios of one group are measured in turns, so that their
//! figures can be held against each other.

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Closed loop: messages of each sender on their way at any time. When the load
    /// begins, each sender writes all of its messages at once.
    Each(usize),
    /// Closed loop: messages of all senders together on their way at any time, which
    /// the senders send in turn.
    Together(usize),
    /// Open loop: broadcasts a second.
    PerSecond(u64),
    /// One message at a time, which nobody reads before the server has come to rest:
    /// what a fan-out takes by itself.
    Unread,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) title: &'static str,
    pub(crate) clients: usize,
    /// Further clients that never read.
    pub(crate) stalled: usize,
    /// Zero: nobody sends anything, and it is connecting and rest that are measured.
    pub(crate) senders: usize,
    pub(crate) pace: Pace,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Options for hubcast that the scenario needs.
    pub(crate) options: &'static [&'static str],
    /// Whether it is worth asking the peers as well.
    pub(crate) peers: bool,
}

impl Scenario {
    /// Whether messages come by themselves rather than in bursts.
    pub(crate) fn is_sparse(&self) -> bool {
        self.senders == 1
    }
}

const SMALL: usize = 128;

/// The fields that most scenarios share.
const BASE: Scenario = Scenario {
    name: "",
    group: "",
    title: "",
    clients: 100,
    stalled: 0,
    senders: 1,
    pace: Pace::Each(1),
    size: SMALL,
    options: &[],
    peers: true,
};

const SATURATED: Scenario = Scenario {
    group: "scale",
    senders: 10,
    pace: Pace::Each(32),
    ..BASE
};

const STALL: Scenario = Scenario {
    group: "stall",
    clients: 90,
    senders: 10,
    pace: Pace::Each(32),
    ..BASE
};

const UNREAD: Scenario = Scenario {
    group: "unread",
    pace: Pace::Unread,
    peers: false,
    ..BASE
};

pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "one-100",
        group: "one",
        title: "100 clients, one message in flight",
        ..BASE
    },
    Scenario {
        name: "one-1000",
        group: "one",
        title: "1,000 clients, one message in flight",
        clients: 1_000,
        ..BASE
    },
    Scenario {
        name: "one-5000",
        group: "one",
        title: "5,000 clients, one message in flight",
        clients: 5_000,
        peers: false,
        ..BASE
    },
    Scenario {
        name: "saturated-100",
        group: "saturated",
        title: "100 clients, 10 senders, 64 in flight each",
        pace: Pace::Each(64),
        ..SATURATED
    },
    Scenario {
        name: "together-100",
        group: "together",
        title: "100 clients, 10 senders, 64 in flight together",
        senders: 10,
        pace: Pace::Together(64),
        ..BASE
    },
    Scenario {
        name: "together-10",
        group: "together",
        title: "10 clients, all sending, 64 in flight together",
        clients: 10,
        senders: 10,
        pace: Pace::Together(64),
        ..BASE
    },
    Scenario {
        name: "together-1000",
        group: "together",
        title: "1,000 clients, 10 senders, 32 in flight together",
        clients: 1_000,
        senders: 10,
        pace: Pace::Together(32),
        ..BASE
    },
    Scenario {
        name: "each-100",
        group: "each",
        title: "100 clients, all sending, one in flight each",
        senders: 100,
        ..BASE
    },
    Scenario {
        name: "each-1000",
        group: "each",
        title: "1,000 clients, 100 senders, one in flight each",
        clients: 1_000,
        senders: 100,
        ..BASE
    },
    Scenario {
        name: "scale-100",
        title: "100 clients, 10 senders, 32 in flight each",
        peers: false,
        ..SATURATED
    },
    Scenario {
        name: "saturated-1000",
        title: "1,000 clients, 10 senders, 32 in flight each",
        clients: 1_000,
        ..SATURATED
    },
    Scenario {
        name: "scale-5000",
        title: "5,000 clients, 10 senders, 32 in flight each",
        clients: 5_000,
        peers: false,
        ..SATURATED
    },
    Scenario {
        name: "paced-1000",
        group: "paced",
        title: "1,000 clients, 20 broadcasts a second (open loop)",
        clients: 1_000,
        pace: Pace::PerSecond(20),
        ..BASE
    },
    Scenario {
        name: "half-100",
        group: "paced",
        title: "100 clients, 50 senders, 500 broadcasts a second (open loop)",
        senders: 50,
        pace: Pace::PerSecond(500),
        ..BASE
    },
    Scenario {
        name: "unread-1000",
        title: "1,000 clients that do not read meanwhile, fan-out on one thread",
        clients: 1_000,
        options: &["--fan-out-threads", "1"],
        ..UNREAD
    },
    Scenario {
        name: "unread-1000-two",
        title: "the same on two threads",
        clients: 1_000,
        options: &["--fan-out-threads", "2"],
        ..UNREAD
    },
    Scenario {
        name: "unread-5000",
        title: "5,000 clients that do not read meanwhile, fan-out on one thread",
        clients: 5_000,
        options: &["--fan-out-threads", "1"],
        ..UNREAD
    },
    Scenario {
        name: "unread-5000-two",
        title: "the same on two threads",
        clients: 5_000,
        options: &["--fan-out-threads", "2"],
        ..UNREAD
    },
    Scenario {
        name: "all-10",
        group: "all",
        title: "10 clients, all sending, 64 in flight each",
        clients: 10,
        senders: 10,
        pace: Pace::Each(64),
        ..BASE
    },
    Scenario {
        name: "large-100",
        group: "large",
        title: "100 clients, 10 senders, 4 messages of 16 KiB in flight each",
        senders: 10,
        pace: Pace::Each(4),
        size: 16 * 1024,
        ..BASE
    },
    Scenario {
        name: "stall-none",
        title: "90 clients, 10 senders, 32 in flight each, nobody stalls",
        ..STALL
    },
    Scenario {
        name: "stall-disconnect",
        title: "the same with 10 more clients that stall; slow consumers are evicted",
        stalled: 10,
        ..STALL
    },
    Scenario {
        name: "stall-drop",
        title: "the same with 10 more clients that stall; they lose their oldest messages",
        stalled: 10,
        options: &["--slow-consumer", "drop-oldest"],
        peers: false,
        ..STALL
    },
    Scenario {
        name: "idle-5000",
        group: "idle",
        title: "5,000 clients connect, then rest",
        clients: 5_000,
        senders: 0,
        ..BASE
    },
];
