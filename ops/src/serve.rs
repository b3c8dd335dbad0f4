//! The listener: `/metrics`, `/healthz` and `/readyz` over HTTP/1, one request a connection.
//!
//! Whoever can reach the port is not trusted: so many connections at a time, a request line and headers of
//! so many bytes, so long for all of it. No request changes anything.

use crate::Page;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at a time; more wait in the system's queue.
const CONNECTIONS: usize = 16;
/// The largest head of a request, bytes: the least that hyper allows.
const HEAD_MAX: usize = 8 << 10;
/// How long a connection may last.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait where the address is not to be had, or the system has no connection to give.
const AGAIN: Duration = Duration::from_secs(5);

/// A program that can be asked how it does. The answers are short, and made without waiting.
pub trait Station: Send + Sync + 'static {
    /// Writes its figures.
    fn metrics(&self, page: &mut Page);
    /// Whether it works at all; if not, why: then starting it again may help.
    fn alive(&self) -> Result<(), String>;
    /// Whether it does its work now; if not, why: it may be waiting for somebody else.
    fn ready(&self) -> Result<(), String>;
}

/// Serves a station for as long as the future is polled. An address that is not to be had is tried again: a
/// program's work does not depend on being looked at.
pub async fn serve(address: SocketAddr, station: Arc<dyn Station>) {
    let listener = listen(address, AGAIN).await;
    tracing::info!("Metrics are at http://{address}/metrics");
    let_in(listener, station, PATIENCE).await;
}

async fn listen(address: SocketAddr, again: Duration) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(why) => tracing::warn!("No metrics at {address}, tried again every {again:?}: {why}"),
        }
        tokio::time::sleep(again).await;
    }
}

async fn let_in(listener: TcpListener, station: Arc<dyn Station>, patience: Duration) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let station = station.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(patience, connection(stream, station)).await;
                    drop(place);
                });
            }
            // None left to give, mostly; at once it would be the same.
            Err(why) => {
                tracing::debug!("Nobody could be let in to the metrics: {why}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, station: Arc<dyn Station>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (status, kind, body) = answer(&*station, request.method(), request.uri().path());
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
        async { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).keep_alive(false).max_buf_size(HEAD_MAX);
    // Whoever breaks the protocol or goes away has no answer; that is no concern of ours.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

const TEXT: &str = "text/plain; charset=utf-8";
const PAGE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The answer to one request: status, content type, body.
pub fn answer(station: &dyn Station, method: &Method, path: &str) -> (StatusCode, &'static str, String) {
    if method != Method::GET {
        return (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".into());
    }
    let said = match path {
        "/metrics" => {
            let mut page = Page::default();
            station.metrics(&mut page);
            return (StatusCode::OK, PAGE, page.finish());
        }
        "/healthz" => station.alive(),
        "/readyz" => station.alive().and_then(|()| station.ready()),
        _ => return (StatusCode::NOT_FOUND, TEXT, "/metrics, /healthz or /readyz\n".into()),
    };
    match said {
        Ok(()) => (StatusCode::OK, TEXT, "ok\n".into()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, why.replace(['\r', '\n'], " ") + "\n"),
    }
}

#[cfg(test)]
mod tests;
