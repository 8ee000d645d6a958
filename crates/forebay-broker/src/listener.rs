//! Listening sockets and the loops that accept on them.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::connection::Connection;
use crate::metrics::Limit;
use crate::outcome::Cause;
use crate::shared::{Admittance, Listener, Shared};
use crate::task::serve;
use crate::worker::WorkerHandle;

/// Pause after the system had no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens one listening socket per worker on the same address; the kernel spreads connections over them.
///
/// # Errors
/// When the address cannot be bound, also when another process listens on it.
pub(crate) fn bind(
    address: SocketAddr,
    backlog: u32,
    workers: usize,
) -> io::Result<(SocketAddr, Vec<StdListener>)> {
    let mut bound = address;
    if address.port() != 0 {
        // Sockets that share a port are accepted by the kernel from any process of the same user. Binding without
        // sharing first finds out whether there is one.
        let probe = socket(address)?;
        probe.bind(&address.into())?;
    }
    let mut listeners = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = socket(bound)?;
        socket.set_reuse_port(true)?;
        socket.bind(&bound.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let listener = StdListener::from(socket);
        listener.set_nonblocking(true)?;
        bound = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok((bound, listeners))
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A port whose old connections are in TIME_WAIT can be used again at once.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Accepts connections until `stop` becomes true.
pub(crate) async fn accept(
    socket: TcpListener,
    listener: Arc<Listener>,
    worker: WorkerHandle,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            // An error means that the broker is gone.
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = next(&socket, &listener, &worker, &shared) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => open(stream, peer, &listener, &worker, &shared),
            Err(error) => pause(&error, &shared).await,
        }
    }
}

/// Waits for the accept rate, then for a connection.
async fn next(
    socket: &TcpListener,
    listener: &Listener,
    worker: &WorkerHandle,
    shared: &Shared,
) -> io::Result<(TcpStream, SocketAddr)> {
    let accepted = socket.accept().await?;
    let mut limited = false;
    while let Err(wait) = listener.rate.take(shared.clock.now()) {
        if !std::mem::replace(&mut limited, true) {
            worker.lock().tally.limit(Limit::ConnectsPerSecond);
        }
        sleep(wait).await;
    }
    Ok(accepted)
}

fn open(
    stream: TcpStream,
    peer: SocketAddr,
    listener: &Arc<Listener>,
    worker: &WorkerHandle,
    shared: &Arc<Shared>,
) {
    let refuse = match listener.enter(shared, peer.ip()) {
        Admittance::Welcome => None,
        Admittance::Refuse => Some(Cause::Quota),
        Admittance::Close => {
            listener.leave(shared, peer.ip());
            let mut worker = worker.lock();
            worker.tally.limit(Limit::Connections);
            worker
                .tally
                .connect(listener.index, None, Some(Cause::Quota));
            return;
        }
    };
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "delay not switched off");
    }
    let receive_maximum = usize::from(listener.config.limits.receive_maximum);
    let key = worker.lock().open(receive_maximum);
    let connection = Connection::new(
        key,
        Arc::clone(shared),
        Arc::clone(listener),
        peer,
        refuse,
        shared.clock.now(),
    );
    tokio::spawn(serve(
        stream,
        connection,
        worker.clone(),
        Arc::clone(shared),
    ));
}

/// Counts an error of accept, and waits where the next call would only fail again.
async fn pause(error: &io::Error, shared: &Shared) {
    let errno = error
        .raw_os_error()
        .map_or_else(|| "other".to_owned(), |code| code.to_string());
    shared
        .registry
        .counter(
            "forebay_accept_errors_total",
            "Connections that could not be accepted, by error number of the system.",
            &[("errno", &errno)],
        )
        .increment(1);
    if !is_of_the_peer(error) {
        warn!(%error, "accepting pauses");
        sleep(ACCEPT_PAUSE).await;
    }
}

/// True for errors that say something about one connection and nothing about the next.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepting_pauses_when_descriptors_run_out_and_not_when_a_client_changes_its_mind() {
        const EMFILE: i32 = 24;
        const ENFILE: i32 = 23;
        const ECONNABORTED: i32 = 103;
        for (errno, of_the_peer) in [(EMFILE, false), (ENFILE, false), (ECONNABORTED, true)] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(is_of_the_peer(&error), of_the_peer, "{error}");
        }
    }

    #[test]
    fn all_workers_listen_on_one_port_and_nobody_else_can() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, listeners) = bind(any, 16, 3).unwrap();
        assert_eq!(listeners.len(), 3);
        for listener in &listeners {
            assert_eq!(listener.local_addr().unwrap(), address);
        }
        assert_eq!(
            bind(address, 16, 1).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(listeners);
        assert!(bind(address, 16, 1).is_ok());
    }
}
