//! Everything that goes into the engine and comes out of it. A reader who knows these two enums
//! knows every trigger and every consequence.

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeliveryKey, EndpointId, EventId, Owed, Settlement, TenantId, TimerPosition, Timestamp,
};

use crate::Options;

/// Handle of a delivery that the engine holds; stale handles are recognised and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Delivery {
    /// A number that no other held delivery has, small and used again: fit for a slot in a table.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }
}

/// A fact for the engine.
#[derive(Clone, Debug)]
pub enum Input {
    /// These deliveries are owed, durable in the store, and may be new to the engine. Duplicates
    /// of what it holds are ignored; a higher round replaces what it holds.
    ///
    /// An arrival must come before [`Input::Settled`] of the same delivery and round: the engine
    /// forgets what is settled, and would take a late arrival for a new one and attempt it again.
    Arrived(Vec<Owed>),
    /// The store has fresh deliveries of this endpoint, from this event on, that nobody handed
    /// over (no room in the inbox, or the process has just started).
    Behind {
        /// Whose.
        tenant: TenantId,
        /// Which endpoint.
        endpoint: EndpointId,
        /// The oldest one.
        from: EventId,
    },
    /// The answer to [`Effect::ReadBacklog`].
    BacklogRead {
        /// As asked.
        tenant: TenantId,
        /// As asked.
        endpoint: EndpointId,
        /// Fresh deliveries in event-id order.
        owed: Vec<Owed>,
        /// Whether there were no more when this was read.
        exhausted: bool,
    },
    /// [`Effect::ReadBacklog`] failed for now; the engine asks again later.
    BacklogReadFailed {
        /// As asked.
        tenant: TenantId,
        /// As asked.
        endpoint: EndpointId,
    },
    /// The answer to [`Effect::ReadTimers`].
    TimersRead {
        /// Timers in due order.
        owed: Vec<Owed>,
        /// Where to go on, where the limit cut the answer.
        next: Option<TimerPosition>,
    },
    /// [`Effect::ReadTimers`] failed for now; the engine asks again later.
    TimersReadFailed,
    /// The answer to [`Effect::LoadPayload`]; none where the event is gone from the store.
    PayloadLoaded {
        /// Which delivery.
        delivery: Delivery,
        /// Its payload.
        payload: Option<Bytes>,
    },
    /// [`Effect::LoadPayload`] failed for now; the engine asks again later.
    PayloadLoadFailed {
        /// Which delivery.
        delivery: Delivery,
    },
    /// The answer to [`Effect::ReadOptions`], or news that nobody has asked for: this is how the
    /// endpoint is to be attempted from now on. An answer must not be older than news that was
    /// told before it. News about an endpoint that the engine does not know is ignored.
    OptionsRead {
        /// Whose.
        tenant: TenantId,
        /// Which endpoint.
        endpoint: EndpointId,
        /// How it is to be attempted; the defaults where nothing is configured, or the tenant is
        /// gone.
        options: Box<Options>,
    },
    /// [`Effect::ReadOptions`] failed for now; the engine asks again later.
    OptionsReadFailed {
        /// As asked.
        tenant: TenantId,
        /// As asked.
        endpoint: EndpointId,
    },
    /// Somebody says that this endpoint is well again: it is taken up at once, slowly. Nothing
    /// where it is not left alone; a hold that the endpoint itself has asked for goes on.
    Lift {
        /// Whose.
        tenant: TenantId,
        /// Which endpoint.
        endpoint: EndpointId,
    },
    /// An attempt has ended.
    Attempted {
        /// Which delivery.
        delivery: Delivery,
        /// What it came to.
        attempt: Attempt,
    },
    /// An ordered attempt was not made, and the delivery is not this store's to owe any more:
    /// another process has taken it over. A read that is ordered after this must not show it.
    Withdrawn {
        /// Which delivery.
        delivery: Delivery,
    },
    /// An ordered attempt was not made, because its endpoint has been paused meanwhile, or what is
    /// stored of it makes no sense. Where the engine has not heard of a pause before, or has heard
    /// of its end, it waits a while.
    HeldBack {
        /// Which delivery.
        delivery: Delivery,
    },
    /// An ordered attempt was not made, because the tenant does not exist any more.
    TenantGone {
        /// Which delivery.
        delivery: Delivery,
    },
    /// A settlement is durable. A read that is ordered after this must see it.
    ///
    /// Where the driver does not tell [`Input::Superseded`] apart, it may say this instead; the
    /// price is an attempt too many where a timer fires before the later round is heard of.
    Settled {
        /// Which delivery.
        delivery: Delivery,
    },
    /// The store dropped a settlement because it holds a later round or a final status. A later
    /// round is handed over by [`Input::Arrived`] or [`Input::Behind`], before or after this.
    Superseded {
        /// Which delivery.
        delivery: Delivery,
    },
    /// The store could not settle for now; the engine gives the same settlement out again later.
    SettleFailed {
        /// Which delivery, and what was to be settled.
        delivery: Delivery,
        /// The settlement, given back.
        settlement: Box<Settlement>,
    },
    /// Start no attempt from now on; finish what is in flight.
    Drain,
}

/// An order from the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read fresh deliveries of an endpoint from `from` on (inclusive).
    ReadBacklog {
        /// Whose.
        tenant: TenantId,
        /// Which endpoint.
        endpoint: EndpointId,
        /// Where to begin.
        from: EventId,
        /// At most this many.
        max: usize,
    },
    /// Read this shard's timers after `from` with due times up to `until` (inclusive).
    ReadTimers {
        /// Where to begin (exclusive).
        from: TimerPosition,
        /// The latest due time.
        until: Timestamp,
        /// At most this many.
        max: usize,
    },
    /// Read how an endpoint is to be attempted. It gets no attempt before the answer. Ordered once
    /// for an endpoint that becomes known, and again now and then while it is paused or left alone.
    ReadOptions {
        /// Whose.
        tenant: TenantId,
        /// Which endpoint.
        endpoint: EndpointId,
    },
    /// Read a payload.
    LoadPayload {
        /// Which delivery.
        delivery: Delivery,
        /// Its name in the store.
        key: DeliveryKey,
    },
    /// Make one HTTP request now.
    Attempt {
        /// Which delivery.
        delivery: Delivery,
        /// Its name.
        key: DeliveryKey,
        /// Its round.
        round: u32,
        /// Which attempt of the round this is, from 1.
        number: u32,
        /// The body.
        payload: Bytes,
        /// Since when it could have started, for the queue-time histogram.
        ready_at: Timestamp,
    },
    /// Make an outcome durable.
    Settle {
        /// Which delivery.
        delivery: Delivery,
        /// The outcome.
        settlement: Box<Settlement>,
    },
}
