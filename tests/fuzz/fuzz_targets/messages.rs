#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trireme_fuzz::run("messages", bytes));
