//! Callers who present a token of an issuer that is trusted: JWTs of an OIDC provider, or
//! those of Kubernetes service accounts.
//!
//! A token counts if it is signed by a key of its issuer with an algorithm that is
//! allowed for that issuer, is meant for the audience that the daemon is told it is, has an
//! end that has not come, and is of a subject that is a caller. The algorithms are all
//! asymmetric: nothing that verifies could have signed. Time is handed in, as everywhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::application::Permit;
use crate::domain::organization::Moment;

/// How far, in milliseconds, the clock of an issuer may be from the daemon's.
const LEEWAY: i64 = 30_000;
/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The most keys that a token is tried with which does not say which one signed it.
const MAX_TRIED: usize = 8;

/// The algorithms that an issuer may be allowed, by their names.
pub const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];
/// Those that are allowed where none is named.
pub const USUAL_ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

/// Somebody whose tokens are trusted.
pub struct Issuer {
    /// The `iss` of its tokens.
    pub name: String,
    /// What a token has to be meant for.
    pub audience: String,
    /// What it may sign with.
    pub algorithms: Vec<Algorithm>,
    /// Its keys.
    pub keys: Vec<IssuerKey>,
    /// Its subjects who are callers; the first that fits counts.
    pub subjects: Vec<(SubjectPattern, Permit)>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Issuer").field(&self.name).finish()
    }
}

/// A public key of an issuer.
pub struct IssuerKey {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// A key set can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// It is no JSON Web Key Set.
    #[error("is no JSON Web Key Set")]
    Malformed(#[from] serde_json::Error),
    /// It has no key that signatures could be verified with.
    #[error("has no public key that tokens could be verified with; symmetric keys don't count")]
    NoKey,
}

impl IssuerKey {
    /// The keys of a JSON Web Key Set that can verify signatures. Others, such as those
    /// for encryption or of kinds that are not known here, are passed over.
    pub fn in_set(text: &str) -> Result<Vec<Self>, KeySetError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_str(text)?;
        let keys = set.keys.into_iter();
        let keys: Vec<Self> = keys
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
            .filter_map(|key| Self::of(&key))
            .collect();
        if keys.is_empty() {
            return Err(KeySetError::NoKey);
        }
        Ok(keys)
    }

    fn of(key: &Jwk) -> Option<Self> {
        let common = &key.common;
        if matches!(&common.public_key_use, Some(intended) if *intended != PublicKeyUse::Signature)
        {
            return None;
        }
        let mut algorithms: Vec<Algorithm> = match &key.algorithm {
            AlgorithmParameters::RSA(_) => ALGORITHMS
                .iter()
                .filter(|(name, _)| name.starts_with("RS") || name.starts_with("PS"))
                .map(|(_, algorithm)| *algorithm)
                .collect(),
            AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
                EllipticCurve::P256 => vec![Algorithm::ES256],
                EllipticCurve::P384 => vec![Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(_) => vec![Algorithm::EdDSA],
            // Whoever can verify with it can sign with it.
            AlgorithmParameters::OctetKey(_) => return None,
        };
        if let Some(intended) = &common.key_algorithm {
            let name = intended.to_string();
            let named = ALGORITHMS.iter().find(|(known, _)| *known == name);
            algorithms.retain(|algorithm| named.is_some_and(|(_, named)| named == algorithm));
        }
        Some(Self {
            id: common.key_id.clone(),
            algorithms,
            key: DecodingKey::from_jwk(key).ok()?,
        })
    }
}

/// Which subjects are meant: a text in which `*` stands for any characters but `:` and
/// `/`, so that it never reaches into the next part of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectPattern(String);

impl SubjectPattern {
    /// Those that this text stands for.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether a subject is meant.
    pub fn fits(&self, subject: &str) -> bool {
        fits(self.0.as_bytes(), subject.as_bytes())
    }
}

fn fits(pattern: &[u8], subject: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // Where to go on if the last `*` has to take one character more.
    let mut again: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(at), subject.get(seen)) {
            (Some(b'*'), _) => {
                again = Some((at, seen));
                at += 1;
                continue;
            }
            (Some(wanted), Some(found)) if wanted == found => {
                (at, seen) = (at + 1, seen + 1);
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        match again {
            Some((star, taken)) if subject.get(taken).is_some_and(|it| !b":/".contains(it)) => {
                again = Some((star, taken + 1));
                (at, seen) = (star + 1, taken + 1);
            }
            _ => return false,
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood; none is.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn has(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Several(audiences) => audiences.iter().any(|audience| audience == wanted),
        }
    }
}

/// What whoever presents a token may do, if one of the issuers vouches for them.
pub fn recognise(issuers: &[Issuer], token: &str, now: Moment) -> Option<Permit> {
    if issuers.is_empty() || token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let mut parts = token.split('.');
    let header: Header = decoded(parts.next()?)?;
    let claimed: Claims = decoded(parts.next()?)?;
    parts.next()?;
    if parts.next().is_some() || header.crit.is_some() {
        return None;
    }
    let issuer = issuers.iter().find(|issuer| issuer.name == claimed.iss)?;
    let (_, algorithm) = ALGORITHMS.iter().find(|(name, _)| *name == header.alg)?;
    if !issuer.algorithms.contains(algorithm) {
        return None;
    }
    let claims = issuer.verified(token, *algorithm, header.kid.as_deref())?;
    issuer.permit(&claims, now)
}

impl Issuer {
    /// The claims, if a key of the issuer signed them.
    fn verified(&self, token: &str, algorithm: Algorithm, key: Option<&str>) -> Option<Claims> {
        // Only the signature is left to the library; what is claimed is looked at here.
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        self.keys
            .iter()
            .filter(|known| key.is_none() || known.id.as_deref() == key)
            .filter(|known| known.algorithms.contains(&algorithm))
            .take(MAX_TRIED)
            .find_map(|known| {
                let decoded = jsonwebtoken::decode::<Claims>(token, &known.key, &validation);
                Some(decoded.ok()?.claims)
            })
    }

    fn permit(&self, claims: &Claims, now: Moment) -> Option<Permit> {
        if claims.iss != self.name || !claims.aud.has(&self.audience) {
            return None;
        }
        let begin = claims.nbf.map_or(Some(i64::MIN), milliseconds)?;
        if now.0 < begin.saturating_sub(LEEWAY) {
            return None;
        }
        let until = Moment(milliseconds(claims.exp)?.saturating_add(LEEWAY));
        let mut subjects = self.subjects.iter();
        let (_, permit) = subjects.find(|(pattern, _)| pattern.fits(&claims.sub))?;
        let permit = Permit {
            until: Some(until),
            ..permit.clone()
        };
        permit.counts(|| now).then_some(permit)
    }
}

fn decoded<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Of seconds since 1970, which may have a fraction.
fn milliseconds(seconds: f64) -> Option<i64> {
    /// The end of the year 9999.
    const MOST: f64 = 253_402_300_799.0;
    (0.0..=MOST)
        .contains(&seconds)
        .then_some((seconds * 1_000.0) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_never_reaches_into_the_next_part_of_a_name() {
        let fits = |pattern, subject| SubjectPattern::new(pattern).fits(subject);
        assert!(fits(
            "system:serviceaccount:shop:checkout",
            "system:serviceaccount:shop:checkout"
        ));
        assert!(fits(
            "system:serviceaccount:shop:*",
            "system:serviceaccount:shop:checkout"
        ));
        assert!(fits(
            "system:serviceaccount:*:checkout",
            "system:serviceaccount:shop:checkout"
        ));
        assert!(fits("*-agent-*", "a-agent-agent-b"));
        assert!(fits("*", ""));
        for (pattern, subject) in [
            (
                "system:serviceaccount:shop:*",
                "system:serviceaccount:shop:a:b",
            ),
            (
                "system:serviceaccount:*",
                "system:serviceaccount:shop:checkout",
            ),
            (
                "system:serviceaccount:shop:*",
                "system:serviceaccount:shopping:x",
            ),
            ("repo:acme/*", "repo:acme/site/evil"),
            ("*", "a/b"),
            ("checkout", "checkout2"),
            ("checkout", "Checkout"),
            ("a*b", "a:b"),
            ("", "a"),
        ] {
            assert!(!fits(pattern, subject), "{pattern} {subject}");
        }
    }

    #[test]
    fn symmetric_keys_and_those_for_encryption_are_none() {
        for set in [
            r#"{"keys": []}"#,
            r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]}"#,
            r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "enc",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
            r#"{"keys": [{"kty": "new"}]}"#,
        ] {
            let read = IssuerKey::in_set(set);
            assert!(matches!(read, Err(KeySetError::NoKey)), "{set}");
        }
        let sound = r#"{"keys": [{"kty": "new"}, {"kty": "OKP", "crv": "Ed25519", "use": "sig",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        assert_eq!(IssuerKey::in_set(sound).expect("a key").len(), 1);
    }
}
