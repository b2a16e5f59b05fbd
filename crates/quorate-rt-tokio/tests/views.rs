//! Views of a watched value: whoever holds one holds up nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg(not(feature = "single-threaded"))]

use quorate_rt::Watch;
use quorate_rt::WatchReceiver;
use quorate_rt::WatchSender;
use quorate_rt::watch::SendError;
use quorate_rt_tokio::TokioWatch;

/// Neither copied nor cloned.
#[derive(Debug, PartialEq, PartialOrd)]
struct Number(u64);

#[tokio::test]
async fn a_held_view_stays_and_the_channel_goes_on() {
    let (tx, mut rx) = TokioWatch::channel(Number(1));
    let other = rx.clone();
    let (held, also_held) = (other.borrow_watched(), tx.borrow_watched());
    tx.send(Number(2)).unwrap();
    rx.changed().await.unwrap();
    assert_eq!(*rx.borrow_and_update(), Number(2));
    assert!(tx.send_if_different(Number(3)));
    assert!(!tx.send_if_different(Number(3)));
    assert!(!tx.send_if_greater(Number(3)));
    assert!(tx.send_if_greater(Number(4)));
    assert_eq!(*other.borrow_watched(), Number(4));
    assert_eq!((&*held, &*also_held), (&Number(1), &Number(1)));
    assert_eq!(format!("{held:?}"), "TokioWatchRef(Number(1))");
}

#[tokio::test]
async fn a_view_knows_whether_it_was_seen_before() {
    let (tx, mut rx) = TokioWatch::channel(Number(1));
    assert!(!rx.borrow_watched().has_changed());
    tx.send(Number(2)).unwrap();
    assert!(rx.borrow_watched().has_changed());
    assert!(rx.borrow_and_update().has_changed());
    assert!(!rx.borrow_watched().has_changed());
    drop(rx);
    assert_eq!(tx.send(Number(3)), Err(SendError(Number(3))));
    assert_eq!(*tx.borrow_watched(), Number(2), "what nobody would receive is not kept");
    assert_eq!(*tx.subscribe().borrow_watched(), Number(2));
}

#[test]
fn who_changes_the_value_in_place_waits_for_its_views() {
    for _ in 0..100 {
        let (tx, rx) = TokioWatch::channel(Number(1));
        let held = [rx.borrow_watched(), rx.borrow_watched()];
        let changer = std::thread::spawn(move || {
            tx.send_if_modified(|number| {
                number.0 += 1;
                true
            })
        });
        std::thread::yield_now();
        for view in held {
            assert_eq!(*view, Number(1));
        }
        assert!(changer.join().unwrap());
        assert_eq!(*rx.borrow_watched(), Number(2));
    }
}
