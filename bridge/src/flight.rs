//! The frames between the broker's publish and Kafka's report: what is to be produced next, what a
//! report means, what may be acknowledged. A state machine without I/O: the driver tells it what
//! happened and at what time, and asks what to do.

use crate::ack::{AckQueue, Ticket};
use crate::route::{Reason, Route};
use bytes::Bytes;
use milepost_wire::VehicleId;
use std::collections::VecDeque;
use std::time::Duration;

/// What a frame in flight costs beside its payload, for the limit on memory.
const OVERHEAD: usize = 256;

/// Names a frame in flight.
pub(crate) type Seq = u64;

/// What a failed delivery means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may pass: produce again.
    Passing,
    /// Kafka refuses this record for its size.
    TooLarge(String),
    /// Kafka refuses this record, and will again.
    Refused(String),
}

/// Where a frame is bound for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The topic of its stream.
    Stream(&'static str),
    /// The dead-letter topic, part `part` of `parts`.
    Dead { reason: Reason, part: usize, parts: usize },
}

/// A frame that Kafka has not reported yet.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) payload: Bytes,
    pub(crate) mqtt_topic: Bytes,
    pub(crate) vehicle: Option<VehicleId>,
    pub(crate) goal: Goal,
    /// Whether it must share a batch with no other record: Kafka judges the size of batches, so one
    /// that was refused for its size says nothing about the records in it.
    pub(crate) alone: bool,
    /// `None` for a QoS 0 publish, which has no acknowledgement.
    ticket: Option<Ticket>,
    /// Which producer has it; `None` while it waits for one.
    producer: Option<u32>,
}

impl Item {
    /// What the record that is to be produced next carries: the frame, or a part of it.
    pub(crate) fn value(&self) -> &[u8] {
        match &self.goal {
            Goal::Dead { part, parts, .. } if *parts > 1 => {
                let size = self.payload.len().div_ceil(*parts);
                let from = (size * part).min(self.payload.len());
                &self.payload[from..(from + size).min(self.payload.len())]
            }
            _ => &self.payload,
        }
    }
}

/// What came of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landed {
    /// The frame is in its stream's topic.
    Delivered,
    /// The frame is in the dead-letter topic, for this reason.
    DeadLettered(&'static str),
    /// It will be produced again, there or among the dead letters.
    Again,
    /// The report is of an earlier attempt, or of a part.
    Nothing,
}

/// All frames in flight.
#[derive(Debug)]
pub(crate) struct Flight {
    first: Seq,
    items: VecDeque<Option<Item>>,
    open: usize,
    bytes: usize,
    /// To be produced now, in this order.
    ready: VecDeque<Seq>,
    /// To be produced again, and when; due times grow.
    later: VecDeque<(Duration, Seq)>,
    acks: AckQueue,
    retry_after: Duration,
    part_size: usize,
}

impl Flight {
    pub(crate) fn new(retry_after: Duration, part_size: usize) -> Self {
        Self {
            first: 0,
            items: VecDeque::new(),
            open: 0,
            bytes: 0,
            ready: VecDeque::new(),
            later: VecDeque::new(),
            acks: AckQueue::default(),
            retry_after,
            part_size,
        }
    }

    /// How many frames have no report.
    pub(crate) fn len(&self) -> usize {
        self.open
    }

    /// About how much memory they hold.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a publish in.
    pub(crate) fn received(&mut self, packet_id: Option<u16>, mqtt_topic: Bytes, payload: Bytes, to: Route) {
        let (goal, vehicle) = match to {
            Route::Stream { topic, vehicle } => (Goal::Stream(topic), Some(vehicle)),
            Route::Dead { reason, vehicle } => (Goal::Dead { reason, part: 0, parts: 1 }, vehicle),
        };
        let ticket = packet_id.map(|id| self.acks.received(id));
        self.open += 1;
        self.bytes += payload.len() + OVERHEAD;
        self.ready.push_back(self.first + self.items.len() as Seq);
        let (alone, producer) = (false, None);
        self.items.push_back(Some(Item { payload, mqtt_topic, vehicle, goal, alone, ticket, producer }));
    }

    /// What to produce next. Tell [`Flight::produced`] or [`Flight::failed`] what came of it.
    pub(crate) fn next(&mut self, now: Duration) -> Option<(Seq, &Item)> {
        while let Some(&(due, seq)) = self.later.front()
            && due <= now
        {
            self.later.pop_front();
            self.ready.push_back(seq);
        }
        let seq = *self.ready.front()?;
        let index = self.index(seq)?;
        Some((seq, self.items[index].as_ref()?))
    }

    /// When something waits to be produced again.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.later.front().map(|(due, _)| *due)
    }

    /// Whether something could be produced but for the producer's queue.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Producer `producer` has taken what [`Flight::next`] gave.
    pub(crate) fn produced(&mut self, seq: Seq, producer: u32) {
        self.ready.pop_front();
        if let Some(item) = self.item(seq) {
            item.producer = Some(producer);
        }
    }

    /// The producer refused what [`Flight::next`] gave.
    pub(crate) fn failed(&mut self, seq: Seq, failure: Failure, now: Duration) -> Landed {
        self.ready.pop_front();
        self.again(seq, failure, now)
    }

    /// Kafka has reported on a record that `producer` took.
    pub(crate) fn reported(
        &mut self,
        seq: Seq,
        producer: u32,
        result: Result<(), Failure>,
        now: Duration,
    ) -> Landed {
        match (result, self.item(seq)) {
            (_, None) => Landed::Nothing,
            (Ok(()), Some(item)) if item.producer == Some(producer) => self.landed(seq),
            (Err(failure), Some(item)) if item.producer == Some(producer) => self.again(seq, failure, now),
            _ => Landed::Nothing,
        }
    }

    /// Every producer before `producer` is gone, and what they had is produced again, oldest first.
    pub(crate) fn producer_replaced(&mut self, producer: u32) {
        let mut lost = Vec::new();
        for (i, item) in self.items.iter_mut().enumerate() {
            if let Some(item) = item
                && item.producer.is_some_and(|p| p < producer)
            {
                item.producer = None;
                lost.push(self.first + i as Seq);
            }
        }
        lost.extend(self.ready.drain(..));
        self.ready = lost.into();
    }

    /// The next packet to acknowledge.
    pub(crate) fn pop_ack(&mut self) -> Option<u16> {
        self.acks.pop()
    }

    /// The connection is gone. What is in flight still goes to Kafka, but is not acknowledged: the
    /// broker delivers it again.
    pub(crate) fn disconnected(&mut self) {
        self.acks.disconnected();
    }

    fn landed(&mut self, seq: Seq) -> Landed {
        let Some(item) = self.item(seq) else { return Landed::Nothing };
        let landed = match &mut item.goal {
            Goal::Stream(_) => Landed::Delivered,
            Goal::Dead { part, parts, .. } if *part + 1 < *parts => {
                *part += 1;
                item.producer = None;
                self.ready.push_back(seq);
                return Landed::Nothing;
            }
            Goal::Dead { reason, .. } => Landed::DeadLettered(reason.code),
        };
        self.close(seq);
        landed
    }

    /// Kafka has the frame: it may be forgotten and acknowledged.
    fn close(&mut self, seq: Seq) {
        let Some(index) = self.index(seq) else { return };
        let Some(item) = self.items[index].take() else { return };
        self.open -= 1;
        self.bytes -= item.payload.len() + OVERHEAD;
        if let Some(ticket) = item.ticket {
            self.acks.safe(ticket);
        }
        while let Some(None) = self.items.front() {
            self.items.pop_front();
            self.first += 1;
        }
    }

    fn again(&mut self, seq: Seq, failure: Failure, now: Duration) -> Landed {
        let (due, part_size) = (now + self.retry_after, self.part_size);
        let Some(item) = self.item(seq) else { return Landed::Nothing };
        item.producer = None;
        let at_once = match (&mut item.goal, failure) {
            (_, Failure::TooLarge(_)) if !item.alone => {
                item.alone = true;
                true
            }
            (Goal::Stream(topic), Failure::Refused(why) | Failure::TooLarge(why)) => {
                let detail = format!("Kafka refused the record for {topic}: {why}");
                item.goal = Goal::Dead { reason: Reason { code: "kafka", detail }, part: 0, parts: 1 };
                true
            }
            (Goal::Dead { parts: parts @ 1, .. }, Failure::TooLarge(_)) if item.payload.len() > part_size => {
                *parts = item.payload.len().div_ceil(part_size);
                true
            }
            // The last resort has failed as well: try for ever, for only a person can mend it.
            (Goal::Dead { .. }, _) | (_, Failure::Passing) => false,
        };
        if at_once {
            self.ready.push_back(seq);
        } else {
            self.later.push_back((due, seq));
        }
        Landed::Again
    }

    fn index(&self, seq: Seq) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.first)?).ok().filter(|i| *i < self.items.len())
    }

    fn item(&mut self, seq: Seq) -> Option<&mut Item> {
        let index = self.index(seq)?;
        self.items[index].as_mut()
    }
}

#[cfg(test)]
mod tests;
