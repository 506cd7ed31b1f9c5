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

/// The latest `Date`, and when it came. Cheap to clone; all clones hear the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Option<(Timestamp, Instant)>>>);

impl Heard {
    /// What time it is there: at least this, and within a second and the way of that answer. None
    /// before the first answer with a date.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        self.by(Instant::now())
    }

    fn by(&self, now: Instant) -> Option<Timestamp> {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map(|(date, at)| date.plus(now.saturating_duration_since(at)))
    }

    fn hear(&self, date: &str, at: Instant) {
        let Ok(date) = DateTime::from_str(date, DateTimeFormat::HttpDate) else { return };
        let Some(ms) = date.to_millis().ok().and_then(|ms| u64::try_from(ms).ok()) else { return };
        let heard = (Timestamp::from_millis(ms), at);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
    }
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
        if let Some(date) = context.response().headers().get("date") {
            self.hear(date, Instant::now());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_latest_date_goes_on_with_time() {
        let (heard, began) = (Heard::default(), Instant::now());
        assert_eq!(heard.by(began), None);
        heard.hear("Sun, 06 Nov 1994 08:49:37 GMT", began);
        assert_eq!(heard.by(began), Some(Timestamp::from_millis(784_111_777_000)));
        let later = began + Duration::from_millis(2_500);
        assert_eq!(heard.by(later), Some(Timestamp::from_millis(784_111_779_500)));
        // Whatever came before: a clock there that was set right is right.
        heard.hear("Sun, 06 Nov 1994 08:49:38 GMT", later);
        assert_eq!(heard.by(later), Some(Timestamp::from_millis(784_111_778_000)));
        assert_eq!(heard.by(began), Some(Timestamp::from_millis(784_111_778_000)));
    }

    #[test]
    fn what_is_no_date_says_nothing() {
        let (heard, now) = (Heard::default(), Instant::now());
        for date in
            ["", "now", "Sun, 99 Nov 1994 08:49:37 GMT", "784111777", "1994-11-06T08:49:37Z"]
        {
            heard.hear(date, now);
            assert_eq!(heard.by(now), None, "{date}");
        }
        heard.hear("Wed, 31 Dec 1969 23:59:59 GMT", now);
        assert_eq!(heard.by(now), None, "before there were timestamps");
    }
}
