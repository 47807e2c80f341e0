//! Drives a courier: leases what is due, delivers several at a time, acknowledges.
//!
//! It stops when told to: nothing more is leased, what is under way is finished. If
//! the process ends before that, the leases end with it, and it is delivered again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Courier;
use crate::application::Application;
use crate::application::notifications::{Leased, Letter};

/// The most deliveries at a time.
const MOST_AT_ONCE: usize = 8;
/// How long a notification is leased for a delivery; longer than any delivery takes.
const LEASE: Duration = Duration::from_secs(5 * 60);
/// How long the worker rests before it looks again for what has become due.
const REST: Duration = Duration::from_millis(500);
/// How often an acknowledgement is tried that the store does not take.
const ACKNOWLEDGEMENTS: usize = 5;
/// How often the outboxes are searched for what nobody has come for.
const TIDYING: Duration = Duration::from_secs(10 * 60);

/// Delivers until `stop` is true or its sender is gone.
pub async fn deliver_all(
    application: Arc<Application>,
    courier: Courier,
    mut stop: watch::Receiver<bool>,
) {
    let courier = Arc::new(courier);
    let mut under_way = JoinSet::new();
    while !*stop.borrow() && stop.has_changed().is_ok() {
        let free = MOST_AT_ONCE.saturating_sub(under_way.len());
        let letters = match free {
            0 => Vec::new(),
            free => application.lease_notifications(free, LEASE).await,
        };
        let found = !letters.is_empty();
        for letter in letters {
            let (application, courier) = (Arc::clone(&application), Arc::clone(&courier));
            under_way.spawn(async move { deliver(&application, &courier, &letter).await });
        }
        if found && under_way.len() < MOST_AT_ONCE {
            continue;
        }
        tokio::select! {
            _ = stop.changed() => {}
            _ = under_way.join_next(), if !under_way.is_empty() => {}
            () = application.news_of_notifications() => {}
            () = sleep(REST) => {}
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// Gives up what nobody has come for, from time to time, until told to stop.
pub async fn tidy(application: Arc<Application>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() && stop.has_changed().is_ok() {
        application.give_up_unclaimed().await;
        tokio::select! {
            _ = stop.changed() => {}
            () = sleep(TIDYING) => {}
        }
    }
}

async fn deliver(application: &Application, courier: &Courier, letter: &Letter) {
    let leased = Leased::from(letter);
    let Leased {
        organization,
        notification,
        ..
    } = &leased;
    let attempt = letter.attempt;
    match courier.deliver(letter, application.world().now()).await {
        Ok(()) => {
            tracing::info!(organization, notification, attempt, "delivered");
            acknowledge(application, &leased).await;
        }
        Err(failure) => {
            tracing::warn!(organization, notification, attempt, %failure, "not delivered");
            application.set_back(&leased, failure.setback()).await;
        }
    }
}

/// What is not acknowledged is delivered again, so it is worth a few attempts.
async fn acknowledge(application: &Application, leased: &Leased) {
    for _ in 0..ACKNOWLEDGEMENTS {
        let Err(error) = application.delivered(leased).await else {
            return;
        };
        let (organization, notification) = (&leased.organization, &leased.notification);
        tracing::warn!(organization, notification, %error, "delivered, but not acknowledged");
        sleep(REST).await;
    }
}
