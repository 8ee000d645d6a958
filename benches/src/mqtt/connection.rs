//! One non-blocking connection: bytes out, answers in.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::Version;
use super::incoming::{Incoming, ScanError, scan};
use super::packet::push_connect;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The operating system said so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The broker closed it.
    #[error("closed by the broker")]
    Closed,
    /// The broker sent something that is no answer to a publisher.
    #[error("{0}")]
    Scan(#[from] ScanError),
}

/// A connection whose CONNECT is written as soon as TCP is there.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    version: Version,
    out: Vec<u8>,
    written: usize,
    partial: Vec<u8>,
    established: bool,
}

impl Connection {
    /// Begins to connect. Readiness is reported for `token`; the first answer is a CONNACK.
    pub(crate) fn open(
        address: SocketAddr,
        registry: &Registry,
        token: Token,
        version: Version,
        client_id: &str,
        keep_alive_seconds: u16,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let mut out = Vec::new();
        push_connect(&mut out, version, client_id, keep_alive_seconds);
        Ok(Self {
            stream,
            version,
            out,
            written: 0,
            partial: Vec::new(),
            established: false,
        })
    }

    /// Where to append packets; [`flush`](Self::flush) sends them. Empty once the socket has taken everything.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Writes as much as the socket takes; the rest goes when it is writable again.
    pub(crate) fn flush(&mut self) -> Result<(), ConnectionError> {
        if !self.established {
            if let Some(error) = self.stream.take_error()? {
                return Err(error.into());
            }
            match self.stream.peer_addr() {
                Ok(_) => self.established = true,
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what has come and hands every answer to `on`. `scratch` is shared by the connections of a thread: a
    /// connection keeps only the beginning of an answer whose end has not come.
    pub(crate) fn receive(
        &mut self,
        scratch: &mut [u8],
        mut on: impl FnMut(Incoming),
    ) -> Result<(), ConnectionError> {
        loop {
            let kept = self.partial.len();
            scratch[..kept].copy_from_slice(&self.partial);
            let count = match self.stream.read(&mut scratch[kept..]) {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let read = &scratch[..kept + count];
            let taken = scan(read, self.version, &mut on)?;
            self.partial.clear();
            self.partial.extend_from_slice(&read[taken..]);
            // The readiness event is edge-triggered: a read that filled the buffer may have left something behind.
            if kept + count < scratch.len() {
                return Ok(());
            }
        }
    }

    /// Takes the socket out of the poll; dropping the connection closes it.
    pub(crate) fn deregister(&mut self, registry: &Registry) {
        // A socket that cannot be taken out leaves the poll when it is closed, which follows at once.
        registry.deregister(&mut self.stream).ok();
    }
}

/// Size of the shared read buffer: must hold the longest partial answer and then some.
pub(crate) const SCRATCH_BYTES: usize = 128 * 1024;
