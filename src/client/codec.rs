//! Sends a question as the bytes it was written as once, however often it is sent.

use bytes::{BufMut as _, Bytes};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

use crate::proto::v1;

/// Bytes of a question out, an answer in.
#[derive(Clone, Copy, Default)]
pub struct QuestionCodec;

impl Codec for QuestionCodec {
    type Encode = Bytes;
    type Decode = v1::IsAuthorizedResponse;
    type Encoder = Self;
    type Decoder = ProstDecoder<v1::IsAuthorizedResponse>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl Encoder for QuestionCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(message.len());
        to.put_slice(&message);
        Ok(())
    }
}
