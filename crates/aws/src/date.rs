//! What time it is at DynamoDB, by the `Date` of its answers; see [`TableTime`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use posthaste_domain::Timestamp;
use posthaste_protocol::TableTime;
use tokio::time::Instant;

/// What all answers said. Cheap to clone; all clones hear the same.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    time: Arc<Mutex<TableTime>>,
    /// Moments are told from here on.
    begin: Instant,
}

/// When a request was sent, kept with it until its answer is there.
#[derive(Clone, Copy, Debug)]
struct Sent(Duration);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl Default for Heard {
    fn default() -> Self {
        Self { time: Arc::default(), begin: Instant::now() }
    }
}

impl Heard {
    /// What time it is there: at least this, and more by no more than a second and the way of an
    /// answer. `own`, where answers bear no date; None where it is not known.
    pub(crate) fn now(&self, own: Timestamp) -> Option<Timestamp> {
        let time = *self.time.lock().unwrap_or_else(PoisonError::into_inner);
        time.now(self.begin.elapsed(), own)
    }

    fn hear(&self, date: Option<&str>, sent: Duration) {
        let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that moments come in their order.
        time.hear(date.and_then(parse), sent, self.begin.elapsed());
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

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Sent(self.begin.elapsed()));
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Each try notes its own; one that has not is as late as can be.
        let sent = bag.load::<Sent>().map_or(Duration::ZERO, |sent| sent.0);
        self.hear(context.response().headers().get("date"), sent);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Timestamp = Timestamp::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn answers_tell_the_time() {
        let heard = Heard::default();
        assert_eq!(heard.now(OWN), None);
        for _ in 0..2 {
            heard.hear(Some("Sun, 06 Nov 1994 08:49:37 GMT"), Duration::ZERO);
        }
        assert_eq!(heard.now(OWN), Some(Timestamp::from_millis(784_111_777_000)));
        tokio::time::advance(Duration::from_millis(2_500)).await;
        assert_eq!(heard.now(OWN), Some(Timestamp::from_millis(784_111_779_500)));
    }

    #[test]
    fn what_is_no_date_is_none() {
        let odd = ["", "now", "Sun, 99 Nov 1994 08:49:37 GMT", "784111777", "1994-11-06T08:49:37Z"];
        let before_there_were_timestamps = "Wed, 31 Dec 1969 23:59:59 GMT";
        for date in odd.into_iter().chain([before_there_were_timestamps]) {
            assert_eq!(parse(date), None, "{date:?}");
            let heard = Heard::default();
            heard.hear(Some(date), Duration::ZERO);
            assert_eq!(heard.now(OWN), Some(OWN), "{date:?}");
        }
    }
}
