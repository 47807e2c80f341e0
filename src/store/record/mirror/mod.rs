//! The stored shapes: the domain's types once more, with serde. The number of a shape
//! is the first version that has it.
//!
//! They are separate so that the domain can be renamed and reshaped freely
//! while bytes on disk keep their meaning, and so that the domain needs no
//! serde. Fields are written in the order in which they stand here: **never
//! reorder, rename or add one**; a new shape is a new struct with a new version.
//! Maps are lists of pairs in the order of their keys, because JSON only has
//! text keys. Text is borrowed both ways where it can be.

mod access;
mod commits;
mod lines;
mod records;
mod shared;

pub(super) use lines::Unfit;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::organization::Moment;
use crate::domain::period::Period;

type Text<'a> = Cow<'a, str>;

/// Names with the roles that are held there.
type RolesBy1<'a> = Vec<(Text<'a>, Vec<Text<'a>>)>;

/// When something begins to count, and when it has ended.
type Period1 = (Option<i64>, Option<i64>);

/// A fixed number of bytes; text in a format for people.
struct Bytes1<const N: usize>([u8; N]);

/// Declares mirrors: strict about unknown fields, borrowing where possible.
macro_rules! mirrors {
    ($($item:item)*) => {$(
        #[derive(Serialize, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "snake_case")]
        $item
    )*};
}

mirrors! {
    pub(super) struct Profile1<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        display_name: Text<'a>,
        #[serde(borrow)]
        catalog: Text<'a>,
        #[serde(borrow)]
        plan: Text<'a>,
        #[serde(borrow)]
        owner: Text<'a>,
        created_at: i64,
        next_project_ordinal: u64,
        #[serde(borrow)]
        transfer: Option<Transfer1<'a>>,
        version: u64,
    }

    struct Transfer1<'a> {
        #[serde(borrow)]
        target: TransferTarget1<'a>,
        #[serde(borrow)]
        initiated_by: Text<'a>,
        initiated_at: i64,
        expires_at: i64,
        nonce: Bytes1<16>,
    }

    enum TransferTarget1<'a> {
        Member {
            #[serde(borrow)]
            user: Text<'a>,
            membership: u64,
        },
        #[serde(borrow)]
        Address(Text<'a>),
    }

    enum Status1 {
        Active,
        Suspended,
    }

    enum MemberKind1 {
        Person,
        ServiceAccount,
        OrganizationToken,
    }

    pub(super) struct Member1<'a> {
        #[serde(borrow)]
        user: Text<'a>,
        kind: MemberKind1,
        #[serde(borrow)]
        display_name: Text<'a>,
        #[serde(borrow)]
        email: Text<'a>,
        status: Status1,
        #[serde(borrow)]
        roles: Vec<Text<'a>>,
        #[serde(borrow)]
        project_roles: RolesBy1<'a>,
        #[serde(borrow)]
        overrides: Vec<(Text<'a>, Override1<'a>)>,
        #[serde(borrow)]
        default_roles: Vec<(u64, Vec<Text<'a>>)>,
        #[serde(borrow)]
        groups: Vec<(Text<'a>, Period1)>,
        #[serde(borrow)]
        periods: RolePeriods1<'a>,
        period: Period1,
        #[serde(borrow)]
        added_by: Option<Text<'a>>,
        joined_at: i64,
        last_active_at: Option<i64>,
        membership: u64,
        version: u64,
    }

    struct Override1<'a> {
        #[serde(borrow)]
        roles: Vec<Text<'a>>,
        #[serde(borrow)]
        permissions: Permissions1<'a>,
        period: Period1,
        set_at: i64,
    }

    struct RolePeriods1<'a> {
        #[serde(borrow)]
        roles: Vec<(Text<'a>, Period1)>,
        #[serde(borrow)]
        project_roles: Vec<(Text<'a>, Vec<(Text<'a>, Period1)>)>,
    }

    enum Level1 {
        Account,
        Project,
    }

    enum When1<'a> {
        Always,
        Own,
        #[serde(borrow)]
        Condition(Text<'a>),
    }

    struct Permissions1<'a> {
        every: Vec<Level1>,
        #[serde(borrow)]
        actions: Vec<(When1<'a>, Vec<Text<'a>>)>,
    }

    pub(super) struct Role1<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        display_name: Text<'a>,
        #[serde(borrow)]
        description: Text<'a>,
        #[serde(borrow)]
        permissions: Permissions1<'a>,
        edits_built_in: bool,
        created_at: i64,
        version: u64,
    }

    pub(super) struct Project1<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        display_name: Text<'a>,
        ordinal: u64,
        archived: bool,
        created_at: i64,
        version: u64,
    }

    pub(super) struct ResourceKey1<'a> {
        #[serde(borrow)]
        type_id: Text<'a>,
        #[serde(borrow)]
        id: Text<'a>,
    }

    pub(super) struct Resource1<'a> {
        #[serde(borrow)]
        key: ResourceKey1<'a>,
        #[serde(borrow)]
        project: Option<Text<'a>>,
        #[serde(borrow)]
        owner: Option<Text<'a>>,
        created_at: i64,
        version: u64,
    }

    pub(super) struct Group1<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        display_name: Text<'a>,
        #[serde(borrow)]
        description: Text<'a>,
        #[serde(borrow)]
        roles: Vec<Text<'a>>,
        #[serde(borrow)]
        project_roles: RolesBy1<'a>,
        max_token_age: Option<i64>,
        period: Period1,
        created_at: i64,
        version: u64,
    }

    enum InvitationStatus1 {
        Pending,
        Accepted,
        Revoked,
        Declined,
    }

    pub(super) struct Invitation1<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        email: Text<'a>,
        #[serde(borrow)]
        display_name: Text<'a>,
        #[serde(borrow)]
        roles: Vec<Text<'a>>,
        #[serde(borrow)]
        project_roles: RolesBy1<'a>,
        #[serde(borrow)]
        overrides: Vec<(Text<'a>, Override1<'a>)>,
        period: Period1,
        #[serde(borrow)]
        message: Text<'a>,
        status: InvitationStatus1,
        #[serde(borrow)]
        invited_by: Option<Text<'a>>,
        created_at: i64,
        sent_at: i64,
        times_sent: u32,
        expires_at: i64,
        expiry_recorded: bool,
        nonce: Bytes1<16>,
        #[serde(borrow)]
        accepted_by: Option<Text<'a>>,
        closed_at: Option<i64>,
        version: u64,
    }

    enum TokenKind1 {
        Member,
        ServiceAccount,
        Organization,
    }

    pub(super) struct Token1<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        display_name: Text<'a>,
        kind: TokenKind1,
        #[serde(borrow)]
        subject: Text<'a>,
        membership: u64,
        secrets: Vec<TokenSecret1>,
        #[serde(borrow)]
        scope: Option<TokenScope1<'a>>,
        period: Period1,
        revoked_at: Option<i64>,
        expiry_recorded: bool,
        last_used_at: Option<i64>,
        #[serde(borrow)]
        created_by: Option<Text<'a>>,
        created_at: i64,
        version: u64,
    }

    struct TokenSecret1 {
        digest: Bytes1<32>,
        created_at: i64,
        expires_at: Option<i64>,
    }

    struct TokenScope1<'a> {
        #[serde(borrow)]
        actions: Vec<Text<'a>>,
        #[serde(borrow)]
        projects: Vec<Text<'a>>,
    }

    pub(super) struct Guardrail1<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        description: Text<'a>,
        #[serde(borrow)]
        text: Text<'a>,
        created_at: i64,
        version: u64,
    }

    enum NotificationKind1 {
        Invitation,
        RoleChanged,
        MemberRemoved,
        MemberSuspended,
        MemberReinstated,
        TransferOffered,
        OwnershipTransferred,
    }

    pub(super) struct Notification1<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        kind: NotificationKind1,
        #[serde(borrow)]
        email: Text<'a>,
        #[serde(borrow)]
        user: Option<Text<'a>>,
        #[serde(borrow)]
        invitation: Option<Text<'a>>,
        #[serde(borrow)]
        facts: Vec<(Text<'a>, Text<'a>)>,
        created_at: i64,
    }

    pub(super) enum Change1<'a> {
        #[serde(borrow)]
        PutProfile(Profile1<'a>),
        #[serde(borrow)]
        PutMember(Member1<'a>),
        #[serde(borrow)]
        DeleteMember(Text<'a>),
        #[serde(borrow)]
        PutRole(Role1<'a>),
        #[serde(borrow)]
        DeleteRole(Text<'a>),
        #[serde(borrow)]
        PutProject(Project1<'a>),
        #[serde(borrow)]
        DeleteProject(Text<'a>),
        #[serde(borrow)]
        PutResource(Resource1<'a>),
        #[serde(borrow)]
        DeleteResource(ResourceKey1<'a>),
        #[serde(borrow)]
        PutGroup(Group1<'a>),
        #[serde(borrow)]
        DeleteGroup(Text<'a>),
        #[serde(borrow)]
        PutInvitation(Invitation1<'a>),
        #[serde(borrow)]
        DeleteInvitation(Text<'a>),
        #[serde(borrow)]
        PutToken(Token1<'a>),
        #[serde(borrow)]
        DeleteToken(Text<'a>),
        #[serde(borrow)]
        PutGuardrail(Guardrail1<'a>),
        #[serde(borrow)]
        DeleteGuardrail(Text<'a>),
        #[serde(borrow)]
        PutNotification(Notification1<'a>),
        #[serde(borrow)]
        DeleteNotification(Text<'a>),
        DeleteOrganization,
    }

    pub(super) enum Outcome1<'a> {
        #[serde(borrow)]
        Profile(Profile1<'a>),
        #[serde(borrow)]
        Member(Member1<'a>),
        #[serde(borrow)]
        Role(Role1<'a>),
        #[serde(borrow)]
        Project(Project1<'a>),
        #[serde(borrow)]
        Resource(Resource1<'a>),
        #[serde(borrow)]
        Group(Group1<'a>),
        #[serde(borrow)]
        Invitation(Invitation1<'a>),
        #[serde(borrow)]
        Invitations(Vec<InvitedRow1<'a>>),
        #[serde(borrow)]
        Token(Token1<'a>),
        #[serde(borrow)]
        Guardrail(Guardrail1<'a>),
        Count(u64),
        Removed {
            orphaned: Vec<ResourceKey1<'a>>,
            orphaned_count: u64,
            reassigned_count: u64,
        },
        Nothing,
    }

    pub(super) enum InvitedRow1<'a> {
        #[serde(borrow)]
        Sent(Box<Invitation1<'a>>),
        Refused {
            #[serde(borrow)]
            reason: Text<'a>,
            #[serde(borrow)]
            message: Text<'a>,
        },
    }

    enum EventSource1 {
        Roster,
        Host,
    }

    pub(super) struct Event1<'a> {
        source: EventSource1,
        #[serde(borrow)]
        action: Text<'a>,
        #[serde(borrow)]
        target_kind: Text<'a>,
        #[serde(borrow)]
        target_id: Text<'a>,
        #[serde(borrow)]
        caller: Text<'a>,
        #[serde(borrow)]
        actor: Text<'a>,
        #[serde(borrow)]
        token: Text<'a>,
        #[serde(borrow)]
        refusal: Text<'a>,
        occurred_at: Option<i64>,
        #[serde(borrow)]
        request_id: Text<'a>,
        #[serde(borrow)]
        details: Vec<(Text<'a>, Text<'a>)>,
    }

    pub(super) struct Entry1<'a> {
        #[serde(borrow)]
        organization: Text<'a>,
        version: u64,
        at: i64,
        #[serde(borrow)]
        records: Vec<Change1<'a>>,
        #[serde(borrow)]
        events: Vec<Event1<'a>>,
    }

    /// Version 1 and when something ends by itself.
    pub(super) struct Entry2<'a> {
        #[serde(borrow)]
        organization: Text<'a>,
        version: u64,
        at: i64,
        wake_at: Option<i64>,
        #[serde(borrow)]
        records: Vec<Change1<'a>>,
        #[serde(borrow)]
        events: Vec<Event1<'a>>,
    }

    /// What an export says of an organization.
    pub(super) enum Told1<'a> {
        Organization {
            version: u64,
            #[serde(borrow)]
            profile: Profile1<'a>,
        },
        #[serde(borrow)]
        Member(Member1<'a>),
        #[serde(borrow)]
        Role(Role1<'a>),
        #[serde(borrow)]
        Project(Project1<'a>),
        #[serde(borrow)]
        Resource(Resource1<'a>),
        #[serde(borrow)]
        Group(Group1<'a>),
        #[serde(borrow)]
        Invitation(Invitation1<'a>),
        #[serde(borrow)]
        Token(Token1<'a>),
        #[serde(borrow)]
        Guardrail(Guardrail1<'a>),
        #[serde(borrow)]
        Notification(Notification1<'a>),
        Commit {
            at: i64,
            #[serde(borrow)]
            events: Vec<Event1<'a>>,
        },
    }

    /// A line of an export.
    pub(super) struct Line1<'a> {
        #[serde(borrow)]
        organization: Text<'a>,
        #[serde(borrow)]
        told: Told1<'a>,
    }

    pub(super) struct Idempotency1<'a> {
        #[serde(borrow)]
        organization: Text<'a>,
        #[serde(borrow)]
        caller: Text<'a>,
        #[serde(borrow)]
        request_id: Text<'a>,
        fingerprint: Bytes1<32>,
        #[serde(borrow)]
        outcome: Outcome1<'a>,
        expires_at: i64,
    }

    pub(super) struct Remembered1<'a> {
        fingerprint: Bytes1<32>,
        sequence: u64,
        #[serde(borrow)]
        outcome: Outcome1<'a>,
        expires_at: i64,
    }
}

impl<const N: usize> Serialize for Bytes1<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0));
        }
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes1<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decoded;
        let bytes = if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            decoded = URL_SAFE_NO_PAD.decode(text).map_err(D::Error::custom)?;
            &decoded
        } else {
            <&[u8]>::deserialize(deserializer)?
        };
        let count = bytes.len();
        let wrong = |_| D::Error::custom(format!("{count} bytes where {N} should be"));
        bytes.try_into().map(Self).map_err(wrong)
    }
}

fn borrowed(text: &str) -> Text<'_> {
    Cow::Borrowed(text)
}

fn stored_period(period: &Period) -> Period1 {
    (
        stored_moment(period.not_before),
        stored_moment(period.expires_at),
    )
}

fn period((not_before, expires_at): Period1) -> Period {
    Period {
        not_before: not_before.map(Moment),
        expires_at: expires_at.map(Moment),
    }
}

fn stored_moment(moment: Option<Moment>) -> Option<i64> {
    moment.map(|moment| moment.0)
}
