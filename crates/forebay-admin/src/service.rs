//! The routes without a socket: a request in, an answer out. For tests that need many requests a second.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response};
use axum::{Extension, Router};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use crate::config::AdminConfig;
use crate::guard::Peer;
use crate::server::router_of;
use crate::state::AdminState;

/// The routes of the admin listener.
#[derive(Debug, Clone)]
pub struct AdminService(Router);

impl AdminService {
    /// The routes as a listener with this configuration would serve them, bound to its address. No time limit applies.
    pub fn new(config: AdminConfig, state: AdminState) -> Self {
        let bound = config.bind;
        Self(router_of(config, bound, state))
    }

    /// Answers one request as if it came from `peer`.
    ///
    /// # Panics
    /// If the body of an answer cannot be read, which none of ours does.
    pub async fn call(&self, peer: SocketAddr, request: Request<Bytes>) -> Response<Bytes> {
        let router = self.0.clone().layer(Extension(Peer(peer)));
        let service = TowerToHyperService::new(router);
        let answered: Result<_, Infallible> = service.call(request.map(Body::from)).await;
        let (head, body) = match answered {
            Ok(response) => response.into_parts(),
            Err(never) => match never {},
        };
        let body = to_bytes(body, usize::MAX)
            .await
            .expect("answers are made in memory");
        Response::from_parts(head, body)
    }
}
