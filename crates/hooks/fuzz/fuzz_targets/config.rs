//! The configuration file of flux-recv with our fields.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = hooks::dialect::flux_recv::warnings(text);
});
