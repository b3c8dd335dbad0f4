//! The MQTT side of a test: a publisher, and a tap on a bridge's connection to its broker, which hears what
//! was delivered to the bridge and in which order it acknowledged.

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Publishes at QoS 1, in order, and returns when the broker has acknowledged all. Panics where nobody has
/// subscribed to them: the broker would throw them away.
pub fn publish(port: u16, messages: Vec<(String, Vec<u8>)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        let mut options = MqttOptions::new("test-publisher", "127.0.0.1", port);
        options.set_clean_start(true);
        let (client, mut events) = AsyncClient::new(options, 16);
        let count = messages.len();
        let give = async {
            for (topic, payload) in messages {
                client.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("the client publishes");
            }
            std::future::pending::<()>().await;
        };
        let hear = async {
            let mut acknowledged = 0;
            while acknowledged < count {
                if let Event::Incoming(Packet::PubAck(ack)) = events.poll().await.expect("the broker answers")
                {
                    assert_eq!(ack.reason, PubAckReason::Success);
                    acknowledged += 1;
                }
            }
        };
        tokio::select! {
            () = give => {}
            () = hear => {}
        }
    });
}

/// A tap in front of a broker's loopback port; it ends with the value.
pub struct Tap {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: u16,
    hold: AtomicBool,
    stop: AtomicBool,
    heard: Mutex<Heard>,
}

/// What went by.
#[derive(Clone, Debug, Default)]
struct Heard {
    delivered: usize,
    acknowledged: Vec<Bytes>,
    /// The first acknowledgement that was not the next one.
    disorder: Option<String>,
}

/// What was delivered over one connection and has no acknowledgement yet.
type Waiting = Arc<Mutex<VecDeque<(u16, Bytes)>>>;

impl Tap {
    /// Starts one on a free port.
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (hold, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Arc::new(Shared { target, hold, stop, heard: Mutex::default() });
        let inner = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if inner.stop.load(SeqCst) {
                    return;
                }
                listen(&inner, client);
            }
        });
        Self { port, shared }
    }

    /// How many publishes the broker has sent.
    pub fn delivered(&self) -> usize {
        self.shared.heard().delivered
    }

    /// The payloads that were acknowledged, in that order. Panics where over some connection it was not
    /// the order of their delivery.
    pub fn acknowledged(&self) -> Vec<Bytes> {
        let heard = self.shared.heard().clone();
        assert_eq!(heard.disorder, None);
        heard.acknowledged
    }

    /// Holds back what the client says from its next SUBSCRIBE on, or lets it go.
    pub fn hold_subscriptions(&self, hold: bool) {
        self.shared.hold.store(hold, SeqCst);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        // Wakes the listener, which then ends. Connections end with their sides.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear_broker(&self, waiting: &Waiting, packet: Packet) {
        let Packet::Publish(publish) = packet else { return };
        if publish.qos != QoS::AtMostOnce {
            self.heard().delivered += 1;
            lock(waiting).push_back((publish.pkid, publish.payload));
        }
    }

    fn hear_bridge(&self, waiting: &Waiting, packet: Packet) {
        match packet {
            Packet::PubAck(ack) => match lock(waiting).pop_front() {
                Some((id, payload)) if id == ack.pkid => self.heard().acknowledged.push(payload),
                other => {
                    let due = other.map(|(id, _)| id);
                    let what = format!("packet {} was acknowledged, and {due:?} was due", ack.pkid);
                    self.heard().disorder.get_or_insert(what);
                }
            },
            Packet::Subscribe(_) => {
                while self.hold.load(SeqCst) && !self.stop.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            _ => {}
        }
    }
}

fn lock(waiting: &Waiting) -> MutexGuard<'_, VecDeque<(u16, Bytes)>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(shared: &Arc<Shared>, client: TcpStream) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.target)) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
    let waiting = Waiting::default();
    let (there, w) = (Arc::clone(shared), Arc::clone(&waiting));
    std::thread::spawn(move || relay(client, server, |packet| there.hear_bridge(&w, packet)));
    let back = Arc::clone(shared);
    std::thread::spawn(move || relay(server_too, client_too, |packet| back.hear_broker(&waiting, packet)));
}

/// Passes bytes on after their packets were heard, so that nothing is answered before it was heard.
fn relay(mut from: TcpStream, mut to: TcpStream, mut hear: impl FnMut(Packet)) {
    let (mut buffer, mut stream) = (vec![0; 64 << 10], BytesMut::new());
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        stream.extend_from_slice(&buffer[..n]);
        while let Ok(packet) = Packet::read(&mut stream, None) {
            hear(packet);
        }
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
