//! How many calls came and what became of them, counted by each serving thread for
//! itself: an ordinary check writes memory that no other processor writes, and takes no
//! lock. The threads' counts are added up when somebody reads them.
//!
//! Calls are counted under the names that are in the descriptors, all others together as
//! one, so that nobody can make up names without bound.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tonic::Code;

use super::methods::{self, CODES, Method};
use super::pace::Pace;
use crate::measure::{Count, Histogram, Spread, TIMES};
use crate::proto::v1;
use crate::world;

/// For how many ordinary checks one stands that is measured.
const MEASURED_OF: u64 = 64;

/// Which reasons an answer may give, by number: all that are in the enum, and more.
const REASONS: usize = 64;

/// The place of an RPC among all that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

/// The RPCs that decide, in the order of [`Decisions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deciding {
    /// `IsAuthorized`.
    One,
    /// `IsAuthorizedWithToken`.
    WithToken,
    /// `BatchIsAuthorized`.
    Batch,
    /// `StreamIsAuthorized`.
    Stream,
}

impl Deciding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::One, Self::WithToken, Self::Batch, Self::Stream];

    /// The name of the RPC.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "IsAuthorized",
            Self::WithToken => "IsAuthorizedWithToken",
            Self::Batch => "BatchIsAuthorized",
            Self::Stream => "StreamIsAuthorized",
        }
    }
}

/// How often it was decided that somebody may, and that they may not.
#[derive(Debug, Default)]
pub struct Decided {
    /// They may.
    pub allowed: Count,
    /// They may not.
    pub denied: Count,
}

/// The decisions of each RPC.
#[derive(Debug, Default)]
pub struct Decisions([Decided; Deciding::ALL.len()]);

impl Decisions {
    /// Those of one.
    pub fn of(&self, rpc: Deciding) -> &Decided {
        let [one, with_token, batch, stream] = &self.0;
        match rpc {
            Deciding::One => one,
            Deciding::WithToken => with_token,
            Deciding::Batch => batch,
            Deciding::Stream => stream,
        }
    }
}

/// What one thread counts, which no other writes.
#[derive(Debug)]
#[repr(align(128))]
pub struct ThreadCounts {
    /// Ordinary checks that came.
    checks: Count,
    /// Those that turned out to be none, and are counted like any other call.
    checks_handed: Count,
    /// Those whose caller went away before there was an answer.
    checks_left: Count,
    check_seconds: Histogram,
    /// What was decided at once.
    pub decisions: Decisions,
    /// Connections that were opened, and that were closed.
    pub opened: Count,
    /// Connections that were closed.
    pub closed: Count,
    /// How well the thread keeps up.
    pub pace: Arc<Pace>,
    methods: Box<[MethodCounts]>,
}

#[derive(Debug)]
struct MethodCounts {
    started: Count,
    codes: [Count; CODES],
    seconds: Histogram,
}

impl ThreadCounts {
    fn new(methods: usize, pace: Arc<Pace>) -> Self {
        let one = |_| MethodCounts {
            started: Count::default(),
            codes: Default::default(),
            seconds: Histogram::of(&TIMES),
        };
        Self {
            checks: Count::default(),
            checks_handed: Count::default(),
            checks_left: Count::default(),
            check_seconds: Histogram::of(&TIMES),
            decisions: Decisions::default(),
            opened: Count::default(),
            closed: Count::default(),
            pace,
            methods: (0..methods).map(one).collect(),
        }
    }

    /// An ordinary check came. Answers with the moment if it is one of those that are
    /// measured, and else with 0.
    #[inline]
    pub fn begin_check(&self) -> u64 {
        if self.checks.bump() % MEASURED_OF == 1 {
            world::ticks()
        } else {
            0
        }
    }

    /// An ordinary check that began then was answered.
    #[inline]
    pub fn end_check(&self, began: u64, is_allowed: bool) {
        let decided = self.decisions.of(Deciding::One);
        if is_allowed {
            decided.allowed.bump();
        } else {
            decided.denied.bump();
        }
        if began != 0 {
            let took = world::ticks().saturating_sub(began);
            self.check_seconds.observe_as(took, MEASURED_OF);
        }
    }

    /// What came as an ordinary check goes on as any other call, which is counted anew.
    pub fn hand_over_check(&self) {
        self.checks_handed.bump();
    }

    /// The caller of an ordinary check went away.
    pub fn leave_check(&self) {
        self.checks_left.bump();
    }

    /// A call came.
    pub fn start(&self, method: Place) {
        if let Some(method) = self.methods.get(method.0) {
            method.started.bump();
        }
    }

    /// A call ended after so many nanoseconds.
    pub fn end(&self, method: Place, code: Code, took: u64) {
        if let Some(method) = self.methods.get(method.0) {
            if let Some(count) = method.codes.get(code as usize) {
                count.bump();
            }
            method.seconds.observe(took);
        }
    }
}

/// Where decisions are counted: those made at once on the thread that makes them, the
/// others where all threads do.
#[derive(Clone)]
pub struct Counting {
    /// The counts of the thread that this is used on.
    pub here: Arc<ThreadCounts>,
    /// The counts that are shared.
    pub calls: Arc<Calls>,
}

/// Why a call was refused for load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// The serving thread does not keep up.
    Lag,
    /// As many calls as may be are under way on the other runtime.
    Managed,
    /// As many calls as may be are under way on this connection.
    Connection,
    /// As many changes as may be wait.
    Writes,
    /// So many batches wait that one more would be answered too late.
    Batches,
}

impl Shed {
    /// All causes.
    pub const ALL: [Self; 5] = [
        Self::Lag,
        Self::Managed,
        Self::Connection,
        Self::Writes,
        Self::Batches,
    ];

    /// What metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Managed => "managed_limit",
            Self::Connection => "connection_limit",
            Self::Writes => "write_limit",
            Self::Batches => "batch_queue",
        }
    }
}

/// Why a connection ended that its client had not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It did not begin as HTTP/2 does.
    Handshake,
    /// What it was sent was not taken.
    Stalled,
    /// Nothing was asked on it for long.
    Idle,
}

impl Ended {
    /// All causes.
    pub const ALL: [Self; 3] = [Self::Handshake, Self::Stalled, Self::Idle];

    /// What metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Stalled => "stalled",
            Self::Idle => "idle",
        }
    }
}

/// The counts of all threads, and those that are rare enough to be shared.
#[derive(Debug)]
pub struct Calls {
    methods: Vec<Method>,
    places: HashMap<String, Place>,
    threads: Mutex<Vec<Arc<ThreadCounts>>>,
    /// Tells these counts from those of another daemon in the process.
    number: u64,
    /// What was decided by the generated services.
    pub decisions: Decisions,
    allowing: [Count; REASONS],
    denying: [Count; REASONS],
    shed: [Count; Shed::ALL.len()],
    ended: [Count; Ended::ALL.len()],
    /// Connections refused because there are as many as may be.
    pub too_many: Count,
    /// Connections that could not be accepted.
    pub failed: Count,
}

thread_local! {
    static HERE: RefCell<Option<(u64, Arc<ThreadCounts>)>> = const { RefCell::new(None) };
}

impl Default for Calls {
    fn default() -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let mut methods = vec![Method {
            kind: "unary",
            service: "unknown".to_owned(),
            name: "unknown".to_owned(),
            changes: false,
        }];
        methods.extend(methods::served());
        let places = methods.iter().enumerate();
        let places = places.map(|(place, method)| {
            let path = format!("/{}/{}", method.service, method.name);
            (path, Place(place))
        });
        Self {
            places: places.collect(),
            methods,
            threads: Mutex::default(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            decisions: Decisions::default(),
            allowing: std::array::from_fn(|_| Count::default()),
            denying: std::array::from_fn(|_| Count::default()),
            shed: Default::default(),
            ended: Default::default(),
            too_many: Count::default(),
            failed: Count::default(),
        }
    }
}

/// What became of the calls of one RPC, over all threads.
#[derive(Clone, Debug)]
pub struct Tally {
    /// How many came.
    pub started: u64,
    /// How many ended, by code.
    pub codes: [u64; CODES],
    /// How long they took.
    pub seconds: Spread,
}

impl Calls {
    /// The RPC at a path; one place is for all that there are not.
    pub fn place(&self, path: &str) -> Place {
        self.places.get(path).copied().unwrap_or(Place(0))
    }

    /// The RPC at a place.
    pub fn method(&self, place: Place) -> Option<&Method> {
        self.methods.get(place.0)
    }

    /// The counts of the thread that this is called on.
    pub fn here(&self) -> Arc<ThreadCounts> {
        HERE.with_borrow_mut(|here| {
            if let Some((number, counts)) = here
                && *number == self.number
            {
                return Arc::clone(counts);
            }
            let counts = Arc::new(ThreadCounts::new(self.methods.len(), Pace::here()));
            self.threads().push(Arc::clone(&counts));
            *here = Some((self.number, Arc::clone(&counts)));
            counts
        })
    }

    /// The counts of each thread.
    pub fn each_thread(&self) -> Vec<Arc<ThreadCounts>> {
        self.threads().clone()
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<Arc<ThreadCounts>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A decision that one of the generated services gave, with the number of its first
    /// reason if it was asked for.
    pub fn decide(&self, rpc: Deciding, decision: v1::Decision, reason: Option<i32>) {
        let (decided, reasons) = match decision {
            v1::Decision::Allow => (&self.decisions.of(rpc).allowed, &self.allowing),
            v1::Decision::Deny => (&self.decisions.of(rpc).denied, &self.denying),
            v1::Decision::Unspecified => return,
        };
        decided.add(1);
        let reason = reason.and_then(|reason| usize::try_from(reason).ok());
        if let Some(count) = reason.and_then(|reason| reasons.get(reason)) {
            count.add(1);
        }
    }

    /// How often each reason was given, by whether it was for allowing.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let both = [("allow", &self.allowing), ("deny", &self.denying)];
        both.into_iter().flat_map(|(decision, counts)| {
            (0..).zip(counts).filter_map(move |(number, count)| {
                let name = v1::ReasonCode::try_from(number).ok()?.as_str_name();
                let name = name.strip_prefix("REASON_CODE_").unwrap_or(name);
                Some((decision, name, count.get())).filter(|(_, _, count)| *count > 0)
            })
        })
    }

    /// Counts a call that was refused for load.
    pub fn shed(&self, why: Shed) {
        if let Some(count) = self.shed.get(why as usize) {
            count.add(1);
        }
    }

    /// How many were refused.
    pub fn shed_for(&self, why: Shed) -> u64 {
        self.shed.get(why as usize).map_or(0, Count::get)
    }

    /// Counts a connection that was ended.
    pub fn end(&self, why: Ended) {
        if let Some(count) = self.ended.get(why as usize) {
            count.add(1);
        }
    }

    /// How many were ended.
    pub fn ended_for(&self, why: Ended) -> u64 {
        self.ended.get(why as usize).map_or(0, Count::get)
    }

    /// What became of the calls of each RPC that was called.
    pub fn tallies(&self) -> Vec<(Method, Tally)> {
        let threads = self.each_thread();
        let checks = self.place("/roster.v1.AuthorizationService/IsAuthorized");
        let places = self.methods.iter().enumerate();
        let tallies = places.filter_map(|(place, method)| {
            let mut tally = Tally {
                started: 0,
                codes: [0; CODES],
                seconds: Spread::default(),
            };
            for thread in &threads {
                // What ended is read before what began, so that it is never more.
                if let Some(counts) = thread.methods.get(place) {
                    for (sum, count) in tally.codes.iter_mut().zip(&counts.codes) {
                        *sum += count.get();
                    }
                    tally.seconds.merge(counts.seconds.read());
                }
                if Place(place) == checks {
                    let decided = thread.decisions.of(Deciding::One);
                    let [ok, cancelled, ..] = &mut tally.codes;
                    *ok += decided.allowed.get() + decided.denied.get();
                    *cancelled += thread.checks_left.get();
                    tally.seconds.merge(thread.check_seconds.read());
                    let handed = thread.checks_handed.get();
                    tally.started += thread.checks.get().saturating_sub(handed);
                }
                if let Some(counts) = thread.methods.get(place) {
                    tally.started += counts.started.get();
                }
            }
            (tally.started > 0).then(|| (method.clone(), tally))
        });
        tallies.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_thread_counts_is_added_up() {
        let calls = Arc::new(Calls::default());
        let place = calls.place("/roster.v1.MemberService/GetMember");
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let calls = Arc::clone(&calls);
                std::thread::spawn(move || {
                    let here = calls.here();
                    here.end_check(here.begin_check(), true);
                    here.end_check(here.begin_check(), false);
                    here.begin_check();
                    here.leave_check();
                    here.begin_check();
                    here.hand_over_check();
                    let check = calls.place("/roster.v1.AuthorizationService/IsAuthorized");
                    here.start(check);
                    here.end(check, Code::NotFound, 5);
                    here.start(place);
                    here.end(place, Code::Ok, 1_000);
                    here.start(calls.place("/no.Such/Thing"));
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("counted");
        }
        let tallies = calls.tallies();
        let of = |name: &str| {
            let found = tallies.iter().find(|(method, _)| method.name == name);
            found.map(|(_, tally)| tally).expect("called")
        };
        let checks = of("IsAuthorized");
        assert_eq!(checks.started, 12);
        assert_eq!(checks.codes[Code::Cancelled as usize], 3);
        assert_eq!(checks.codes[Code::Ok as usize], 6);
        assert_eq!(checks.codes[Code::NotFound as usize], 3);
        let members = of("GetMember");
        assert_eq!((members.started, members.codes[0]), (3, 3));
        assert_eq!(members.seconds.count(), 3);
        assert_eq!(of("unknown").started, 3);
        assert_eq!(tallies.len(), 3);
    }

    #[test]
    fn every_rpc_of_every_served_service_has_its_name_and_kind() {
        let calls = Calls::default();
        for (path, kind) in [
            (
                "/roster.v1.AuthorizationService/StreamIsAuthorized",
                "bidi_stream",
            ),
            ("/grpc.health.v1.Health/Watch", "server_stream"),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                "bidi_stream",
            ),
            ("/roster.v1.RoleService/CreateRole", "unary"),
        ] {
            let place = calls.place(path);
            assert_ne!(place, Place(0), "{path}");
            assert_eq!(
                calls.method(place).expect("it is there").kind,
                kind,
                "{path}"
            );
        }
        assert_eq!(calls.place("/roster.v1.RoleService/NoSuch"), Place(0));
        for (path, changes) in [
            ("/roster.v1.RoleService/CreateRole", true),
            ("/roster.v1.RoleService/GetRole", false),
            ("/roster.v1.AuditService/AppendEvents", true),
            ("/roster.v1.AuditService/ListEvents", false),
        ] {
            let method = calls.method(calls.place(path)).expect("it is there");
            assert_eq!(method.changes, changes, "{path}");
        }
    }

    #[test]
    fn every_reason_has_its_count() {
        let calls = Calls::default();
        let guardrail = v1::ReasonCode::Guardrail.into();
        calls.decide(Deciding::One, v1::Decision::Deny, Some(guardrail));
        calls.decide(Deciding::Batch, v1::Decision::Allow, None);
        calls.decide(Deciding::Batch, v1::Decision::Allow, Some(i32::MAX));
        let reasons: Vec<_> = calls.reasons().collect();
        assert_eq!(reasons, [("deny", "GUARDRAIL", 1)]);
        assert_eq!(calls.decisions.of(Deciding::Batch).allowed.get(), 2);
    }
}
