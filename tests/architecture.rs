//! What each part of the code must not know, held to its sources.
//!
//! The invariants are those of the code map in README.md, sentence by sentence.
//! Paths are read as the compiler would: grouped imports are taken apart,
//! `self` and `super` are resolved, paths inside code count like imported ones;
//! comments and texts don't. Every rule is shown to bite.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails should stop where it fails"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may name whom. Modules are written `engine`, for `crate::engine`, or as
/// the outside crate, such as `::tonic`.
struct Rule {
    /// As README.md says it.
    invariant: &'static str,
    /// The modules it is about; empty for all.
    inside: &'static [&'static str],
    /// Modules it is not about.
    except: &'static [&'static str],
    /// What must not be named there.
    forbidden: &'static [&'static str],
    /// Code in which the rule is broken.
    sample: (&'static str, &'static str),
}

const RULES: [Rule; 19] = [
    Rule {
        invariant: "knows no other part of the crate, and neither IO, time, async, serialization nor Cedar",
        inside: &["domain"],
        except: &[],
        forbidden: &[
            "app",
            "application",
            "catalogs",
            "config",
            "delivery",
            "engine",
            "proto",
            "store",
            "telemetry",
            "transport",
            "world",
            "::serde",
            "::serde_json",
            "::tokio",
            "::cedar_policy",
            "::std::fs",
            "::std::io",
            "::std::net",
            "::std::time",
            "::std::thread",
            "::std::env",
        ],
        sample: (
            "src/domain/roles.rs",
            "use crate::{domain::text, store::{self, Head}};",
        ),
    },
    Rule {
        invariant: "knows `domain` only; does no IO and knows no time",
        inside: &["engine"],
        except: &[],
        forbidden: &[
            "app",
            "application",
            "catalogs",
            "config",
            "delivery",
            "proto",
            "store",
            "telemetry",
            "transport",
            "world",
            "::tokio",
            "::std::fs",
            "::std::io",
            "::std::net",
            "::std::time",
            "::std::thread",
            "::std::env",
        ],
        sample: (
            "src/engine/schema.rs",
            "fn f() { let now = std::time::Duration::ZERO; }",
        ),
    },
    Rule {
        invariant: "Cedar is named in `engine` only",
        inside: &[],
        except: &["engine"],
        forbidden: &["::cedar_policy", "::cedar_policy_core"],
        sample: (
            "src/application/check.rs",
            "fn f(p: &cedar_policy::PolicySet) {}",
        ),
    },
    Rule {
        invariant: "knows `domain` only",
        inside: &["store"],
        except: &[],
        forbidden: &[
            "app",
            "application",
            "catalogs",
            "config",
            "delivery",
            "engine",
            "proto",
            "telemetry",
            "transport",
            "world",
        ],
        sample: (
            "src/store/sled/mod.rs",
            "use super::super::engine::Snapshot;",
        ),
    },
    Rule {
        invariant: "sled is named in `store::sled` only",
        inside: &[],
        except: &["store::sled"],
        forbidden: &["::sled"],
        sample: ("src/store/memory.rs", "fn f(db: ::sled::Db) {}"),
    },
    Rule {
        invariant: "knows `domain` only, and checks no Cedar",
        inside: &["catalogs"],
        except: &[],
        forbidden: &[
            "app",
            "application",
            "config",
            "delivery",
            "engine",
            "proto",
            "store",
            "telemetry",
            "transport",
            "world",
            "::cedar_policy",
            "::tokio",
        ],
        sample: ("src/catalogs/roles.rs", "use crate::{engine as judge};"),
    },
    Rule {
        invariant: "knows neither the wire nor which store it has",
        inside: &["application"],
        except: &[],
        forbidden: &[
            "app",
            "config",
            "proto",
            "transport",
            "store::sled",
            "store::memory",
            "::tonic",
            "::prost",
            "::prost_types",
            "::tonic_types",
            "::cedar_policy",
        ],
        sample: (
            "src/application/mutate.rs",
            "use crate::{domain, transport::{status}};",
        ),
    },
    Rule {
        invariant: "is the only part that knows gRPC, together with the generated `proto`, the client and the commands",
        inside: &[],
        except: &["transport", "proto", "client", "cli", "fuzzing"],
        forbidden: &[
            "::tonic",
            "::prost",
            "::prost_types",
            "::tonic_types",
            "::tonic_health",
            "::tonic_reflection",
        ],
        sample: ("src/main.rs", "fn f() -> tonic::Status { todo() }"),
    },
    Rule {
        invariant: "reads no store and no settings: it calls use cases",
        inside: &["transport"],
        except: &[],
        forbidden: &[
            "app",
            "catalogs",
            "config",
            "delivery",
            "store::sled",
            "store::memory",
            "::cedar_policy",
        ],
        sample: (
            "src/transport/server.rs",
            "use crate::{config::Settings, domain::Catalog};",
        ),
    },
    Rule {
        invariant: "carries what use cases hand out, and knows neither gRPC, the store nor Cedar",
        inside: &["delivery"],
        except: &[],
        forbidden: &[
            "app",
            "catalogs",
            "config",
            "engine",
            "proto",
            "store",
            "telemetry",
            "transport",
            "::tonic",
            "::cedar_policy",
        ],
        sample: ("src/delivery/smtp.rs", "use crate::store::Store;"),
    },
    Rule {
        invariant: "mail and webhooks are sent in `delivery` only, which `app` joins and `config` reads the addresses of",
        inside: &[],
        except: &["delivery", "app", "config"],
        forbidden: &["delivery", "::lettre", "::hyper_rustls"],
        sample: (
            "src/application/notifications.rs",
            "use crate::delivery::Courier;",
        ),
    },
    Rule {
        invariant: "HTTP/2 is spoken in `transport` only",
        inside: &[],
        except: &["transport", "delivery"],
        forbidden: &["::hyper", "::hyper_util", "::h2", "::http_body"],
        sample: ("src/app.rs", "use hyper::server::conn::http2::Builder;"),
    },
    Rule {
        invariant: "knows the wire types and nothing of the daemon",
        inside: &["client"],
        except: &[],
        forbidden: &[
            "app",
            "application",
            "catalogs",
            "config",
            "delivery",
            "domain",
            "engine",
            "store",
            "telemetry",
            "transport",
            "world",
            "::hyper",
        ],
        sample: ("src/client/lane.rs", "use crate::transport::status;"),
    },
    Rule {
        invariant: "the wire types are named in `transport`, `client` and `cli` only",
        inside: &[],
        except: &["transport", "proto", "client", "cli", "fuzzing"],
        forbidden: &["proto"],
        sample: (
            "src/application/check.rs",
            "fn f() { crate::proto::v1::Decision::Allow; }",
        ),
    },
    Rule {
        invariant: "is the only clock and the only source of randomness",
        inside: &[],
        except: &["world"],
        forbidden: &[
            "::std::time::SystemTime",
            "::std::time::Instant",
            "::getrandom",
            "::rand",
        ],
        sample: ("src/app.rs", "use std::time::{Duration, Instant};"),
    },
    Rule {
        invariant: "reads the settings, which only `app`, `cli` and `main` know besides",
        inside: &[],
        except: &[
            "config",
            "app",
            "cli",
            "main",
            "telemetry",
            "store::sled::tests",
            "fuzzing::tests",
        ],
        forbidden: &["config", "::clap", "::std::env"],
        sample: ("src/store/mod.rs", "use crate::config;"),
    },
    Rule {
        invariant: "knows nothing of what is logged",
        inside: &["telemetry"],
        except: &[],
        forbidden: &[
            "app",
            "application",
            "catalogs",
            "config",
            "delivery",
            "domain",
            "engine",
            "proto",
            "store",
            "transport",
            "world",
        ],
        sample: ("src/telemetry.rs", "fn f(_: &crate::config::Settings) {}"),
    },
    Rule {
        invariant: "knows no other part of the crate and no time",
        inside: &["measure"],
        except: &[],
        forbidden: &[
            "app",
            "application",
            "catalogs",
            "config",
            "delivery",
            "domain",
            "engine",
            "proto",
            "store",
            "telemetry",
            "transport",
            "world",
            "::std::time",
            "::tokio",
        ],
        sample: ("src/measure.rs", "fn f() { crate::world::ticks(); }"),
    },
    Rule {
        invariant: "is imported by `app`, `cli` and `main` only",
        inside: &[],
        except: &["app", "cli", "main", "fuzzing"],
        forbidden: &["app", "cli"],
        sample: ("src/config.rs", "use super::app;"),
    },
];

/// The longest file a reader should meet, in lines.
const MAX_LINES: usize = 600;

#[test]
fn the_sources_keep_every_invariant_of_the_code_map() {
    let mut broken = Vec::new();
    for source in Source::all() {
        for rule in &RULES {
            broken.extend(rule.broken_by(&source));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_rule_bites() {
    for rule in &RULES {
        let (path, code) = rule.sample;
        let found = rule.broken_by(&Source::new(path, code));
        assert!(!found.is_empty(), "`{code}` keeps: {}", rule.invariant);
    }
}

#[test]
fn the_readme_names_every_invariant() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    for rule in &RULES {
        assert!(readme.contains(rule.invariant), "{}", rule.invariant);
    }
}

#[test]
fn every_file_that_the_readme_names_is_there() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let missing: Vec<&str> = readme
        .split(['`', '(', ')'])
        .filter(|text| {
            ["src/", "tests/", "proto/", "policies/"]
                .iter()
                .any(|top| text.starts_with(top))
        })
        .filter(|text| !text.contains(['<', ' ']) && !root().join(text).exists())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_file_opens_with_prose_and_is_not_too_long() {
    let faults: Vec<String> = Source::all()
        .iter()
        .flat_map(Source::shape_faults)
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_file_without_prose_or_too_long_is_noticed() {
    let long = format!("//! Words.\n{}", "\n".repeat(MAX_LINES));
    for text in [
        "",
        "use std::fmt;\n",
        "// Words.\n",
        "//!\nfn f() {}\n",
        &long,
    ] {
        let faults = Source::new("src/app.rs", text).shape_faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
    assert!(
        Source::new("src/app.rs", "//! Words.\n")
            .shape_faults()
            .is_empty()
    );
}

#[test]
fn nothing_is_left_to_do() {
    let left: Vec<String> = Source::all().iter().flat_map(Source::left_to_do).collect();
    assert!(left.is_empty(), "{}", left.join("\n"));
}

#[test]
fn what_is_left_to_do_is_noticed() {
    let code = "fn f() { todo!() }\nfn g() { std::unimplemented!(\"soon\") }";
    assert_eq!(Source::new("src/app.rs", code).left_to_do().len(), 2);
    let code = "// todo!()\nfn f() { print(\"todo!()\"); todo(); }";
    assert!(Source::new("src/app.rs", code).left_to_do().is_empty());
}

#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let named = |path: &str, code: &str| -> Vec<String> {
        let source = Source::new(path, code);
        source.named.into_iter().map(|(_, name)| name).collect()
    };
    assert_eq!(
        named(
            "src/store/sled/mod.rs",
            "use crate::{a::{self, B}, c as d}; use self::e::*;"
        ),
        ["a::self", "a::B", "c", "store::sled::e::*"]
    );
    assert_eq!(
        named(
            "src/store/sled/open.rs",
            "use super::super::x; mod tests { use super::y; }"
        ),
        ["store::x", "store::sled::open::y"]
    );
    assert_eq!(
        named(
            "src/app.rs",
            "fn f<'a>(c: char) { ::b::c(); x.y::<z::Z>(); 'q'; r#\"p::q\"#; \"\\\"r::s\" }"
        ),
        ["::b::c", "::z::Z"]
    );
    assert_eq!(
        named("src/app.rs", "/* a::b /* c::d */ */ // e::f\n#[g::h]"),
        ["::g::h"]
    );
    assert_eq!(
        named(
            "src/lib.rs",
            "pub mod app; mod b { fn f() { super::c::d() } }"
        ),
        ["c::d"]
    );
    assert_eq!(
        named(
            "src/app.rs",
            "use tonic as t; extern crate sled; use {x, y::z};"
        ),
        ["::tonic", "::sled", "::x", "::y::z"]
    );
}

impl Rule {
    fn broken_by(&self, source: &Source) -> Vec<String> {
        let module = source.module.join("::");
        let about = self.inside.is_empty() || self.inside.iter().any(|part| is_in(&module, part));
        if !about || self.except.iter().any(|part| is_in(&module, part)) {
            return Vec::new();
        }
        source
            .named
            .iter()
            .filter(|(_, name)| self.forbidden.iter().any(|path| is_in(name, path)))
            .map(|(line, name)| {
                let path = source.path.display();
                format!(
                    "{path}:{line} names `{name}`, but the code map says: {}",
                    self.invariant
                )
            })
            .collect()
    }
}

/// Whether a path is another or lies in it.
fn is_in(path: &str, other: &str) -> bool {
    path.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A source file, and every path that it names.
struct Source {
    path: PathBuf,
    text: String,
    /// Its module, such as `["store", "sled"]`.
    module: Vec<String>,
    /// Line and resolved path, such as `store::Head` or `::tonic::Status`.
    named: Vec<(usize, String)>,
}

impl Source {
    fn all() -> Vec<Self> {
        let mut folders = vec![PathBuf::from("src")];
        let mut sources = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(root().join(&folder)).expect("a folder") {
                let entry = entry.expect("an entry");
                let path = folder.join(entry.file_name());
                if entry.path().is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(entry.path()).expect("a source file");
                    sources.push(Self::new(&path, &text));
                }
            }
        }
        assert!(sources.len() > 50, "the sources are not where they were");
        sources.sort_by(|one, other| one.path.cmp(&other.path));
        sources
    }

    fn new(path: impl AsRef<Path>, text: &str) -> Self {
        let path = path.as_ref().to_owned();
        let mut module: Vec<String> = path
            .with_extension("")
            .components()
            .skip(1)
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
            module.pop();
        }
        let named = Paths::read(&tokens(text), module.clone());
        Self {
            path,
            text: text.to_owned(),
            module,
            named,
        }
    }

    fn shape_faults(&self) -> Vec<String> {
        let path = self.path.display();
        let mut faults = Vec::new();
        let opening = self
            .text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("//! "));
        if opening.is_none_or(|words| words.trim().is_empty()) {
            faults.push(format!("{path} does not open with `//!` and what it is"));
        }
        let lines = self.text.lines().count();
        if lines > MAX_LINES {
            faults.push(format!(
                "{path} has {lines} lines; split it where a reader would"
            ));
        }
        faults
    }

    fn left_to_do(&self) -> Vec<String> {
        let tokens = tokens(&self.text);
        let unfinished: BTreeSet<&str> = ["todo", "unimplemented"].into();
        tokens
            .windows(2)
            .filter(|pair| unfinished.contains(pair[0].1.as_str()) && pair[1].1 == "!")
            .map(|pair| format!("{}:{}: {}!", self.path.display(), pair[0].0, pair[0].1))
            .collect()
    }
}

/// A word or a sign, with its line.
type Token = (usize, String);

/// Words and signs of Rust code, without comments and texts.
fn tokens(text: &str) -> Vec<Token> {
    let characters: Vec<char> = text.chars().collect();
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let (mut index, mut line) = (0, 1);
    while index < characters.len() {
        let start = index;
        let c = at(index);
        if c == '/' && at(index + 1) == '/' {
            while index < characters.len() && at(index) != '\n' {
                index += 1;
            }
        } else if c == '/' && at(index + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(index), at(index + 1)) {
                    ('/', '*') => (depth, index) = (depth + 1, index + 2),
                    ('*', '/') => (depth, index) = (depth - 1, index + 2),
                    _ => index += 1,
                }
                if depth == 0 || index >= characters.len() {
                    break;
                }
            }
        } else if let Some(after) = end_of_text(&characters, index) {
            index = after;
        } else if is_word(c) {
            while is_word(at(index)) {
                index += 1;
            }
            tokens.push((line, characters[start..index].iter().collect()));
        } else if c == ':' && at(index + 1) == ':' {
            index += 2;
            tokens.push((line, "::".to_owned()));
        } else {
            index += 1;
            if !c.is_whitespace() {
                tokens.push((line, c.to_string()));
            }
        }
        line += characters[start..index]
            .iter()
            .filter(|c| **c == '\n')
            .count();
    }
    tokens
}

/// The end of the string, character or lifetime that begins here.
fn end_of_text(characters: &[char], start: usize) -> Option<usize> {
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let mut index = start;
    if at(index) == '\'' {
        if at(index + 1) != '\\' && at(index + 2) != '\'' {
            // A lifetime.
            index += 1;
            while at(index).is_alphanumeric() || at(index) == '_' {
                index += 1;
            }
            return Some(index);
        }
        index += if at(index + 1) == '\\' { 3 } else { 2 };
        while at(index) != '\'' && index < characters.len() {
            index += 1;
        }
        return Some(index + 1);
    }
    if matches!(at(index), 'b' | 'c') && matches!(at(index + 1), '"' | 'r' | '\'') {
        index += 1;
    }
    if at(index) == 'r' {
        let mut hashes = 0;
        while at(index + 1 + hashes) == '#' {
            hashes += 1;
        }
        if at(index + 1 + hashes) != '"' {
            return None;
        }
        index += 2 + hashes;
        while index < characters.len() {
            let closed = (1..=hashes).all(|further| at(index + further) == '#');
            if at(index) == '"' && closed {
                return Some(index + 1 + hashes);
            }
            index += 1;
        }
        return Some(index);
    }
    if at(index) != '"' {
        return None;
    }
    index += 1;
    while index < characters.len() && at(index) != '"' {
        index += if at(index) == '\\' { 2 } else { 1 };
    }
    Some(index + 1)
}

/// Reads the paths of a file.
struct Paths<'a> {
    tokens: &'a [Token],
    index: usize,
    /// The module, and where inline ones open.
    module: Vec<String>,
    named: Vec<(usize, String)>,
}

impl<'a> Paths<'a> {
    fn read(tokens: &'a [Token], module: Vec<String>) -> Vec<(usize, String)> {
        let mut paths = Self {
            tokens,
            index: 0,
            module,
            named: Vec::new(),
        };
        // The depths of braces at which inline modules opened.
        let (mut depth, mut opened) = (0, Vec::new());
        while let Some(token) = paths.peek(0) {
            match token {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if opened.last() == Some(&depth) {
                        opened.pop();
                        paths.module.pop();
                    }
                }
                "mod" if paths.peek(2) == Some("{") => {
                    let name = paths.peek(1).unwrap_or_default().to_owned();
                    paths.module.push(name);
                    opened.push(depth);
                    depth += 1;
                    paths.index += 2;
                }
                "use" => {
                    paths.index += 1;
                    paths.tree(&mut Vec::new());
                    continue;
                }
                "crate" if paths.index > 0 && paths.tokens[paths.index - 1].1 == "extern" => {
                    let name = paths.peek(1).unwrap_or_default().to_owned();
                    paths.name(&[name]);
                    paths.index += 1;
                }
                _ if paths.begins_path() => {
                    paths.path();
                    continue;
                }
                _ => {}
            }
            paths.index += 1;
        }
        paths.named
    }

    fn peek(&self, further: usize) -> Option<&'a str> {
        self.tokens
            .get(self.index + further)
            .map(|token| token.1.as_str())
    }

    /// A path of at least two names in code, not after a dot and not inside another.
    fn begins_path(&self) -> bool {
        let before = self
            .index
            .checked_sub(1)
            .map(|at| self.tokens[at].1.as_str());
        let here = self.peek(0).unwrap_or_default();
        let is_path = is_name(here) && self.peek(1) == Some("::");
        let is_outside =
            here == "::" && !before.is_some_and(|before| is_name(before) || before == ">");
        (is_path && !matches!(before, Some("::" | "."))) || is_outside
    }

    fn path(&mut self) {
        let mut names = Vec::new();
        if self.peek(0) == Some("::") {
            names.push(String::new());
            self.index += 1;
        }
        while let Some(name) = self.peek(0).filter(|name| is_name(name)) {
            names.push(name.to_owned());
            self.index += 1;
            if self.peek(0) != Some("::") || !self.peek(1).is_some_and(is_name) {
                break;
            }
            self.index += 1;
        }
        if names.len() > 1 {
            self.name(&names);
        }
    }

    /// The tree of a `use`, below a path.
    fn tree(&mut self, below: &mut Vec<String>) {
        let length = below.len();
        loop {
            match self.peek(0) {
                Some("::") => {
                    if below.is_empty() {
                        below.push(String::new());
                    }
                    self.index += 1;
                }
                Some("{") => {
                    self.index += 1;
                    while !matches!(self.peek(0), Some("}") | None) {
                        self.tree(below);
                        if self.peek(0) == Some(",") {
                            self.index += 1;
                        }
                    }
                    self.index += 1;
                    below.truncate(length);
                    return;
                }
                Some(name) if is_name(name) || name == "*" => {
                    below.push(name.to_owned());
                    self.index += 1;
                    if self.peek(0) != Some("::") {
                        break;
                    }
                }
                _ => break,
            }
        }
        if below.len() > length {
            let names = below.clone();
            self.name(&names);
        }
        below.truncate(length);
        if self.peek(0) == Some("as") {
            self.index += 2;
        }
    }

    fn name(&mut self, names: &[String]) {
        let line = self.tokens[self.index.min(self.tokens.len()) - 1].0;
        let mut rest = names;
        let mut resolved = self.module.clone();
        match names.first().map(String::as_str) {
            // The program names the library by its name.
            Some("crate" | "roster") => {
                resolved.clear();
                rest = &names[1..];
            }
            Some("self") => rest = &names[1..],
            Some("super") => {
                while let Some((_, after)) = rest.split_first().filter(|(name, _)| *name == "super")
                {
                    resolved.pop();
                    rest = after;
                }
            }
            Some("") => resolved = vec![String::new()],
            _ => resolved = vec![String::new()],
        }
        if names.first().is_some_and(String::is_empty) {
            rest = &names[1..];
        }
        resolved.extend_from_slice(rest);
        self.named.push((line, resolved.join("::")));
    }
}

/// Whether a token is an identifier.
fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}
