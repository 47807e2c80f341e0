//! Delivery: the adapters that carry notifications out of the house, by mail or to a
//! webhook, and the worker that drives them.
//!
//! A [`Courier`] delivers one letter and says whether that went well. When, how often
//! and in which order is for the [`worker`], and what becomes of the notification is
//! for the application. Nothing here logs an address, a link, a text or what the
//! other side answered, which may quote any of them.

pub mod smtp;
pub mod webhook;
pub mod worker;

use crate::application::notifications::{Letter, Setback};
use crate::domain::organization::Moment;

pub use smtp::{Mailer, SmtpServer};
pub use webhook::{Webhook, WebhookAddress};

/// The header that names a notification, the same at every delivery.
pub const NOTIFICATION_ID_HEADER: &str = "Roster-Notification-Id";

/// Carries letters.
pub enum Courier {
    /// By mail.
    Mailer(Mailer),
    /// To a webhook.
    Webhook(Box<Webhook>),
}

/// A letter was not delivered, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no address to deliver to, or none that mail can have.
    #[error("there is no usable address")]
    NoAddress,
    /// The other side could not be reached or spoke another language.
    #[error("the other side can't be reached")]
    Unreachable,
    /// It took too long.
    #[error("the other side took too long")]
    Timeout,
    /// The other side answered with this code, and may answer otherwise another time.
    #[error("the other side answered {0}")]
    Answered(u16),
    /// The other side answered with this code, and means it.
    #[error("the other side refused with {0}")]
    Refused(u16),
}

impl Courier {
    /// Delivers a letter; `now` is the moment at which it does.
    pub async fn deliver(&self, letter: &Letter, now: Moment) -> Result<(), Failure> {
        match self {
            Self::Mailer(mailer) => mailer.deliver(letter).await,
            Self::Webhook(webhook) => webhook.deliver(letter, now).await,
        }
    }
}

impl Failure {
    /// What it means for the notification.
    pub fn setback(self) -> Setback {
        match self {
            Self::NoAddress => Setback::NoAddress,
            Self::Refused(_) => Setback::Refused,
            Self::Unreachable | Self::Timeout | Self::Answered(_) => Setback::Passing,
        }
    }
}

/// A notification as receivers tell it from any other: never the same for two.
fn name_of(letter: &Letter) -> String {
    format!("{}/{}", letter.organization, letter.notification.id)
}
