//! The checks of tables.

mod batches;
mod claiming;
mod ending;
mod failing;
mod index;
mod payloads;
mod random;
mod reading;

use super::samples::{Table, claim, deliver, extend, fail, fail_last, purge, requeue};
use super::{Check, RowsSubject};

/// Names of functions as checks: each gets a tenant of its own.
macro_rules! checks {
    ($($area:ident: $($name:ident),+;)+) => {
        /// Every check of tables.
        pub(super) const CHECKS: &[Check<dyn RowsSubject>] = &[$($(Check {
            name: concat!(stringify!($area), "::", stringify!($name)),
            run: |subject| Box::pin(async move {
                let tenant = tenant(concat!(stringify!($area), "-", stringify!($name)));
                $area::$name(Table::new(subject, &tenant)).await;
            }),
        }),+),+];
    };
}

checks! {
    ending: deliver_from_pending, deliver_from_failed_whoever_owns_it,
        deliver_beats_the_last_failure,
        deliver_is_refused_to_what_has_ended, deliver_is_refused_in_another_round,
        die_after_the_last_failure, die_wants_a_cause, die_wants_owner_epoch_and_attempts,
        die_is_refused_in_another_round, requeue_from_dlq, requeue_from_failed_where_asked,
        requeue_is_refused_elsewhere, requeue_takes_the_end_away, requeue_twice_is_once,
        purge_from_dlq, purge_is_refused_elsewhere, purged_stays_purged;
    failing: the_first_failure_makes_epoch_one, further_failures_keep_the_epoch,
        another_owner_is_refused, another_epoch_is_refused, a_first_failure_is_refused_where_owned,
        an_owner_is_refused_where_nobody_owns, other_attempts_are_refused,
        nothing_follows_the_last_failure, what_has_ended_is_refused,
        another_round_is_refused, no_attempt_is_charged_where_none_was_made,
        interruptions_are_counted,
        anybody_may_fail_a_requeued_row, a_failure_without_a_record,
        of_many_first_failures_one_wins;
    claiming: a_claim_raises_the_epoch, another_epoch_is_refused, another_end_is_refused,
        what_nobody_owes_is_refused, another_round_is_refused, a_requeued_row_can_be_claimed,
        the_last_failure_can_be_claimed, the_late_owner_is_fenced, of_many_claims_one_wins,
        an_owner_extends, extending_wants_owner_and_epoch, extending_wants_a_lease;
    batches: nothing_in_nothing_out, answers_come_in_order, a_hundred_and_one_rows,
        one_refusal_stops_nobody, what_does_not_exist_refuses_everything,
        a_repeat_shows_what_was_written, hostile_texts_are_only_texts, the_log_keeps_rows_apart;
    reading: a_new_row_is_pending, a_row_is_put_once, what_does_not_exist_is_not_read,
        reads_see_the_last_write, answers_come_in_order, two_hundred_and_fifty_rows,
        what_was_removed_is_gone, tenants_are_apart;
    payloads: empty, around_one_kibibyte, large, near_the_limit_of_an_item, not_utf8,
        every_byte_comes_back, they_outlive_every_write;
    index: holds_what_is_owed, lets_go_of_what_has_ended, a_fresh_event_never_touches_it,
        before_is_before, soonest_first_and_at_most, follows_the_lease, a_row_has_one_partition,
        a_stale_entry_does_no_harm;
    random: writes_as_apply_has_them, writes_of_many_rows_as_apply_has_them,
        racing_writers_leave_one_history;
}

/// A lawful tenant id of a check's name.
fn tenant(name: &str) -> String {
    let name = name.replace('_', "-");
    name[..name.len().min(50)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Two checks of one tenant would see each other's rows.
    #[test]
    fn every_check_has_a_tenant_of_its_own() {
        let tenants: BTreeSet<_> =
            CHECKS.iter().map(|check| tenant(&check.name.replace("::", "-"))).collect();
        assert_eq!(tenants.len(), CHECKS.len());
    }
}
