//! Flags as programs in Go have them.

use clap::{Arg, ArgAction};

/// For arguments of commands that stand in for a program in Go.
pub(super) trait GoFlag {
    /// A flag that may have a value: `--name`, `--name=false`, but not `--name false`.
    fn go_bool(self, default: &'static str) -> Self;
}

impl GoFlag for Arg {
    fn go_bool(self, default: &'static str) -> Self {
        self.value_name("BOOL")
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value(default)
            .default_missing_value("true")
            .value_parser(boolean)
    }
}

/// The words that Go reads as a boolean.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}
