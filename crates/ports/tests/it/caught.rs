//! Which facts catch which fault. A new fault needs a row, a new fact a place in one.

use crate::faulty::Fault;

/// Each fault with facts that it breaks, as `area::name`.
pub(crate) const CAUGHT: &[(Fault, &[&str])] = &[
    (Fault::CreateOverwrites, &["tenants::a_tenant_is_created_once"]),
    (Fault::UnknownTenantTakesKeys, &["tenants::a_tenant_that_does_not_exist_has_nothing"]),
    (Fault::ShardFollowsTarget, &["tenants::a_created_tenant_is_as_it_was_given"]),
    (Fault::OverlapForgotten, &["tenants::an_old_secret_signs_on_for_its_overlap"]),
    (Fault::SecretHidesTarget, &["tenants::target_and_secret_can_change_at_once"]),
    (Fault::OptionsForgotten, &["tenants::a_created_tenant_is_as_it_was_given"]),
    (Fault::OptionsAllOrNone, &["tenants::each_option_changes_on_its_own"]),
    (Fault::OptionsFollowSecret, &["tenants::options_outlive_other_changes"]),
    (
        Fault::VersionStands,
        &["tenants::a_new_target_moves_no_shard", "tenants::every_change_raises_the_version"],
    ),
    (Fault::ChangeHitsNeighbour, &["tenants::a_change_of_one_tenant_is_nobody_elses"]),
    (Fault::PlanForgotten, &["tenants::a_key_says_whose_it_is"]),
    (
        Fault::KeysInOrderOfHash,
        &[
            "tenants::keys_are_listed_oldest_first",
            "random::histories_of_tenants_agree_with_the_reference",
        ],
    ),
    (Fault::RevokedKeyUnknown, &["tenants::a_revoked_key_stays_known"]),
    (
        Fault::ForeignKeyRevoked,
        &[
            "tenants::a_tenant_that_does_not_exist_has_nothing",
            "tenants::a_foreign_key_cannot_be_revoked",
        ],
    ),
    (Fault::ReceptionNotStored, &["tenants::the_receiver_is_on_until_switched_off"]),
    (Fault::SettingsWrittenOnce, &["tenants::a_setting_is_the_last_value_set"]),
    (Fault::CreateRaces, &["racing::one_of_many_tenants_of_a_name_is_created"]),
    (Fault::AnswersReversed, &["owing::an_endpoint_is_owed_from_its_oldest_fresh_delivery"]),
    (Fault::PayloadTrimmed, &["accepting::a_payload_is_kept_byte_for_byte"]),
    (Fault::UnknownTenantAccepted, &["accepting::an_unknown_tenants_event_leaves_no_trace"]),
    (Fault::ClaimsIgnored, &["accepting::a_claim_is_one_tenants_own"]),
    (Fault::ClaimsIgnoreBody, &["accepting::the_same_key_with_another_body_is_a_conflict"]),
    (Fault::EveryEventClaims, &["accepting::only_a_key_makes_events_the_same"]),
    (
        Fault::ClaimsHold25Hours,
        &["accepting::a_claim_holds_for_24_hours", "expiring::a_sweep_takes_claims_that_are_over"],
    ),
    (Fault::ClaimsOfAllTenants, &["accepting::a_claim_is_one_tenants_own"]),
    (
        Fault::ClaimsBlindInBatch,
        &["accepting::a_batch_is_answered_in_order", "accepting::a_claim_counts_within_its_batch"],
    ),
    (
        Fault::ClaimsRace,
        &[
            "accepting::a_claim_holds_for_24_hours",
            "racing::one_key_a_hundred_times_is_one_event",
            "racing::one_key_with_a_hundred_bodies_is_one_event",
        ],
    ),
    (Fault::IdsOfAllTenants, &["accepting::an_id_is_one_tenants_own"]),
    (Fault::LargeBatchCut, &["accepting::a_large_batch_is_whole"]),
    (
        Fault::SinkDeaf,
        &[
            "accepting::the_sink_hears_of_each_accepted_event",
            "racing::events_at_the_same_time_are_all_stored",
        ],
    ),
    (Fault::SinkTwice, &["accepting::the_sink_hears_of_each_accepted_event"]),
    (Fault::SinkWithoutPayload, &["accepting::the_sink_hears_of_each_accepted_event"]),
    (
        Fault::SinkEarly,
        &[
            "accepting::the_same_key_and_body_is_one_event",
            "accepting::the_same_key_with_another_body_is_a_conflict",
            "racing::what_is_heard_of_is_stored",
        ],
    ),
    (Fault::SinkDeafToRounds, &["retrying::the_sink_hears_of_a_retried_event"]),
    (Fault::ListBackwards, &["listing::a_list_begins_with_the_newest"]),
    (
        Fault::ListShort,
        &["listing::pages_are_full_and_leave_nothing_out", "listing::a_full_page_can_be_the_last"],
    ),
    (Fault::ListNeverEnds, &["listing::a_list_begins_with_the_newest"]),
    (Fault::BeforeInclusive, &["listing::a_page_begins_after_any_id"]),
    (
        Fault::FailedForEver,
        &[
            "listing::a_filter_finds_all_of_a_status",
            "listing::a_failed_event_is_pending_when_it_is_due",
        ],
    ),
    (Fault::FilterAfterPage, &["listing::tenants_never_see_each_other"]),
    (
        Fault::ListCountsOtherwise,
        &[
            "listing::a_failed_event_is_pending_when_it_is_due",
            "listing::a_list_says_what_the_event_says",
            "random::histories_agree_with_the_reference",
        ],
    ),
    (Fault::PrefixesShared, &["listing::tenants_never_see_each_other"]),
    (Fault::EventsOfAllTenants, &["listing::a_tenant_that_does_not_exist_has_no_events"]),
    (Fault::LogOfThisRoundOnly, &["retrying::a_fresh_round_keeps_the_log"]),
    (
        Fault::RetryOfDue,
        &[
            "retrying::an_event_that_is_due_cannot_be_retried",
            "random::histories_of_failures_agree_with_the_reference",
        ],
    ),
    (Fault::RetryOfAnything, &["retrying::only_failed_and_dead_events_can_be_retried"]),
    (Fault::RetryOfForeign, &["retrying::a_foreign_event_cannot_be_retried"]),
    (Fault::RetryKeepsInterruptions, &["retrying::a_fresh_round_keeps_the_log"]),
    (
        Fault::DeliveredNotKept,
        &["accepting::an_id_is_one_tenants_own", "settling::a_delivery_ends_what_is_owed"],
    ),
    (Fault::DeadNotKept, &["retrying::a_dead_event_begins_a_fresh_round"]),
    (
        Fault::DueTimeMoved,
        &[
            "settling::a_dead_letter_ends_what_is_owed",
            "settling::an_outcome_without_an_attempt_logs_none",
        ],
    ),
    (Fault::RoundIgnored, &["settling::an_outcome_of_another_round_is_dropped"]),
    (
        Fault::OwedAsIgnored,
        &[
            "settling::an_outcome_of_what_is_owed_otherwise_is_dropped",
            "settling::the_same_outcome_twice_counts_once",
        ],
    ),
    (Fault::AttemptsIgnored, &["settling::only_the_next_attempt_has_an_outcome"]),
    (Fault::FinalReopened, &["settling::a_final_status_is_final"]),
    (Fault::ForeignSettled, &["settling::an_outcome_of_nothing_is_dropped"]),
    (Fault::EndpointIgnored, &["settling::an_outcome_of_nothing_is_dropped"]),
    (
        Fault::AlwaysSettled,
        &[
            "retrying::an_outcome_of_the_round_before_comes_too_late",
            "racing::one_of_many_outcomes_is_taken",
        ],
    ),
    (Fault::BatchBackwards, &["settling::a_batch_is_settled_in_order"]),
    (Fault::ResponseCut, &["settling::the_log_keeps_every_attempt_whole"]),
    (Fault::AttemptInvented, &["settling::an_outcome_without_an_attempt_logs_none"]),
    (Fault::InterruptionsForgotten, &["settling::interruptions_stay_with_a_timer"]),
    (Fault::MoveInTwoSteps, &["racing::a_move_is_seen_whole"]),
    (
        Fault::BacklogNewestFirst,
        &["owing::a_backlog_is_in_the_order_of_age", "owing::a_backlog_holds_only_what_is_fresh"],
    ),
    (Fault::BacklogExclusive, &["owing::a_backlog_begins_at_any_id"]),
    (Fault::BacklogAlwaysExhausted, &["owing::a_backlog_is_exhausted_where_nothing_follows"]),
    (
        Fault::BacklogNeverExhausted,
        &[
            "accepting::an_accepted_event_is_pending_and_owed",
            "retrying::a_failed_event_begins_a_fresh_round",
        ],
    ),
    (
        Fault::BacklogHoldsTimers,
        &[
            "settling::a_failure_waits_for_its_due_time",
            "settling::a_retry_that_fails_moves_to_its_next_due_time",
        ],
    ),
    (Fault::BacklogOfAnyEndpoint, &["owing::another_endpoint_has_no_backlog"]),
    (Fault::TimersBackwards, &["owing::timers_are_in_due_order"]),
    (Fault::UntilExclusive, &["owing::timers_end_with_until"]),
    (Fault::FromInclusive, &["owing::timers_begin_after_any_place"]),
    (
        Fault::TimersEndEarly,
        &[
            "owing::pages_of_timers_leave_nothing_out",
            "owing::a_full_page_of_timers_can_be_the_last",
        ],
    ),
    (Fault::TimersNeverEnd, &["settling::a_failure_waits_for_its_due_time"]),
    (Fault::TimersOfAllShards, &["owing::a_shard_sees_only_its_own"]),
    (Fault::DueTimesOf48Bits, &["owing::timers_reach_from_1970_to_the_end_of_time"]),
    (Fault::EndpointsOfAllShards, &["owing::a_shard_sees_only_its_own"]),
    (Fault::EndpointsFromNewest, &["owing::an_endpoint_is_owed_from_its_oldest_fresh_delivery"]),
    (Fault::PayloadsWithoutGaps, &["owing::payloads_are_answered_in_order"]),
    (
        Fault::CauseForgotten,
        &[
            "dead_letters::a_dead_letter_says_why",
            "dead_letters::a_dead_letter_without_an_attempt_has_no_error",
        ],
    ),
    (Fault::ErrorInvented, &["dead_letters::a_dead_letter_without_an_attempt_has_no_error"]),
    (Fault::NewestDeadFirst, &["dead_letters::the_oldest_dead_letters_come_first"]),
    (
        Fault::LookingHides,
        &[
            "dead_letters::the_oldest_dead_letters_come_first",
            "dead_letters::looking_changes_nothing",
        ],
    ),
    (Fault::ScopeIgnored, &["dead_letters::a_tenant_reaches_only_its_own"]),
    (Fault::AllByAge, &["dead_letters::the_admin_sees_everybodys"]),
    (
        Fault::RequeueOneMore,
        &[
            "dead_letters::a_requeue_takes_the_oldest",
            "dead_letters::the_sink_hears_of_requeued_events",
        ],
    ),
    (Fault::RequeueSettles, &["dead_letters::a_requeue_begins_a_fresh_round"]),
    (
        Fault::RequeueRaces,
        &[
            "racing::requeues_at_the_same_time_share_the_queue",
            "racing::a_purge_beside_a_requeue_leaves_nothing_in_between",
        ],
    ),
    (Fault::PurgeTakesOne, &["dead_letters::a_purge_empties_the_queue_for_good"]),
    (Fault::PurgeRequeues, &["retrying::only_failed_and_dead_events_can_be_retried"]),
    (
        Fault::SweepEarly,
        &[
            "expiring::a_delivered_event_is_kept_for_30_days",
            "expiring::a_dead_event_is_kept_for_14_days",
        ],
    ),
    (Fault::SweepLate, &["expiring::a_dead_event_is_kept_for_14_days"]),
    (Fault::SweepUnbounded, &["expiring::a_sweep_is_as_small_as_one_wants"]),
    (Fault::SweepCountsNothing, &["expiring::a_sweep_of_nothing_takes_nothing"]),
    (
        Fault::PurgeExpiresFromCreation,
        &[
            "expiring::a_purged_event_is_kept_for_14_days",
            "random::histories_of_dead_letters_agree_with_the_reference",
        ],
    ),
    (
        Fault::RequeueKeepsEnd,
        &[
            "expiring::a_purged_event_is_kept_for_14_days",
            "expiring::a_fresh_round_takes_the_end_away",
        ],
    ),
    (
        Fault::OwedExpires,
        &["expiring::what_is_owed_never_expires", "expiring::a_sweep_is_as_small_as_one_wants"],
    ),
    (Fault::PayloadOutlives, &["expiring::an_expired_event_is_gone_from_every_view"]),
    (Fault::Forgetful, &["tenants::a_created_tenant_is_as_it_was_given"]),
];
