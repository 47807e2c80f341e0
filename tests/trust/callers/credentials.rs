//! Credentials that are wrong, expired, foreign or weakened: all refused, in one text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use prost::Message as _;
use roster::application::Scope;
use roster::proto::v1;
use roster::store::memory::MemoryStore;
use roster::transport::identities::Identities;
use roster::transport::issuers::SubjectPattern;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::stage::{
    Authority, Signers, Stage, bearer, call, claims, issuer, later, permit, signed, tls_files,
};
use crate::harness::{KEY, NOW, reason};

/// What any caller may call.
const OPEN: &str = "/roster.v1.PolicyService/ListCatalogs";
const CHECK: &str = "/roster.v1.AuthorizationService/IsAuthorized";
const SUBJECT: &str = "system:serviceaccount:shop:checkout";
const SPIFFE: &str = "spiffe://prod.example/ns/shop/sa/checkout";

async fn ask(channel: &Channel, authorization: &[&str]) -> Result<(), Status> {
    let answer = call(channel.clone(), OPEN, Vec::new(), authorization, None).await;
    answer.map(drop)
}

/// A daemon that knows the subject and the certificate of these tests.
async fn stage() -> Stage {
    let stage = Stage::on(Arc::new(MemoryStore::new())).await;
    know(&stage);
    stage
}

fn know(stage: &Stage) {
    let permit = permit("checkout", &Scope::ALL, &[]);
    let pattern = SubjectPattern::new("system:serviceaccount:shop:*");
    stage.know(Identities {
        certified: BTreeMap::from([
            (SPIFFE.to_owned(), permit.clone()),
            ("portal.example".to_owned(), permit.clone()),
            (
                "other.example".to_owned(),
                super::stage::permit("other", &[Scope::Check], &[]),
            ),
        ]),
        issuers: vec![issuer(&stage.signers, vec![(pattern, permit)])],
        ..Identities::default()
    });
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims(SUBJECT);
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims(SUBJECT);
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// A token with that header and no or any signature.
fn forged(header: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(&claims(SUBJECT)))
}

fn wrong_tokens(signers: &Signers) -> Vec<(&'static str, String)> {
    let second = NOW.0 / 1_000;
    let edwards = |claims: &Value| signers.sign(Algorithm::EdDSA, claims);
    let sound = edwards(&claims(SUBJECT));
    let (head, signature) = sound.rsplit_once('.').unwrap();
    let header = head.split_once('.').unwrap().0;
    let payload =
        URL_SAFE_NO_PAD.encode(with("sub", json!("system:serviceaccount:shop:b")).to_string());
    let by_secret = |id: &str, secret: &[u8]| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(id.to_owned());
        signed(&header, &claims(SUBJECT), &EncodingKey::from_secret(secret))
    };
    let with_key_id = |id: &str| {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(id.to_owned());
        let key = EncodingKey::from_ed_der(signers.edwards.serialized_der());
        signed(&header, &claims(SUBJECT), &key)
    };
    let critical = {
        let header = json!({ "alg": "EdDSA", "kid": "edwards", "crit": ["exp"] });
        let token = forged(&header, "");
        let message = token.trim_end_matches('.');
        let key = EncodingKey::from_ed_der(signers.edwards.serialized_der());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::EdDSA);
        format!("{message}.{}", signature.expect("a signature"))
    };
    vec![
        (
            "alg none without signature",
            forged(&json!({ "alg": "none" }), ""),
        ),
        (
            "alg None",
            forged(&json!({ "alg": "None", "kid": "edwards" }), ""),
        ),
        (
            "alg none with the signature",
            forged(&json!({ "alg": "none" }), signature),
        ),
        (
            "HMAC with the public key",
            by_secret("edwards", signers.edwards.public_key_raw()),
        ),
        (
            "HMAC with the public key as PEM",
            by_secret("rsa", signers.edwards.public_key_pem().as_bytes()),
        ),
        (
            "HMAC with the key set",
            by_secret("elliptic", signers.key_set().as_bytes()),
        ),
        ("no audience", edwards(&without("aud"))),
        ("another audience", edwards(&with("aud", json!("other")))),
        ("an empty audience", edwards(&with("aud", json!([])))),
        (
            "another issuer",
            edwards(&with("iss", json!("https://evil.example"))),
        ),
        ("no issuer", edwards(&without("iss"))),
        (
            "two issuers",
            edwards(&with("iss", json!(["https://id.example"]))),
        ),
        ("expired", edwards(&with("exp", json!(second - 31)))),
        ("no end", edwards(&without("exp"))),
        (
            "an end that is text",
            edwards(&with("exp", json!("9999999999"))),
        ),
        ("not yet valid", edwards(&with("nbf", json!(second + 31)))),
        (
            "another namespace",
            edwards(&with("sub", json!("system:serviceaccount:pay:checkout"))),
        ),
        (
            "a subject with more parts",
            edwards(&with("sub", json!("system:serviceaccount:shop:a:b"))),
        ),
        ("no subject", edwards(&without("sub"))),
        ("a key that is not known", with_key_id("gone")),
        ("the key for encryption", with_key_id("hidden")),
        ("the key of another algorithm", with_key_id("elliptic")),
        (
            "another's signature",
            Signers::new().sign(Algorithm::EdDSA, &claims(SUBJECT)),
        ),
        (
            "an algorithm that is not allowed",
            signers.sign(Algorithm::RS512, &claims(SUBJECT)),
        ),
        ("changed claims", format!("{header}.{payload}.{signature}")),
        ("no signature", format!("{head}.")),
        ("a part too many", format!("{sound}.x")),
        ("a header that must be understood", critical),
        ("nothing", "..".to_owned()),
        ("a long text", "x.".repeat(3_000) + "y"),
    ]
}

#[tokio::test]
async fn tokens_that_are_wrong_in_any_way_are_refused_in_one_text() {
    let stage = stage().await;
    let channel = stage.plain().await;
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256] {
        let sound = bearer(&stage.signers.sign(algorithm, &claims(SUBJECT)));
        ask(&channel, &[&sound]).await.expect("a sound token");
    }
    for (name, claims) in [
        ("one audience", with("aud", json!("roster"))),
        ("just expired", with("exp", json!(NOW.0 / 1_000 - 29))),
        ("nearly valid", with("nbf", json!(NOW.0 / 1_000 + 29))),
        (
            "a fraction",
            with("exp", json!(NOW.0 as f64 / 1_000.0 + 0.5)),
        ),
        ("no beginning", without("nbf")),
    ] {
        let token = bearer(&stage.signers.sign(Algorithm::EdDSA, &claims));
        ask(&channel, &[&token]).await.expect(name);
    }

    let mut answers = BTreeSet::new();
    for (name, token) in wrong_tokens(&stage.signers) {
        for path in [OPEN, CHECK] {
            let token = bearer(&token);
            let refused = call(channel.clone(), path, Vec::new(), &[&token], None).await;
            let refused = refused.expect_err(name);
            assert_eq!(refused.code(), Code::Unauthenticated, "{name}");
            answers.insert((refused.message().to_owned(), refused.details().to_vec()));
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    stage.stop().await;
}

#[tokio::test]
async fn a_token_that_was_remembered_counts_until_it_ends_and_no_longer() {
    let stage = stage().await;
    let channel = stage.plain().await;
    let token = bearer(&stage.signers.sign(Algorithm::ES256, &claims(SUBJECT)));
    ask(&channel, &[&token]).await.expect("it counts");
    stage.world.set(later(3_600_000 + 29_999));
    ask(&channel, &[&token]).await.expect("it counts still");
    stage.world.set(later(3_600_000 + 30_000));
    let refused = ask(&channel, &[&token]).await.expect_err("it has ended");
    assert_eq!(refused.code(), Code::Unauthenticated);
    stage.stop().await;
}

#[tokio::test]
async fn whoever_is_taken_out_of_the_callers_file_is_refused_at_the_next_request() {
    let stage = stage().await;
    let certificate = stage.authority.client(&[SPIFFE]);
    let secure = stage.secure(Some(&certificate)).await.expect("TLS");
    let plain = stage.plain().await;
    let token = bearer(&stage.signers.sign(Algorithm::EdDSA, &claims(SUBJECT)));
    ask(&secure, &[]).await.expect("it is known");
    ask(&plain, &[&token]).await.expect("it is known");

    stage.know(Identities::default());

    let refused = ask(&secure, &[]).await.expect_err("it is not known");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = ask(&plain, &[&token]).await.expect_err("it is not known");
    assert_eq!(refused.code(), Code::Unauthenticated);
    know(&stage);
    ask(&secure, &[]).await.expect("it is known again");
    stage.stop().await;
}

#[tokio::test]
async fn without_a_certificate_of_the_authority_there_is_no_connection() {
    let stage = stage().await;
    let other = Authority::new();
    for (name, identity) in [
        ("none", None),
        ("of another authority", Some(other.client(&[SPIFFE]))),
        ("expired", Some(stage.authority.expired_client(SPIFFE))),
        ("for servers", Some(stage.authority.server())),
    ] {
        let operator = bearer(KEY);
        // Who is refused hears of it when the first request is sent, at the latest.
        if let Ok(channel) = stage.secure(identity.as_ref()).await {
            for authorization in [&[][..], &[operator.as_str()]] {
                let refused = ask(&channel, authorization).await.expect_err(name);
                assert_ne!(refused.code(), Code::Unimplemented, "{name}");
                assert_eq!(reason(&refused), "", "{name}: {refused:?}");
            }
        }
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_certificate_is_known_by_its_names_and_only_if_they_mean_one_caller() {
    let stage = stage().await;
    for names in [
        &[SPIFFE][..],
        &["portal.example"],
        &["Portal.example"],
        &["unknown.example", "portal.example"],
        &[SPIFFE, "portal.example"],
    ] {
        let certificate = stage.authority.client(names);
        let channel = stage.secure(Some(&certificate)).await.expect("TLS");
        ask(&channel, &[])
            .await
            .unwrap_or_else(|refused| panic!("{names:?}: {refused:?}"));
    }
    for names in [
        &[][..],
        &["spiffe://prod.example/ns/shop/sa/checkout2"],
        &["spiffe://evil.example/ns/shop/sa/checkout"],
        &["a.portal.example"],
        &["*.example"],
        &["portal.example", "other.example"],
    ] {
        let certificate = stage.authority.client(names);
        let channel = stage.secure(Some(&certificate)).await.expect("TLS");
        let refused = ask(&channel, &[]).await.expect_err("refused");
        assert_eq!(refused.code(), Code::Unauthenticated, "{names:?}");
        // Whoever has a key as well is known by it.
        ask(&channel, &[&bearer(KEY)])
            .await
            .expect("the key counts");
    }
    // And whoever sends a wrong key is not known by their certificate instead.
    let certificate = stage.authority.client(&[SPIFFE]);
    let channel = stage.secure(Some(&certificate)).await.expect("TLS");
    let refused = ask(&channel, &["Bearer wrong"]).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    stage.stop().await;
}

#[tokio::test]
async fn an_authority_that_is_replaced_vouches_for_nobody_any_more() {
    let stage = stage().await;
    let old = stage.authority.client(&[SPIFFE]);
    let channel = stage.secure(Some(&old)).await.expect("TLS");
    ask(&channel, &[]).await.expect("it is known");

    // A new certificate of the daemon alone changes nothing for those who are connected.
    let files = tls_files(&stage.authority, &stage.authority);
    stage.tls.replace(&files).expect("TLS");
    stage.application.caller_keys().generation().advance();
    ask(&channel, &[]).await.expect("it is known still");

    let other = Authority::new();
    let files = tls_files(&stage.authority, &other);
    stage.tls.replace(&files).expect("TLS");
    stage.application.caller_keys().generation().advance();
    let refused = ask(&channel, &[]).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let new = other.client(&[SPIFFE]);
    let channel = stage.secure(Some(&new)).await.expect("TLS");
    ask(&channel, &[]).await.expect("the new one counts");
    stage.stop().await;
}

#[tokio::test]
async fn two_authorization_headers_are_none() {
    let stage = stage().await;
    let (_, key) = stage
        .key(v1::CreateCallerKeyRequest {
            name: "twice".to_owned(),
            scopes: vec![v1::CallerScope::Operate.into()],
            ..Default::default()
        })
        .await;
    let (operator, channel) = (bearer(KEY), stage.plain().await);
    ask(&channel, &[&key]).await.expect("it counts");
    for two in [[&key, &key], [&key, &operator], [&operator, &key]] {
        let two = [two[0].as_str(), two[1].as_str()];
        let refused = ask(&channel, &two).await.expect_err("refused");
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    stage.stop().await;
}

#[tokio::test]
async fn every_item_of_a_batch_and_every_message_of_a_stream_is_held_to_the_bounds() {
    let stage = stage().await;
    let (_, key) = stage
        .key(v1::CreateCallerKeyRequest {
            name: "bound".to_owned(),
            scopes: vec![v1::CallerScope::Check.into()],
            organizations: vec!["mine".to_owned()],
            ..Default::default()
        })
        .await;
    let channel = stage.plain().await;
    let of = |organization: &str| v1::IsAuthorizedRequest {
        organization: organization.to_owned(),
        ..Default::default()
    };
    let batch = v1::BatchIsAuthorizedRequest {
        requests: vec![of("mine"), of("foreign"), of("mine"), of("")],
        ..Default::default()
    };
    let path = "/roster.v1.AuthorizationService/BatchIsAuthorized";
    let answer = call(channel.clone(), path, batch.encode_to_vec(), &[&key], None).await;
    let answer = v1::BatchIsAuthorizedResponse::decode(answer.expect("an answer")).unwrap();
    let codes: Vec<i32> = answer
        .items
        .into_iter()
        .map(|item| match item.result {
            Some(v1::batch_item::Result::Status(status)) => status.code,
            other => panic!("{other:?}"),
        })
        .collect();
    let (not_found, denied) = (i32::from(Code::NotFound), i32::from(Code::PermissionDenied));
    assert_eq!(codes, [not_found, denied, not_found, denied]);

    let token = v1::IsAuthorizedWithTokenRequest {
        organization: "foreign".to_owned(),
        token: "roster_member_x".to_owned(),
        ..Default::default()
    };
    let path = "/roster.v1.AuthorizationService/IsAuthorizedWithToken";
    let refused = call(channel, path, token.encode_to_vec(), &[&key], None).await;
    assert_eq!(
        reason(&refused.expect_err("refused")),
        "FOREIGN_ORGANIZATION"
    );
    stage.stop().await;
}
