//! The only way to print: data to standard output, everything else to standard error.

use std::io::{self, Write};

/// What a program downstream may read. A reader that went away is not an error.
pub(crate) fn data(text: &str) {
    let _gone = io::stdout().lock().write_all(text.as_bytes());
}

/// What a person should read.
pub(crate) fn note(text: &str) {
    let _gone = writeln!(io::stderr().lock(), "{text}");
}
