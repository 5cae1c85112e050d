//! What the fuzz targets have in common. `cargo xtask fuzz` builds and runs them.

use std::{env, fs, path::PathBuf};

/// Writes the inputs that the fuzzer begins with to the folder that `cargo xtask fuzz` names.
#[expect(clippy::expect_used, reason = "without them the fuzzer would hardly get anywhere")]
pub fn seeds<T: AsRef<[u8]>>(seeds: impl IntoIterator<Item = T>) {
    let Some(folder) = env::var_os("QUARTERMASTER_FUZZ_SEEDS").map(PathBuf::from) else { return };
    for (number, seed) in seeds.into_iter().enumerate() {
        fs::write(folder.join(format!("{number:03}")), seed).expect("the inputs to begin with");
    }
}
