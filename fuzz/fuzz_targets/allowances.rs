//! Runs `roster::fuzzing::allowances`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| roster::fuzzing::allowances(bytes));
