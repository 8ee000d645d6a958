//! What reaches a worker from elsewhere: messages for its sessions, and requests about its connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_core::QoS;
use forebay_pipeline::Wake;
use tokio::sync::Notify;

use crate::direct_publish::{DirectQueue, Waiting};
use crate::outcome::Cause;
use crate::publication::Publication;
use crate::slot::ConnectionKey;

/// Deliveries that wait for one worker.
const DELIVERIES_MAX: usize = 65_536;
/// Bytes of the messages of these deliveries. A message that goes to several sessions counts for each.
const DELIVERY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A message for one session.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) connection: ConnectionKey,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) publication: Arc<Publication>,
}

/// A request about one connection. There is at most one of each kind per connection and connect, so the bound on
/// connections bounds them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request {
    /// End it.
    Close(ConnectionKey, Cause),
    /// It has its client id now.
    Granted(ConnectionKey),
}

/// What was found in a mailbox.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) requests: Vec<Request>,
    pub(crate) deliveries: Vec<Delivery>,
}

#[derive(Debug, Default)]
struct Contents {
    mail: Mail,
    delivery_bytes: usize,
}

/// The mailbox of one worker. The lock alone orders what is in it: without contention it costs a turn no more than a
/// flag that says whether there is mail.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    contents: Mutex<Contents>,
    direct: DirectQueue,
    notify: Notify,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a request.
    pub(crate) fn request(&self, request: Request) {
        self.lock().mail.requests.push(request);
        self.notify.notify_one();
    }

    /// Leaves a message without a connection, or gives it back when there is no room.
    pub(crate) fn direct(&self, message: Waiting) -> Option<Waiting> {
        let left = self.direct.push(message);
        self.notify.notify_one();
        left
    }

    /// Takes the messages without a connection.
    pub(crate) fn take_direct(&self) -> Vec<Waiting> {
        self.direct.take()
    }

    /// Moves `deliveries` in as far as there is room. Returns how many were dropped.
    pub(crate) fn deliver(&self, deliveries: &mut Vec<Delivery>) -> usize {
        let mut contents = self.lock();
        let mut dropped = 0;
        for delivery in deliveries.drain(..) {
            let bytes = delivery.publication.bytes();
            if contents.mail.deliveries.len() >= DELIVERIES_MAX
                || contents.delivery_bytes + bytes > DELIVERY_BYTES_MAX
            {
                dropped += 1;
                continue;
            }
            contents.delivery_bytes += bytes;
            contents.mail.deliveries.push(delivery);
        }
        drop(contents);
        self.notify.notify_one();
        dropped
    }

    /// Takes everything out; `mail` must be empty and lends its memory.
    pub(crate) fn take(&self, mail: &mut Mail) {
        let mut contents = self.lock();
        std::mem::swap(&mut contents.mail, mail);
        contents.delivery_bytes = 0;
    }

    /// Makes the owner take its turn soon.
    pub(crate) fn notify(&self) {
        self.notify.notify_one();
    }

    /// Waits until the owner is to take a turn.
    ///
    /// # Cancel safety
    /// A notification that was not taken stays.
    pub(crate) async fn notified(&self) {
        self.notify.notified().await;
    }
}

/// The pipeline's way to wake a worker.
#[derive(Debug)]
pub(crate) struct MailboxWake(pub(crate) Arc<Mailbox>);

impl Wake for MailboxWake {
    fn wake(&self) {
        self.0.notify();
    }
}
