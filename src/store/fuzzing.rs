//! Records whose seal is right and whose body is anything.

use super::record::{Entry, Stored, seal_body};
use super::{Idempotency, Remembered};
use crate::domain::change::{Outcome, RecordChange};
use crate::domain::organization::{
    Group, Guardrail, Invitation, Member, Notification, Profile, Project, RegisteredResource, Role,
    Token,
};

/// A kind of record, with what is held of it.
type Hold = fn(&[u8]);

const KINDS: [Hold; 15] = [
    hold::<Profile>,
    hold::<Member>,
    hold::<Role>,
    hold::<Project>,
    hold::<RegisteredResource>,
    hold::<Group>,
    hold::<Invitation>,
    hold::<Token>,
    hold::<Guardrail>,
    hold::<Notification>,
    hold::<RecordChange>,
    hold::<Outcome>,
    hold::<Entry>,
    hold::<Idempotency>,
    hold::<Remembered>,
];

/// The first byte says which kind, the second which version, the rest is the body. What
/// is read is written so that it is read back as the same, and that writing is stable.
pub fn records(bytes: &[u8]) {
    let Some(([kind, version], body)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let Some(hold) = KINDS.get(usize::from(*kind) % KINDS.len()) else {
        return;
    };
    hold(bytes);
    // Most versions are none; the two that are get most tries.
    let version = if *version < 0xf0 {
        version % 2 + 1
    } else {
        *version
    };
    hold(&seal_body(version, body));
}

fn hold<T: Stored>(sealed: &[u8]) {
    let Ok(value) = T::unseal(sealed) else {
        return;
    };
    let Ok(written) = value.seal() else {
        return;
    };
    let again = T::unseal(&written).and_then(|value| {
        value
            .seal()
            .map_err(|error| super::record::DecodeError::Shape(error.to_string()))
    });
    assert_eq!(again, Ok(written), "a record does not come back as it was");
}
