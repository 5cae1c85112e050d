//! References to images, and URLs of repositories.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(image) = hooks::decide::image::split(text) {
        assert!(!image.name.is_empty(), "{text}");
    }
    let plain = hooks::decide::filter::plain_url(text);
    assert!(plain.len() <= text.len() + 1, "{text}");
});
