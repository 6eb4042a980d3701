//! Signed tokens (JWT, RFC 7519): whoever holds the key says what a token
//! allows, and the server asks nobody.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hubcast::{Rights, TokenVerifier};
use ring::error::Unspecified;
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use serde_json::Value;

/// How far the clocks of the server and of whoever signs may be apart.
const LEEWAY: Duration = Duration::from_secs(5);
/// A secret that is shorter can be guessed from any token (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;
/// What stands before the key itself in a public key's file (RFC 5480, RFC 8410).
const P256_PREFIX: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\0";
const ED25519_PREFIX: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\0";

const MALFORMED: &str = "is unknown, and no well-formed JWT";
const MEANINGLESS: &str = "has claims that mean nothing here";

/// The key that tokens are signed with. It alone decides by which algorithm,
/// whatever a token says.
pub(crate) struct Key {
    algorithm: &'static str,
    check: Check,
    audience: Option<String>,
}

/// What checks a signature.
enum Check {
    Secret(hmac::Key),
    Public(UnparsedPublicKey<Vec<u8>>),
}

impl Key {
    /// Reads a key: a public key in PEM, of P-256 (ES256) or Ed25519 (EdDSA), or
    /// else a secret (HS256), the file's first line.
    pub(crate) fn open(path: &Path, audience: Option<&str>) -> Result<Key, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        let key = text.and_then(|text| Key::parse(&text, audience));
        key.map_err(|why| format!("jwt-key {}: {why}", path.display()))
    }

    fn parse(text: &str, audience: Option<&str>) -> Result<Key, String> {
        let (algorithm, check) = match text.trim_start().strip_prefix("-----BEGIN ") {
            Some(pem) => public_key(pem)?,
            None => {
                let secret = text.lines().next().unwrap_or_default();
                if secret.len() < MIN_SECRET {
                    let line = "must be a public key in PEM, or a secret of 32 bytes or more";
                    return Err(line.to_owned());
                }
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                ("HS256", Check::Secret(key))
            }
        };
        Ok(Key {
            algorithm,
            check,
            audience: audience.map(str::to_owned),
        })
    }

    /// A verifier that asks `first`, and then looks at the signature.
    pub(crate) fn verifier(self, first: Option<TokenVerifier>) -> TokenVerifier {
        TokenVerifier::new(move |token| {
            let known = first.as_ref().and_then(|first| first.verify(token).ok());
            known.map_or_else(|| self.verify(token), Ok)
        })
    }

    fn verify(&self, token: &str) -> Result<Rights, &'static str> {
        let (message, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
        let (header, claims) = message.split_once('.').ok_or(MALFORMED)?;
        self.check_header(&part(header)?)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| MALFORMED)?;
        let verified = self.check.verify(message.as_bytes(), &signature);
        verified.map_err(|Unspecified| "has a wrong signature")?;
        let claims = part(claims)?;
        self.check_claims(&claims)?;
        rights(&claims).ok_or(MEANINGLESS)
    }

    fn check_header(&self, header: &Value) -> Result<(), &'static str> {
        // What is critical must be understood, and nothing is (RFC 7515 §4.1.11).
        if header.get("crit").is_some() {
            return Err(MALFORMED);
        }
        match header.get("alg").and_then(Value::as_str) {
            Some(algorithm) if algorithm == self.algorithm => Ok(()),
            None | Some("none") => Err(MALFORMED),
            Some(_) => Err("is signed by another algorithm than the key's"),
        }
    }

    /// Checks the times and the audience (RFC 7519 §4.1).
    fn check_claims(&self, claims: &Value) -> Result<(), &'static str> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        let (exp, aud) = (claims.get("exp"), claims.get("aud"));
        if exp.is_none() || (self.audience.is_some() && aud.is_none()) {
            return Err("lacks exp, or aud where an audience is set");
        }
        if time(exp)?.is_some_and(|exp| exp + LEEWAY.as_secs_f64() < now) {
            return Err("has expired");
        }
        if time(claims.get("nbf"))?.is_some_and(|nbf| nbf - LEEWAY.as_secs_f64() > now) {
            return Err("is not valid yet");
        }
        match aud {
            Some(aud) if !self.is_for(aud) => Err("is for another audience"),
            _ => Ok(()),
        }
    }

    /// Whether this is the audience that the server is one of, or names it.
    fn is_for(&self, aud: &Value) -> bool {
        let ours = self.audience.as_deref();
        let is_ours = |aud: &Value| ours.is_some() && aud.as_str() == ours;
        match aud {
            Value::Array(list) => list.iter().any(is_ours),
            one => is_ours(one),
        }
    }
}

impl Check {
    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Unspecified> {
        match self {
            Check::Secret(key) => hmac::verify(key, message, signature),
            Check::Public(key) => key.verify(message, signature),
        }
    }
}

/// The JSON of a token's header or claims.
fn part(encoded: &str) -> Result<Value, &'static str> {
    let json = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| MALFORMED)?;
    serde_json::from_slice(&json).map_err(|_| MALFORMED)
}

/// A time, in seconds since 1970.
fn time(claim: Option<&Value>) -> Result<Option<f64>, &'static str> {
    let time = |claim: &Value| claim.as_f64().ok_or(MEANINGLESS);
    claim.map(time).transpose()
}

/// The rest of a PEM file behind its first words.
fn public_key(pem: &str) -> Result<(&'static str, Check), String> {
    let kinds = "must be a public key of P-256 or Ed25519 (BEGIN PUBLIC KEY), or a secret";
    let body = pem.strip_prefix("PUBLIC KEY-----").ok_or(kinds)?;
    let body = body.split("-----END").next().unwrap_or_default();
    let digits: String = body.split_whitespace().collect();
    let der = STANDARD.decode(&digits).map_err(|_| kinds)?;
    let key = |of: &[u8], length| {
        let key = der.strip_prefix(of).filter(|key| key.len() == length);
        key.map(<[u8]>::to_vec)
    };
    if let Some(point) = key(P256_PREFIX, 65) {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        return Ok(("ES256", Check::Public(key)));
    }
    let key = key(ED25519_PREFIX, 32).ok_or(kinds)?;
    let key = UnparsedPublicKey::new(&ED25519, key);
    Ok(("EdDSA", Check::Public(key)))
}

/// The claims `name` or `sub`, `read`, `write`, `admin` and `exp`; `None` if one
/// is of another type.
fn rights(claims: &Value) -> Option<Rights> {
    let mut rights = Rights::new();
    if let Some(name) = claims.get("name").or_else(|| claims.get("sub")) {
        rights = rights.name(name.as_str()?);
    }
    for room in rooms(claims.get("read"))? {
        rights = rights.read(room);
    }
    for room in rooms(claims.get("write"))? {
        rights = rights.write(room);
    }
    if let Some(admin) = claims.get("admin") {
        rights = rights.admin(admin.as_bool()?);
    }
    let exp = Duration::try_from_secs_f64(claims.get("exp")?.as_f64()?).ok()?;
    let rights = rights.expires(UNIX_EPOCH.checked_add(exp.checked_add(LEEWAY)?)?);
    rights.check().is_ok().then_some(rights)
}

/// A pattern, or a list of them.
fn rooms(claim: Option<&Value>) -> Option<Vec<String>> {
    match claim {
        None => Some(Vec::new()),
        Some(Value::String(room)) => Some(vec![room.clone()]),
        Some(Value::Array(rooms)) => rooms
            .iter()
            .map(|room| room.as_str().map(str::to_owned))
            .collect(),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

    const SECRET: &str = "a secret that nobody guesses, of 32 bytes";

    fn now() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.unwrap().as_secs()
    }

    fn token(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let message = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(claims.as_bytes())
        );
        let signature = encode(&sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn by_secret(secret: &str) -> impl Fn(&[u8]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        move |message| hmac::sign(&key, message).as_ref().to_vec()
    }

    fn pem(prefix: &[u8], key: &[u8]) -> String {
        let der = STANDARD.encode([prefix, key].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
    }

    fn good() -> String {
        let exp = now() + 60;
        format!(r#"{{"sub":"ann","read":["/a","/b/*"],"write":"/a","admin":true,"exp":{exp}}}"#)
    }

    #[test]
    fn each_kind_of_key_checks_its_signatures() {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let ed = Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap();
        let by = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(by, &random).unwrap();
        let ec = EcdsaKeyPair::from_pkcs8(by, ec.as_ref(), &random).unwrap();
        let hs256 = token(r#"{"alg":"HS256"}"#, &good(), by_secret(SECRET));
        let eddsa = token(r#"{"alg":"EdDSA"}"#, &good(), |m| {
            ed.sign(m).as_ref().to_vec()
        });
        let es256 = token(r#"{"alg":"ES256"}"#, &good(), |m| {
            ec.sign(&random, m).unwrap().as_ref().to_vec()
        });
        let ed_pem = pem(ED25519_PREFIX, ed.public_key().as_ref());
        let ec_pem = pem(P256_PREFIX, ec.public_key().as_ref());
        let keys = [SECRET.to_owned(), ed_pem.clone(), ec_pem];
        for (i, key) in keys.iter().enumerate() {
            let key = Key::parse(key, None).unwrap();
            for (j, token) in [&hs256, &eddsa, &es256].into_iter().enumerate() {
                assert_eq!(key.verify(token).is_ok(), i == j, "{i} {j}");
            }
        }
        let rights = Key::parse(SECRET, None).unwrap().verify(&hs256).unwrap();
        assert_eq!(rights.shown_name(), Some("ann"));
        assert!(rights.may_read("/b/c") && rights.may_write("/a") && rights.is_admin());
        assert!(!rights.may_write("/b/c") && rights.expiry().is_some());
        // Algorithm confusion: the public key's file as an HMAC secret.
        for secret in [ed_pem.as_str(), ed_pem.lines().next().unwrap()] {
            let confused = token(r#"{"alg":"HS256"}"#, &good(), by_secret(secret));
            let refused = Key::parse(&ed_pem, None).unwrap().verify(&confused);
            assert!(refused.unwrap_err().contains("another algorithm"));
        }
    }

    #[test]
    fn what_is_wrong_with_a_token_is_said_in_a_word() {
        let key = Key::parse(SECRET, Some("hubcast")).unwrap();
        let hs256 = r#"{"alg":"HS256"}"#;
        let (past, soon) = (now() - 60, now() + 60);
        let claims = |more: &str| format!(r#"{{"aud":"hubcast","exp":{soon}{more}}}"#);
        let check =
            |header: &str, claims: &str| key.verify(&token(header, claims, by_secret(SECRET)));
        check(hs256, &claims("")).unwrap();
        let several = format!(r#"{{"aud":["other","hubcast"],"nbf":{past},"exp":{soon}.5}}"#);
        check(hs256, &several).unwrap();
        for (header, claims, why) in [
            (r#"{"alg":"none"}"#, claims(""), "no well-formed JWT"),
            (r#"{"alg":"HS384"}"#, claims(""), "another algorithm"),
            (r#"{"alg":["HS256"]}"#, claims(""), "no well-formed JWT"),
            (
                r#"{"alg":"HS256","crit":["exp"]}"#,
                claims(""),
                "no well-formed JWT",
            ),
            (r#"["HS256"]"#, claims(""), "no well-formed JWT"),
            (hs256, "[]".to_owned(), "lacks exp"),
            (hs256, "{".to_owned(), "no well-formed JWT"),
            (
                hs256,
                format!(r#"{{"aud":["other",1],"exp":{soon}}}"#),
                "another audience",
            ),
            (
                hs256,
                format!(r#"{{"aud":null,"exp":{soon}}}"#),
                "another audience",
            ),
            (
                hs256,
                r#"{"aud":"hubcast","exp":1e300}"#.to_owned(),
                "mean nothing",
            ),
            (
                hs256,
                r#"{"aud":"hubcast","exp":null}"#.to_owned(),
                "mean nothing",
            ),
            (
                hs256,
                format!(r#"{{"aud":"hubcast","exp":{past}}}"#),
                "has expired",
            ),
            (hs256, r#"{"aud":"hubcast"}"#.to_owned(), "lacks exp"),
            (hs256, r#"{"aud":"hubcast","exp":"never"}"#.to_owned(), ""),
            (hs256, r#"{"aud":"hubcast","exp":-1}"#.to_owned(), ""),
            (
                hs256,
                claims(&format!(r#","nbf":{}"#, now() + 30)),
                "not valid yet",
            ),
            (hs256, claims(r#","nbf":"soon""#), ""),
            (
                hs256,
                format!(r#"{{"aud":"other","exp":{soon}}}"#),
                "another audience",
            ),
            (hs256, format!(r#"{{"exp":{soon}}}"#), "lacks exp, or aud"),
            (hs256, claims(r#","read":[1]"#), "mean nothing"),
            (hs256, claims(r#","read":"lobby""#), "mean nothing"),
            (hs256, claims(r#","admin":"yes""#), "mean nothing"),
        ] {
            let refused = check(header, &claims).unwrap_err();
            assert!(refused.contains(why), "{header} {claims}: {refused}");
        }
        let foreign = token(hs256, &claims(""), by_secret("another"));
        assert_eq!(key.verify(&foreign).unwrap_err(), "has a wrong signature");
        // Without its signature, and with none of its parts.
        let good = token(hs256, &claims(""), by_secret(SECRET));
        let (unsigned, _) = good.rsplit_once('.').unwrap();
        for bad in [unsigned, &format!("{unsigned}."), "", ".", "..", "a.b.c"] {
            key.verify(bad).unwrap_err();
        }
        key.verify(&"x".repeat(64 * 1024)).unwrap_err();
        // For an audience, where the server knows of none.
        let any = Key::parse(SECRET, None).unwrap();
        assert_eq!(any.verify(&good).unwrap_err(), "is for another audience");
    }

    #[test]
    fn a_key_that_cannot_be_one_is_refused() {
        for bad in [
            "",
            "short",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END",
        ] {
            assert!(Key::parse(bad, None).is_err(), "{bad:?}");
        }
    }
}
