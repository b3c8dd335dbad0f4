//! Which packets may be acknowledged: those whose frames Kafka has, in the order they were received.
//! Pure; knows neither MQTT nor Kafka.

use std::collections::VecDeque;

/// Names a received packet; grows by one with each, over all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The packets of the present connection that are not acknowledged yet.
#[derive(Debug, Default)]
pub struct AckQueue {
    /// The ticket of the first of `waiting`.
    first: u64,
    /// Packet id, and whether its frame is safe.
    waiting: VecDeque<(u16, bool)>,
}

impl AckQueue {
    /// A packet was received.
    pub fn received(&mut self, packet_id: u16) -> Ticket {
        self.waiting.push_back((packet_id, false));
        Ticket(self.first + self.waiting.len() as u64 - 1)
    }

    /// The frame of a packet is safe. Of a packet of a connection that is gone nothing comes of it:
    /// the broker delivers that one again, and its id may by now name another.
    pub fn safe(&mut self, ticket: Ticket) {
        let index = ticket.0.checked_sub(self.first).and_then(|i| usize::try_from(i).ok());
        if let Some((_, safe)) = index.and_then(|i| self.waiting.get_mut(i)) {
            *safe = true;
        }
    }

    /// The next packet to acknowledge.
    pub fn pop(&mut self) -> Option<u16> {
        match self.waiting.front() {
            Some((packet_id, true)) => {
                let packet_id = *packet_id;
                self.waiting.pop_front();
                self.first += 1;
                Some(packet_id)
            }
            _ => None,
        }
    }

    /// The connection is gone, and with it the right to acknowledge what came over it.
    pub fn disconnected(&mut self) {
        self.first += self.waiting.len() as u64;
        self.waiting.clear();
    }

    /// How many packets are not acknowledged.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether all packets are acknowledged.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
