//! Runs `roster::fuzzing::imports`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| roster::fuzzing::imports(bytes));
