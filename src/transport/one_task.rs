//! A connection and the answers to its requests, as one task.
//!
//! With a task for each request, it would wait in the queue of its thread three times:
//! until its connection is read, until it is answered, and until that is written. Here all
//! that was read is answered, and all answers are written, in one turn of the connection.
//! So nobody waits for longer than a round of the thread ([`pace`](super::pace)), and what
//! is used together is in the processor's caches together.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use hyper::rt::Executor;

use super::guarded::Watched;

/// How often the connection is polled in one turn, if there is more to do each time.
const AT_ONCE: usize = 8;
/// After how many requests nothing more is read in a turn. Much that is read for few, as
/// long messages are, is read on at once.
const MANY: usize = 32;

/// An answer that is being made.
type Answer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The answers that a connection began, until its task takes them.
#[derive(Clone, Default)]
pub struct Begun(Arc<Mutex<Vec<Answer>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Begun {
    fn execute(&self, answer: F) {
        lock(&self.0).push(Box::pin(answer));
    }
}

/// A connection that gives its answers to [`Begun`], and those.
pub struct OneTask<C> {
    connection: Pin<Box<C>>,
    begun: Begun,
    watched: Arc<Watched>,
    lag: Duration,
    answers: Answers,
    turn: Arc<Turn>,
    waker: Waker,
}

impl<C: Future> OneTask<C> {
    /// A connection that was made with that, and is watched there. Rounds of its thread
    /// should take no longer than `lag`.
    pub fn new(connection: C, begun: Begun, watched: Arc<Watched>, lag: Duration) -> Self {
        let turn = Arc::new(Turn::default());
        Self {
            connection: Box::pin(connection),
            begun,
            watched,
            lag,
            answers: Answers::default(),
            waker: Waker::from(Arc::clone(&turn)),
            turn,
        }
    }

    /// The connection.
    pub fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }
}

impl<C> Drop for OneTask<C> {
    fn drop(&mut self) {
        // What was begun and not taken holds what holds it.
        let begun = mem::take(&mut *lock(&self.begun.0));
        drop(begun);
    }
}

impl<C: Future> Future for OneTask<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        let turn = &this.turn;
        turn.begin(task.waker());
        this.watched.turn(this.lag);
        let mut context = Context::from_waker(&this.waker);
        let mut begun = 0;
        for again in 0..AT_ONCE {
            turn.is_due.store(false, Ordering::SeqCst);
            if let Poll::Ready(ended) = this.connection.as_mut().poll(&mut context) {
                return Poll::Ready(ended);
            }
            let is_over = begun >= MANY;
            this.answers.go_on(turn);
            begun += this.answers.begin(&this.begun, turn);
            if is_over || !turn.is_due.load(Ordering::SeqCst) {
                break;
            }
            if begun < MANY && again + 2 < AT_ONCE {
                this.watched.read_on();
            } else {
                // Once more, but only to write.
                this.watched.read_no_more();
            }
        }
        turn.end();
        Poll::Pending
    }
}

/// The answers that take longer, each in a place of its own, which the next one has after
/// it: so its waker is made once.
#[derive(Default)]
struct Answers {
    places: Vec<Place>,
    /// Places where there is none.
    free: Vec<usize>,
    /// What was woken and what was begun, while that is gone through.
    woken: Vec<usize>,
    begun: Vec<Answer>,
}

struct Place {
    answer: Option<Answer>,
    woken: Arc<Woken>,
    waker: Waker,
}

/// Polls an answer. One that panics ends, and with it its stream, but nothing else.
fn poll(answer: &mut Answer, context: &mut Context<'_>) -> Poll<()> {
    let polled = AssertUnwindSafe(|| answer.as_mut().poll(context));
    catch_unwind(polled).unwrap_or(Poll::Ready(()))
}

impl Answers {
    /// Polls those that were woken.
    fn go_on(&mut self, turn: &Turn) {
        mem::swap(&mut self.woken, &mut *lock(&turn.woken));
        for index in self.woken.drain(..) {
            let Some(place) = self.places.get_mut(index) else {
                continue;
            };
            place.woken.is_woken.store(false, Ordering::SeqCst);
            let Some(answer) = &mut place.answer else {
                continue;
            };
            let mut context = Context::from_waker(&place.waker);
            if poll(answer, &mut context).is_ready() {
                place.answer = None;
                self.free.push(index);
            }
        }
    }

    /// Polls those that were begun; how many there were.
    fn begin(&mut self, begun: &Begun, turn: &Arc<Turn>) -> usize {
        mem::swap(&mut self.begun, &mut *lock(&begun.0));
        let count = self.begun.len();
        for mut answer in self.begun.drain(..) {
            let index = self.free.pop().unwrap_or(self.places.len());
            if index == self.places.len() {
                self.places.push(Place::new(index, turn));
            }
            let Some(place) = self.places.get_mut(index) else {
                continue;
            };
            let mut context = Context::from_waker(&place.waker);
            match poll(&mut answer, &mut context) {
                Poll::Ready(()) => self.free.push(index),
                Poll::Pending => place.answer = Some(answer),
            }
        }
        count
    }
}

impl Place {
    fn new(index: usize, turn: &Arc<Turn>) -> Self {
        let woken = Arc::new(Woken {
            index,
            turn: Arc::clone(turn),
            is_woken: AtomicBool::new(false),
        });
        Self {
            answer: None,
            waker: Waker::from(Arc::clone(&woken)),
            woken,
        }
    }
}

/// Wakes what is in a place.
struct Woken {
    index: usize,
    turn: Arc<Turn>,
    is_woken: AtomicBool,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::SeqCst) {
            lock(&self.turn.woken).push(self.index);
            self.turn.be_due();
        }
    }
}

/// Wakes the task; while it has its turn, it is not put into the queue for that.
#[derive(Default)]
struct Turn {
    /// Whether there is something to do that was not looked for yet.
    is_due: AtomicBool,
    has_turn: AtomicBool,
    task: Mutex<Option<Waker>>,
    /// The places that were woken.
    woken: Mutex<Vec<usize>>,
}

impl Turn {
    fn begin(&self, waker: &Waker) {
        let mut task = lock(&self.task);
        match &mut *task {
            Some(task) => task.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        self.has_turn.store(true, Ordering::SeqCst);
    }

    fn end(&self) {
        self.has_turn.store(false, Ordering::SeqCst);
        if self.is_due.load(Ordering::SeqCst) {
            self.wake_task();
        }
    }

    fn be_due(&self) {
        self.is_due.store(true, Ordering::SeqCst);
        if !self.has_turn.load(Ordering::SeqCst) {
            self.wake_task();
        }
    }

    fn wake_task(&self) {
        if let Some(task) = &*lock(&self.task) {
            task.wake_by_ref();
        }
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.be_due();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.be_due();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What a test's connection does at its next polls.
    type Script = Arc<Mutex<Vec<Vec<Answer>>>>;

    struct Tried {
        script: Script,
        polls: Arc<AtomicUsize>,
        task: Arc<Task>,
        one: OneTask<Pin<Box<dyn Future<Output = ()> + Send>>>,
    }

    impl Tried {
        /// A connection that begins those answers at its first polls, one vector each, and
        /// has more to do as long as there are any; at the end of the script it waits.
        fn new(script: Vec<Vec<Answer>>) -> Self {
            let script: Script = Arc::new(Mutex::new(script));
            let (polls, begun) = (Arc::new(AtomicUsize::new(0)), Begun::default());
            let (left, counted, executor) =
                (Arc::clone(&script), Arc::clone(&polls), begun.clone());
            let connection = std::future::poll_fn(move |context| {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut left = lock(&left);
                if !left.is_empty() {
                    let answers = left.remove(0);
                    answers
                        .into_iter()
                        .for_each(|answer| executor.execute(answer));
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            });
            Self {
                script,
                polls,
                task: Arc::default(),
                one: OneTask::new(
                    Box::pin(connection),
                    begun,
                    Arc::default(),
                    Duration::from_secs(1),
                ),
            }
        }

        fn poll(&mut self) {
            let waker = Waker::from(Arc::clone(&self.task));
            let mut context = Context::from_waker(&waker);
            assert!(Pin::new(&mut self.one).poll(&mut context).is_pending());
        }

        fn polls(&self) -> usize {
            self.polls.load(Ordering::SeqCst)
        }

        fn woken(&self) -> usize {
            self.task.0.load(Ordering::SeqCst)
        }
    }

    /// An answer that is counted when it is made.
    fn counted(made: &Arc<AtomicUsize>) -> Answer {
        let made = Arc::clone(made);
        Box::pin(async move {
            made.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[test]
    fn what_is_begun_is_answered_and_written_in_one_turn() {
        let made = Arc::default();
        let mut tried = Tried::new(vec![(0..5).map(|_| counted(&made)).collect()]);
        tried.poll();
        assert_eq!(made.load(Ordering::SeqCst), 5);
        assert_eq!(tried.polls(), 2, "once more, for the answers to be written");
        assert_eq!(tried.woken(), 0, "it had its turn");
    }

    #[test]
    fn who_has_much_to_do_gives_others_their_turn() {
        let made: Arc<AtomicUsize> = Arc::default();
        let one = || vec![counted(&made)];
        let mut tried = Tried::new((0..AT_ONCE + 3).map(|_| one()).collect());
        tried.poll();
        assert_eq!((tried.polls(), tried.woken()), (AT_ONCE, 1));
        tried.poll();
        assert_eq!((tried.polls(), tried.woken()), (AT_ONCE + 4, 1));
        assert_eq!(made.load(Ordering::SeqCst), AT_ONCE + 3);
        // Many at a time are enough for one turn.
        let many = || (0..MANY).map(|_| counted(&made)).collect();
        let mut tried = Tried::new(vec![many(), many(), many()]);
        tried.poll();
        assert_eq!((tried.polls(), tried.woken()), (2, 1));
        assert_eq!(lock(&tried.script).len(), 1);
    }

    #[test]
    fn an_answer_that_waits_is_polled_when_it_is_woken_and_no_other_is() {
        let polled: Arc<[AtomicUsize; 3]> = Arc::default();
        let (senders, answers): (Vec<_>, Vec<Answer>) = (0..3)
            .map(|index| {
                let (sender, mut receiver) = oneshot::channel::<()>();
                let polled = Arc::clone(&polled);
                let answer: Answer = Box::pin(std::future::poll_fn(move |context| {
                    polled[index].fetch_add(1, Ordering::SeqCst);
                    Pin::new(&mut receiver).poll(context).map(drop)
                }));
                (sender, answer)
            })
            .unzip();
        let mut tried = Tried::new(vec![answers]);
        let seen = || [0, 1, 2].map(|index| polled[index].load(Ordering::SeqCst));
        tried.poll();
        assert_eq!((seen(), tried.woken()), ([1, 1, 1], 0));
        let mut senders = senders.into_iter();
        let (first, second) = (senders.next().unwrap(), senders.next().unwrap());
        // From any thread.
        std::thread::spawn(move || second.send(()))
            .join()
            .unwrap()
            .unwrap();
        assert_eq!(tried.woken(), 1);
        tried.poll();
        assert_eq!(seen(), [1, 2, 1]);
        first.send(()).unwrap();
        tried.poll();
        assert_eq!(seen(), [2, 2, 1]);
        // Their places are had by the next ones, and they are not polled again.
        let made = Arc::default();
        lock(&tried.script).push(vec![counted(&made), counted(&made)]);
        tried.poll();
        assert_eq!(made.load(Ordering::SeqCst), 2);
        assert_eq!(seen(), [2, 2, 1]);
        assert_eq!(tried.one.answers.places.len(), 3);
        assert_eq!(tried.one.answers.free.len(), 2);
    }

    #[test]
    fn an_answer_that_panics_ends_and_nothing_else() {
        let made = Arc::default();
        let panics: Answer = Box::pin(async { panic!("on purpose") });
        let mut tried = Tried::new(vec![vec![panics, counted(&made)]]);
        tried.poll();
        assert_eq!(made.load(Ordering::SeqCst), 1);
        let answers = &tried.one.answers;
        assert_eq!(answers.places.len(), answers.free.len());
    }

    #[test]
    fn what_was_begun_by_a_connection_that_ended_is_dropped() {
        // As hyper's answers do, it holds what it was given to.
        let (sender, receiver) = oneshot::channel::<()>();
        let begun = Begun::default();
        let executor = begun.clone();
        let connection = async move {
            let mine = executor.clone();
            executor.execute(async move {
                let _mine = mine;
                drop(receiver.await);
            });
        };
        let mut one = OneTask::new(connection, begun, Arc::default(), Duration::from_secs(1));
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut one).poll(&mut context).is_ready());
        drop(one);
        assert!(sender.is_closed());
    }

    #[test]
    fn answers_end_with_their_connection() {
        let (sender, receiver) = oneshot::channel::<()>();
        let answer: Answer = Box::pin(async move { drop(receiver.await) });
        let mut tried = Tried::new(vec![vec![answer]]);
        tried.poll();
        assert!(!sender.is_closed());
        drop(tried);
        assert!(sender.is_closed());
    }
}
