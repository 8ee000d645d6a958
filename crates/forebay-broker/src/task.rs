//! The task of one connection: its socket and its timer around the state machine.
//!
//! A turn looks at what others did, reads, interprets, and writes everything that came of it at once. Bytes are read
//! into a buffer that the connections of a thread share, so an idle connection holds none; only what is left of an
//! incomplete packet moves into the connection's own.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use forebay_core::Time;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tracing::error;

use crate::connection::{Connection, Moment, OWN_BLOCK_BYTES, READ_BUFFER_BYTES};
use crate::shared::Shared;
use crate::worker::WorkerHandle;

/// Bytes that are read at once.
const SHARED_BUFFER_BYTES: usize = 64 * 1024;
/// Reads in one turn; a connection with more to say lets others go first.
const READS_PER_TURN: usize = 4;
/// Output buffers up to this capacity stay with the connection.
const KEPT_OUTPUT_BYTES: usize = 2 * 1024;
/// Bytes that are read and thrown away after the end of a connection. A client that goes on sending is cut off.
const LINGER_BYTES: usize = 1024 * 1024;
/// The farthest that a timer is set; it is set again then.
const TIMER_MAX: Duration = Duration::from_secs(3600);

thread_local! {
    static BUFFER: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

struct Task {
    socket: TcpStream,
    connection: Connection,
    worker: WorkerHandle,
    shared: Arc<Shared>,
    received: u64,
    sent: u64,
    /// Bytes that came after the end.
    discarded: usize,
    /// When the timer fires.
    armed: Time,
    /// The sending side is shut.
    shut: bool,
    probing: bool,
}

/// Runs a connection to its end.
pub(crate) async fn serve(
    socket: TcpStream,
    connection: Connection,
    worker: WorkerHandle,
    shared: Arc<Shared>,
) {
    worker.lock().enter_task();
    let mut task = Task {
        socket,
        connection,
        worker,
        shared,
        received: 0,
        sent: 0,
        discarded: 0,
        armed: Time::ZERO,
        shut: false,
        probing: false,
    };
    let mut timer = pin!(sleep(Duration::ZERO));
    poll_fn(|cx| task.poll(cx, timer.as_mut())).await;
}

impl Task {
    fn poll(&mut self, cx: &mut Context<'_>, timer: Pin<&mut Sleep>) -> Poll<()> {
        let at = Moment {
            now: self.shared.clock.now(),
            wall_millis: self.shared.clock.wall_millis(),
        };
        {
            let mut worker = self.worker.lock();
            worker.set_waker(self.connection.key(), cx.waker());
            if self.connection.deadline(at.now) <= at.now {
                self.connection.expire(&mut worker, at);
            }
            self.connection.events(&mut worker, at);
        }
        if !self.connection.is_closed() {
            self.read(cx, at);
            self.write(cx, at);
        }
        if self.connection.is_closed() || self.discarded > LINGER_BYTES {
            return Poll::Ready(());
        }
        self.set_timer(cx, timer, at.now);
        Poll::Pending
    }

    fn read(&mut self, cx: &mut Context<'_>, at: Moment) {
        for _ in 0..READS_PER_TURN {
            if !self.connection.wants_input() {
                return;
            }
            match self.read_once(cx, at) {
                Poll::Pending => return,
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false) | Err(_)) => {
                    let worker = self.worker.clone();
                    self.connection.lost(&mut worker.lock(), at);
                    return;
                }
            }
            if self.connection.wants_probes && !self.probing {
                self.probe();
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Reads what is there and interprets it. False at the end of the stream.
    fn read_once(&mut self, cx: &mut Context<'_>, at: Moment) -> Poll<io::Result<bool>> {
        BUFFER.with_borrow_mut(|buffer| {
            if self.connection.partial.is_empty() {
                return self.read_shared(cx, buffer, at);
            }
            let mut input = std::mem::take(&mut self.connection.partial);
            let read = self.read_own(cx, &mut input);
            if let Poll::Ready(Ok(true)) = read {
                self.interpret(&mut input, at);
            }
            if !input.is_empty() {
                self.connection.partial = input;
            }
            read
        })
    }

    fn read_shared(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        at: Moment,
    ) -> Poll<io::Result<bool>> {
        buffer.clear();
        // Takes the same memory again unless a payload of the last turn is still held somewhere.
        buffer.reserve(SHARED_BUFFER_BYTES);
        let read = self.poll_read(cx, buffer, SHARED_BUFFER_BYTES);
        if let Poll::Ready(Ok(true)) = read {
            self.interpret(buffer, at);
            if !buffer.is_empty() {
                self.connection.partial.extend_from_slice(buffer);
            }
        }
        read
    }

    /// Reads behind what the connection has of an incomplete packet. A large one gets a block of its own, filled with
    /// this packet alone, so that a payload that is kept pins nothing else.
    fn read_own(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<bool>> {
        let missing = self.connection.needed().saturating_sub(input.len());
        if self.connection.needed() < OWN_BLOCK_BYTES {
            let limit = missing.max(READ_BUFFER_BYTES);
            input.reserve(limit);
            return self.poll_read(cx, input, limit);
        }
        if input.capacity() < self.connection.needed() {
            let mut block = BytesMut::with_capacity(self.connection.needed());
            block.extend_from_slice(input);
            *input = block;
        }
        self.poll_read(cx, input, missing.max(1))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<bool>> {
        let mut limited = buffer.limit(limit);
        let read = pin!(self.socket.read_buf(&mut limited)).poll(cx);
        read.map_ok(|bytes| {
            self.received += bytes as u64;
            bytes > 0
        })
    }

    fn interpret(&mut self, input: &mut BytesMut, at: Moment) {
        if self.connection.is_closing() {
            self.discarded += input.len();
            input.clear();
            return;
        }
        let mut worker = self.worker.lock();
        self.connection.receive(&mut worker, input, at);
        let listener = self.connection.listener().index;
        worker.tally.bytes(
            listener,
            std::mem::take(&mut self.received),
            std::mem::take(&mut self.sent),
        );
        worker.request_turn();
    }

    /// Writes until the output is empty and nothing more waits for the client, or the socket is full.
    fn write(&mut self, cx: &mut Context<'_>, at: Moment) {
        while !self.connection.output.is_empty() {
            let written = Pin::new(&mut self.socket).poll_write(cx, &self.connection.output);
            let written = match written {
                Poll::Ready(Ok(bytes)) if bytes > 0 => bytes,
                Poll::Ready(_) => {
                    self.connection.output.clear();
                    let worker = self.worker.clone();
                    self.connection.lost(&mut worker.lock(), at);
                    return;
                }
                Poll::Pending => 0,
            };
            self.sent += written as u64;
            self.connection.output.advance(written);
            if !self.connection.wrote(written, at.now) {
                let worker = self.worker.clone();
                self.connection.overflow(&mut worker.lock(), at);
            }
            if written == 0 {
                return;
            }
            if self.connection.has_more_to_deliver() {
                let worker = self.worker.clone();
                self.connection.events(&mut worker.lock(), at);
            }
        }
        if self.connection.output.capacity() > KEPT_OUTPUT_BYTES {
            self.connection.output = BytesMut::new();
        }
        if self.connection.is_closing() && !self.shut {
            // A socket that cannot be shut is closed when its lingering is over.
            self.shut = !matches!(Pin::new(&mut self.socket).poll_shutdown(cx), Poll::Pending);
        }
    }

    fn set_timer(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>, now: Time) {
        let deadline = self.connection.deadline(now).min(now + TIMER_MAX);
        // A deadline that has moved away is left to the timer's next shot: packets move it all the time.
        if now < self.armed && self.armed <= deadline {
            return;
        }
        self.armed = deadline;
        timer.set(sleep(deadline.since(now)));
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Lets the kernel find out whether the peer is still there.
    fn probe(&mut self) {
        self.probing = true;
        let probes = TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(60))
            .with_retries(3);
        if let Err(error) = SockRef::from(&self.socket).set_tcp_keepalive(&probes) {
            tracing::debug!(%error, "keep-alive probes not set");
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!(address = %self.connection.peer(), "connection closed: its task panicked");
        }
        let at = Moment {
            now: self.shared.clock.now(),
            wall_millis: self.shared.clock.wall_millis(),
        };
        let mut worker = self.worker.lock();
        self.connection.abandon(&mut worker, at);
        let listener = Arc::clone(self.connection.listener());
        worker.tally.bytes(listener.index, self.received, self.sent);
        listener.leave(&self.shared, self.connection.peer().ip());
        worker.leave_task();
    }
}
