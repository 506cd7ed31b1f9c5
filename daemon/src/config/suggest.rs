//! The known name that a misspelt one probably means.
//!
//! Refuses to guess: a wrong hint is worse than none.

use strsim::damerau_levenshtein;

/// The known name nearest to `wrong`: misspelt, with its words in another order, without its
/// section or in another one, or written with underscores.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = plain(wrong);
    let candidates = known.map(|name| (distance(&wrong, name), name));
    let (distance, name) = candidates.min_by_key(|(distance, _)| *distance)?;
    // A slip in every four letters is as far as a guess goes; two in a short name.
    let far = (wrong.len() / 4).max(2);
    (distance <= far).then_some(name)
}

/// How many slips turn one name into the other; the smallest of several ways of looking at them.
fn distance(wrong: &str, known: &str) -> usize {
    let whole = plain(known);
    let mut least = damerau_levenshtein(wrong, &whole);
    least = least.min(damerau_levenshtein(&in_order(wrong), &in_order(&whole)));
    // Without its section, or in another one: one slip more, so that a better match wins. Names
    // of one short word are everywhere, so they must match exactly.
    if let Some((_, name)) = whole.split_once('-').filter(|_| known.contains(['.', '_'])) {
        let tail = wrong.split_once('-').map_or(wrong, |(_, tail)| tail);
        for part in [wrong, tail] {
            let slips = damerau_levenshtein(part, name);
            if slips * 4 <= name.len() {
                least = least.min(slips + 1);
            }
        }
    }
    least
}

fn plain(name: &str) -> String {
    name.to_lowercase().replace(['.', '_'], "-").replace('"', "")
}

fn in_order(name: &str) -> String {
    let mut words: Vec<_> = name.split('-').collect();
    words.sort_unstable();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = [
        "server.listen",
        "server.body-max",
        "delivery.attempt-timeout",
        "delivery.connect-timeout",
        "retry.delays",
        "log.level",
    ];

    #[test]
    fn slips_are_forgiven() {
        for (wrong, right) in [
            ("server.listne", "server.listen"),
            ("server.body_max", "server.body-max"),
            ("server.max-body", "server.body-max"),
            ("delivery.attempt-time-out", "delivery.attempt-timeout"),
            ("delivery.atempt-timeout", "delivery.attempt-timeout"),
            ("delivery.body-max", "server.body-max"),
            ("attempt-timeout", "delivery.attempt-timeout"),
            ("listen", "server.listen"),
            ("sever.listen", "server.listen"),
            ("retry.delay", "retry.delays"),
            ("Log.Level", "log.level"),
        ] {
            assert_eq!(nearest(wrong, KNOWN.into_iter()), Some(right), "{wrong}");
        }
    }

    #[test]
    fn variables_are_names_too() {
        let known = ["SERVER_LISTEN", "DELIVERY_ATTEMPT_TIMEOUT"];
        assert_eq!(nearest("LISTEN", known.into_iter()), Some("SERVER_LISTEN"));
        assert_eq!(nearest("SERVER__LISTEN", known.into_iter()), Some("SERVER_LISTEN"));
        assert_eq!(nearest("ATTEMPT_TIMEOUT", known.into_iter()), Some("DELIVERY_ATTEMPT_TIMEOUT"));
    }

    #[test]
    fn what_is_far_from_everything_gets_no_hint() {
        for wrong in ["colour", "server.workers", "tls.certificate", ""] {
            assert_eq!(nearest(wrong, KNOWN.into_iter()), None, "{wrong}");
        }
    }
}
