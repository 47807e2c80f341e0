//! The callers file: who is known by a certificate, a user of the machine or a token.
//!
//! Every fault is reported, with its place; a file with faults counts as a whole or not at
//! all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use crate::application::caller_keys::is_reserved;
use crate::application::{Bounds, Permit, Scope, Scopes};
use crate::catalogs::CatalogFault;
use crate::catalogs::fault::Faults;
use crate::catalogs::section::{Name, Section};
use crate::domain::identifiers::identifier_fault;
use crate::transport::identities::Identities;
use crate::transport::issuers::{ALGORITHMS, Issuer, IssuerKey, SubjectPattern, USUAL_ALGORITHMS};

/// What a callers file says, and every file that says it.
#[derive(Default)]
pub struct CallersFile {
    /// Who is known.
    pub identities: Identities,
    /// The file itself, and the key sets that it names.
    pub files: Vec<PathBuf>,
}

/// Reads the text of the callers file that is there.
pub fn read_callers(path: &Path, text: &str) -> Result<CallersFile, Vec<CatalogFault>> {
    let shown = path.display().to_string();
    let mut faults = Faults::new(&shown, text);
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let message = error.message().replace('\n', ", ");
            faults.add(error.span().unwrap_or_default(), message);
            return Err(faults.into_found());
        }
    };
    let mut root = Section::root(table.get_ref(), "a callers file");
    let mut file = CallersFile {
        files: vec![path.to_owned()],
        ..CallersFile::default()
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    for section in root.sections("issuer", "an issuer", &mut faults) {
        read_issuer(section, folder, &mut file, &mut faults);
    }
    for section in root.sections("caller", "a caller", &mut faults) {
        read_caller(section, &mut file.identities, &mut faults);
    }
    root.close(&mut faults);
    let found = faults.into_found();
    if found.is_empty() {
        Ok(file)
    } else {
        Err(found)
    }
}

fn read_issuer(
    mut section: Section<'_>,
    folder: &Path,
    file: &mut CallersFile,
    faults: &mut Faults<'_>,
) {
    let name = section.text("issuer", faults);
    let audience = section.text("audience", faults);
    let set = section.text("jwks", faults);
    let named = section.names("algorithms", faults);
    section.close(faults);
    let mut algorithms = Vec::new();
    for given in &named {
        match ALGORITHMS.iter().find(|(name, _)| name == given.get_ref()) {
            Some((_, algorithm)) => algorithms.push(*algorithm),
            None => {
                let known: Vec<&str> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
                let message = format!(
                    "`{}` is no algorithm that is allowed; take some of {}",
                    given.get_ref(),
                    known.join(", ")
                );
                faults.add(given.span(), message);
            }
        }
    }
    if named.is_empty() {
        let usual = ALGORITHMS.iter();
        let usual = usual.filter(|(name, _)| USUAL_ALGORITHMS.contains(name));
        algorithms = usual.map(|(_, algorithm)| *algorithm).collect();
    }
    let keys = set.map(|set| keys_in(&set, folder, file, faults));
    let (Some(name), Some(audience), Some(keys)) = (name, audience, keys) else {
        return;
    };
    let known = file.identities.issuers.iter();
    if known
        .map(|issuer| &issuer.name)
        .any(|known| known == name.get_ref())
    {
        let message = format!("issuer `{}` is there twice; remove one", name.get_ref());
        faults.add(name.span(), message);
        return;
    }
    file.identities.issuers.push(Issuer {
        name: name.into_inner(),
        audience: audience.into_inner(),
        algorithms,
        keys,
        subjects: Vec::new(),
    });
}

fn keys_in(
    set: &Name,
    folder: &Path,
    file: &mut CallersFile,
    faults: &mut Faults<'_>,
) -> Vec<IssuerKey> {
    let path = folder.join(set.get_ref());
    file.files.push(path.clone());
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("can't read `{}`: {error}", path.display());
            faults.add(set.span(), message);
            return Vec::new();
        }
    };
    match IssuerKey::in_set(&text) {
        Ok(keys) => keys,
        Err(problem) => {
            faults.add(set.span(), format!("`{}` {problem}", path.display()));
            Vec::new()
        }
    }
}

/// By what a caller is known.
enum KnownBy {
    Certificate(Name),
    User(u32),
    Group(u32),
    Token { issuer: Name, subject: Name },
}

fn read_caller(mut section: Section<'_>, identities: &mut Identities, faults: &mut Faults<'_>) {
    let name = section.text("name", faults);
    let scopes = section.required_names("scopes", faults);
    let organizations = section.names("organizations", faults);
    let is_bound = section.value("organizations").is_some();
    let known_by = read_known_by(&mut section, faults);
    let span = section.span();
    section.close(faults);
    if is_bound && organizations.is_empty() {
        let message = "`organizations` is empty; leave it out to bind the caller to none";
        faults.add(span.clone(), message);
    }
    if let Some(name) = &name {
        let given = name.get_ref();
        if let Some(fault) = identifier_fault(given) {
            faults.add(name.span(), format!("`name` {fault}"));
        } else if is_reserved(given) {
            let message = format!("`{given}` is the daemon's own name; take another");
            faults.add(name.span(), message);
        }
    }
    for organization in &organizations {
        if let Some(fault) = identifier_fault(organization.get_ref()) {
            faults.add(organization.span(), format!("an organization {fault}"));
        }
    }
    let scopes = scopes.map(|scopes| read_scopes(&scopes, span.clone(), faults));
    let (Some(name), Some(scopes), Some(known_by)) = (name, scopes, known_by) else {
        return;
    };
    let permit = Permit {
        name: name.into_inner(),
        scopes,
        bounds: Bounds::to(organizations.into_iter().map(Spanned::into_inner)),
        until: None,
    };
    let twice = match known_by {
        KnownBy::Certificate(name) => put(&mut identities.certified, name.into_inner(), permit),
        KnownBy::User(user) => put(&mut identities.users, user, permit),
        KnownBy::Group(group) => put(&mut identities.groups, group, permit),
        KnownBy::Token { issuer, subject } => {
            let mut issuers = identities.issuers.iter_mut();
            match issuers.find(|known| &known.name == issuer.get_ref()) {
                Some(known) => {
                    let subject = SubjectPattern::new(subject.get_ref());
                    let is_there = known.subjects.iter().any(|(there, _)| *there == subject);
                    known.subjects.push((subject, permit));
                    is_there
                }
                None => {
                    let message = format!(
                        "there is no issuer `{}`; add an `[[issuer]]` with its `jwks`",
                        issuer.get_ref()
                    );
                    faults.add(issuer.span(), message);
                    false
                }
            }
        }
    };
    if twice {
        faults.add(span, "another caller is known by the same; remove one");
    }
}

/// Whether there was one.
fn put<K: Ord>(permits: &mut BTreeMap<K, Permit>, key: K, permit: Permit) -> bool {
    permits.insert(key, permit).is_some()
}

fn read_scopes(names: &[Name], span: std::ops::Range<usize>, faults: &mut Faults<'_>) -> Scopes {
    if names.is_empty() {
        faults.add(
            span,
            "`scopes` is empty; name some of check, manage, operate",
        );
    }
    let scopes = names.iter().filter_map(|name| {
        let scope = Scope::named(name.get_ref());
        if scope.is_none() {
            let message = format!(
                "`{}` is no scope; the scopes are check, manage, operate",
                name.get_ref()
            );
            faults.add(name.span(), message);
        }
        scope
    });
    scopes.collect()
}

fn read_known_by(section: &mut Section<'_>, faults: &mut Faults<'_>) -> Option<KnownBy> {
    let spiffe = section.optional_text("spiffe", faults);
    let dns = section.optional_text("dns", faults);
    let user = section.optional_number("uid", 0..=u32::MAX, faults);
    let group = section.optional_number("gid", 0..=u32::MAX, faults);
    let issuer = section.optional_text("issuer", faults);
    let subject = section.optional_text("subject", faults);
    if let Some(spiffe) = &spiffe
        && !spiffe.get_ref().starts_with("spiffe://")
    {
        faults.add(spiffe.span(), "`spiffe` must begin with `spiffe://`");
    }
    if let Some(dns) = &dns
        && dns.get_ref().contains(['*', '/', ':'])
    {
        faults.add(dns.span(), "`dns` must be a whole name, without `*`");
    }
    let token = match (issuer, subject) {
        (Some(issuer), Some(subject)) => Some(KnownBy::Token { issuer, subject }),
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => {
            faults.add(
                one.span(),
                "`issuer` and `subject` go together; add the other",
            );
            return None;
        }
    };
    let dns = dns.map(|dns| Spanned::new(dns.span(), dns.get_ref().to_ascii_lowercase()));
    let mut ways = [
        spiffe.map(KnownBy::Certificate),
        dns.map(KnownBy::Certificate),
        user.map(KnownBy::User),
        group.map(KnownBy::Group),
        token,
    ]
    .into_iter()
    .flatten();
    let way = ways.next();
    if way.is_none() || ways.next().is_some() {
        let message = "a caller is known by exactly one of `spiffe`, `dns`, `uid`, `gid` and \
                       `issuer` with `subject`";
        faults.add(section.span(), message);
        return None;
    }
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        let read = read_callers(Path::new("/nowhere/callers.toml"), text);
        let faults = read.err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_says_who_is_known_by_what() {
        let text = r#"
            [[caller]]
            name = "checkout"
            scopes = ["check"]
            organizations = ["acme"]
            spiffe = "spiffe://prod.example/ns/shop/sa/checkout"

            [[caller]]
            name = "portal"
            scopes = ["check", "manage"]
            dns = "Portal.example"

            [[caller]]
            name = "agent"
            scopes = ["operate"]
            uid = 0
        "#;
        let read = read_callers(Path::new("callers.toml"), text).expect("it is sound");
        let identities = read.identities;
        let checkout = &identities.certified["spiffe://prod.example/ns/shop/sa/checkout"];
        assert!(checkout.scopes.has(Scope::Check) && !checkout.scopes.has(Scope::Manage));
        let bounds = checkout.bounds.as_ref().expect("it is bound");
        assert!(bounds.admit("acme") && !bounds.admit("other"));
        assert!(identities.certified["portal.example"].bounds.is_none());
        assert_eq!(identities.users[&0].name, "agent");
        assert_eq!(read.files, [Path::new("callers.toml")]);
    }

    #[test]
    fn every_fault_is_reported_with_its_place() {
        let faults = faults_of(
            r#"
[[issuer]]
issuer = "https://id.example"
jwks = "missing.json"
algorithms = ["HS256"]

[[caller]]
name = "operator"
scopes = ["check", "everything"]
uid = 1
gid = 2

[[caller]]
name = "two words"
scopes = []
issuer = "https://other.example"
subject = "x"

[[caller]]
scope = ["check"]
spiffe = "https://x"
organizations = []

[[caller]]
name = "a"
scopes = ["check"]
uid = 7

[[caller]]
name = "b"
scopes = ["check"]
uid = 7
"#,
        );
        for (place, message) in [
            ("2:1", "an issuer has no `audience`; add it"),
            ("4:8", "can't read `/nowhere/missing.json`"),
            ("5:15", "`HS256` is no algorithm that is allowed"),
            ("8:8", "`operator` is the daemon's own name"),
            ("9:20", "`everything` is no scope"),
            ("7:1", "a caller is known by exactly one of"),
            ("14:8", "`name` must be visible ASCII without spaces"),
            ("13:1", "`scopes` is empty"),
            ("16:10", "there is no issuer `https://other.example`"),
            ("19:1", "a caller has no `name`; add it"),
            ("19:1", "a caller has no `scopes`; add it"),
            ("20:1", "a caller has no key `scope`"),
            ("21:10", "`spiffe` must begin with `spiffe://`"),
            ("19:1", "`organizations` is empty"),
            ("29:1", "another caller is known by the same"),
        ] {
            let start = format!("/nowhere/callers.toml:{place}: {message}");
            let found = faults.iter().any(|fault| fault.starts_with(&start));
            assert!(found, "{start} is not among {faults:#?}");
        }
        assert_eq!(faults.len(), 15, "{faults:#?}");
    }

    #[test]
    fn what_is_no_toml_is_one_fault() {
        assert_eq!(faults_of("[[caller]\nname = 1").len(), 1);
    }
}
