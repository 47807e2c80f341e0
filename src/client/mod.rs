//! A client for services that ask on every request.
//!
//! A [`Checker`] sends the checks of many tasks over a few `StreamIsAuthorized`
//! streams, which costs a fraction of a call for each, and hands every answer to the
//! task that asked. A check that would end its stream with an error is asked by itself,
//! so that the others never notice. A [`connection::Connection`] is for all other RPCs.
//! It knows the wire types and nothing of the daemon.

mod codec;
pub mod connection;
mod lane;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message as _;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::proto::v1;
use lane::{Asking, Lane};

/// How long a check may take if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks many questions at a time over few streams. Used by reference from any number
/// of tasks; dropped, it lets its streams go.
pub struct Checker {
    lanes: Vec<Arc<Lane>>,
    turn: AtomicUsize,
    patience: Duration,
    /// Ends with this.
    _running: JoinSet<()>,
}

/// The key can't be sent as a header.
#[derive(Debug, thiserror::Error)]
#[error("the key has characters that no header may have")]
pub struct MalformedKey;

impl Checker {
    /// Connects when the first question is asked, and again whenever that is needed, with
    /// as many connections as `streams`. The daemon spreads connections over its threads,
    /// so as many as it has serving threads is a good number. Call it inside a runtime.
    pub fn new(endpoint: &Endpoint, key: &str, streams: usize) -> Result<Self, MalformedKey> {
        let channels = (0..streams.max(1)).map(|_| endpoint.connect_lazy());
        Self::over(channels, key)
    }

    /// Asks over these channels, with one stream on each. Call it inside a runtime.
    pub fn over(
        channels: impl IntoIterator<Item = Channel>,
        key: &str,
    ) -> Result<Self, MalformedKey> {
        let bearer: MetadataValue<Ascii> =
            format!("Bearer {key}").parse().map_err(|_| MalformedKey)?;
        let mut running = JoinSet::new();
        let lanes = channels.into_iter().map(|channel| {
            let lane = Arc::new(Lane::default());
            running.spawn(lane::run(Arc::clone(&lane), channel, bearer.clone()));
            lane
        });
        Ok(Self {
            lanes: lanes.collect(),
            turn: AtomicUsize::new(0),
            patience: PATIENCE,
            _running: running,
        })
    }

    /// The same with another limit to how long a check may take.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asks one question. The status is that of `IsAuthorized`; DEADLINE_EXCEEDED when
    /// there is no answer in time, and what the connection says when there is none.
    pub async fn check(
        &self,
        request: &v1::IsAuthorizedRequest,
    ) -> Result<v1::IsAuthorizedResponse, Status> {
        let message = request.encode_to_vec().into();
        let (asking, answer) = Asking::new(message, self.patience);
        // What may have to wait for a revision would hold up those behind it.
        let goes_alone = !request.at_least.is_empty();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let Some(lane) = turn
            .checked_rem(self.lanes.len())
            .and_then(|turn| self.lanes.get(turn))
        else {
            return Err(Status::failed_precondition("the checker has no channel"));
        };
        lane.ask(asking, goes_alone)?;
        match tokio::time::timeout(self.patience, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Status::cancelled("the checker was dropped")),
            Err(_) => Err(Status::deadline_exceeded("no answer came in time")),
        }
    }
}
