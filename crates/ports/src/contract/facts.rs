//! The list of all facts, once, from which both the table and the adapters' tests are made.

/// The facts: `table` gives the table of checks, `tests, open, Lives` one test for each.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_facts {
    ($way:ident $(, $open:ident, $lives:ident)?) => {
        $crate::contract_facts! { @$way $($open $lives)?;
            tenants {
                a_created_tenant_is_as_it_was_given
                a_tenant_is_created_once
                a_tenant_that_does_not_exist_has_nothing
                a_new_target_moves_no_shard
                an_old_secret_signs_on_for_its_overlap
                target_and_secret_can_change_at_once
                each_option_changes_on_its_own
                options_outlive_other_changes
                every_change_raises_the_version
                a_change_of_one_tenant_is_nobody_elses
                a_key_says_whose_it_is
                keys_are_listed_oldest_first
                a_revoked_key_stays_known
                a_foreign_key_cannot_be_revoked
                the_receiver_is_on_until_switched_off
                a_setting_is_the_last_value_set
            }
            accepting {
                an_accepted_event_is_pending_and_owed
                a_batch_is_answered_in_order
                a_payload_is_kept_byte_for_byte
                an_unknown_tenants_event_leaves_no_trace
                the_same_key_and_body_is_one_event
                the_same_key_with_another_body_is_a_conflict
                only_a_key_makes_events_the_same
                a_claim_holds_for_24_hours
                a_claim_is_one_tenants_own
                a_claim_counts_within_its_batch
                an_id_is_one_tenants_own
                the_sink_hears_of_each_accepted_event
                a_large_batch_is_whole
            }
            listing {
                a_list_begins_with_the_newest
                pages_are_full_and_leave_nothing_out
                a_full_page_can_be_the_last
                a_page_begins_after_any_id
                a_filter_finds_all_of_a_status
                a_failed_event_is_pending_when_it_is_due
                a_list_says_what_the_event_says
                tenants_never_see_each_other
                a_tenant_that_does_not_exist_has_no_events
            }
            settling {
                a_delivery_ends_what_is_owed
                a_failure_waits_for_its_due_time
                a_retry_that_fails_moves_to_its_next_due_time
                a_dead_letter_ends_what_is_owed
                an_outcome_of_another_round_is_dropped
                a_final_status_is_final
                an_outcome_of_nothing_is_dropped
                an_outcome_of_what_is_owed_otherwise_is_dropped
                the_same_outcome_twice_counts_once
                only_the_next_attempt_has_an_outcome
                a_batch_is_settled_in_order
                the_log_keeps_every_attempt_whole
                an_outcome_without_an_attempt_logs_none
                interruptions_stay_with_a_timer
            }
            owing {
                a_backlog_is_in_the_order_of_age
                a_backlog_begins_at_any_id
                a_backlog_is_exhausted_where_nothing_follows
                a_backlog_holds_only_what_is_fresh
                another_endpoint_has_no_backlog
                timers_are_in_due_order
                timers_end_with_until
                timers_begin_after_any_place
                pages_of_timers_leave_nothing_out
                a_full_page_of_timers_can_be_the_last
                timers_reach_from_1970_to_the_end_of_time
                a_shard_sees_only_its_own
                an_endpoint_is_owed_from_its_oldest_fresh_delivery
                payloads_are_answered_in_order
            }
            retrying {
                a_failed_event_begins_a_fresh_round
                a_dead_event_begins_a_fresh_round
                a_fresh_round_keeps_the_log
                an_event_that_is_due_cannot_be_retried
                only_failed_and_dead_events_can_be_retried
                a_foreign_event_cannot_be_retried
                the_sink_hears_of_a_retried_event
                an_outcome_of_the_round_before_comes_too_late
            }
            dead_letters {
                a_dead_letter_says_why
                a_dead_letter_without_an_attempt_has_no_error
                the_oldest_dead_letters_come_first
                looking_changes_nothing
                the_admin_sees_everybodys
                a_tenant_reaches_only_its_own
                a_requeue_begins_a_fresh_round
                a_requeue_takes_the_oldest
                the_sink_hears_of_requeued_events
                a_purge_empties_the_queue_for_good
            }
            expiring {
                a_delivered_event_is_kept_for_30_days
                a_dead_event_is_kept_for_14_days
                a_purged_event_is_kept_for_14_days
                what_is_owed_never_expires
                an_expired_event_is_gone_from_every_view
                a_fresh_round_takes_the_end_away
                a_sweep_is_as_small_as_one_wants
                a_sweep_of_nothing_takes_nothing
                a_sweep_takes_claims_that_are_over
            }
            racing {
                one_key_a_hundred_times_is_one_event
                one_key_with_a_hundred_bodies_is_one_event
                events_at_the_same_time_are_all_stored
                one_of_many_outcomes_is_taken
                requeues_at_the_same_time_share_the_queue
                a_purge_beside_a_requeue_leaves_nothing_in_between
                one_of_many_tenants_of_a_name_is_created
                what_is_heard_of_is_stored
                a_move_is_seen_whole
            }
            random {
                histories_agree_with_the_reference
                histories_of_failures_agree_with_the_reference
                histories_of_dead_letters_agree_with_the_reference
                histories_of_tenants_agree_with_the_reference
            }
        }
    };
    (@table; $($area:ident { $($fact:ident)* })*) => {
        &[$($((
            stringify!($area),
            stringify!($fact),
            |fixture| Box::pin($area::$fact(fixture)),
        ),)*)*]
    };
    (@tests $open:ident $lives:ident; $($area:ident { $($fact:ident)* })*) => {
        $(mod $area {$(
            #[test]
            fn $fact() {
                let (subject, lives) = (super::super::$open(), $crate::contract::Lives::$lives);
                $crate::contract::hold(stringify!($area), stringify!($fact), subject, lives);
            }
        )*})*
    };
}
