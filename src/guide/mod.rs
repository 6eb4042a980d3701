//! The guide for users and operators: everything that is too long for the
//! README.
//!
//! Its chapters are the Markdown files in `src/guide/`, which can be read there
//! too. Each is a module below, with nothing in it but the text.

/// A chapter: the text of a file beside this one.
///
/// In the files the chapters link to each other as files. The first definition
/// of a link counts, so these here make them links of the documentation.
macro_rules! chapter {
    ($name:ident, $text:expr) => {
        /// [contributing]: crate::guide::contributing
        /// [clients]: crate::guide::clients
        /// [positions]: crate::guide::history#a-client-that-knows-where-it-is
        /// [doors]: crate::guide::doors
        /// [close-codes]: crate::guide::doors#close-codes
        /// [statuses]: crate::guide::doors#statuses
        /// [tokens]: crate::guide::doors#tokens
        /// [origins]: crate::guide::doors#pages-of-other-sites
        /// [history]: crate::guide::history
        /// [presence]: crate::guide::presence
        /// [memory]: crate::guide::memory
        /// [slow]: crate::guide::memory#slow-clients
        /// [nodes]: crate::guide::nodes
        /// [operating]: crate::guide::operating
        /// [metrics]: crate::guide::operating#metrics
        /// [shutdown]: crate::guide::operating#the-end
        /// [proxy]: crate::guide::proxy
        /// [whose]: crate::guide::proxy#whose-request-it-is
        /// [questions]: crate::guide::questions
        /// [security]: crate::guide::security
        /// [speed]: crate::guide::speed
        /// [tls]: crate::guide::tls
        /// [around]: crate::guide::operating#what-stands-around-it
        /// [compression]: crate::guide::doors#compression
        /// [pages]: crate::guide::doors#your-own-pages
        /// [rights]: crate::guide::doors#rights-in-rooms
        /// [signed]: crate::guide::doors#signed-tokens
        /// [sockets]: crate::guide::operating#sockets-and-systemd
        /// [options]: crate::guide::options
        ///
        #[doc = $text]
        pub mod $name {}
    };
}

chapter!(doors, include_str!("doors.md"));
chapter!(options, include_str!("options.md"));
chapter!(history, include_str!("history.md"));
chapter!(presence, include_str!("presence.md"));
chapter!(clients, include_str!("clients.md"));
chapter!(operating, include_str!("operating.md"));
chapter!(nodes, include_str!("nodes.md"));
chapter!(memory, include_str!("memory.md"));
chapter!(speed, include_str!("speed.md"));
chapter!(tls, include_str!("tls.md"));
chapter!(proxy, include_str!("proxy.md"));
chapter!(security, include_str!("security.md"));
chapter!(questions, include_str!("questions.md"));
chapter!(contributing, include_str!("contributing.md"));
