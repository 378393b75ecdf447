//! Who goes for whom, and who stays.

use super::*;
use crate::listen::{Address, Listen};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

/// Listeners, and descriptors for as many connections.
fn places(serves: &[Serves], connections: usize) -> Arc<Places> {
    let listen = |&serves| Listen { address: Address::Unix("socket".into()), plain: true, tls: false, serves };
    let config = Config { listen: serves.iter().map(listen).collect(), rims: 1, ..Config::default() };
    let probe = Descriptors { limit: 1 << 20, files_open: || 0 };
    let limit = (1 << 20) - probe.connections_max(&config) + connections;
    let config = Config { descriptors: Some(Descriptors { limit, ..probe }), ..config };
    Places::new(&config, Arc::default())
}

const CLIENTS: &[Serves] = &[Serves::Everything];

fn is_asked(place: &Place) -> bool {
    pin!(place.asked_to_leave()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn the_oldest_silent_connection_goes_for_a_newcomer() {
    let places = places(CLIENTS, 3);
    let now = Instant::now();
    let first = places.enter(0, now).expect("there are places");
    first.heard();
    let silent: Vec<Place> = (0..2).filter_map(|_| places.enter(0, now)).collect();
    let newcomer = places.enter(0, now).expect("a silent one goes");
    assert!(is_asked(&silent[0]) && !is_asked(&silent[1]) && !is_asked(&first) && !is_asked(&newcomer));
    assert_eq!(places.metrics.evicted_silent.get(), 1);
}

#[test]
fn of_those_at_rest_the_one_that_has_been_for_the_longest_goes_and_busy_ones_stay() {
    let places = places(CLIENTS, 3);
    let now = Instant::now();
    let held: Vec<Place> = (0..3).filter_map(|_| places.enter(0, now)).collect();
    for (place, since) in held.iter().zip([7, 5, 3]) {
        place.heard();
        place.holder.resting_since.store(since, Ordering::Relaxed);
    }
    held[2].set_busy(true);
    let _newcomer = places.enter(0, now).expect("one at rest goes");
    let asked: Vec<bool> = held.iter().map(is_asked).collect();
    assert_eq!(asked, [false, true, false]);
    assert_eq!(places.metrics.evicted_resting.get(), 1);
}

#[test]
fn a_few_are_let_speak_before_those_at_rest_keep_their_places() {
    let places = places(CLIENTS, 16);
    let now = Instant::now();
    let resting: Vec<Place> = (0..14).filter_map(|_| places.enter(0, now)).collect();
    resting.iter().for_each(Place::heard);
    let silent: Vec<Place> = (0..2).filter_map(|_| places.enter(0, now)).collect();
    let newcomer = places.enter(0, now).expect("one at rest goes");
    assert_eq!(resting.iter().filter(|place| is_asked(place)).count(), 1);
    let _another = places.enter(0, now).expect("now the oldest silent one goes");
    assert!(is_asked(&silent[0]) && !is_asked(&silent[1]) && !is_asked(&newcomer));
    assert!(resting.iter().all(|place| !is_asked(place)));
}

#[test]
fn a_newcomer_is_refused_while_all_are_busy() {
    let places = places(CLIENTS, 2);
    let mut now = Instant::now();
    let held: Vec<Place> = (0..2).filter_map(|_| places.enter(0, now)).collect();
    held.iter().for_each(|place| {
        place.heard();
        place.set_busy(true);
    });
    assert!(places.enter(0, now).is_none());
    assert_eq!(places.metrics.refused.get(), 1);
    held[0].set_busy(false);
    assert!(places.enter(0, now).is_none(), "all are looked at now and then only");
    now += LOOK_AGAIN;
    assert!(places.enter(0, now).is_some());
}

#[test]
fn who_became_busy_in_between_may_stay() {
    let places = places(CLIENTS, 1);
    let now = Instant::now();
    let held = places.enter(0, now).expect("there is a place");
    held.heard();
    let newcomer = places.enter(0, now).expect("it goes");
    assert!(is_asked(&held));
    held.set_busy(true);
    held.stay();
    assert!(!is_asked(&held));
    newcomer.heard();
    newcomer.set_busy(true);
    assert!(places.enter(0, now).is_none(), "both count");
    drop(held);
    drop(newcomer);
    assert!(places.enter(0, now).is_some());
    assert_eq!(places.lock().leaving, 0);
}

#[test]
fn a_listener_cannot_lock_out_another() {
    let places = places(&[Serves::Everything, Serves::Metrics], 16);
    let now = Instant::now();
    let mut busy = Vec::new();
    while let Some(place) = places.enter(0, now) {
        place.heard();
        place.set_busy(true);
        busy.push(place);
    }
    assert_eq!(busy.len(), 14);
    let probes: Vec<Place> = (0..2).filter_map(|_| places.enter(1, now)).collect();
    assert_eq!(probes.len(), 2);
    let _another = places.enter(1, now).expect("a probe that says nothing goes for another");
    assert!(is_asked(&probes[0]) && busy.iter().all(|place| !is_asked(place)));
}

#[test]
fn probes_and_metrics_cannot_take_most_places() {
    let places = places(&[Serves::Everything, Serves::Metrics], 16);
    let now = Instant::now();
    let held: Vec<Place> = (0..100).filter_map(|_| places.enter(1, now)).collect();
    assert_eq!(held.iter().filter(|place| !is_asked(place)).count(), 4);
}

#[test]
fn silent_connections_are_bounded_however_many_descriptors_there_are() {
    let places = places(&[Serves::Everything, Serves::Everything], 1 << 19);
    let now = Instant::now();
    let held: Vec<Place> = (0..SILENT_MAX + 2).filter_map(|_| places.enter(0, now)).collect();
    assert_eq!(held.len(), SILENT_MAX + 2);
    let asked: Vec<usize> = held.iter().enumerate().filter(|(_, place)| is_asked(place)).map(|(n, _)| n).collect();
    assert_eq!(asked, [0, 1]);
    assert!(places.enter(1, now).is_some());
}

#[test]
fn those_that_leave_hold_their_place_until_they_are_closed() {
    let places = places(CLIENTS, LEAVING_MAX);
    let now = Instant::now();
    let held: Vec<Place> = (0..2 * LEAVING_MAX).filter_map(|_| places.enter(0, now)).collect();
    let mut few = pin!(places.few_are_leaving());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let context = &mut Context::from_waker(Waker::noop());
    assert!(few.as_mut().poll(context).is_pending());
    drop(held);
    assert!(few.as_mut().poll(context).is_ready());
    assert!(places.lock().listeners[0].silent.is_empty() && places.lock().staying() == 0);
}
