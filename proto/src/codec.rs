//! Messages to bytes and back, with buffers that fit them.
//!
//! Each direction of each stream keeps a buffer. The library's begin at 8 KiB; with ten thousand
//! agents on one controller that is 160 MB for messages of some hundred bytes. Ours begin small
//! and grow with what is sent.

use std::fmt;
use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// First size of a buffer: a heartbeat of two services, an offer without its artifact's list.
const BUFFER_LEN: usize = 1024;

/// Bytes of messages that are put together before they are sent; the library's own number.
const YIELD_AT: usize = 32 * 1024;

/// The codec of every service here.
pub struct SmallCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> fmt::Debug for SmallCodec<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmallCodec")
    }
}

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_LEN, YIELD_AT))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_LEN, YIELD_AT))
    }
}
