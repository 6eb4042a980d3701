//! HTTP/1.1 as bytes, and nothing of rooms: request heads and bodies are
//! read, answers are delivered, all within deadlines. For the doors, and for
//! the thread of each connection. (Not named `http`, which is the crate that
//! has the types of requests.)

mod answer;
pub(crate) mod authority;
mod body;
mod date;
pub(crate) mod head;
mod request;

pub(crate) use answer::{Answer, DRAIN, NO_THREAD, RETRY_AFTER, STOPPING, stopping};
pub(crate) use body::{Body, gone, too_large};
pub(crate) use date::http_date;
pub(crate) use head::{Head, NoHead, read_head};
pub(crate) use request::{
    accepts, bearers, is_token, percent_decode, query_parameters, single, the_host, tokens,
};
