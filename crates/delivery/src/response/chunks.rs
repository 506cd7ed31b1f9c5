//! A chunked body (RFC 9112, §7.1), piece by piece. As strict as the standard lets one be: a line
//! ends with CR LF, extensions and trailers are read over.

use super::{Malformed, Taken};

/// Where a chunked body is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    at: At,
    /// The size of a chunk while it is read, then what is left of the chunk.
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first digit of a size.
    Start,
    Size,
    /// Behind a size: no digit may come any more.
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a line behind the last chunk.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

impl Chunks {
    pub(crate) const fn new() -> Self {
        Self { at: At::Start, left: 0 }
    }

    /// See [`super::Body::take`].
    pub(crate) fn take(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<Taken, Malformed> {
        let mut bytes = 0;
        while self.at != At::End && bytes < piece.len() {
            let rest = &piece[bytes..];
            if self.at == At::Data {
                let here =
                    usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                each(&rest[..here]);
                self.left -= here as u64;
                bytes += here;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
            } else {
                self.at = self.after(rest[0])?;
                bytes += 1;
            }
        }
        Ok(Taken { bytes, ended: self.at == At::End })
    }

    /// Where it is behind a byte that is no data.
    fn after(&mut self, byte: u8) -> Result<At, Malformed> {
        Ok(match (self.at, byte) {
            (At::Start | At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                let size = self.left.checked_mul(16).ok_or(Malformed)?;
                self.left = size.checked_add(digit.into()).ok_or(Malformed)?;
                At::Size
            }
            (At::Size | At::Space, b' ' | b'\t') => At::Space,
            (At::Size | At::Space, b';') => At::Extension,
            (At::Size | At::Space | At::Extension, b'\r') => At::SizeLf,
            // A line feed alone ends a line for some and not for others.
            (At::Extension, b'\n') => return Err(Malformed),
            (At::Extension, _) => At::Extension,
            (At::SizeLf, b'\n') if self.left == 0 => At::TrailerStart,
            (At::SizeLf, b'\n') => At::Data,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Start,
            (At::TrailerStart, b'\r') => At::EndLf,
            (At::Trailer, b'\r') => At::TrailerLf,
            (At::TrailerStart | At::Trailer, b'\n') => return Err(Malformed),
            (At::TrailerStart | At::Trailer, _) => At::Trailer,
            (At::TrailerLf, b'\n') => At::TrailerStart,
            (At::EndLf, b'\n') => At::End,
            _ => return Err(Malformed),
        })
    }
}
