//! The compact form of a mirror: [postcard](https://postcard.jamesmunns.com/wire-format),
//! a published and stable format without names, in which numbers take as few bytes as
//! they need.
//!
//! Equal values have equal bytes, text is borrowed when it is read, and a length that
//! the bytes do not bear out is refused before anything of that size is kept. What
//! postcard itself lets pass is refused here: bytes after the value.

use serde::{Deserialize, Serialize};

use super::{DecodeError, EncodeError};

/// Appends a value to `to`.
pub fn write(value: &impl Serialize, to: &mut Vec<u8>) -> Result<(), EncodeError> {
    *to = postcard::to_extend(value, std::mem::take(to))?;
    Ok(())
}

/// The value that is all of `body`.
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    let (value, rest) = postcard::take_from_bytes(body)
        .map_err(|fault: postcard::Error| DecodeError::Shape(fault.to_string()))?;
    match rest.len() {
        0 => Ok(value),
        more => Err(DecodeError::Shape(format!("{more} bytes too many"))),
    }
}
