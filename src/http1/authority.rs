//! `host[:port]`.

/// Splits `host[:port]`; the host may be a bracketed IPv6 address.
pub(crate) fn parse_authority(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => (&text[..colon], Some(text[colon + 1..].parse())),
        _ => (text, None),
    };
    let bare = host
        .strip_prefix('[')
        .map_or(Some(host), |rest| rest.strip_suffix(']'))?;
    let is_host = |b: u8| b.is_ascii_graphic() && !b"/?#@[]\\,".contains(&b);
    let bracketed = bare.len() != host.len();
    if bare.is_empty() || !bare.bytes().all(is_host) || (bare.contains(':') && !bracketed) {
        return None;
    }
    let port = port.transpose().ok()?;
    Some((host.to_ascii_lowercase(), port))
}

pub(crate) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}
