#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| jetline_properties::secrets::holds(input));
