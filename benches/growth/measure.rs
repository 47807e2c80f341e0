//! What is measured at each size of each thing.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use roster::application::{Actor, Application, Caller, Check, Need, Request};
use tokio::runtime::Runtime;

use crate::fixtures::{Size, each, median, question, scattered};
use crate::served::Daemon;

/// Rounds in which the sizes of a thing take turns.
const ROUNDS: usize = 60;
/// Checks inside the process in a round.
const INSIDE: usize = 2_000;
/// Checks over gRPC in a round.
const SERVED: usize = 40;
/// Changes in a round.
const CHANGES: usize = 8;

/// Something that grows.
pub struct Curve {
    /// What.
    pub name: &'static str,
    /// From little to much.
    pub points: Vec<Point>,
}

/// One size.
pub struct Point {
    /// How many there are.
    pub count: usize,
    /// Where.
    pub organizations: Vec<String>,
    /// What each of those has.
    pub size: Size,
}

/// Medians at one size.
#[derive(Clone, Copy)]
pub struct Measured {
    /// A check over gRPC.
    pub served: Duration,
    /// A check inside the process.
    pub inside: Duration,
    /// A role change.
    pub change: Duration,
}

/// Asks every organization once, so that all are in memory.
pub async fn warm(application: &Application, curves: &[Curve]) {
    for point in curves.iter().flat_map(|curve| &curve.points) {
        for id in &point.organizations {
            application.find(id).await.expect("the organization");
        }
    }
}

/// Measures a thing at all of its sizes.
pub fn measure(
    curve: &Curve,
    runtime: &Runtime,
    application: &Application,
    daemon: &mut Daemon,
) -> Vec<Measured> {
    let mut served = vec![Vec::new(); curve.points.len()];
    let mut inside = vec![Vec::new(); curve.points.len()];
    let mut change = vec![Vec::new(); curve.points.len()];
    for round in 0..ROUNDS {
        for (index, point) in curve.points.iter().enumerate() {
            let asked = drawn(point, round, INSIDE);
            inside[index].push(each(INSIDE, |call| {
                let (organization, user) = &asked[call];
                let mut question = question(user, "project-0");
                question.at = application.world().now();
                let check = Check {
                    organization,
                    question,
                    include_reasons: false,
                };
                let answer = application.check(&check).expect("in memory");
                black_box(answer.expect("an answer"));
            }));
            for (organization, user) in drawn(point, round, SERVED) {
                served[index].push(daemon.check(&organization, &user));
            }
            for (organization, user) in drawn(point, round, CHANGES) {
                let role = if round % 2 == 0 { "operator" } else { "viewer" };
                change[index].push(change_role(
                    runtime,
                    application,
                    &organization,
                    &user,
                    role,
                ));
            }
        }
    }
    let medians = served.into_iter().zip(inside).zip(change);
    medians
        .map(|((served, inside), change)| Measured {
            served: median(served),
            inside: median(inside),
            change: median(change),
        })
        .collect()
}

/// Who is asked about, in no order.
fn drawn(point: &Point, round: usize, count: usize) -> Vec<(String, String)> {
    (0..count)
        .map(|call| {
            let draw = round * count + call;
            let organization = scattered(draw, point.organizations.len());
            let user = scattered(draw.wrapping_mul(31) + 7, point.size.members);
            (
                point.organizations[organization].clone(),
                format!("user-{user}"),
            )
        })
        .collect()
}

fn change_role(
    runtime: &Runtime,
    application: &Application,
    organization: &str,
    user: &str,
    role: &str,
) -> Duration {
    let request = Request {
        caller: Caller {
            name: "bench".to_owned(),
            actor: Actor::Operator,
        },
        method: "SetMemberRoles",
        request_id: String::new(),
        fingerprint: [0; 32],
        validate_only: false,
    };
    let begun = Instant::now();
    runtime
        .block_on(
            application.mutate(organization, Need::Operator, &request, |turn| {
                let roles = vec![role.to_owned()].into();
                turn.organization()
                    .set_member_roles(turn.catalog(), user, &roles, "", turn.now)
            }),
        )
        .expect("a change");
    begun.elapsed()
}

/// An append of 400 bytes that is made durable.
pub fn raw_append(directory: &Path) -> Duration {
    let mut file = File::create(directory.join("raw")).expect("a file");
    let samples = (0..500)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[7; 400]).expect("an append");
            file.sync_data().expect("a sync");
            begun.elapsed()
        })
        .collect();
    median(samples)
}
