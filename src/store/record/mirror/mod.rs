//! Version 1 of the stored shapes: the domain's types once more, with serde.
//!
//! They are separate so that the domain can be renamed and reshaped freely
//! while bytes on disk keep their meaning, and so that the domain needs no
//! serde. Fields are written in the order in which they stand here: **never
//! reorder, rename or add one**; a new shape is a new struct with a new version.
//! Maps are lists of pairs in the order of their keys, because JSON only has
//! text keys. Text is borrowed both ways where it can be.

mod commits;
mod records;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

type Text<'a> = Cow<'a, str>;

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
        version: u64,
    }

    enum Status1 {
        Active,
        Suspended,
    }

    pub(super) struct Member1<'a> {
        #[serde(borrow)]
        user: Text<'a>,
        #[serde(borrow)]
        display_name: Text<'a>,
        #[serde(borrow)]
        email: Text<'a>,
        status: Status1,
        #[serde(borrow)]
        roles: Vec<Text<'a>>,
        #[serde(borrow)]
        project_roles: Vec<(Text<'a>, Vec<Text<'a>>)>,
        #[serde(borrow)]
        overrides: Vec<(Text<'a>, Override1<'a>)>,
        #[serde(borrow)]
        default_roles: Vec<(u64, Vec<Text<'a>>)>,
        joined_at: i64,
        membership: u64,
        version: u64,
    }

    struct Override1<'a> {
        #[serde(borrow)]
        roles: Vec<Text<'a>>,
        #[serde(borrow)]
        permissions: Permissions1<'a>,
        set_at: i64,
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
        Count(u64),
        Removed {
            orphaned: Vec<ResourceKey1<'a>>,
            orphaned_count: u64,
            reassigned_count: u64,
        },
        Nothing,
    }

    pub(super) struct Event1<'a> {
        #[serde(borrow)]
        action: Text<'a>,
        #[serde(borrow)]
        target_kind: Text<'a>,
        #[serde(borrow)]
        target_id: Text<'a>,
        #[serde(borrow)]
        caller: Text<'a>,
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
        event: Event1<'a>,
    }

    pub(super) struct Idempotency1<'a> {
        #[serde(borrow)]
        organization: Text<'a>,
        #[serde(borrow)]
        caller: Text<'a>,
        #[serde(borrow)]
        request_id: Text<'a>,
        fingerprint: [u8; 32],
        #[serde(borrow)]
        outcome: Outcome1<'a>,
        expires_at: i64,
    }

    pub(super) struct Remembered1<'a> {
        fingerprint: [u8; 32],
        sequence: u64,
        #[serde(borrow)]
        outcome: Outcome1<'a>,
        expires_at: i64,
    }
}

fn borrowed(text: &str) -> Text<'_> {
    Cow::Borrowed(text)
}
