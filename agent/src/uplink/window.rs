//! What is on its way to the broker, as a state machine that does no I/O: records are handed over,
//! the client reports each packet id as it writes it, the broker answers, connections end.
//!
//! The client's own bookkeeping is not trusted: a record counts as delivered only when this window
//! has matched the broker's answer to it, and a lost connection empties the window, so that everything
//! without an answer is read from the spool again. The window is counted from the oldest record
//! without an answer, so that the client, which reuses packet ids in a ring of the same length, can
//! never give an id to two records.

use std::collections::VecDeque;
use std::time::Duration;

/// A frame as the uplink sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing<I> {
    /// The spool's name for the record.
    pub id: I,
    /// The MQTT topic.
    pub topic: String,
    /// The frame.
    pub payload: bytes::Bytes,
}

impl<I> Outgoing<I> {
    /// The size of the publish packet at most: fixed header 5, topic length 2, packet id 2, no
    /// properties 1.
    pub fn packet_len(&self) -> usize {
        10 + self.topic.len() + self.payload.len()
    }
}

/// What the broker said to a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has the message.
    Taken,
    /// It has thrown the message away, for nobody has subscribed.
    NobodyListens,
    /// It does not want it now: not authorised, over quota, another reason of its own.
    Refused(&'static str),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The network, the broker's restart, a time-out, a refused login: nothing that a record did.
    Connection(String),
    /// The broker objected to a packet, by its size or its form, so that sending the same again
    /// would end the same way.
    Objection(String),
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<I> {
    /// The record, and its bytes, are the broker's now.
    Delivered(I, usize),
    /// It will be sent again after a while, see [`Window::due`].
    Later(&'static str),
    /// No such packet is on its way on this connection.
    Stale,
}

/// What to do after a loss.
#[derive(Debug, PartialEq, Eq)]
pub struct AfterLoss<I> {
    /// How long to wait before the next connection.
    pub wait: Duration,
    /// A record that this broker will never take.
    pub hopeless: Option<Outgoing<I>>,
}

/// Numbers of the uplink's behaviour.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records without an answer at once.
    pub records: usize,
    /// Their bytes; one record may always go, whatever its size.
    pub bytes: usize,
    /// The first wait after a loss or a refusal; it doubles up to `wait_max`.
    pub wait_min: Duration,
    /// The longest wait.
    pub wait_max: Duration,
}

/// How often a broker may object to one record, alone on its way, before it counts as undeliverable.
const STRIKES: u32 = 3;

struct Slot<I> {
    record: Outgoing<I>,
    packet_id: Option<u16>,
    answered: bool,
}

/// See the module.
pub struct Window<I> {
    limits: Limits,
    /// What the broker of this connection allows; `None` while there is no connection.
    broker: Option<Broker>,
    slots: VecDeque<Slot<I>>,
    /// How many slots, from the front, the client has given a packet id.
    written: usize,
    bytes: usize,
    /// Records that the broker did not want now, and when to send each again.
    refused: VecDeque<(Duration, Outgoing<I>)>,
    /// Losses since the last delivery.
    losses: u32,
    /// Refusals since the last delivery.
    refusals: u32,
    /// While above 0, records go one at a time, to find the one that the broker objects to.
    careful: usize,
    strikes: Option<(I, u32)>,
}

/// What a broker said when it accepted the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broker {
    /// The most publishes it takes without having answered.
    pub receive_max: u16,
    /// The largest packet it takes, bytes; none if it did not say.
    pub max_packet: Option<usize>,
}

impl<I: Clone + PartialEq> Window<I> {
    /// An empty window without a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            broker: None,
            slots: VecDeque::new(),
            written: 0,
            bytes: 0,
            refused: VecDeque::new(),
            losses: 0,
            refusals: 0,
            careful: 0,
            strikes: None,
        }
    }

    /// A fresh connection is up.
    pub fn connected(&mut self, broker: Broker) {
        self.broker = Some(broker);
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.broker.is_some()
    }

    /// Whether one more record may be sent now.
    pub fn has_room(&self) -> bool {
        let Some(broker) = self.broker else { return false };
        let most = match self.careful {
            0 => self.limits.records.min(usize::from(broker.receive_max)).max(1),
            _ => 1,
        };
        self.slots.is_empty() || (self.slots.len() < most && self.bytes < self.limits.bytes)
    }

    /// Whether there is room for a record that was not refused before: those that wait for another
    /// try are bounded too.
    pub fn takes_new(&self) -> bool {
        self.has_room() && self.refused.len() < self.limits.records
    }

    /// Records without an answer, those that wait for another try included.
    pub fn pending(&self) -> usize {
        self.slots.iter().filter(|s| !s.answered).count() + self.refused.len()
    }

    /// Takes a record that goes out now. Given back where the broker has said that it takes no packet
    /// of that size.
    pub fn send(&mut self, record: Outgoing<I>) -> Result<(), Outgoing<I>> {
        if self.broker.and_then(|b| b.max_packet).is_some_and(|max| record.packet_len() > max) {
            return Err(record);
        }
        self.bytes += record.payload.len();
        self.slots.push_back(Slot { record, packet_id: None, answered: false });
        Ok(())
    }

    /// The client has written the next record in the order of [`Window::send`], under this id.
    pub fn written(&mut self, packet_id: u16) {
        if let Some(slot) = self.slots.get_mut(self.written) {
            slot.packet_id = Some(packet_id);
            self.written += 1;
        }
    }

    /// The broker answered.
    pub fn answered(&mut self, packet_id: u16, answer: Answer, now: Duration) -> Outcome<I> {
        let slot = self.slots.iter_mut().find(|s| !s.answered && s.packet_id == Some(packet_id));
        let Some(slot) = slot else { return Outcome::Stale };
        slot.answered = true;
        let outcome = match answer {
            Answer::Taken => {
                (self.losses, self.refusals, self.strikes) = (0, 0, None);
                self.careful = self.careful.saturating_sub(1);
                Outcome::Delivered(slot.record.id.clone(), slot.record.payload.len())
            }
            Answer::NobodyListens | Answer::Refused(_) => {
                let why = match answer {
                    Answer::Refused(why) => why,
                    _ => "nobody has subscribed: start a bridge",
                };
                let wait = backoff(self.limits, self.refusals);
                self.refusals = self.refusals.saturating_add(1);
                self.refused.push_back((now + wait, slot.record.clone()));
                Outcome::Later(why)
            }
        };
        while self.slots.front().is_some_and(|s| s.answered) {
            self.bytes -= self.slots.pop_front().map_or(0, |s| s.record.payload.len());
            self.written -= 1;
        }
        outcome
    }

    /// A refused record whose time has come, to be sent again.
    pub fn due(&mut self, now: Duration) -> Option<Outgoing<I>> {
        let at = self.refused.iter().position(|(due, _)| *due <= now)?;
        self.refused.remove(at).map(|(_, record)| record)
    }

    /// When the next refused record is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.refused.iter().map(|(due, _)| *due).min()
    }

    /// The connection is gone, and with it everything without an answer: the spool has it. `random`
    /// spreads the reconnections of a fleet.
    pub fn lost(&mut self, loss: &Loss, random: u64) -> AfterLoss<I> {
        let alone = match self.slots.len() {
            1 => self.slots.front().map(|s| s.record.clone()),
            _ => None,
        };
        let hopeless = match loss {
            Loss::Connection(_) => None,
            Loss::Objection(_) => {
                self.careful = self.careful.max(self.slots.len());
                alone.filter(|record| self.strike(&record.id) >= STRIKES)
            }
        };
        self.careful -= usize::from(hopeless.is_some());
        self.broker = None;
        self.slots.clear();
        self.refused.clear();
        (self.written, self.bytes) = (0, 0);
        let wait = backoff(self.limits, self.losses);
        self.losses = self.losses.saturating_add(1);
        AfterLoss { wait: jitter(wait, random), hopeless }
    }

    fn strike(&mut self, id: &I) -> u32 {
        let before = self.strikes.take().filter(|(of, _)| of == id).map_or(0, |(_, n)| n);
        self.strikes = Some((id.clone(), before + 1));
        before + 1
    }
}

/// `wait_min`, doubled with every attempt, at most `wait_max`.
fn backoff(limits: Limits, attempts: u32) -> Duration {
    limits.wait_min.saturating_mul(1 << attempts.min(20)).min(limits.wait_max)
}

/// Between half of `wait` and all of it.
fn jitter(wait: Duration, random: u64) -> Duration {
    let half = wait / 2;
    half + half.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests;
