//! The short way in: which headers are those of an ordinary check, looked at without a
//! connection.

use std::sync::Arc;

use roster::application::{Application, Links};
use roster::engine::OfferedCatalog;
use roster::store::memory::MemoryStore;
use roster::transport::caller::{Authenticator, Gate, Line};
use roster::transport::identities::Peer;
use roster::world::StillWorld;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};

const KEY: &str = "roster_operator_0123456789abcdef";
const ACTOR: &str = "roster-actor";
const ACTOR_TOKEN: &str = "roster-actor-token";

fn gate() -> Gate {
    let application = Application::start(
        Vec::<OfferedCatalog>::new(),
        Arc::new(MemoryStore::new()),
        Arc::new(StillWorld::default()),
        Links::new(&[0; 32]),
        0,
    );
    Gate::new(Authenticator::new(KEY), Arc::new(application))
}

fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
    given
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).expect("a header value"))
        })
        .collect::<Vec<_>>()
        .into_iter()
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
}

#[test]
fn only_the_key_alone_is_admitted_and_what_is_remembered_changes_nothing() {
    let gate = gate();
    let right = format!("Bearer {KEY}");
    let (wrong, longer) = (right.replace("def", "deg"), format!("{right}0"));
    let (early, late) = (
        right.replace("_0123", "_1123"),
        right.replace("cdef", "cdff"),
    );
    let line = Line::from(Peer::default());
    for _ in 0..2 {
        for refused in [&wrong, &longer, &early, &late, KEY, "Bearer", "", "Basic x"] {
            let headers = headers(&[("authorization", refused)]);
            assert!(gate.admits(&headers, &line).is_none(), "{refused}");
        }
        for refused in [
            headers(&[]),
            headers(&[("authorization", &right), ("authorization", &right)]),
            headers(&[("authorization", &right), (ACTOR, "ann")]),
            headers(&[("authorization", &right), (ACTOR_TOKEN, "secret")]),
            headers(&[("authorization", &right), ("grpc-encoding", "gzip")]),
        ] {
            assert!(gate.admits(&refused, &line).is_none(), "{refused:?}");
        }
        for admitted in [
            headers(&[("authorization", &right)]),
            headers(&[("authorization", &right.replace("Bearer", "bearer"))]),
            headers(&[("te", "trailers"), ("authorization", &right)]),
            headers(&[("authorization", &right), ("grpc-encoding", "identity")]),
        ] {
            assert!(gate.admits(&admitted, &line).is_some(), "{admitted:?}");
        }
    }
}
