//! Expressions of filters, on a fixed event.
#![no_main]

use hooks::decide::cel::{Expression, Input};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(expression) = Expression::try_from(text.to_owned()) {
        let _ = expression.passes(Input::nothing());
    }
});
