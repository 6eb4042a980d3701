//! HTTP/1.1 as bytes, and nothing of rooms: request heads and bodies are
//! read, answers are delivered, all within deadlines. For the doors, and for
//! the thread of each connection. (Not named `http`, which is the crate that
//! has the types of requests.)

pub(crate) mod answer;
pub(crate) mod authority;
pub(crate) mod body;
pub(crate) mod head;
pub(crate) mod request;
