//! What is refused, so that the rest is answered in time.
//!
//! An ordinary check is answered even when the thread is late: refusing it would take
//! almost as long as answering it, and would help nobody. What bounds how many of them
//! wait are the streams of a connection and the connections themselves; the client's own
//! queue holds the rest. So what is refused is what costs more than a refusal:
//!
//! - a call whose deadline will have passed when it gets its turn;
//! - while a serving thread is overloaded ([`Pace`]), everything but ordinary checks,
//!   health and reflection;
//! - changes beyond three quarters, and everything else beyond all, of the calls that may
//!   be under way on the other runtime; and what is too much on one connection;
//! - checks of what is not in memory, where too many wait for that already (the
//!   application says so).
//!
//! A refusal is made before the request is read. Its status is RESOURCE_EXHAUSTED with
//! the reason OVERLOADED and a RetryInfo; nothing has happened then.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::Answer;
use super::calls::{Calls, Shed};
use super::limits::Limits;
use super::pace::Pace;
use super::status;

/// What a client reads of a refusal.
const OVERLOADED: &str = "more is asked than can be answered; retry later";
const TOO_MUCH_HERE: &str =
    "more is asked on this connection than may be at a time; wait for answers";

/// Who may come in.
pub struct Admission {
    limits: Limits,
    calls: Arc<Calls>,
    managed: Arc<Semaphore>,
    changes: Arc<Semaphore>,
}

/// How much that is no check is under way on one connection.
#[derive(Default)]
pub struct OnConnection(std::sync::OnceLock<Arc<Semaphore>>);

/// A call that may be under way; dropped, another may.
pub struct Admitted {
    _places: [Option<OwnedSemaphorePermit>; 3],
}

impl Admission {
    /// As the limits say.
    pub fn new(limits: Limits, calls: Arc<Calls>) -> Self {
        Self {
            managed: Arc::new(Semaphore::new(limits.managed)),
            changes: Arc::new(Semaphore::new(limits.changes())),
            limits,
            calls,
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The answer to a check that costs more than refusing it, if it is refused.
    pub fn check(&self, pace: &Pace, deadline: Option<Duration>) -> Option<Response<Answer>> {
        self.is_late(pace, deadline)
            .then(|| self.refuse(Shed::Lag, OVERLOADED))
    }

    /// Lets in what is no check; `changes` says whether it is to change something, and
    /// nothing if it is none of Roster's own calls.
    pub fn manage(
        &self,
        pace: &Pace,
        deadline: Option<Duration>,
        changes: Option<bool>,
        here: &OnConnection,
    ) -> Result<Admitted, Response<Answer>> {
        let on_one = self.limits.managed_on_one;
        let here = here.0.get_or_init(|| Arc::new(Semaphore::new(on_one)));
        let place = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let Some(here) = place(here) else {
            return Err(self.refuse(Shed::Connection, TOO_MUCH_HERE));
        };
        let Some(changes) = changes else {
            return Ok(Admitted {
                _places: [Some(here), None, None],
            });
        };
        if self.is_late(pace, deadline) {
            return Err(self.refuse(Shed::Lag, OVERLOADED));
        }
        let change = match changes {
            true => {
                Some(place(&self.changes).ok_or_else(|| self.refuse(Shed::Writes, OVERLOADED))?)
            }
            false => None,
        };
        let Some(managed) = place(&self.managed) else {
            return Err(self.refuse(Shed::Managed, OVERLOADED));
        };
        Ok(Admitted {
            _places: [Some(here), change, Some(managed)],
        })
    }

    fn is_late(&self, pace: &Pace, deadline: Option<Duration>) -> bool {
        pace.is_overloaded() || deadline.is_some_and(|deadline| deadline < pace.lag())
    }

    fn refuse(&self, why: Shed, what: &str) -> Response<Answer> {
        self.calls.shed(why);
        status::overloaded(what)
            .into_http::<tonic::body::Body>()
            .map(Answer::from)
    }
}
