//! What is refused, so that the rest is answered in time.
//!
//! An ordinary check is answered even when the thread is late: refusing it takes almost as
//! long as answering it, and gives room to nobody. What bounds how many of them wait is how
//! many a client may have open on each connection, and that is fewer the more connections
//! there are ([`Pace::open`]); the client's own queue holds the rest. What is refused is
//! what costs more than a refusal:
//!
//! - a call whose deadline will have passed when it gets its turn;
//! - while a serving thread is overloaded ([`Pace`]), everything but ordinary checks,
//!   health and reflection;
//! - a batch that would be answered too late, or that would wait for longer than the
//!   thread may be late, since batches that came before it wait too ([`Lane`]);
//! - changes beyond three quarters, and everything else beyond all, of the calls that may
//!   be under way on the other runtime; and what is too much on one connection;
//! - checks of what is not in memory, where too many wait for that already (the
//!   application says so).
//!
//! A refusal is made before the request is looked into, but for a batch whose turn comes
//! too late. Its status is RESOURCE_EXHAUSTED with the reason OVERLOADED and a RetryInfo;
//! nothing has happened then.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::Answer;
use super::calls::{Calls, Shed};
use super::guarded::Watched;
use super::lane::{Expected, Lane};
use super::limits::{Limits, MAX_BATCHES};
use super::pace::Pace;
use super::status;

/// What a client reads of a refusal.
pub const OVERLOADED: &str = "more is asked than can be answered; retry later";
const TOO_MUCH_HERE: &str =
    "more is asked on this connection than may be at a time; wait for answers";

/// Who may come in.
pub struct Admission {
    limits: Limits,
    calls: Arc<Calls>,
    managed: Arc<Semaphore>,
    changes: Arc<Semaphore>,
}

/// How much that is more than a check is under way on one connection; made when there is
/// any.
#[derive(Default)]
pub struct OnConnection {
    calls: OnceLock<Arc<Semaphore>>,
    batches: OnceLock<Arc<Semaphore>>,
}

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
    pub fn check(
        &self,
        pace: &Pace,
        deadline: Option<Duration>,
        watched: &Watched,
    ) -> Option<Response<Answer>> {
        if watched.is_full() {
            return Some(self.refuse(Shed::Connection, TOO_MUCH_HERE));
        }
        self.is_late(pace, deadline)
            .then(|| self.refuse(Shed::Lag, OVERLOADED))
    }

    /// Lets in a batch, whose answer is made as a whole, to the lane of its thread.
    pub fn batch(
        &self,
        here: &OnConnection,
        lane: &Arc<Lane>,
        deadline: Option<Duration>,
    ) -> Result<(Admitted, Expected), Box<Response<Answer>>> {
        let places = || Arc::new(Semaphore::new(MAX_BATCHES));
        let Some(batch) = place(here.batches.get_or_init(places)) else {
            return Err(Box::new(self.refuse(Shed::Connection, TOO_MUCH_HERE)));
        };
        let patience = deadline.map_or(self.limits.lag, |deadline| deadline.min(self.limits.lag));
        if lane.ahead() > patience {
            return Err(Box::new(self.refuse(Shed::Batches, OVERLOADED)));
        }
        let admitted = Admitted {
            _places: [Some(batch), None, None],
        };
        Ok((admitted, lane.expect(patience)))
    }

    /// Lets in what is no check; `changes` says whether it is to change something, and
    /// nothing if it is none of Roster's own calls.
    pub fn manage(
        &self,
        pace: &Pace,
        deadline: Option<Duration>,
        changes: Option<bool>,
        watched: &Watched,
        here: &OnConnection,
    ) -> Result<Admitted, Box<Response<Answer>>> {
        let on_one = self.limits.managed_on_one;
        let here = here.calls.get_or_init(|| Arc::new(Semaphore::new(on_one)));
        let here = place(here).filter(|_| !watched.is_full());
        let Some(here) = here else {
            return Err(Box::new(self.refuse(Shed::Connection, TOO_MUCH_HERE)));
        };
        let Some(changes) = changes else {
            return Ok(Admitted {
                _places: [Some(here), None, None],
            });
        };
        if self.is_late(pace, deadline) {
            return Err(Box::new(self.refuse(Shed::Lag, OVERLOADED)));
        }
        let change = changes.then(|| place(&self.changes));
        if matches!(change, Some(None)) {
            return Err(Box::new(self.refuse(Shed::Writes, OVERLOADED)));
        }
        let Some(managed) = place(&self.managed) else {
            return Err(Box::new(self.refuse(Shed::Managed, OVERLOADED)));
        };
        Ok(Admitted {
            _places: [Some(here), change.flatten(), Some(managed)],
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

fn place(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(places).try_acquire_owned().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_would_be_late_is_refused_before_its_deadline_and_no_other() {
        let calls = Arc::new(Calls::default());
        let admission = Admission::new(Limits::default(), Arc::clone(&calls));
        let (pace, watched) = (Pace::default(), Watched::default());
        let late = Duration::from_millis(60);
        // Late once is no overload, and a deadline can be missed nevertheless.
        pace.round(late, 1, admission.limits().lag);
        let deadline = |ms| Some(Duration::from_millis(ms));
        assert!(admission.check(&pace, deadline(61), &watched).is_none());
        assert!(admission.check(&pace, None, &watched).is_none());
        let refused = admission.check(&pace, deadline(59), &watched);
        let refused = refused.expect("it can't be in time");
        assert_eq!(refused.headers()["grpc-status"], "8");
        assert_eq!(calls.shed_for(Shed::Lag), 1);
        pace.round(Duration::ZERO, 2, admission.limits().lag);
        assert!(admission.check(&pace, deadline(1), &watched).is_none());
    }

    #[tokio::test]
    async fn a_batch_is_refused_that_would_wait_for_too_long() {
        let limits = Limits::default();
        let admission = Admission::new(limits, Arc::default());
        let (here, lane) = (OnConnection::default(), Arc::new(Lane::default()));
        let ask = |deadline| admission.batch(&here, &lane, deadline);
        let mut first = lane.expect(Duration::MAX);
        // Longer than 50 ms, as far as is known.
        let turn = first.turn(1 << 24).await.expect("in time");
        let ahead = lane.ahead();
        assert!(ahead < limits.lag, "{ahead:?}");
        assert!(ask(None).is_ok());
        assert!(ask(Some(ahead)).is_ok());
        let refused = ask(Some(ahead - Duration::from_nanos(1))).err();
        let refused = refused.expect("it can't be in time");
        assert_eq!(refused.headers()["grpc-status"], "8");
        assert_eq!(admission.calls.shed_for(Shed::Batches), 1);
        let mut second = lane.expect(Duration::MAX);
        let mut waits = Box::pin(second.turn(1 << 24));
        assert!(futures_util::poll!(&mut waits).is_pending());
        // However long the client would wait.
        assert!(ask(None).is_err());
        assert!(ask(Some(Duration::MAX)).is_err());
        assert_eq!(admission.calls.shed_for(Shed::Batches), 3);
        drop((waits, turn));
        drop((first, second));
        assert!(ask(Some(Duration::ZERO)).is_ok());
    }
}
