//! Bytes as lower-case hexadecimal digits.

/// Appends two digits for each byte.
pub fn push(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.reserve(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// The 32 bytes that 64 digits are; none for anything else, upper-case digits too: what has one
/// spelling is compared and counted as one.
#[must_use]
pub fn parse_32(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = (value(pair[0])? << 4) | value(pair[1])?;
    }
    Some(bytes)
}

const fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_two_digits_and_they_are_that_byte() {
        let mut bytes = [0; 32];
        (bytes[0], bytes[31]) = (0x0f, 0xa5);
        let mut text = String::new();
        push(&mut text, &bytes);
        assert_eq!((text.len(), &text[..4], &text[60..]), (64, "0f00", "00a5"));
        assert_eq!(parse_32(&text), Some(bytes));
        for wrong in ["", &text[1..], &text.to_uppercase(), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(parse_32(wrong), None, "{wrong}");
        }
    }
}
