//! A chat for those who have a token; the token says who they are.
//!
//! Run it with `TOKENS=ann=s3cret,bob=pa55 cargo run --example auth`, and
//! `websocat -H='Authorization: Bearer s3cret' ws://127.0.0.1:8080/` or
//! `websocat 'ws://127.0.0.1:8080/?token=pa55'`. Browsers cannot set headers:
//! `new WebSocket("ws://127.0.0.1:8080/", ["chat", "token.s3cret"])`.

use std::error::Error;

use http::{HeaderValue, StatusCode, header};
use hubcast::{Refusal, Secret, Server, Upgrade};

/// Names and their tokens.
type Users = Vec<(String, Secret)>;

/// What is attached to a client that was let in.
struct Name(String);

/// Called before a connection is accepted.
fn authenticate(users: &Users, upgrade: &mut Upgrade<'_>) -> Result<(), Refusal> {
    let token = token_of(upgrade).unwrap_or_default();
    // A secret is compared in a time that does not tell how much was right.
    let Some((name, _)) = users.iter().find(|(_, secret)| secret.is(&token)) else {
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "a valid token is needed here");
        let scheme = HeaderValue::from_static("Bearer");
        return Err(refusal.header(header::WWW_AUTHENTICATE, scheme));
    };
    upgrade.attach(Name(name.clone()));
    // Answered only if it was offered; the token itself is never sent back.
    upgrade.set_subprotocol(Some("chat"));
    Ok(())
}

/// The token: in the Authorization header, in a subprotocol entry, or in the
/// query, which is the last resort, since proxies write it into their logs.
fn token_of(upgrade: &Upgrade<'_>) -> Option<String> {
    let headers = upgrade.request().headers();
    let header = headers.get(header::AUTHORIZATION);
    let bearer = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let mut offered = upgrade.offered_subprotocols();
    let entry = offered.find_map(|entry| entry.strip_prefix("token."));
    let query = upgrade.request().uri().query().unwrap_or_default();
    let mut pairs = query.split('&');
    let parameter = pairs.find_map(|pair| pair.strip_prefix("token="));
    bearer.or(entry).or(parameter).map(str::to_owned)
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let tokens = std::env::var("TOKENS").map_err(|_| "set TOKENS=name=token,name=token")?;
    let pairs = tokens.split(',').filter_map(|pair| pair.split_once('='));
    let mut users: Users = pairs.map(|(n, t)| (n.into(), t.into())).collect();
    users.retain(|(_, secret)| !secret.is("")); // no token is no way in
    let server = Server::builder()
        .on_upgrade(move |upgrade| authenticate(&users, upgrade))
        .on_message(|client, message| {
            let Name(name) = client.attached()?;
            Some(format!("{name}: {}", message.as_text()?).into())
        })
        .bind(address)?;
    println!("listening on ws://{}/", server.local_addr());
    server.run()?;
    Ok(())
}
