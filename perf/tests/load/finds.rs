//! Goal: a server that breaks a promise is found out, and by the right name.

use gochat_perf::checker::Verdict;

use crate::endures::{room_config, run, run_config};
use crate::fake::{Fake, Fault};

#[track_caller]
fn finds(fault: Fault, is_it: impl Fn(&Verdict) -> bool) {
    let fake = Fake::start(fault);
    let (_, verdict) = run(&fake, 100);
    assert!(!verdict.holds() && is_it(&verdict), "{fault:?}: {verdict}");
    let fake = Fake::start(fault);
    let (_, verdict) = run_config(room_config(&fake), 60);
    assert!(!verdict.holds() && is_it(&verdict), "{fault:?} in a room: {verdict}");
}

#[test]
fn a_message_that_was_stored_and_forgotten() {
    finds(Fault::ForgetStored, |verdict| verdict.lost > 0);
    finds(Fault::ForgetAccepted, |verdict| verdict.lost > 0);
}

#[test]
fn a_message_that_was_stored_twice() {
    finds(Fault::StoreTwice, |verdict| verdict.doubled > 0);
}

#[test]
fn a_resend_that_gets_another_id() {
    finds(Fault::NewIdAtResend, |verdict| verdict.doubled > 0);
}

#[test]
fn a_seq_that_was_left_out() {
    finds(Fault::SkipSeq, |verdict| verdict.gaps > 0 && verdict.lost == 0);
}

#[test]
fn a_sender_whose_messages_changed_places() {
    finds(Fault::SwapOrder, |verdict| verdict.out_of_order > 0);
}

#[test]
fn members_who_see_other_orders() {
    finds(Fault::OtherOrderForOne, |verdict| verdict.out_of_order > 0);
}

#[test]
fn an_ack_that_names_another_seq() {
    finds(Fault::AckOtherSeq, |verdict| verdict.out_of_order > 0);
}

#[test]
fn a_message_with_changed_content() {
    finds(Fault::ChangeContent, |verdict| verdict.phantom > 0);
}
