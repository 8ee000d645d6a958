//! A connection that can be reset, and what its requests know of it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

/// Lets a request reset the connection that it came on.
#[derive(Debug, Default)]
pub(crate) struct ResetSwitch {
    pressed: AtomicBool,
    notify: Notify,
}

impl ResetSwitch {
    /// Resets the connection, at once and whatever else goes on on it.
    pub(crate) fn press(&self) {
        self.pressed.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Waits for [`press`](Self::press).
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped: what was pressed stays pressed.
    pub(crate) async fn pressed(&self) {
        while !self.pressed.load(Ordering::Acquire) {
            self.notify.notified().await;
        }
    }
}

/// Waits until the server stops, which is what `stopping` tells, or is gone.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stopping| *stopping).await);
}

/// A socket that says goodbye with a reset instead of a proper end when its switch was pressed.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    reset: Arc<ResetSwitch>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, reset: Arc<ResetSwitch>) -> Self {
        Self { stream, reset }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.pressed.load(Ordering::Acquire) {
            reset(&self.stream);
        }
    }
}

/// Makes the end of this connection a reset: what was not sent yet is dropped.
pub(crate) fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "the connection ends without a reset");
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
