//! Requests of a connection whose message is still to come.
//!
//! Many clients send the headers of their calls first and the messages a moment later, so
//! that most ordinary checks wait for theirs. A timer for each would cost more than the
//! check; here are places that are looked through now and then. There are never more of
//! them than the connection had requests at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Those who wait.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    /// How often they were looked through.
    turn: u64,
    /// How often one was taken.
    taken: u64,
    places: Vec<Option<Place>>,
    /// Those that nobody has.
    free: Vec<usize>,
}

#[derive(Debug)]
struct Place {
    /// Tells whoever has it from those who had it before.
    number: u64,
    /// The turn that was next when it was taken.
    turn: u64,
    /// The moment from which it is too late, in ticks.
    due: Option<u64>,
    waker: Waker,
}

/// A place, and who has it.
#[derive(Debug)]
pub struct Ticket {
    index: usize,
    number: u64,
}

impl Waiting {
    /// Waits, to be woken when it has taken too long or is due, in ticks.
    pub fn enter(&self, waker: &Waker, due: Option<u64>) -> Ticket {
        let mut places = self.places();
        places.taken += 1;
        let (number, turn) = (places.taken, places.turn);
        let waker = waker.clone();
        let place = Some(Place {
            number,
            turn,
            due,
            waker,
        });
        let index = match places.free.pop() {
            Some(index) => {
                if let Some(free) = places.places.get_mut(index) {
                    *free = place;
                }
                index
            }
            None => {
                places.places.push(place);
                places.places.len() - 1
            }
        };
        Ticket { index, number }
    }

    /// Whether it has not taken too long yet.
    pub fn is_in_time(&self, ticket: &Ticket) -> bool {
        self.places().of(ticket).is_some()
    }

    /// Waits no more.
    pub fn leave(&self, ticket: &Ticket) {
        let mut places = self.places();
        if let Some(place) = places.of(ticket) {
            *place = None;
            places.free.push(ticket.index);
        }
    }

    /// Wakes those who have waited for that many whole turns, or are due by now.
    pub fn turn(&self, patience: u64, now: u64) {
        let mut places = self.places();
        places.turn += 1;
        let until = places.turn.saturating_sub(patience);
        let Places { places, free, .. } = &mut *places;
        for (index, place) in places.iter_mut().enumerate() {
            let is_late =
                |place: &mut Place| place.turn < until || place.due.is_some_and(|due| due <= now);
            if let Some(late) = place.take_if(is_late) {
                late.waker.wake();
                free.push(index);
            }
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// The place of a ticket, while it is its.
    fn of(&mut self, ticket: &Ticket) -> Option<&mut Option<Place>> {
        let place = self.places.get_mut(ticket.index)?;
        let is_its = place
            .as_ref()
            .is_some_and(|place| place.number == ticket.number);
        is_its.then_some(place)
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

    struct Tried {
        waiting: Waiting,
        woken: Arc<Woken>,
    }

    impl Tried {
        fn new() -> Self {
            Self {
                waiting: Waiting::default(),
                woken: Arc::default(),
            }
        }

        fn enter(&self, due: Option<u64>) -> Ticket {
            let waker = Waker::from(Arc::clone(&self.woken));
            self.waiting.enter(&waker, due)
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn only_those_who_waited_long_enough_are_woken_and_once() {
        let tried = Tried::new();
        let first = tried.enter(None);
        tried.waiting.turn(2, 0);
        let second = tried.enter(None);
        tried.waiting.turn(2, 0);
        assert_eq!(tried.woken(), 0);
        assert!(tried.waiting.is_in_time(&first));
        tried.waiting.turn(2, 0);
        assert_eq!(tried.woken(), 1);
        assert!(!tried.waiting.is_in_time(&first));
        assert!(tried.waiting.is_in_time(&second));
        tried.waiting.turn(2, 0);
        tried.waiting.turn(2, 0);
        assert_eq!(tried.woken(), 2);
        // Nobody who could be woken is kept.
        assert_eq!(Arc::strong_count(&tried.woken), 1);
    }

    #[test]
    fn whoever_is_due_is_woken_by_the_next_turn() {
        let tried = Tried::new();
        let (due, later) = (tried.enter(Some(5)), tried.enter(Some(6)));
        tried.waiting.turn(100, 5);
        assert_eq!(tried.woken(), 1);
        assert!(!tried.waiting.is_in_time(&due));
        assert!(tried.waiting.is_in_time(&later));
    }

    #[test]
    fn there_are_no_more_places_than_waited_at_a_time_and_none_has_two_who_wait() {
        let tried = Tried::new();
        let keeps = tried.enter(None);
        for _ in 0..1_000 {
            let one = tried.enter(None);
            tried.waiting.leave(&one);
            let other = tried.enter(None);
            // Whoever left has nothing to do with whoever came into the place.
            tried.waiting.leave(&one);
            assert!(tried.waiting.is_in_time(&other));
            assert!(!tried.waiting.is_in_time(&one));
            tried.waiting.leave(&other);
        }
        assert!(tried.waiting.is_in_time(&keeps));
        let places = tried.waiting.places();
        assert_eq!((places.places.len(), places.free.len()), (2, 1));
        assert_eq!(Arc::strong_count(&tried.woken), 2);
    }
}
