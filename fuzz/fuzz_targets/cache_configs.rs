#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lazyblob_cache::testing::fuzzing::run("cache_configs", bytes));
