//! Takes values off the front of an input. One that is used up gives zeros: every input is
//! lawful.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.bytes(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(crate) fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// At most so many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Up to a line's end, which is taken too.
    pub(crate) fn line(&mut self) -> &'a [u8] {
        let (line, rest) = split_once(self.0, b'\n').unwrap_or((self.0, b""));
        self.0 = rest;
        line
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What stands before the first of these bytes, and what behind it.
pub(crate) fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..place], &bytes[place + 1..]))
}

/// The input as text; none where it is not.
pub(crate) const fn text(data: &[u8]) -> Option<&str> {
    match str::from_utf8(data) {
        Ok(text) => Some(text),
        Err(_) => None,
    }
}
