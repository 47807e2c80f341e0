//! There is exactly one owner, whatever is tried, at once or one after another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roster::application::{Actor, Caller, Need, Request as Common};
use roster::domain::change::{Change, Event, Outcome, RecordChange, Target};
use roster::domain::identifiers::UserId;
use roster::proto::v1;
use roster::store::memory::MemoryStore;
use tonic::{Code, Status};

use crate::harness::{Daemon, NOW, as_actor, owned, question, reason};
use crate::transfer::{DAY, is, later, offer, proof};

const ACME: &str = "acme";
/// Schedules of the race; `ROSTER_PROPTEST_CASES` multiplies them.
const SCHEDULES: u64 = 200;

fn remove(organization: &str, user: &str) -> v1::RemoveMemberRequest {
    v1::RemoveMemberRequest {
        organization: organization.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    }
}

fn leave(organization: &str, user: &str) -> v1::LeaveOrganizationRequest {
    v1::LeaveOrganizationRequest {
        organization: organization.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    }
}

/// A QOC team with two Admins, `ada` and `amy`, and a Viewer, `vic`.
async fn qoc() -> Daemon {
    let daemon = Daemon::start().await;
    found_qoc(&daemon, ACME).await;
    daemon
}

async fn found_qoc(daemon: &Daemon, organization: &str) {
    daemon.found(organization, "qoc-cloud").await;
    daemon.plan(organization, "enterprise").await;
    daemon.add(organization, "ada", &["admin"]).await;
    daemon.add(organization, "amy", &["admin"]).await;
    daemon.add(organization, "vic", &["viewer"]).await;
}

/// One thing that happens in a race for the ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Transfer,
    Remove,
    Leave,
    Delete,
}

/// A source of schedules that a seed repeats (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What a reader saw is one owner, and in the revision in which `ada` owns it the
/// old one is Admin; or there is no organization any more. Answers with the owner.
fn check_seen(seen: Result<Vec<v1::Member>, Status>) -> Option<String> {
    let members = match seen {
        Ok(members) => members,
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{status:?}");
            return None;
        }
    };
    let owners: Vec<&str> = members
        .iter()
        .filter(|member| member.owner)
        .map(|member| member.user.as_str())
        .collect();
    assert_eq!(owners.len(), 1, "{members:?}");
    for member in &members {
        let (user, owner) = (member.user.as_str(), owners[0]);
        let roles: &[&str] = match (user, owner) {
            _ if user == owner => &[],
            ("owner" | "ada" | "amy", _) => &["admin"],
            _ => &["viewer"],
        };
        assert_eq!(member.roles, roles, "{user} while {owner} owns it");
    }
    Some(owners[0].to_owned())
}

async fn perform(daemon: &Daemon, organization: &str, two_step: bool, step: Step) {
    let done = match step {
        Step::Transfer if two_step => daemon.accept(organization, "ada").await.map(drop),
        Step::Transfer => daemon.hand_over(organization, None, "ada").await.map(drop),
        Step::Remove => daemon
            .members()
            .remove_member(as_actor("owner", remove(organization, "ada")))
            .await
            .map(drop),
        Step::Leave => daemon
            .members()
            .leave_organization(as_actor("ada", leave(organization, "ada")))
            .await
            .map(drop),
        Step::Delete => daemon
            .organizations()
            .delete_organization(v1::DeleteOrganizationRequest {
                organization: organization.to_owned(),
                ..Default::default()
            })
            .await
            .map(drop),
    };
    // Each may come too late for another; nothing may break.
    if let Err(status) = done {
        let known = matches!(
            status.code(),
            Code::FailedPrecondition | Code::PermissionDenied | Code::NotFound
        );
        assert!(known, "{step:?}: {status:?}");
    }
}

/// Runs one schedule; answers with who owns the organization in the end.
async fn race(daemon: Arc<Daemon>, number: u64) -> Option<String> {
    let mut dice = Dice((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let organization = format!("race-{number}");
    found_qoc(&daemon, &organization).await;
    let two_step = dice.roll(2) == 0;
    if two_step {
        let offered = daemon.initiate("owner", offer(&organization, "ada")).await;
        offered.expect("offered");
    }
    let mut steps = vec![Step::Transfer, Step::Remove, Step::Leave];
    if dice.roll(4) == 0 {
        steps.push(Step::Delete);
    }
    for index in (1..steps.len()).rev() {
        let other = dice.roll(index as u64 + 1) as usize;
        steps.swap(index, other);
    }
    let over = Arc::new(AtomicBool::new(false));
    let reader = {
        let (daemon, organization, over) =
            (Arc::clone(&daemon), organization.clone(), Arc::clone(&over));
        tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                check_seen(daemon.everybody(&organization).await);
            }
        })
    };
    let racing: Vec<_> = steps
        .into_iter()
        .map(|step| {
            let (daemon, organization) = (Arc::clone(&daemon), organization.clone());
            let hesitates = dice.roll(4);
            tokio::spawn(async move {
                for _ in 0..hesitates {
                    tokio::task::yield_now().await;
                }
                perform(&daemon, &organization, two_step, step).await;
                check_seen(daemon.everybody(&organization).await);
            })
        })
        .collect();
    for step in racing {
        step.await.expect("the step");
    }
    over.store(true, Ordering::SeqCst);
    reader.await.expect("the reader");
    check_seen(daemon.everybody(&organization).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn o_01_transfer_removal_leaving_and_deletion_at_once_leave_one_owner_or_none_to_own() {
    let times = std::env::var("ROSTER_PROPTEST_CASES")
        .ok()
        .and_then(|times| times.parse().ok())
        .unwrap_or(1);
    let daemon = Arc::new(Daemon::start().await);
    let mut ends = BTreeSet::new();
    for number in 0..SCHEDULES * times {
        ends.insert(race(Arc::clone(&daemon), number).await);
    }
    // Every way it can end has been seen, so that it was a race.
    let all = [None, Some("ada"), Some("owner")].map(|owner| owner.map(ToOwned::to_owned));
    assert_eq!(ends, BTreeSet::from(all));
    let daemon = Arc::into_inner(daemon).expect("nobody races any more");
    daemon.stop().await;
}

#[tokio::test]
async fn o_02_nobody_removes_demotes_or_suspends_the_owner() {
    let daemon = qoc().await;
    for actor in [Some("ada"), None] {
        macro_rules! tried {
            ($method:ident, $request:expr) => {{
                let request = match actor {
                    Some(actor) => as_actor(actor, $request),
                    None => tonic::Request::new($request),
                };
                let status = daemon
                    .members()
                    .$method(request)
                    .await
                    .expect_err("refused");
                let code = match actor {
                    Some(_) => Code::PermissionDenied,
                    None => Code::FailedPrecondition,
                };
                assert_eq!(status.code(), code, "{status:?}");
            }};
        }
        tried!(remove_member, remove(ACME, "owner"));
        tried!(
            set_member_roles,
            v1::SetMemberRolesRequest {
                organization: ACME.to_owned(),
                user: "owner".to_owned(),
                roles: owned(&["viewer"]),
                ..Default::default()
            }
        );
        tried!(
            suspend_member,
            v1::SuspendMemberRequest {
                organization: ACME.to_owned(),
                user: "owner".to_owned(),
                ..Default::default()
            }
        );
    }
    assert_eq!(daemon.owner_of(ACME).await, "owner");
    daemon.stop().await;
}

#[tokio::test]
async fn o_03_the_owner_does_not_leave_nor_go_as_a_user() {
    let daemon = qoc().await;
    let left = daemon
        .members()
        .leave_organization(as_actor("owner", leave(ACME, "owner")))
        .await;
    is(left, Code::FailedPrecondition, "OWNER_PROTECTED");
    let removed = daemon
        .members()
        .remove_user(v1::RemoveUserRequest {
            user: "owner".to_owned(),
            ..Default::default()
        })
        .await
        .expect("tried everywhere")
        .into_inner();
    let reasons: Vec<&str> = removed
        .removals
        .iter()
        .map(|removal| removal.refusal.as_str())
        .collect();
    assert_eq!(reasons, ["OWNER_PROTECTED"]);
    assert_eq!(daemon.owner_of(ACME).await, "owner");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o_04_readers_see_the_old_state_or_the_new_and_never_one_between() {
    let daemon = Arc::new(qoc().await);
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (daemon, over) = (Arc::clone(&daemon), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    check_seen(daemon.everybody(ACME).await);
                }
            })
        })
        .collect();
    for next in ["ada", "owner", "amy", "ada", "owner", "ada"] {
        daemon.hand_over(ACME, None, next).await.expect("passed on");
        check_seen(daemon.everybody(ACME).await);
    }
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.expect("a reader");
    }
    Arc::into_inner(daemon).expect("alone").stop().await;
}

#[tokio::test]
async fn o_05_without_a_fresh_sign_in_of_the_owner_nothing_is_offered() {
    let daemon = qoc().await;
    let minute = 60_000;
    let without_time = Some(v1::Reauthentication {
        user: "owner".to_owned(),
        time: None,
    });
    let stale = [
        None,
        without_time,
        proof("ada", NOW),
        proof("", NOW),
        proof("owner", later(-5 * minute - 1)),
        proof("owner", later(minute + 1)),
    ];
    for reauthentication in stale {
        let request = v1::InitiateTransferRequest {
            reauthentication,
            ..offer(ACME, "ada")
        };
        is(
            daemon.initiate("owner", request).await,
            Code::Unauthenticated,
            "REAUTHENTICATION_NEEDED",
        );
        is(
            daemon.transfer(ACME, None).await,
            Code::FailedPrecondition,
            "NO_TRANSFER",
        );
    }
    for at in [-5 * minute, minute] {
        let request = v1::InitiateTransferRequest {
            reauthentication: proof("owner", later(at)),
            ..offer(ACME, "ada")
        };
        let offered = daemon.initiate("owner", request).await;
        offered.expect("fresh enough");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn o_06_an_offer_is_open_for_seven_days_unless_cancelled_or_replaced() {
    let daemon = qoc().await;
    let offered = daemon.initiate("owner", offer(ACME, "ada")).await;
    offered.expect("offered");
    daemon.world.set(later(7 * DAY));
    is(
        daemon.accept(ACME, "ada").await,
        Code::FailedPrecondition,
        "NO_TRANSFER",
    );
    daemon.application.expire_due().await;
    is(
        daemon.accept(ACME, "ada").await,
        Code::FailedPrecondition,
        "NO_TRANSFER",
    );

    daemon.world.set(NOW);
    let offered = daemon.initiate("owner", offer(ACME, "ada")).await;
    offered.expect("offered");
    let offered = daemon.initiate("owner", offer(ACME, "amy")).await;
    offered.expect("offered in place of it");
    is(
        daemon.accept(ACME, "ada").await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    daemon.world.set(later(7 * DAY - 1));
    daemon.accept(ACME, "amy").await.expect("just in time");
    assert_eq!(daemon.owner_of(ACME).await, "amy");
    daemon.stop().await;
}

#[tokio::test]
async fn an_offer_is_void_once_either_side_of_it_has_changed() {
    let daemon = qoc().await;
    let suspend = |user: &str| v1::SuspendMemberRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    };
    let roles = |user: &str, roles: &[&str]| v1::SetMemberRolesRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        roles: owned(roles),
        ..Default::default()
    };
    let offer_to_ada = || async {
        let offered = daemon.initiate("owner", offer(ACME, "ada")).await;
        offered.expect("offered");
    };
    let is_void = |actor: &'static str| {
        let daemon = &daemon;
        async move {
            for result in [
                daemon.accept(ACME, actor).await.map(drop),
                daemon.transfer(ACME, None).await.map(drop),
            ] {
                is(result, Code::FailedPrecondition, "NO_TRANSFER");
            }
        }
    };
    let mut members = daemon.members();

    offer_to_ada().await;
    members.suspend_member(suspend("ada")).await.expect("done");
    is_void("ada").await;
    let reinstated = members.reinstate_member(v1::ReinstateMemberRequest {
        organization: ACME.to_owned(),
        user: "ada".to_owned(),
        ..Default::default()
    });
    reinstated.await.expect("done");

    offer_to_ada().await;
    let lower = members.set_member_roles(roles("ada", &["member"]));
    lower.await.expect("done");
    is_void("ada").await;
    let higher = members.set_member_roles(roles("ada", &["admin"]));
    higher.await.expect("done");

    offer_to_ada().await;
    let removed = members.remove_member(remove(ACME, "ada")).await;
    removed.expect("done");
    is_void("ada").await;
    daemon.add(ACME, "ada", &["admin"]).await;
    is_void("ada").await;

    offer_to_ada().await;
    daemon.hand_over(ACME, None, "amy").await.expect("done");
    is_void("ada").await;
    assert_eq!(daemon.owner_of(ACME).await, "amy");
    daemon.stop().await;
}

#[tokio::test]
async fn o_09_the_ownership_goes_to_an_admin_of_this_team_and_nobody_else() {
    let daemon = qoc().await;
    daemon.found("rival", "qoc-cloud").await;
    daemon.plan("rival", "enterprise").await;
    daemon.add("rival", "rex", &["admin"]).await;
    for (target, code, wanted) in [
        ("owner", Code::FailedPrecondition, "TRANSFER_TARGET"),
        ("vic", Code::FailedPrecondition, "TRANSFER_TARGET"),
        ("rex", Code::NotFound, "NOT_FOUND"),
    ] {
        is(
            daemon.initiate("owner", offer(ACME, target)).await,
            code,
            wanted,
        );
        is(daemon.hand_over(ACME, None, target).await, code, wanted);
    }
    for (user, email) in [("", ""), ("ada", "x@y.example"), ("", "no address")] {
        let request = v1::InitiateTransferRequest {
            email: email.to_owned(),
            ..offer(ACME, user)
        };
        is(
            daemon.initiate("owner", request).await,
            Code::InvalidArgument,
            "INVALID",
        );
    }
    assert_eq!(daemon.owner_of(ACME).await, "owner");
    daemon.stop().await;
}

#[tokio::test]
async fn o_11_the_new_owner_may_remove_the_old_one() {
    let daemon = qoc().await;
    let offered = daemon.initiate("owner", offer(ACME, "ada")).await;
    offered.expect("offered");
    daemon.accept(ACME, "ada").await.expect("accepted");
    let removed = daemon
        .members()
        .remove_member(as_actor("ada", remove(ACME, "owner")))
        .await;
    removed.expect("the old owner is an Admin like any other");
    let asked = question(ACME, "owner", "ViewDashboard", "Organization", ACME);
    assert!(!daemon.allows(asked).await);
    assert_eq!(daemon.owner_of(ACME).await, "ada");
    daemon.stop().await;
}

/// A daemon that found `acme` without its owner, and `sound` as it should be.
pub async fn ownerless() -> Daemon {
    let store = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    found_qoc(&daemon, ACME).await;
    found_qoc(&daemon, "sound").await;
    lose_the_owner(&daemon, ACME).await;
    daemon.stop().await;
    Daemon::start_on(store as _).await
}

/// Takes the owner's membership away, past every rule.
pub async fn lose_the_owner(daemon: &Daemon, organization: &str) {
    let records = vec![RecordChange::DeleteMember(UserId::new("owner"))];
    past_every_rule(daemon, organization, records).await;
}

/// Changes records as no request could.
pub async fn past_every_rule(daemon: &Daemon, organization: &str, records: Vec<RecordChange>) {
    let request = Common {
        caller: Caller {
            name: "test".to_owned(),
            actor: Actor::Operator,
        },
        method: "Test",
        request_id: String::new(),
        fingerprint: [0; 32],
        validate_only: false,
    };
    let broken = daemon
        .application
        .mutate(organization, Need::Operator, &request, |_| {
            Ok(Change {
                records: records.clone(),
                events: vec![Event::done("Test", Target::new("Test", "test"), Vec::new())],
                outcome: Outcome::Nothing,
            })
        })
        .await;
    broken.expect("no rule is asked");
}

#[tokio::test]
async fn o_14_an_organization_found_without_its_owner_is_not_served_and_others_are() {
    let daemon = ownerless().await;
    let lost = |status: Status| {
        let found = (status.code(), reason(&status));
        assert_eq!(found, (Code::DataLoss, "OWNER_MISSING".to_owned()));
        assert!(status.message().contains(ACME), "{status:?}");
    };
    let asked = |organization: &str| {
        question(
            organization,
            "ada",
            "ViewDashboard",
            "Organization",
            organization,
        )
    };
    let checked = daemon.authorization().is_authorized(asked(ACME)).await;
    lost(checked.expect_err("not served"));
    lost(daemon.everybody(ACME).await.expect_err("not served"));
    let removed = daemon.members().remove_member(remove(ACME, "amy")).await;
    lost(removed.expect_err("not served"));
    let handed = daemon.hand_over(ACME, None, "ada").await;
    lost(handed.expect_err("not served"));

    assert!(daemon.allows(asked("sound")).await);
    assert_eq!(daemon.owner_of("sound").await, "owner");
    let founded = daemon
        .organizations()
        .create_organization(v1::CreateOrganizationRequest {
            organization_id: ACME.to_owned(),
            display_name: "Acme".to_owned(),
            catalog: "qoc-cloud".to_owned(),
            owner: "owner".to_owned(),
            ..Default::default()
        })
        .await;
    is(founded, Code::AlreadyExists, "ALREADY_EXISTS");
    daemon.stop().await;
}

/// The owner's offer to an address.
fn offer_to(address: &str) -> v1::InitiateTransferRequest {
    v1::InitiateTransferRequest {
        email: address.to_owned(),
        ..offer(ACME, "")
    }
}

/// Acceptance by a link.
fn acceptance(token: &str, user: &str, email: &str) -> v1::AcceptTransferRequest {
    v1::AcceptTransferRequest {
        organization: ACME.to_owned(),
        token: token.to_owned(),
        user: user.to_owned(),
        email: email.to_owned(),
        display_name: "Newt".to_owned(),
        ..Default::default()
    }
}

/// The token of an offer that the owner makes.
async fn token_of(daemon: &Daemon, request: v1::InitiateTransferRequest) -> String {
    let offered = daemon.initiate("owner", request).await;
    offered.expect("offered").token
}

#[tokio::test]
async fn o_13_an_invited_address_takes_over_by_the_token_and_that_address_only() {
    let daemon = qoc().await;
    let mut organizations = daemon.organizations();
    let first = token_of(&daemon, offer_to("newt@x.example")).await;
    let token = token_of(&daemon, offer_to("Newt@X.Example")).await;
    assert_ne!(first, token);
    let shown = daemon.transfer(ACME, Some("owner")).await.expect("shown");
    assert_eq!(
        (shown.user, shown.email),
        (String::new(), "newt@x.example".to_owned())
    );

    let forged = format!("{token}A");
    for (token, user, email, code, wanted) in [
        (
            forged.as_str(),
            "newt",
            "newt@x.example",
            Code::InvalidArgument,
            "LINK_INVALID",
        ),
        (
            "x",
            "newt",
            "newt@x.example",
            Code::InvalidArgument,
            "LINK_INVALID",
        ),
        (
            "",
            "newt",
            "newt@x.example",
            Code::InvalidArgument,
            "INVALID",
        ),
        (
            &first,
            "newt",
            "newt@x.example",
            Code::FailedPrecondition,
            "LINK_SUPERSEDED",
        ),
        (
            &token,
            "newt",
            "other@x.example",
            Code::PermissionDenied,
            "WRONG_ADDRESS",
        ),
        (
            &token,
            "newt",
            "n.ewt@x.example",
            Code::PermissionDenied,
            "WRONG_ADDRESS",
        ),
        (&token, "newt", "", Code::InvalidArgument, "INVALID"),
        (
            &token,
            "",
            "newt@x.example",
            Code::InvalidArgument,
            "INVALID",
        ),
        // Not from below: a Viewer does not get past the rule by an address.
        (
            &token,
            "vic",
            "newt@x.example",
            Code::FailedPrecondition,
            "TRANSFER_TARGET",
        ),
        (
            &token,
            "owner",
            "newt@x.example",
            Code::FailedPrecondition,
            "TRANSFER_TARGET",
        ),
    ] {
        let request = acceptance(token, user, email);
        is(organizations.accept_transfer(request).await, code, wanted);
    }
    // Whoever acts without the token, or in somebody else's place.
    let without = as_actor("newt", acceptance("", "newt", "newt@x.example"));
    let refused = organizations.accept_transfer(without).await;
    is(refused, Code::PermissionDenied, "PERMISSION_DENIED");
    let other = as_actor("mallory", acceptance(&token, "newt", "newt@x.example"));
    let refused = organizations.accept_transfer(other).await;
    is(refused, Code::PermissionDenied, "PERMISSION_DENIED");
    assert_eq!(daemon.owner_of(ACME).await, "owner");

    daemon.world.set(later(7 * DAY));
    let request = acceptance(&token, "newt", "newt@x.example");
    let late = organizations.accept_transfer(request.clone()).await;
    is(late, Code::FailedPrecondition, "NO_TRANSFER");
    daemon.world.set(later(7 * DAY - 1));
    let accepted = organizations.accept_transfer(request.clone()).await;
    let accepted = accepted.expect("accepted").into_inner().organization;
    assert_eq!(accepted.expect("an answer").owner, "newt");
    assert_eq!(daemon.owner_of(ACME).await, "newt");
    let members = daemon.everybody(ACME).await.expect("the members");
    let find = |user: &str| members.iter().find(|member| member.user == user);
    let newt = find("newt").expect("newt");
    assert_eq!(newt.email, "newt@x.example");
    assert_eq!(find("owner").expect("the old owner").roles, ["admin"]);
    let again = organizations.accept_transfer(request).await;
    is(again, Code::FailedPrecondition, "NO_TRANSFER");
    daemon.stop().await;
}

#[tokio::test]
async fn o_13_an_invitation_carries_no_ownership_and_its_token_transfers_none() {
    let daemon = qoc().await;
    let invitation = |roles: &[&str]| v1::CreateInvitationRequest {
        organization: ACME.to_owned(),
        invitation: Some(v1::NewInvitation {
            email: "newt@x.example".to_owned(),
            roles: owned(roles),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = daemon
        .invitations()
        .create_invitation(as_actor("owner", invitation(&["owner"])))
        .await;
    is(refused, Code::PermissionDenied, "OWNERSHIP_NOT_GIVEN");
    let invited = daemon
        .invitations()
        .create_invitation(as_actor("owner", invitation(&["admin"])))
        .await;
    let plain = invited.expect("invited").into_inner().token;
    let token = token_of(&daemon, offer_to("newt@x.example")).await;
    let crossed = daemon
        .organizations()
        .accept_transfer(acceptance(&plain, "newt", "newt@x.example"))
        .await;
    is(crossed, Code::InvalidArgument, "LINK_INVALID");
    let crossed = daemon
        .invitations()
        .accept_invitation(v1::AcceptInvitationRequest {
            organization: ACME.to_owned(),
            token,
            user: "newt".to_owned(),
            email: "newt@x.example".to_owned(),
            ..Default::default()
        })
        .await;
    is(crossed, Code::InvalidArgument, "LINK_INVALID");
    daemon.stop().await;
}

#[tokio::test]
async fn a_new_owner_by_address_needs_a_seat_and_an_admin_has_one() {
    let daemon = qoc().await;
    daemon.add(ACME, "max", &["member"]).await;
    daemon.plan(ACME, "pro").await;
    let token = token_of(&daemon, offer_to("newt@x.example")).await;
    let mut organizations = daemon.organizations();
    let newcomer = acceptance(&token, "newt", "newt@x.example");
    let refused = organizations.accept_transfer(newcomer).await;
    let status = refused.expect_err("five of five");
    assert!(status.message().contains("5 of 5"), "{status:?}");
    is(Err::<(), _>(status), Code::ResourceExhausted, "SEATS_TAKEN");
    let admin = acceptance(&token, "ada", "newt@x.example");
    organizations.accept_transfer(admin).await.expect("has one");
    assert_eq!(daemon.owner_of(ACME).await, "ada");
    daemon.stop().await;
}

#[tokio::test]
async fn the_token_of_a_member_s_offer_is_that_member_s() {
    let daemon = qoc().await;
    let mut organizations = daemon.organizations();
    let decline = |token: &str| v1::DeclineTransferRequest {
        organization: ACME.to_owned(),
        token: token.to_owned(),
        ..Default::default()
    };
    let token = token_of(&daemon, offer(ACME, "ada")).await;
    for request in [
        as_actor("amy", acceptance(&token, "", "")),
        tonic::Request::new(acceptance(&token, "amy", "")),
        as_actor("ada", acceptance(&token, "amy", "")),
    ] {
        let refused = organizations.accept_transfer(request).await;
        is(refused, Code::PermissionDenied, "PERMISSION_DENIED");
    }
    let refused = organizations.decline_transfer(as_actor("amy", decline(&token)));
    is(refused.await, Code::PermissionDenied, "PERMISSION_DENIED");
    let declined = organizations.decline_transfer(decline(&token)).await;
    declined.expect("declined by the link");
    let dead = organizations
        .accept_transfer(acceptance(&token, "", ""))
        .await;
    is(dead, Code::FailedPrecondition, "NO_TRANSFER");

    let token = token_of(&daemon, offer(ACME, "ada")).await;
    let accepted = organizations
        .accept_transfer(acceptance(&token, "", ""))
        .await;
    accepted.expect("accepted by the link");
    assert_eq!(daemon.owner_of(ACME).await, "ada");
    daemon.stop().await;
}

#[tokio::test]
async fn an_offer_to_the_address_of_a_member_goes_to_an_admin_s_only() {
    let daemon = qoc().await;
    for (user, email) in [("ada", "ada@x.example"), ("vic", "Vic@x.example")] {
        let request = v1::UpdateMemberRequest {
            organization: ACME.to_owned(),
            user: user.to_owned(),
            email: email.to_owned(),
            ..Default::default()
        };
        let updated = daemon.members().update_member(request).await;
        updated.expect("the address is known");
    }
    is(
        daemon.initiate("owner", offer_to("vic@X.example")).await,
        Code::FailedPrecondition,
        "TRANSFER_TARGET",
    );
    let offered = daemon.initiate("owner", offer_to("ada@x.example")).await;
    offered.expect("offered");
    daemon.stop().await;
}
