//! Ownership passes on: at once, in two steps, or by the platform only.

use prost_types::Timestamp;
use roster::domain::organization::Moment;
use roster::proto::v1;
use tonic::{Code, Status};

use crate::harness::{Daemon, NOW, as_actor, owned, question, reason};

/// A day, in milliseconds.
pub const DAY: i64 = 24 * 60 * 60 * 1_000;
const ACME: &str = "acme";

/// A moment as a timestamp.
pub fn timestamp(at: Moment) -> Timestamp {
    Timestamp {
        seconds: at.0.div_euclid(1_000),
        nanos: i32::try_from(at.0.rem_euclid(1_000)).expect("below a second") * 1_000_000,
    }
}

/// A moment some milliseconds after the beginning.
pub fn later(milliseconds: i64) -> Moment {
    Moment(NOW.0 + milliseconds)
}

/// A fresh sign-in.
pub fn proof(user: &str, at: Moment) -> Option<v1::Reauthentication> {
    Some(v1::Reauthentication {
        user: user.to_owned(),
        time: Some(timestamp(at)),
    })
}

/// The owner's offer to a member, right after a sign-in at the beginning.
pub fn offer(organization: &str, user: &str) -> v1::InitiateTransferRequest {
    v1::InitiateTransferRequest {
        organization: organization.to_owned(),
        user: user.to_owned(),
        reauthentication: proof("owner", NOW),
        ..Default::default()
    }
}

impl Daemon {
    /// Sends an offer for an actor.
    pub async fn initiate(
        &self,
        actor: &str,
        request: v1::InitiateTransferRequest,
    ) -> Result<v1::InitiateTransferResponse, Status> {
        let initiated = self
            .organizations()
            .initiate_transfer(as_actor(actor, request))
            .await;
        initiated.map(tonic::Response::into_inner)
    }

    /// Accepts as an actor.
    pub async fn accept(&self, organization: &str, actor: &str) -> Result<String, Status> {
        let request = v1::AcceptTransferRequest {
            organization: organization.to_owned(),
            ..Default::default()
        };
        let accepted = self
            .organizations()
            .accept_transfer(as_actor(actor, request))
            .await?;
        Ok(accepted.into_inner().revision)
    }

    /// Hands the ownership over at once, for an actor or as the operator.
    pub async fn hand_over(
        &self,
        organization: &str,
        actor: Option<&str>,
        user: &str,
    ) -> Result<v1::Organization, Status> {
        let request = v1::TransferOwnershipRequest {
            organization: organization.to_owned(),
            user: user.to_owned(),
            ..Default::default()
        };
        let request = match actor {
            Some(actor) => as_actor(actor, request),
            None => tonic::Request::new(request),
        };
        let transferred = self.organizations().transfer_ownership(request).await?;
        Ok(transferred.into_inner().organization.expect("an answer"))
    }

    /// Everybody of an organization, from one answer.
    pub async fn everybody(&self, organization: &str) -> Result<Vec<v1::Member>, Status> {
        let request = v1::ListMembersRequest {
            organization: organization.to_owned(),
            page_size: 1_000,
            ..Default::default()
        };
        let listed = self.members().list_members(request).await?;
        Ok(listed.into_inner().members)
    }

    /// Who owns an organization; there is one.
    pub async fn owner_of(&self, organization: &str) -> String {
        let members = self.everybody(organization).await.expect("the members");
        let mut owners = members.into_iter().filter(|member| member.owner);
        let owner = owners.next().expect("an owner").user;
        assert_eq!(owners.next(), None, "a second owner");
        owner
    }

    /// The pending transfer, for an actor or as the operator.
    pub async fn transfer(
        &self,
        organization: &str,
        actor: Option<&str>,
    ) -> Result<v1::Transfer, Status> {
        let request = v1::GetTransferRequest {
            organization: organization.to_owned(),
            ..Default::default()
        };
        let request = match actor {
            Some(actor) => as_actor(actor, request),
            None => tonic::Request::new(request),
        };
        let read = self.organizations().get_transfer(request).await?;
        Ok(read.into_inner().transfer.expect("a transfer"))
    }

    /// Puts an organization on a plan.
    pub async fn plan(&self, organization: &str, plan: &str) {
        self.organizations()
            .set_plan(v1::SetPlanRequest {
                organization: organization.to_owned(),
                plan: plan.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the plan is set");
    }
}

/// What an error is.
pub fn is<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, wanted: &str) {
    let status = result.expect_err(wanted);
    let found = (status.code(), reason(&status));
    assert_eq!(found, (code, wanted.to_owned()), "{status:?}");
}

async fn member(daemon: &Daemon, user: &str) -> v1::Member {
    let members = daemon.everybody(ACME).await.expect("the members");
    let mut found = members.into_iter().filter(|member| member.user == user);
    found.next().expect("the member")
}

#[tokio::test]
async fn on_oncloudwine_the_owner_hands_over_at_once_and_becomes_admin() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "oncloudwine").await;
    daemon.add(ACME, "ada", &["admin"]).await;
    daemon.add(ACME, "milo", &["member"]).await;
    is(
        daemon.hand_over(ACME, Some("ada"), "ada").await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    is(
        daemon.initiate("owner", offer(ACME, "ada")).await,
        Code::FailedPrecondition,
        "TRANSFER_TARGET",
    );

    let after = daemon.hand_over(ACME, Some("owner"), "milo").await;
    assert_eq!(after.expect("handed over").owner, "milo");
    assert_eq!(daemon.owner_of(ACME).await, "milo");
    assert_eq!(member(&daemon, "owner").await.roles, ["admin"]);
    assert!(member(&daemon, "milo").await.roles.is_empty());
    let deletes = |user| question(ACME, user, "DeleteOrganization", "Organization", ACME);
    assert!(daemon.allows(deletes("milo")).await);
    assert!(!daemon.allows(deletes("owner")).await);

    // There is no way back but another transfer, by the owner that is now.
    is(
        daemon.hand_over(ACME, Some("owner"), "owner").await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    let back = daemon.hand_over(ACME, Some("milo"), "owner").await;
    assert_eq!(back.expect("handed back").owner, "owner");
    daemon.stop().await;
}

#[tokio::test]
async fn on_oec_sh_only_the_platform_transfers() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "oec-sh").await;
    daemon.add(ACME, "dora", &["developer"]).await;
    is(
        daemon.hand_over(ACME, Some("owner"), "dora").await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    is(
        daemon.initiate("owner", offer(ACME, "dora")).await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    let after = daemon.hand_over(ACME, None, "dora").await;
    assert_eq!(after.expect("handed over").owner, "dora");
    assert_eq!(member(&daemon, "owner").await.roles, ["admin"]);
    daemon.stop().await;
}

#[tokio::test]
async fn on_qoc_an_admin_accepts_what_the_owner_offers() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "qoc-cloud").await;
    daemon.plan(ACME, "enterprise").await;
    daemon.add(ACME, "ada", &["admin"]).await;
    daemon.add(ACME, "amy", &["admin"]).await;
    is(
        daemon.hand_over(ACME, Some("owner"), "ada").await,
        Code::FailedPrecondition,
        "TRANSFER_TARGET",
    );
    is(
        daemon.initiate("ada", offer(ACME, "amy")).await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    is(
        daemon.accept(ACME, "ada").await,
        Code::FailedPrecondition,
        "NO_TRANSFER",
    );

    let offered = daemon.initiate("owner", offer(ACME, "ada")).await;
    let offered = offered.expect("offered").transfer.expect("the offer");
    assert_eq!((offered.user.as_str(), offered.email.as_str()), ("ada", ""));
    assert_eq!(offered.initiated_by, "owner");
    assert_eq!(offered.expire_time, Some(timestamp(later(7 * DAY))));
    assert_eq!(daemon.owner_of(ACME).await, "owner", "not yet");
    is(
        daemon.accept(ACME, "amy").await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    is(
        daemon.accept(ACME, "owner").await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );

    daemon.accept(ACME, "ada").await.expect("accepted");
    assert_eq!(daemon.owner_of(ACME).await, "ada");
    assert_eq!(member(&daemon, "owner").await.roles, ["admin"]);
    is(
        daemon.accept(ACME, "ada").await,
        Code::FailedPrecondition,
        "NO_TRANSFER",
    );
    let cancel = v1::CancelTransferRequest {
        organization: ACME.to_owned(),
        ..Default::default()
    };
    let undone = daemon.organizations().cancel_transfer(cancel).await;
    is(undone, Code::FailedPrecondition, "NO_TRANSFER");
    daemon.stop().await;
}

#[tokio::test]
async fn an_operator_transfers_in_two_step_products_too_and_ends_the_pending_offer() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "qoc-cloud").await;
    daemon.plan(ACME, "enterprise").await;
    daemon.add(ACME, "ada", &["admin"]).await;
    daemon.add(ACME, "amy", &["admin"]).await;
    daemon.add(ACME, "vic", &["viewer"]).await;
    let request = offer(ACME, "ada");
    let nobody_s = daemon.organizations().initiate_transfer(request).await;
    is(nobody_s, Code::FailedPrecondition, "TRANSFER_TARGET");
    let offered = daemon.initiate("owner", offer(ACME, "ada")).await;
    offered.expect("offered");
    is(
        daemon.hand_over(ACME, None, "vic").await,
        Code::FailedPrecondition,
        "TRANSFER_TARGET",
    );
    is(
        daemon.hand_over(ACME, None, "stranger").await,
        Code::NotFound,
        "NOT_FOUND",
    );
    daemon.hand_over(ACME, None, "amy").await.expect("by hand");
    assert_eq!(daemon.owner_of(ACME).await, "amy");
    is(
        daemon.accept(ACME, "ada").await,
        Code::FailedPrecondition,
        "NO_TRANSFER",
    );
    daemon.stop().await;
}

#[tokio::test]
async fn who_was_offered_the_ownership_may_decline_and_the_owner_may_cancel() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "qoc-cloud").await;
    daemon.plan(ACME, "enterprise").await;
    daemon.add(ACME, "ada", &["admin"]).await;
    daemon.add(ACME, "amy", &["admin"]).await;
    let decline = || v1::DeclineTransferRequest {
        organization: ACME.to_owned(),
        ..Default::default()
    };
    let cancel = || v1::CancelTransferRequest {
        organization: ACME.to_owned(),
        ..Default::default()
    };
    let mut organizations = daemon.organizations();
    let offered = daemon.initiate("owner", offer(ACME, "ada")).await;
    offered.expect("offered");
    for stranger in ["amy", "owner"] {
        let declined = organizations.decline_transfer(as_actor(stranger, decline()));
        is(declined.await, Code::PermissionDenied, "PERMISSION_DENIED");
    }
    for stranger in ["amy", "ada"] {
        let cancelled = organizations.cancel_transfer(as_actor(stranger, cancel()));
        is(cancelled.await, Code::PermissionDenied, "PERMISSION_DENIED");
    }
    // Nobody's request proves nothing.
    let declined = organizations.decline_transfer(decline()).await;
    is(declined, Code::InvalidArgument, "INVALID");

    let declined = organizations.decline_transfer(as_actor("ada", decline()));
    declined.await.expect("declined");
    is(
        daemon.accept(ACME, "ada").await,
        Code::FailedPrecondition,
        "NO_TRANSFER",
    );

    for actor in [Some("owner"), None] {
        let offered = daemon.initiate("owner", offer(ACME, "ada")).await;
        offered.expect("offered");
        let request = match actor {
            Some(actor) => as_actor(actor, cancel()),
            None => tonic::Request::new(cancel()),
        };
        organizations.cancel_transfer(request).await.expect("back");
        is(
            daemon.accept(ACME, "ada").await,
            Code::FailedPrecondition,
            "NO_TRANSFER",
        );
    }
    assert_eq!(daemon.owner_of(ACME).await, "owner");
    daemon.stop().await;
}

#[tokio::test]
async fn the_offer_is_shown_to_those_whom_it_concerns_and_to_those_who_view_members() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "qoc-cloud").await;
    daemon.plan(ACME, "enterprise").await;
    daemon.add(ACME, "ada", &["admin"]).await;
    daemon.add(ACME, "amy", &["admin"]).await;
    daemon.add(ACME, "none", &[]).await;
    is(
        daemon.transfer(ACME, None).await,
        Code::FailedPrecondition,
        "NO_TRANSFER",
    );
    let offered = daemon.initiate("owner", offer(ACME, "ada")).await;
    offered.expect("offered");
    for reader in [None, Some("owner"), Some("ada"), Some("amy")] {
        let read = daemon.transfer(ACME, reader).await;
        assert_eq!(read.expect("shown").user, "ada", "{reader:?}");
    }
    for reader in ["none", "stranger"] {
        is(
            daemon.transfer(ACME, Some(reader)).await,
            Code::PermissionDenied,
            "PERMISSION_DENIED",
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn whoever_steps_up_or_down_keeps_nothing_beneath_the_ownership() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "greenhouse").await;
    daemon.project(ACME, "tunnel").await;
    daemon.add(ACME, "ann", &["gardener"]).await;
    daemon
        .project_roles(ACME, "tunnel", "ann", &["gardener"])
        .await;
    daemon
        .projects()
        .set_project_override(v1::SetProjectOverrideRequest {
            organization: ACME.to_owned(),
            project: "tunnel".to_owned(),
            user: "ann".to_owned(),
            ..Default::default()
        })
        .await
        .expect("overridden");
    daemon
        .members()
        .set_member_period(v1::SetMemberPeriodRequest {
            organization: ACME.to_owned(),
            user: "ann".to_owned(),
            period: Some(v1::Period {
                not_before: None,
                expires_at: Some(timestamp(later(DAY))),
            }),
            ..Default::default()
        })
        .await
        .expect("limited in time");
    daemon.group("shop", &["shopkeeper"]).await;
    daemon.group("limit", &[]).await;
    daemon.put_into("shop", &["owner"]).await;
    daemon.put_into("limit", &["owner"]).await;

    let after = daemon.hand_over(ACME, Some("owner"), "ann").await;
    after.expect("handed over");
    let ann = member(&daemon, "ann").await;
    assert!(ann.owner && ann.roles.is_empty());
    assert!(ann.project_roles.is_empty() && ann.overrides.is_empty());
    assert_eq!(ann.period, None);
    daemon.world.set(later(2 * DAY));
    daemon.application.expire_due().await;
    assert_eq!(daemon.owner_of(ACME).await, "ann");
    let asked = question(ACME, "ann", "ClearBed", "Bed", "b");
    assert!(daemon.allows(asked).await);

    assert_eq!(member(&daemon, "owner").await.roles, ["head-gardener"]);
    let snapshot = daemon.application.find(ACME).await.expect("acme");
    let old = snapshot.organization().members.get("owner").expect("owner");
    let groups: Vec<&str> = old.groups.keys().map(|group| group.as_str()).collect();
    assert_eq!(groups, ["limit"], "limits stay, what gives roles does not");
    daemon.stop().await;
}

#[tokio::test]
async fn only_people_in_force_become_owner() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "oncloudwine").await;
    daemon.add(ACME, "milo", &["member"]).await;
    daemon
        .members()
        .suspend_member(v1::SuspendMemberRequest {
            organization: ACME.to_owned(),
            user: "milo".to_owned(),
            ..Default::default()
        })
        .await
        .expect("suspended");
    for actor in [Some("owner"), None] {
        is(
            daemon.hand_over(ACME, actor, "milo").await,
            Code::FailedPrecondition,
            "MEMBER_STATUS",
        );
        is(
            daemon.hand_over(ACME, actor, "owner").await,
            Code::FailedPrecondition,
            "TRANSFER_TARGET",
        );
        is(
            daemon.hand_over(ACME, actor, "").await,
            Code::InvalidArgument,
            "INVALID",
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_transfer_takes_an_etag_a_request_id_and_may_be_tried_first() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "qoc-cloud").await;
    daemon.plan(ACME, "enterprise").await;
    daemon.add(ACME, "ada", &["admin"]).await;
    let stale = v1::InitiateTransferRequest {
        etag: "v1".to_owned(),
        ..offer(ACME, "ada")
    };
    is(
        daemon.initiate("owner", stale).await,
        Code::Aborted,
        "STALE_ETAG",
    );
    let tried = v1::InitiateTransferRequest {
        validate_only: true,
        ..offer(ACME, "ada")
    };
    let tried = daemon.initiate("owner", tried).await.expect("would do");
    assert_eq!(tried.token, "", "nothing was offered");
    is(
        daemon.transfer(ACME, None).await,
        Code::FailedPrecondition,
        "NO_TRANSFER",
    );
    let once = || v1::InitiateTransferRequest {
        request_id: "once".to_owned(),
        ..offer(ACME, "ada")
    };
    let first = daemon.initiate("owner", once()).await.expect("offered");
    let again = daemon.initiate("owner", once()).await.expect("the same");
    assert_eq!(first, again);
    daemon.stop().await;
}

#[tokio::test]
async fn both_sides_are_told_and_the_history_names_them_by_id_only() {
    let store = std::sync::Arc::new(roster::store::memory::MemoryStore::new());
    let daemon = Daemon::start_on(std::sync::Arc::clone(&store) as _).await;
    daemon.found(ACME, "qoc-cloud").await;
    daemon.plan(ACME, "enterprise").await;
    daemon
        .members()
        .add_member(v1::AddMemberRequest {
            organization: ACME.to_owned(),
            user: "ada".to_owned(),
            display_name: "Ada Personal".to_owned(),
            email: "ada@personal.example".to_owned(),
            roles: owned(&["admin"]),
            ..Default::default()
        })
        .await
        .expect("added");
    let before = roster::store::Store::head(&*store).sequence;
    let offered = daemon.initiate("owner", offer(ACME, "ada")).await;
    offered.expect("offered");
    daemon.accept(ACME, "ada").await.expect("accepted");

    let snapshot = daemon.application.find(ACME).await.expect("acme");
    let told: Vec<(String, String)> = snapshot
        .organization()
        .notifications
        .values()
        .filter(|notification| {
            use roster::domain::organization::NotificationKind::*;
            matches!(notification.kind, TransferOffered | OwnershipTransferred)
        })
        .map(|notification| {
            let user = notification.user.as_ref().map(ToString::to_string);
            (format!("{:?}", notification.kind), user.unwrap_or_default())
        })
        .collect();
    let expected = [
        ("TransferOffered", "ada"),
        ("OwnershipTransferred", "ada"),
        ("OwnershipTransferred", "owner"),
    ];
    let expected = expected.map(|(kind, user)| (kind.to_owned(), user.to_owned()));
    assert_eq!(told, expected);

    let history = roster::store::Store::history(&*store, before, 10).expect("the history");
    let events: Vec<_> = history.iter().flat_map(|entry| &entry.events).collect();
    let details = [("from", "owner"), ("to", "ada")];
    let details = details.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let names: Vec<&str> = events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(names, ["InitiateTransfer", "AcceptTransfer"]);
    for event in events {
        assert_eq!(event.details, details);
        assert_eq!(event.target_id, ACME);
        assert!(!format!("{event:?}").contains("ersonal"), "{event:?}");
    }
    daemon.stop().await;
}
