//! Requests of a connection whose message is still to come.
//!
//! Many clients send the headers of their calls first and the messages a moment later, so
//! that most ordinary checks wait for theirs. A timer for each would cost more than the
//! check; here is a queue that is looked through now and then.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Those who wait, the first first.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    /// How often it was looked through.
    turn: u64,
    /// The number of the first place.
    first: u64,
    /// A place stays empty until all before it are.
    places: VecDeque<Option<Place>>,
}

#[derive(Debug)]
struct Place {
    /// The turn that was next when it was taken.
    turn: u64,
    waker: Waker,
}

/// A place in the queue, by its number.
#[derive(Debug)]
pub struct Ticket(u64);

impl Waiting {
    /// Waits, to be woken when it has taken too long.
    pub fn enter(&self, waker: &Waker) -> Ticket {
        let mut queue = self.queue();
        let number = queue.first + queue.places.len() as u64;
        let turn = queue.turn;
        let waker = waker.clone();
        queue.places.push_back(Some(Place { turn, waker }));
        Ticket(number)
    }

    /// Whether it has not taken too long yet.
    pub fn is_in_time(&self, ticket: &Ticket) -> bool {
        self.queue()
            .place(ticket)
            .is_some_and(|place| place.is_some())
    }

    /// Waits no more.
    pub fn leave(&self, ticket: &Ticket) {
        let mut queue = self.queue();
        if let Some(place) = queue.place(ticket) {
            *place = None;
            queue.close_up();
        }
    }

    /// Wakes those who have waited for that many whole turns.
    pub fn turn(&self, patience: u64) {
        let mut queue = self.queue();
        queue.turn += 1;
        let until = queue.turn.saturating_sub(patience);
        for place in &mut queue.places {
            match place {
                Some(waiting) if waiting.turn >= until => break,
                Some(_) => {
                    if let Some(late) = place.take() {
                        late.waker.wake();
                    }
                }
                None => {}
            }
        }
        queue.close_up();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn place(&mut self, ticket: &Ticket) -> Option<&mut Option<Place>> {
        let index = ticket.0.checked_sub(self.first)?;
        self.places.get_mut(usize::try_from(index).ok()?)
    }

    fn close_up(&mut self) {
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_those_who_waited_long_enough_are_woken_and_once() {
        let waiting = Waiting::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let count = || woken.0.load(Ordering::Relaxed);
        let first = waiting.enter(&waker);
        waiting.turn(2);
        let second = waiting.enter(&waker);
        waiting.turn(2);
        assert_eq!(count(), 0);
        assert!(waiting.is_in_time(&first));
        waiting.turn(2);
        assert_eq!(count(), 1);
        assert!(!waiting.is_in_time(&first));
        assert!(waiting.is_in_time(&second));
        waiting.turn(2);
        waiting.turn(2);
        assert_eq!(count(), 2);
        assert!(waiting.queue().places.is_empty());
    }

    #[test]
    fn whoever_leaves_is_not_woken_and_leaves_no_room_behind() {
        let waiting = Waiting::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let tickets: Vec<_> = (0..10).map(|_| waiting.enter(&waker)).collect();
        for ticket in tickets.iter().skip(1) {
            waiting.leave(ticket);
            waiting.leave(ticket);
        }
        assert_eq!(waiting.queue().places.len(), 10);
        waiting.leave(&tickets[0]);
        assert!(waiting.queue().places.is_empty());
        let late = waiting.enter(&waker);
        // The numbers of those who left are nobody else's.
        waiting.leave(&tickets[0]);
        waiting.turn(1);
        waiting.turn(1);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(!waiting.is_in_time(&late));
        assert_eq!(Arc::strong_count(&woken), 2);
    }
}
