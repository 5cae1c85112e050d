//! Compressed bodies that are put together of compressed pieces, so that a change of a long list
//! costs the compression of what changed and not of everything.
//!
//! For gzip, a piece is a run of deflate blocks that ends at a byte and refers to nothing before it;
//! any such runs in a row are one stream, whose checksum comes from those of the pieces. For zstd, a
//! piece is a frame; frames in a row are what RFC 8878 lets a stream be.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress};

/// Pieces as short as this are taken over as they are.
const SHORT: usize = 64;

/// A part of a body; one that stays the same for longer keeps its compressed forms.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) packed: Option<Arc<Packed>>,
}

/// The compressed forms of a piece, as far as somebody wanted them.
#[derive(Debug, Default)]
pub(super) struct Packed {
    deflated: OnceLock<Arc<Deflated>>,
    zstd: OnceLock<Bytes>,
}

#[derive(Debug)]
struct Deflated {
    bytes: Vec<u8>,
    crc: Crc,
}

impl Piece {
    /// A piece that nobody keeps.
    pub(super) fn passing(bytes: Bytes) -> Self {
        Self { bytes, packed: None }
    }

    fn deflated(&self) -> io::Result<Arc<Deflated>> {
        if let Some(known) = self.packed.as_ref().and_then(|packed| packed.deflated.get()) {
            return Ok(Arc::clone(known));
        }
        let bytes =
            if self.bytes.len() <= SHORT { stored(&self.bytes) } else { deflate(&self.bytes)? };
        let mut crc = Crc::new();
        crc.update(&self.bytes);
        let made = Arc::new(Deflated { bytes, crc });
        if let Some(packed) = &self.packed {
            // Whoever was first: both are the same.
            let _ = packed.deflated.set(Arc::clone(&made));
        }
        Ok(made)
    }

    fn zstd(&self) -> io::Result<Bytes> {
        if let Some(known) = self.packed.as_ref().and_then(|packed| packed.zstd.get()) {
            return Ok(known.clone());
        }
        let made = match self.bytes.len() <= SHORT {
            true => raw_frame(&self.bytes),
            false => zstd::bulk::compress(&self.bytes, 1)?,
        };
        let made = Bytes::from(made.into_boxed_slice());
        if let Some(packed) = &self.packed {
            let _ = packed.zstd.set(made.clone());
        }
        Ok(made)
    }
}

/// The pieces as one gzip stream. Takes a while for new ones: run it where blocking is allowed.
pub(super) fn gzip(pieces: &[Piece]) -> io::Result<Bytes> {
    // Deflate, no flags, no time, fastest, unknown system.
    const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff];
    // A last block without content.
    const LAST: [u8; 2] = [3, 0];
    let mut body = HEAD.to_vec();
    let mut crc = Crc::new();
    for piece in pieces {
        let deflated = piece.deflated()?;
        body.extend_from_slice(&deflated.bytes);
        crc.combine(&deflated.crc);
    }
    body.extend_from_slice(&LAST);
    body.extend_from_slice(&crc.sum().to_le_bytes());
    body.extend_from_slice(&crc.amount().to_le_bytes());
    Ok(body.into())
}

/// The pieces as zstd frames. Takes a while for new ones: run it where blocking is allowed.
pub(super) fn zstd(pieces: &[Piece]) -> io::Result<Bytes> {
    let mut body = Vec::new();
    for piece in pieces {
        body.extend_from_slice(&piece.zstd()?);
    }
    Ok(body.into())
}

/// Deflate blocks, none of them the last, that end at a byte.
fn deflate(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut state = Compress::new(Compression::fast(), false);
    let mut packed = Vec::with_capacity(bytes.len() / 4 + SHORT);
    loop {
        let taken = usize::try_from(state.total_in()).map_err(io::Error::other)?;
        state.compress_vec(&bytes[taken..], &mut packed, FlushCompress::Sync)?;
        // Room that is left over says that everything is out.
        if state.total_in() == bytes.len() as u64 && packed.len() < packed.capacity() {
            packed.shrink_to_fit();
            return Ok(packed);
        }
        packed.reserve(bytes.len() / 8 + SHORT);
    }
}

/// A deflate block of bytes as they are, which is not the last one.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u16;
    let mut block = vec![0];
    block.extend_from_slice(&length.to_le_bytes());
    block.extend_from_slice(&(!length).to_le_bytes());
    block.extend_from_slice(bytes);
    block
}

/// A zstd frame of bytes as they are: magic number, one segment with a length of one byte, and a
/// raw block that is the last one.
fn raw_frame(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u32;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, length as u8];
    frame.extend_from_slice(&(length << 3 | 1).to_le_bytes()[..3]);
    frame.extend_from_slice(bytes);
    frame
}
