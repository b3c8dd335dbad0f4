//! Requests as the log has them, and what a plan can make of them.

use std::time::Duration;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// An object, or a part of it.
    Get,
    /// An object's size.
    Head,
    /// To write an object, whether there is one or not.
    Put,
    /// To write an object where there is none.
    PutIfAbsent,
    /// To remove an object.
    Delete,
    /// A listing.
    List,
    /// Something that this server does not know.
    Other,
}

impl Op {
    /// Whether it changes what is there.
    pub fn writes(self) -> bool {
        matches!(self, Op::Put | Op::PutIfAbsent | Op::Delete)
    }
}

/// A request of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Counts all requests from 1.
    pub number: usize,
    /// Who sent it: the name that [`crate::FakeAws::keys`] was called with.
    pub who: String,
    /// What it asks for.
    pub op: Op,
    /// The key, or the prefix of a listing.
    pub key: String,
    /// What the plan made of it.
    pub fault: Fault,
    /// The status of its effect; `None` while, or where, it had none.
    pub status: Option<u16>,
}

/// An answer in place of the true one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// HTTP's number.
    pub status: u16,
    /// S3's word.
    pub code: &'static str,
}

impl Answer {
    /// Too many requests.
    pub const SLOW_DOWN: Answer = Answer { status: 503, code: "SlowDown" };
    /// The server has failed.
    pub const INTERNAL: Answer = Answer { status: 500, code: "InternalError" };
    /// Another conditional put of this key is under way.
    pub const CONFLICT: Answer = Answer { status: 409, code: "ConditionalRequestConflict" };
    /// There is an object of that key.
    pub const PRECONDITION_FAILED: Answer = Answer { status: 412, code: "PreconditionFailed" };
    /// No permission.
    pub const DENIED: Answer = Answer { status: 403, code: "AccessDenied" };
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The connection is cut, and nothing happens.
    Cut,
    /// It takes effect, and the connection is cut before the answer.
    LoseAnswer,
    /// Nothing happens, and this is the answer.
    Refuse(Answer),
    /// It takes effect, and this is the answer.
    Belie(Answer),
    /// It stands still before its effect until it is released: a kill point.
    ParkBefore,
    /// It takes effect, and its answer stands still until it is released: a kill point.
    ParkAfter,
    /// It takes effect after so long.
    Slow(Duration),
}
