//! `cargo xtask bench`.

use anyhow::Result;

use crate::shell;

pub(crate) fn run(quick: bool) -> Result<()> {
    let binary = shell::build(true)?;
    let mut bench = shell::cargo();
    bench.args(["run", "--release", "--package", "bench", "--", "--binary"]).arg(binary);
    if quick {
        bench.arg("--quick");
    }
    shell::run(&mut bench)
}
