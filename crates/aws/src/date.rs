//! What time it is at DynamoDB, by the `Date` of its answers.
//!
//! Leases stand in rows, and every instance compares them with a clock. With the table's, which all
//! instances have in common, it does not matter how wrong their own are.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use posthaste_domain::Timestamp;
use tokio::time::Instant;

/// The latest answer. Cheap to clone; all clones hear the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Answers>>);

#[derive(Clone, Copy, Debug, Default)]
enum Answers {
    #[default]
    None,
    /// None of them had a date: some emulators' are so.
    Undated,
    /// The date of the latest one that had one, and when it came.
    Dated(Timestamp, Instant),
}

impl Heard {
    /// What time it is there: at least this, and more by no more than a second and the way of that
    /// answer. `own`, where answers bear no date; None before the first one.
    pub(crate) fn now(&self, own: Timestamp) -> Option<Timestamp> {
        self.by(Instant::now(), own)
    }

    fn by(&self, now: Instant, own: Timestamp) -> Option<Timestamp> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Answers::None => None,
            Answers::Undated => Some(own),
            Answers::Dated(date, at) => Some(date.plus(now.saturating_duration_since(at))),
        }
    }

    fn hear(&self, date: Option<&str>, at: Instant) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (date.and_then(parse), *answers) {
            (Some(date), _) => *answers = Answers::Dated(date, at),
            (None, Answers::None) => *answers = Answers::Undated,
            (None, _) => {}
        }
    }
}

fn parse(date: &str) -> Option<Timestamp> {
    let ms = DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?.to_millis().ok()?;
    u64::try_from(ms).ok().map(Timestamp::from_millis)
}

impl Intercept for Heard {
    fn name(&self) -> &'static str {
        "posthaste-date"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.hear(context.response().headers().get("date"), Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OWN: Timestamp = Timestamp::from_millis(1);

    #[test]
    fn the_latest_date_goes_on_with_time() {
        let (heard, began) = (Heard::default(), Instant::now());
        assert_eq!(heard.by(began, OWN), None);
        heard.hear(Some("Sun, 06 Nov 1994 08:49:37 GMT"), began);
        assert_eq!(heard.by(began, OWN), Some(Timestamp::from_millis(784_111_777_000)));
        let later = began + Duration::from_millis(2_500);
        assert_eq!(heard.by(later, OWN), Some(Timestamp::from_millis(784_111_779_500)));
        // Whatever came before: a clock there that was set right is right.
        heard.hear(Some("Sun, 06 Nov 1994 08:49:38 GMT"), later);
        assert_eq!(heard.by(later, OWN), Some(Timestamp::from_millis(784_111_778_000)));
        assert_eq!(heard.by(began, OWN), Some(Timestamp::from_millis(784_111_778_000)));
        // A refusal on the way there may bear none.
        heard.hear(None, later);
        assert_eq!(heard.by(later, OWN), Some(Timestamp::from_millis(784_111_778_000)));
    }

    #[test]
    fn where_answers_bear_no_date_ones_own_clock_is_as_good() {
        let now = Instant::now();
        let odd = ["", "now", "Sun, 99 Nov 1994 08:49:37 GMT", "784111777", "1994-11-06T08:49:37Z"];
        let before_there_were_timestamps = "Wed, 31 Dec 1969 23:59:59 GMT";
        let dates = odd.into_iter().chain([before_there_were_timestamps]).map(Some);
        for date in dates.chain([None]) {
            let heard = Heard::default();
            heard.hear(date, now);
            assert_eq!(heard.by(now, OWN), Some(OWN), "{date:?}");
        }
    }
}
