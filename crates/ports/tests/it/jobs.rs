//! The reference of jobs under its suite, and the suite under stores of jobs with one fault each.

mod faulty;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use posthaste_ports::JobStore;
use posthaste_ports::contract::{JobSubject, Lives, job_facts, jobs_hold};
use posthaste_ports::memory::MemoryJobs;

use self::faulty::{Fault, FaultyJobs};

/// Jobs in memory; closing forgets nothing, because the subject keeps them.
#[derive(Default)]
struct Memory(MemoryJobs);

#[async_trait]
impl JobSubject for Memory {
    async fn open(&mut self) -> Arc<dyn JobStore> {
        Arc::new(self.0.clone())
    }
}

fn open() -> Memory {
    Memory::default()
}

posthaste_ports::job_contract_tests!(open, durable);

struct FaultySubject(Fault, FaultyJobs);

#[async_trait]
impl JobSubject for FaultySubject {
    async fn open(&mut self) -> Arc<dyn JobStore> {
        if self.0 == Fault::Forgetful {
            self.1 = FaultyJobs::new(self.0);
        }
        Arc::new(self.1.clone())
    }
}

fn holds_with(fault: Fault, fact: &str, lives: Lives) -> Result<(), String> {
    let (area, name) = fact.split_once("::").expect("area::name");
    jobs_hold(area, name, FaultySubject(fault, FaultyJobs::new(fault)), lives)
}

fn all_facts() -> BTreeSet<String> {
    job_facts().map(|(area, name)| format!("{area}::{name}")).collect()
}

/// Each fault with facts that it breaks.
const CAUGHT: &[(Fault, &[&str])] = &[
    (
        Fault::PutKeepsTheFirst,
        &["changing::a_put_takes_the_place_of_what_was", "waiting::a_timer_moves_with_its_job"],
    ),
    (
        Fault::EarlierRoundWins,
        &[
            "changing::an_earlier_round_says_nothing_about_a_later_one",
            "random::histories_of_jobs_agree_with_the_reference",
        ],
    ),
    (
        Fault::EarlierRoundEnds,
        &[
            "changing::an_earlier_round_says_nothing_about_a_later_one",
            "random::histories_of_jobs_agree_with_the_reference",
        ],
    ),
    (
        Fault::RemoveForgotten,
        &["changing::a_removed_job_is_gone_from_every_view", "changing::a_job_can_come_again"],
    ),
    (
        Fault::RemovedForGood,
        &["changing::a_job_can_come_again", "random::histories_of_jobs_agree_with_the_reference"],
    ),
    (Fault::ChangesReversed, &["changing::changes_take_effect_in_order"]),
    (Fault::AnswersReversed, &["changing::jobs_are_answered_in_order"]),
    (
        Fault::EndpointIgnored,
        &[
            "changing::endpoints_of_an_event_are_apart",
            "random::histories_of_jobs_agree_with_the_reference",
        ],
    ),
    (Fault::PayloadIsText, &["changing::a_job_is_as_it_was_put"]),
    (Fault::PayloadStays, &["changing::a_job_keeps_no_payload_that_it_was_put_without"]),
    (Fault::NothingEmptiesAll, &["changing::nothing_to_change_changes_nothing"]),
    (Fault::ChangesRace, &["changing::changes_at_the_same_time_are_all_made"]),
    (Fault::InterruptionsForgotten, &["waiting::a_waiting_job_is_owed_as_a_timer"]),
    (
        Fault::NewestTimerFirst,
        &["waiting::timers_are_in_due_order", "waiting::timers_reach_from_1970_to_the_end_of_time"],
    ),
    (Fault::UntilExclusive, &["waiting::timers_end_with_until"]),
    (
        Fault::FromInclusive,
        &["waiting::timers_begin_after_any_place", "waiting::pages_of_timers_leave_nothing_out"],
    ),
    (Fault::FromIgnoresDelivery, &["waiting::pages_of_timers_leave_nothing_out"]),
    (Fault::FullPageGoesOn, &["waiting::a_full_page_of_timers_can_be_the_last"]),
    (Fault::TimersFrom2000, &["waiting::timers_reach_from_1970_to_the_end_of_time"]),
    (Fault::ShardIgnored, &["waiting::a_shard_sees_only_its_own"]),
    (Fault::FormerTimerStays, &["waiting::a_timer_moves_with_its_job"]),
    (Fault::WatermarkOnlyRises, &["waiting::an_earlier_timer_is_not_passed_over"]),
    (Fault::OutboxIsTimers, &["waiting::only_waiting_jobs_are_timers"]),
    (
        Fault::OutboxNewestFirst,
        &[
            "sending::the_outbox_is_in_the_order_of_deliveries",
            "sending::pages_of_the_outbox_leave_nothing_out",
        ],
    ),
    (Fault::OutboxAfterInclusive, &["sending::the_outbox_begins_after_any_delivery"]),
    (Fault::DyingNotSent, &["sending::only_what_is_to_be_sent_is_in_the_outbox"]),
    (
        Fault::CutOffIsSent,
        &["cutting_off::a_cut_off_job_only_counts", "changing::changes_take_effect_in_order"],
    ),
    (Fault::SentStays, &["sending::what_is_sent_leaves_the_outbox"]),
    (Fault::ForgetsAtTheTime, &["cutting_off::old_cut_off_jobs_are_forgotten"]),
    (Fault::ForgetsAll, &["cutting_off::as_many_are_forgotten_as_one_wants"]),
    (Fault::ForgetsByFirstNote, &["cutting_off::a_job_that_came_again_is_not_forgotten"]),
    (Fault::Forgetful, &["changing::a_job_is_as_it_was_put"]),
];

/// The wrapper breaks nothing by itself, so what is caught is the fault.
#[test]
fn a_store_of_jobs_without_a_fault_keeps_every_fact() {
    for lives in [Lives::One, Lives::Many] {
        for fact in all_facts() {
            assert_eq!(holds_with(Fault::None, &fact, lives), Ok(()), "{fact}");
        }
    }
}

/// For all faults: each fact that is said to catch it does.
#[test]
fn every_fault_of_jobs_is_caught_by_its_facts() {
    let mut missed = Vec::new();
    for (fault, facts) in CAUGHT {
        // Only a store that is opened again can have forgotten.
        let lives = if *fault == Fault::Forgetful { Lives::Many } else { Lives::One };
        for fact in *facts {
            if holds_with(*fault, fact, lives).is_ok() {
                missed.push((fault, fact));
            }
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// No fault is without a fact, and no fact without a fault.
#[test]
fn every_fault_and_every_fact_of_jobs_has_its_counterpart() {
    for fault in Fault::ALL {
        let rows = CAUGHT.iter().filter(|(it, facts)| it == fault && !facts.is_empty());
        assert_eq!(rows.count(), 1, "{fault:?}");
    }
    let listed = CAUGHT.iter().flat_map(|(_, facts)| *facts);
    let listed: BTreeSet<String> = listed.map(|fact| (*fact).to_owned()).collect();
    let (all, none) = (all_facts(), Vec::<&String>::new());
    assert_eq!(all.difference(&listed).collect::<Vec<_>>(), none, "facts that nothing breaks");
    assert_eq!(listed.difference(&all).collect::<Vec<_>>(), none, "no such facts");
}
