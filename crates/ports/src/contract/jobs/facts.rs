//! The list of all facts about jobs, once, as [`crate::contract_facts`] is for the others.

/// The facts: `table` gives the table of checks, `tests, open, Lives` one test for each.
#[doc(hidden)]
#[macro_export]
macro_rules! job_contract_facts {
    ($way:ident $(, $open:ident, $lives:ident)?) => {
        $crate::job_contract_facts! { @$way $($open $lives)?;
            changing {
                a_job_is_as_it_was_put
                a_put_takes_the_place_of_what_was
                an_earlier_round_says_nothing_about_a_later_one
                a_removed_job_is_gone_from_every_view
                a_job_can_come_again
                changes_take_effect_in_order
                jobs_are_answered_in_order
                endpoints_of_an_event_are_apart
                a_job_keeps_no_payload_that_it_was_put_without
                nothing_to_change_changes_nothing
                changes_at_the_same_time_are_all_made
            }
            waiting {
                a_waiting_job_is_owed_as_a_timer
                timers_are_in_due_order
                timers_end_with_until
                timers_begin_after_any_place
                pages_of_timers_leave_nothing_out
                a_full_page_of_timers_can_be_the_last
                timers_reach_from_1970_to_the_end_of_time
                a_shard_sees_only_its_own
                a_timer_moves_with_its_job
                an_earlier_timer_is_not_passed_over
                only_waiting_jobs_are_timers
            }
            sending {
                the_outbox_is_in_the_order_of_deliveries
                the_outbox_begins_after_any_delivery
                pages_of_the_outbox_leave_nothing_out
                only_what_is_to_be_sent_is_in_the_outbox
                what_is_sent_leaves_the_outbox
            }
            cutting_off {
                a_cut_off_job_only_counts
                old_cut_off_jobs_are_forgotten
                as_many_are_forgotten_as_one_wants
                a_job_that_came_again_is_not_forgotten
            }
            random {
                histories_of_jobs_agree_with_the_reference
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
                $crate::contract::hold_jobs(
                    stringify!($area), stringify!($fact), subject, lives,
                );
            }
        )*})*
    };
}
