//! One partition as the reading thread sees it: where it is in Kafka's log, what waits, what is being
//! written. No I/O happens here; what has to be done is handed out as a future.

use crate::buffer::{Buffer, Limits, cost_of};
use crate::build::Record;
use crate::commit::{Committer, Context, Outcome};
use crate::ledger::Chain;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Pause before a partition is looked for again after it was lost to another owner.
const AGAIN: Duration = Duration::from_millis(200);
/// Pause between questions for a topic's id.
const ASK: Duration = Duration::from_secs(1);

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is known of it; it is to be found, not before this time.
    Lost { until: Duration },
    /// A task finds out where it goes on.
    Finding,
    /// The consumer has to be placed at `next`.
    Placing,
    /// Records are taken in.
    Reading,
}

/// What a task says when it ends.
pub(crate) enum Said {
    /// Where a partition goes on.
    Found(Box<Committer>, i64),
    /// How a write ended.
    Wrote(Box<Committer>, Outcome),
    /// The id that a topic has now; said of no partition.
    TopicIs(String),
}

/// A task's report.
pub(crate) struct Report {
    pub(crate) topic: String,
    pub(crate) number: i32,
    /// Reports of tasks from before the partition was lost are not listened to.
    pub(crate) token: u64,
    pub(crate) said: Said,
}

pub(crate) type Work = Pin<Box<dyn Future<Output = Said> + Send>>;

/// See the module's documentation.
pub(crate) struct Partition {
    pub(crate) phase: Phase,
    /// Whether the group gave it to us.
    pub(crate) owned: bool,
    /// Whether the consumer holds it back.
    pub(crate) paused: bool,
    /// The offset that is to be read next.
    pub(crate) next: i64,
    /// The offset behind the newest finished claim.
    pub(crate) committed: Option<i64>,
    pub(crate) buffer: Buffer,
    /// Bytes of the records that are being written.
    pub(crate) writing: u64,
    /// Names the newest task.
    pub(crate) token: u64,
    /// An offset that was not there when it was looked for.
    pub(crate) hole: Option<i64>,
    /// When placing is tried again.
    pub(crate) try_at: Duration,
    /// When an offset out of order is looked into again.
    pub(crate) look_at: Duration,
    /// Not here while a task has it.
    committer: Option<Box<Committer>>,
    /// The id of the topic that is read.
    topic_id: String,
}

impl Default for Partition {
    fn default() -> Self {
        Self {
            phase: Phase::Lost { until: Duration::ZERO },
            owned: false,
            paused: false,
            next: 0,
            committed: None,
            buffer: Buffer::default(),
            writing: 0,
            token: 0,
            hole: None,
            try_at: Duration::ZERO,
            look_at: Duration::ZERO,
            committer: None,
            topic_id: String::new(),
        }
    }
}

impl Partition {
    /// Appends the record, and waits for the one behind it; the bytes it costs.
    pub(crate) fn push(&mut self, record: Record, now: Duration) -> u64 {
        self.next = record.offset + 1;
        self.hole = None;
        let before = self.buffer.bytes();
        self.buffer.push(record, now);
        self.buffer.bytes() - before
    }

    /// Forgets all; it is found again from `until` on.
    pub(crate) fn lose(&mut self, until: Duration) {
        self.phase = Phase::Lost { until };
        self.buffer.clear();
        self.committer = None;
        self.writing = 0;
        self.committed = None;
        self.token += 1;
    }

    /// Begins again where the topic has become another: what was read belongs to one that is no more.
    pub(crate) fn check_topic(&mut self, id: &str, now: Duration) {
        if self.phase == Phase::Reading && self.topic_id != id {
            self.leave_topic(now);
        }
    }

    /// Begins again with another incarnation of the topic, once the claim that is being written is done:
    /// the new chain inherits what it wrote.
    pub(crate) fn leave_topic(&mut self, now: Duration) {
        if self.writing == 0 {
            self.lose(now + AGAIN);
        }
    }

    /// A name for the task that begins now.
    pub(crate) fn next_token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    /// Whether it could be written now.
    pub(crate) fn can_write(&self) -> bool {
        self.committer.is_some() && !self.buffer.is_empty()
    }

    /// Whether it should be written now.
    pub(crate) fn is_due(&self, limits: &Limits, now: Duration) -> bool {
        self.can_write() && self.buffer.is_due(limits, now)
    }

    /// Whether it has enough for the next claim while one is being written.
    pub(crate) fn is_crowded(&self, limits: &Limits) -> bool {
        self.writing > 0 && self.buffer.is_full(limits)
    }

    /// Finds where the partition goes on.
    pub(crate) fn find(&mut self, context: Context, topic: String, partition: i32) -> Work {
        self.phase = Phase::Finding;
        Box::pin(async move {
            loop {
                let topic_id = ask(&context, &topic).await;
                let chain = Chain { topic: topic.clone(), topic_id, partition };
                let mut committer = Committer::new(context.clone(), chain);
                if let Some(next) = committer.recover().await {
                    return Said::Found(Box::new(committer), next);
                }
            }
        })
    }

    /// Writes a claim's worth of what waits; `None` where nothing can be written.
    pub(crate) fn write(&mut self, limits: &Limits) -> Option<Work> {
        let mut committer = self.committer.take()?;
        let records = self.buffer.cut(limits);
        let Some(last) = records.last().map(|r| r.offset) else {
            self.committer = Some(committer);
            return None;
        };
        self.writing = cost_of(&records);
        Some(Box::pin(async move {
            let outcome = committer.write(last, records).await;
            Said::Wrote(committer, outcome)
        }))
    }

    /// Takes in what a task says; the offset to commit, where there is one.
    pub(crate) fn hear(&mut self, said: Said, now: Duration) -> Option<i64> {
        self.writing = 0;
        match said {
            Said::TopicIs(_) => None,
            Said::Found(committer, next) => {
                self.topic_id = committer.topic_id().to_owned();
                self.committer = Some(committer);
                self.next = next;
                self.committed = Some(next);
                self.phase = Phase::Placing;
                None
            }
            Said::Wrote(committer, Outcome::Committed(next)) => {
                self.committer = Some(committer);
                self.committed = Some(next);
                Some(next)
            }
            Said::Wrote(_, Outcome::StartOver) => {
                self.lose(now + AGAIN);
                None
            }
        }
    }
}

/// The id of a topic; asks until there is an answer.
async fn ask(context: &Context, topic: &str) -> String {
    loop {
        match context.log.topic_id(topic).await {
            Ok(id) => return id,
            Err(e) => context.board.failed(&e.to_string()),
        }
        tokio::time::sleep(ASK).await;
    }
}
