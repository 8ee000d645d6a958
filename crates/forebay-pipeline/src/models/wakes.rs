//! Mailboxes whose owner is known only after something may have been put in.

use std::sync::Arc;

use loom::thread;

use super::{Fault, Sleeper, explore, explore_with};
use crate::mailbox::Mailbox;
use crate::shared::WakeSlot;

/// The owner sets its wake, looks once, and sleeps whenever it finds nothing.
fn run() {
    let ends: Arc<(Mailbox<u32>, WakeSlot)> = Arc::new((Mailbox::new(), WakeSlot::default()));
    let writer = {
        let ends = Arc::clone(&ends);
        thread::spawn(move || {
            for item in 0..2 {
                ends.0.push(item);
                ends.1.wake();
            }
        })
    };
    let sleeper = Sleeper::new();
    let (mailbox, slot) = &*ends;
    slot.set(sleeper.wake());
    for item in 0..2 {
        loop {
            match mailbox.pop() {
                Some(found) => break assert_eq!(found, item),
                None => sleeper.sleep(),
            }
        }
    }
    writer.join().expect("loom reports panics itself");
    assert!(mailbox.is_empty());
}

#[test]
fn what_is_in_a_mailbox_is_found_although_its_owner_came_late() {
    explore(run);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_look_for_the_owner_that_nothing_orders_is_seen() {
    explore_with(Fault::NoFenceBeforeWake, run);
}
