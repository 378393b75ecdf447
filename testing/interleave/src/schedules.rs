//! Each shared structure by itself.

use crate::Refused;
use crate::inbox::Inbox;
use crate::relay::Relay;
use crate::reply::{Mailbox, Outbox, Pending, Slot};
use crate::signal::EventSignals;
use crate::sync::Arc;
use crate::workplace::Workplace;
use model::Revision;
use shuttle::future::block_on;
use shuttle::thread;
use std::time::Duration;

const SCHEDULES: usize = 3000;
const FOREVER: Duration = Duration::from_secs(3600);

/// Takes until so many messages have come.
fn receive(inbox: &Inbox<u32>, count: usize) -> Vec<u32> {
    let (mut all, mut taken) = (Vec::new(), Vec::new());
    while all.len() < count {
        inbox.wait(FOREVER);
        inbox.take(&mut taken);
        all.append(&mut taken);
    }
    all
}

pub fn every_message_arrives_once_and_those_of_one_sender_in_order() {
    shuttle::check_random(
        || {
            let inbox = Arc::new(Inbox::new(100, 100));
            let senders: Vec<_> = [0, 10]
                .map(|first| {
                    let inbox = inbox.clone();
                    thread::spawn(move || {
                        assert!(inbox.push(first, 1).is_ok());
                        inbox.leave(|messages| messages.push(first + 1));
                        inbox.wake();
                        inbox.push_always(first + 2);
                    })
                })
                .into();
            let mut received = receive(&inbox, 6);
            let of = |first: u32| received.iter().copied().filter(move |n| n / 10 == first / 10);
            assert!(of(0).eq(0..3) && of(10).eq(10..13), "{received:?}");
            received.sort_unstable();
            assert_eq!(received, [0, 1, 2, 10, 11, 12]);
            senders.into_iter().for_each(|sender| sender.join().expect("it ends"));
        },
        SCHEDULES,
    );
}

pub fn who_waits_at_an_inbox_that_is_abandoned_is_woken() {
    shuttle::check_random(
        || {
            let inbox = Arc::new(Inbox::<u32>::new(100, 100));
            let other = inbox.clone();
            let receiver = thread::spawn(move || while other.wait(FOREVER) {});
            inbox.abandon();
            receiver.join().expect("it ends");
        },
        SCHEDULES,
    );
}

/// The pump and its standby at one part: nothing that was queued is left behind, whoever finds the other at it.
pub fn nothing_is_left_at_a_workplace_when_everybody_has_gone() {
    shuttle::check_random(
        || {
            let shared = Arc::new((Inbox::new(100, 100), Workplace::new(Vec::new())));
            let workers: Vec<_> = (0..3u32)
                .map(|n| {
                    let shared = shared.clone();
                    thread::spawn(move || {
                        let (queue, place) = &*shared;
                        queue.leave(|messages| messages.push(n));
                        let step = |done: &mut Vec<u32>| {
                            let mut taken = Vec::new();
                            queue.take(&mut taken);
                            done.append(&mut taken);
                            true
                        };
                        place.work_off(|| !queue.is_empty(), step);
                    })
                })
                .collect();
            workers.into_iter().for_each(|worker| worker.join().expect("it ends"));
            let (queue, place) = &*shared;
            assert!(queue.is_empty(), "somebody's message was left");
            let mut done = place.with(Option::take).expect("nobody took it");
            done.sort_unstable();
            assert_eq!(done, [0, 1, 2]);
        },
        SCHEDULES,
    );
}

pub fn an_answer_reaches_who_waits_for_it_through_a_mailbox_and_directly() {
    shuttle::check_random(
        || {
            let mailbox = Mailbox::new();
            let (posted, through) = Slot::new(Some(mailbox.clone()));
            let (answered, direct) = Slot::new(None);
            let (dropped, lost) = Slot::<u32>::new(None);
            let (refused, late) = Slot::<u32>::new(Some(mailbox.clone()));
            let rim = shuttle::future::spawn(mailbox.deliver());
            let apply = thread::spawn(move || {
                let mut outbox = Outbox::default();
                outbox.put(posted, Ok(1));
                outbox.put(answered, Ok(2));
                outbox.send();
                drop(dropped);
                refused.refuse(Refused::TimedOut);
            });
            block_on(async {
                assert_eq!(through.await, Ok(1));
                assert_eq!(direct.await, Ok(2));
                assert_eq!(lost.await, Err(Refused::Stopped));
                assert_eq!(late.await, Err(Refused::TimedOut));
                assert_eq!(Pending::answered(Ok(3)).await, Ok(3));
            });
            apply.join().expect("it ends");
            rim.abort();
        },
        SCHEDULES,
    );
}

/// A rim reads the log after the signal: whatever was pushed before it was raised is seen then, and none is slept
/// through.
pub fn no_event_is_slept_through() {
    shuttle::check_random(
        || {
            let signals = Arc::new(EventSignals::default());
            let log = Arc::new(crate::sync::Mutex::new(0));
            let signal = signals.subscribe(None);
            let apply = thread::spawn({
                let (signals, log) = (signals.clone(), log.clone());
                move || {
                    for _ in 0..3 {
                        *crate::sync::lock(&log) += 1;
                        signals.raise(&mut Outbox::default());
                    }
                }
            });
            block_on(async {
                while *crate::sync::lock(&log) < 3 {
                    signal.changed().await;
                }
            });
            apply.join().expect("it ends");
        },
        SCHEDULES,
    );
}

/// Whoever announces goes on when all who were told have dropped it, and none is slept through.
pub fn no_announcement_is_slept_through() {
    shuttle::check_random(
        || {
            let signals = Arc::new(EventSignals::default());
            let signal = signals.subscribe(None);
            let deaf = signals.subscribe(None);
            signal.want_announcements(true);
            let apply = thread::spawn({
                let signals = signals.clone();
                move || signals.raise(&mut Outbox::default())
            });
            let (slot, told) = Slot::new(None);
            let driver = thread::spawn(move || {
                assert!(signals.announce(Revision(7), Some(slot)));
                assert_eq!(block_on(told), Err(Refused::Stopped));
            });
            block_on(async {
                loop {
                    let announced = signal.announced();
                    if let [announcement] = &announced[..] {
                        assert_eq!(announcement.revision, Revision(7));
                        break;
                    }
                    signal.changed().await;
                }
            });
            driver.join().expect("it ends");
            apply.join().expect("it ends");
            assert!(deaf.announced().is_empty());
        },
        SCHEDULES,
    );
}

pub fn who_waits_for_the_driver_is_woken_by_the_end() {
    shuttle::check_random(
        || {
            let relay = Arc::new(Relay::<u32>::new());
            let other = relay.clone();
            let standby = thread::spawn(move || assert_eq!(other.take_over(FOREVER, || Duration::ZERO), None));
            relay.end();
            standby.join().expect("it ends");
        },
        SCHEDULES,
    );
}
