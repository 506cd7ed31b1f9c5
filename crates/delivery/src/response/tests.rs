//! Heads and bodies piece by piece. That another reader sees the same is in the tests of the crate.

use super::*;

fn head(text: &str) -> (Head<'_>, usize) {
    match look(text.as_bytes()) {
        Ok(Look::Head(head, length)) => (head, length),
        other => panic!("{text:?}: {other:?}"),
    }
}

/// For every cut of these heads: not yet, and no error.
#[test]
fn a_part_of_a_head_is_a_part() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\n",
        "HTTP/1.0 503 \r\nRetry-After: 1\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        for cut in 0..text.len() {
            let seen = look(&text.as_bytes()[..cut]);
            assert!(matches!(seen, Ok(Look::Partial)), "{:?}: {seen:?}", &text[..cut]);
        }
    }
}

#[test]
fn the_first_retry_after_is_taken() {
    let (head, length) = head("HTTP/1.1 503 X\r\nretry-AFTER:  9 \r\nRetry-After: 1\r\n\r\nrest");
    assert_eq!((head.retry_after, length), (Some(&b"9"[..]), 52));
}

#[test]
fn who_keeps_a_connection() {
    for (version, field, keeps) in [
        ("1.1", "X: y", true),
        ("1.1", "Connection: close", false),
        ("1.1", "Connection: keep-alive\r\nConnection: x ,CLOSE", false),
        ("1.0", "X: y", false),
        ("1.0", "Connection: Keep-Alive", true),
        ("1.0", "Connection: keep-alive, close", false),
        ("1.1", "Transfer-Encoding: chunked", false),
    ] {
        let text = format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{field}\r\n\r\n");
        assert_eq!(head(&text).0.keeps_alive, keeps, "{text}");
    }
}

/// Where no body may be, naming one costs the connection; a 304 has the length of another answer.
#[test]
fn who_names_a_body_where_none_may_be() {
    for (status, field, keeps) in [
        (204, "X: y", true),
        (204, "Content-Length: 0", true),
        (204, "Content-Length: 2", false),
        (204, "Transfer-Encoding: chunked", false),
        (304, "Content-Length: 7", true),
        (304, "Content-Length: x", false),
        (304, "Transfer-Encoding: chunked", false),
    ] {
        let text = format!("HTTP/1.1 {status} X\r\n{field}\r\n\r\n");
        assert_eq!(head(&text).0.keeps_alive, keeps, "{text}");
    }
}

#[test]
fn what_is_in_doubt_is_refused() {
    for (text, error) in [
        ("HTTP/1.1 099 X\r\n\r\n", HeadError::Status),
        ("HTTP/1.0 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::Encoding),
        ("HTTP/1.1 200 X\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", HeadError::Length),
        ("HTTP/1.1 200 X\r\nContent-Length: +5\r\n\r\n", HeadError::Length),
        ("HTTP/1.1 200 X\r\nContent-Length: 5,\r\n\r\n", HeadError::Length),
        ("HTTP/1.1 200 X\r\nContent-Length: 18446744073709551616\r\n\r\n", HeadError::Length),
        ("HTTP/2.0 200 X\r\n\r\n", HeadError::Syntax(httparse::Error::Version)),
    ] {
        assert_eq!(look(text.as_bytes()).map(|_| ()), Err(error), "{text}");
    }
}

/// Reads a body in two pieces: what is in it, and what is left over.
fn read(mut body: Body, text: &str, cut: usize) -> Result<(String, usize, bool), Malformed> {
    let (mut data, mut used, mut ended) = (Vec::new(), 0, false);
    for piece in [&text[..cut], &text[cut..]] {
        if !ended {
            let taken = body.take(piece.as_bytes(), |data_of| data.extend_from_slice(data_of))?;
            (used, ended) = (used + taken.bytes, taken.ended);
        }
    }
    Ok((String::from_utf8(data).unwrap(), text.len() - used, ended))
}

/// For every cut: the same data, the same rest.
#[test]
fn a_body_is_the_same_in_pieces() {
    let chunked = || Body::Chunks(Chunks::new());
    for (text, data, rest, ended) in [
        ("5\r\nhello\r\n0\r\n\r\n", "hello", 0, true),
        ("5\r\nhello\r\n0\r\n\r\nmore", "hello", 4, true),
        (
            "a;x=\"y\"\r\n0123456789\r\n1 \t\r\n!\r\n00\r\nT: x\r\nU: y\r\n\r\n",
            "0123456789!",
            0,
            true,
        ),
        ("3\r\nab", "ab", 0, false),
    ] {
        for cut in 0..=text.len() {
            let seen = read(chunked(), text, cut);
            assert_eq!(seen, Ok((data.to_owned(), rest, ended)), "{text:?} at {cut}");
        }
    }
    for cut in 0..=5 {
        assert_eq!(read(Body::Length(3), "abcde", cut), Ok(("abc".to_owned(), 2, true)));
        assert_eq!(read(Body::Length(9), "abcde", cut), Ok(("abcde".to_owned(), 0, false)));
        assert_eq!(read(Body::UntilClosed, "abcde", cut), Ok(("abcde".to_owned(), 0, false)));
    }
}

#[test]
fn chunks_that_are_none() {
    for text in [
        "\r\n",
        "x\r\n",
        "-5\r\n",
        "5\nhello",
        "5 5\r\n",
        "5\r\nhello\rX",
        "5\r\nhello\r\r",
        "5\r\nhello\n",
        "5\r\nhelloX",
        "5;a\nb",
        "0\r\nT: x\n",
        "0\r\n\n",
        "10000000000000000\r\n",
        "0\r\n\rx",
        "5\rx",
    ] {
        for cut in 0..=text.len() {
            let seen = read(Body::Chunks(Chunks::new()), text, cut);
            assert_eq!(seen, Err(Malformed), "{text:?} at {cut}");
        }
    }
}

/// What the standard says of chunks, the slow way: the data and what is left over; `Err` where it
/// is no chunked body, `None` where it is not at its end.
fn by_lines(mut text: &str) -> Result<Option<(String, usize)>, Malformed> {
    fn line<'t>(text: &mut &'t str) -> Result<Option<&'t str>, Malformed> {
        let end = text.find(['\r', '\n']).unwrap_or(text.len());
        let (line, rest) = text.split_at(end);
        match rest.as_bytes() {
            [] | [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => {
                *text = &rest[2..];
                Ok(Some(line))
            }
            _ => Err(Malformed),
        }
    }
    let mut data = String::new();
    loop {
        let digits = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
        let (size, rest) = text.split_at(digits);
        let after = rest.trim_start_matches([' ', '\t']);
        let is_size = digits > 0 && matches!(after.as_bytes(), [] | [b';' | b'\r', ..]);
        if !is_size && !text.is_empty() {
            return Err(Malformed);
        }
        let size = u64::from_str_radix(size, 16);
        if line(&mut text)?.is_none() {
            return Ok(None);
        }
        let size = usize::try_from(size.map_err(|_| Malformed)?).map_err(|_| Malformed)?;
        if size == 0 {
            break;
        }
        let Some((chunk, rest)) = text.split_at_checked(size) else { return Ok(None) };
        data.push_str(chunk);
        text = rest;
        match text.as_bytes() {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => text = &text[2..],
            _ => return Err(Malformed),
        }
    }
    while let Some(trailer) = line(&mut text)? {
        if trailer.is_empty() {
            return Ok(Some((data, text.len())));
        }
    }
    Ok(None)
}

/// For every place of these bodies, with what means something among chunks put in there or in place
/// of one or two bytes: what the slow way says.
#[test]
fn chunks_are_what_the_slow_way_says() {
    let (mut tried, mut kinds) = (0, [0; 3]);
    for base in ["3\r\nabc\r\n0\r\n\r\n", "1;x\r\n0\r\na \r\n0123456789\r\n00\r\nT: x\r\n\r\nmore"]
    {
        for at in 0..base.len() {
            for part in ["", "\r", "\n", "\r\n", "0", "1", "f", " ", "\t", ";", "x", "-"] {
                for until in at..=(at + 2).min(base.len()) {
                    let text = format!("{}{part}{}", &base[..at], &base[until..]);
                    let ours = read(Body::Chunks(Chunks::new()), &text, at.min(text.len()));
                    let theirs = by_lines(&text);
                    let kind = match (&ours, &theirs) {
                        (Err(Malformed), Err(Malformed)) => 0,
                        (Ok((_, _, false)), Ok(None)) => 1,
                        (Ok((data, rest, true)), Ok(Some(expected))) => {
                            assert_eq!((data, rest), (&expected.0, &expected.1), "{text:?}");
                            2
                        }
                        _ => panic!("{text:?}: {ours:?}, and the slow way {theirs:?}"),
                    };
                    tried += 1;
                    kinds[kind] += 1;
                }
            }
        }
    }
    assert!(kinds.iter().all(|kind| *kind > tried / 50), "hardly tried: {kinds:?}");
}
