//! From the socket through the plan to the effect.

use crate::bucket::{Bucket, OneSecret};
use crate::cloud::{Cloud, Release};
use crate::fault::{Answer, Fault, Op, Request};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hyper::body::Incoming;
use hyper::http::{Method, request::Parts};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, HttpRequest, HttpResponse};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// Serves on a thread of its own until `stopped` is dropped or told.
pub(crate) fn start(
    cloud: Arc<Cloud>,
    stopped: oneshot::Receiver<()>,
) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.set_nonblocking(true).expect("a socket can be asynchronous");
    let address = listener.local_addr().expect("a bound socket has an address");
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::from_std(listener).expect("the socket is asynchronous");
            tokio::select! {
                _ = serve(listener, cloud) => {}
                _ = stopped => {}
            }
        });
    });
    (address, thread)
}

async fn serve(listener: TcpListener, cloud: Arc<Cloud>) {
    let mut builder = S3ServiceBuilder::new(Bucket { cloud: cloud.clone() });
    builder.set_auth(OneSecret(cloud.secret.clone()));
    let s3 = builder.build();
    loop {
        if let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(connection(socket, cloud.clone(), s3.clone()));
        }
    }
}

async fn connection(socket: TcpStream, cloud: Arc<Cloud>, s3: S3Service) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| handle(cloud.clone(), s3.clone(), request));
    // What goes wrong on a connection is told to its client, and is the client's.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
}

/// An error ends the connection without an answer.
async fn handle(
    cloud: Arc<Cloud>,
    s3: S3Service,
    request: hyper::Request<Incoming>,
) -> Result<HttpResponse, HttpError> {
    let (parts, body) = request.into_parts();
    let body = collect(body).await?;
    let (number, fault, bell) = cloud.enter(describe(&parts));
    // A task of its own: the effect comes whether somebody still listens or not.
    let task = tokio::spawn(async move {
        match fault {
            Fault::Cut => return Err(cut()),
            Fault::Refuse(answer) => return Ok(in_place(answer)),
            Fault::ParkBefore => stand_still(&cloud, bell.clone()).await?,
            Fault::Slow(time) => tokio::time::sleep(time).await,
            _ => {}
        }
        let done = s3.call(HttpRequest::from_parts(parts, Body::from(body))).await?;
        cloud.note(number, done.status().as_u16());
        match fault {
            Fault::LoseAnswer => Err(cut()),
            Fault::Belie(answer) => Ok(in_place(answer)),
            Fault::ParkAfter => stand_still(&cloud, bell).await.map(|()| done),
            _ => Ok(done),
        }
    });
    task.await.unwrap_or_else(|_| Err(cut()))
}

async fn stand_still(cloud: &Cloud, mut bell: watch::Receiver<Release>) -> Result<(), HttpError> {
    cloud.lock().parked += 1;
    let rung = bell.changed().await;
    let release = *bell.borrow();
    cloud.lock().parked -= 1;
    match (rung, release) {
        (Ok(()), Release::GoOn) => Ok(()),
        _ => Err(cut()),
    }
}

async fn collect(body: Incoming) -> Result<Bytes, HttpError> {
    let mut stream = Body::from(body);
    let mut out = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        out.extend_from_slice(&chunk.map_err(HttpError::new)?);
    }
    Ok(out.freeze())
}

fn cut() -> HttpError {
    HttpError::new("the plan cuts this connection".into())
}

fn in_place(answer: Answer) -> HttpResponse {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{}</Code><Message>as planned</Message></Error>",
        answer.code
    );
    let mut response = HttpResponse::new(Body::from(body));
    *response.status_mut() = answer.status.try_into().expect("a status");
    response
}

/// The request as the log has it, before it has a number.
fn describe(parts: &Parts) -> Request {
    let path = decoded(parts.uri.path());
    let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    let query = parts.uri.query().unwrap_or_default();
    let listing = query.split('&').any(|q| q == "list-type=2");
    let prefix = query.split('&').find_map(|q| q.strip_prefix("prefix=")).unwrap_or_default();
    let op = match parts.method {
        Method::GET if listing => Op::List,
        Method::GET => Op::Get,
        Method::HEAD => Op::Head,
        Method::PUT if parts.headers.contains_key("if-none-match") => Op::PutIfAbsent,
        Method::PUT => Op::Put,
        Method::DELETE => Op::Delete,
        _ => Op::Other,
    };
    let key = if listing { decoded(prefix) } else { key.to_owned() };
    Request { number: 0, who: who(parts), op, key, fault: Fault::None, status: None }
}

/// The access key of the signature.
fn who(parts: &Parts) -> String {
    let header = parts.headers.get("authorization").and_then(|h| h.to_str().ok()).unwrap_or_default();
    let credential = header.split("Credential=").nth(1).unwrap_or_default();
    credential.split('/').next().unwrap_or_default().to_owned()
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        let mut digit = || bytes.next().and_then(|d| char::from(d).to_digit(16)).unwrap_or(0) as u8;
        out.push(if b == b'%' { digit() << 4 | digit() } else { b });
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_paths_are_read_as_they_were_meant() {
        assert_eq!(decoded("gps_data/dt%3D2026-11-28/a.parquet"), "gps_data/dt=2026-11-28/a.parquet");
        assert_eq!(decoded("%2F%"), "/\0");
    }
}
