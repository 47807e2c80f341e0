//! Every target over the kept corpora and seeded mutations of them, for a moment.
//! `ROSTER_TEST_SEED` repeats a run, and what fails says its seed and its input.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use super::*;

/// Mutations of a target, unless they are slow.
const MUTATIONS: usize = 4_000;
/// Mutations of a target that compiles or calls something.
const SLOW_MUTATIONS: usize = 400;
const SLOW: [&str; 3] = ["catalogs", "guardrails", "requests"];

/// The largest of all kept corpora together.
const MAX_CORPORA_BYTES: u64 = 64 * 1024;

/// Numbers that follow from a seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

fn seed() -> u64 {
    let given = std::env::var("ROSTER_TEST_SEED");
    given.map_or(20_260_728, |seed| seed.parse().expect("a seed is a number"))
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = fs::read_dir(corpora().join(name))
        .unwrap_or_else(|error| panic!("`{name}` has no corpus: {error}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus of `{name}` is empty");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A sibling of some input of the corpus.
fn mutated(corpus: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = corpus[numbers.below(corpus.len())].clone();
    for _ in 0..=numbers.below(4) {
        let place = numbers.below(bytes.len() + 1);
        match numbers.below(7) {
            0 if place < bytes.len() => bytes[place] ^= 1 << numbers.below(8),
            1 if place < bytes.len() => bytes[place] = numbers.next() as u8,
            2 => bytes.insert(place, numbers.next() as u8),
            3 => bytes.truncate(place),
            4 if place < bytes.len() => {
                let end = place + numbers.below(bytes.len() - place).min(16);
                bytes.drain(place..end);
            }
            5 => {
                let other = &corpus[numbers.below(corpus.len())];
                let begin = numbers.below(other.len() + 1);
                let piece = other[begin..].iter().take(64).copied();
                bytes.splice(place..place, piece);
            }
            _ if place < bytes.len() => {
                let end = place + numbers.below(bytes.len() - place).min(32);
                let piece = bytes[place..end].to_vec();
                bytes.splice(place..place, piece);
            }
            _ => {}
        }
    }
    bytes
}

fn hold(name: &str) {
    let (_, target) = TARGETS
        .into_iter()
        .find(|(known, _)| *known == name)
        .expect("a target");
    let corpus = corpus(name);
    let seed = seed();
    let mut numbers = Numbers(seed);
    let mutations = match SLOW.contains(&name) {
        true => SLOW_MUTATIONS,
        false => MUTATIONS,
    };
    let mutations = (0..mutations).map(|_| mutated(&corpus, &mut numbers));
    let inputs: Vec<Vec<u8>> = corpus.iter().cloned().chain(mutations).collect();
    for input in inputs {
        let held = catch_unwind(|| target(&input));
        assert!(held.is_ok(), "seed {seed}: `{name}` fails for {input:?}");
    }
}

macro_rules! each_target_holds {
    ($($test:ident: $name:literal;)*) => {
        $(
            #[test]
            fn $test() {
                hold($name);
            }
        )*

        const HELD: &[&str] = &[$($name),*];
    };
}

each_target_holds! {
    any_word_of_a_client_is_kept_from_hyper_or_left_as_it_is: "allowances";
    any_catalog_is_read_or_refused_with_its_faults: "catalogs";
    any_frame_is_read_as_it_was_written_or_not_at_all: "frames";
    any_guardrail_is_accepted_or_refused_always_alike: "guardrails";
    any_import_is_taken_as_a_whole_or_refused_with_its_lines: "imports";
    any_leaf_is_read_as_it_was_written_or_refused: "leaves";
    any_link_but_the_one_that_was_made_is_none: "links";
    any_page_token_is_one_of_its_list_or_refused: "pages";
    any_question_is_read_in_place_as_prost_reads_it: "questions";
    any_record_comes_back_as_it_was_or_is_refused: "records";
    any_request_is_answered_and_never_with_a_fault_of_the_daemon: "requests";
    any_secret_names_its_token_or_nothing: "secrets";
}

#[test]
fn every_target_is_held_here_and_is_a_program_of_the_fuzz_workspace() {
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, HELD);
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut written: Vec<String> = fs::read_dir(programs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    written.sort();
    assert_eq!(written, names);
}

#[test]
fn the_kept_corpora_are_small() {
    let mut bytes = 0;
    for (name, _) in TARGETS {
        for input in corpus(name) {
            bytes += input.len() as u64;
        }
    }
    assert!(bytes <= MAX_CORPORA_BYTES, "{bytes} bytes are kept");
}
