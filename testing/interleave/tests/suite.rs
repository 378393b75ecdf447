//! Every check of the crate under random schedules.

macro_rules! checks {
    ($($module:ident: $($check:ident)*;)*) => {
        $($(
            #[test]
            fn $check() {
                interleave::$module::$check();
            }
        )*)*
    };
}

checks! {
    schedules:
        every_message_arrives_once_and_those_of_one_sender_in_order
        who_waits_at_an_inbox_that_is_abandoned_is_woken
        nothing_is_left_at_a_workplace_when_everybody_has_gone
        an_answer_reaches_who_waits_for_it_through_a_mailbox_and_directly
        no_event_is_slept_through
        no_announcement_is_slept_through
        who_waits_for_the_driver_is_woken_by_the_end;
    pump:
        every_proposal_is_applied_in_order_whoever_holds_the_driver;
}
